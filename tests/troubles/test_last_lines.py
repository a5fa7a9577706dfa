"""The last line of a command that failed: what is wrong with the user's setting, and what to do."""

import importlib
import json
import re
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmlska import command_line
from mmlska.cli.training import parse_training
from mmlska.engine.inheritance import READ
from mmlska.engine.precision import mixed_dtype

PAGE = Path(__file__).resolve().parents[2] / 'docs/troubleshooting.md'


def options_of(model) -> list[str]:
    return ['--config', model.config, '--checkpoint', model.checkpoint]


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three small pictures of noise."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    for number in range(3):
        picture = np.random.default_rng(number).integers(0, 255, (64, 80, 3), np.uint8)
        cv2.imwrite(str(folder / f'{number}.png'), picture)
    return folder


@pytest.mark.parametrize('device', ['mps', 'xpu', 'cuda:9', 'gpu', 'meta', 'hpu', '7'])
def test_a_device_that_is_not_there(device, refused, tiny_models, photos, tmp_path):
    last = refused(
        'predict', photos, *options_of(tiny_models['retinanet']), '--out', tmp_path / 'o', '--device', device
    )
    assert f"device='{device}' is not there; use 'auto' or 'cpu'" in last
    assert not (tmp_path / 'o').exists()


def test_a_device_that_is_not_there_of_another_tool(refused):
    assert "device='mps' is not there; use 'auto' or 'cpu'" in refused('benchmark', 'op', '--device', 'mps')


@pytest.mark.parametrize(
    'camera', ['0', '1', '/dev/video0', 'rtsp://user@10.0.0.1:554/1', 'rtmp://host/live', 'http://host/a.m3u8']
)
def test_cameras_and_streams_are_not_read(camera, refused, tiny_models, tmp_path):
    last = refused('predict', camera, *options_of(tiny_models['retinanet']), '--out', tmp_path / 'o')
    assert last.endswith(
        f'input {camera} is a camera or a stream, which are not read; record a video, for example with ffmpeg, and give its file'
    )


def test_a_photo_with_the_name_of_a_camera_is_read(command, tiny_models, photos, tmp_path):
    shutil.copyfile(photos / '0.png', photos / '0')
    ended = command(
        'predict', '0', *options_of(tiny_models['retinanet']), '--out', tmp_path / 'o', '--format', 'coco', cwd=photos
    )
    assert ended.code == 0, ended
    assert [image['file_name'] for image in read(tmp_path / 'o')['images']] == ['0']


def read(folder: Path) -> dict:
    return json.loads((folder / 'predictions.json').read_text())


def cut(photo: Path) -> None:
    photo.write_bytes(photo.read_bytes()[:200])


def text(photo: Path) -> None:
    photo.write_text('no picture')


def empty(photo: Path) -> None:
    photo.write_bytes(b'')


def thin(photo: Path) -> None:
    cv2.imwrite(str(photo), np.zeros((2, 3000, 3), np.uint8))


@pytest.mark.parametrize('breaks', [cut, text, empty, thin])
@pytest.mark.parametrize('batch', [1, 2])
def test_one_broken_photo_does_not_lose_the_others(breaks, batch, command, tiny_models, photos, tmp_path):
    breaks(photos / '1.png')
    ended = command(
        *('predict', photos, *options_of(tiny_models['retinanet']), '--out', tmp_path / 'o', '--format', 'coco'),
        *('--batch-size', batch),
    )
    assert ended.code == 1, ended
    assert [Path(image['file_name']).name for image in read(tmp_path / 'o')['images']] == ['0.png', '2.png']
    assert sorted(path.name for path in (tmp_path / 'o/overlays').iterdir()) == ['0.png', '2.png']
    *_, said, last = ended.err.strip().splitlines()
    assert said.startswith('not read: ')
    assert '1.png' in said
    assert last == 'mmlska predict: error: 1 input could not be read; the others are predicted'


def test_a_broken_photo_among_tiles_and_a_broken_video(command, tiny_models, photos, tmp_path):
    cut(photos / '0.png')
    (photos / 'film.mp4').write_bytes(b'no film')
    ended = command(
        *('predict', photos / '0.png', photos / 'film.mp4', photos / '1.png', *options_of(tiny_models['upernet'])),
        *('--out', tmp_path / 'o', '--format', 'coco', '--tile', 64, '--no-overlays'),
    )
    assert ended.code == 1
    assert [Path(image['file_name']).name for image in read(tmp_path / 'o')['images']] == ['1.png']
    assert 'film.mp4 is not a video that OpenCV can read' in ended.err
    assert ended.last.endswith('2 inputs could not be read; the others are predicted')


def test_nothing_is_written_where_nothing_can_be_read(refused, tiny_models, photos, tmp_path):
    for photo in photos.iterdir():
        cut(photo)
    last = refused(
        'predict', photos, *options_of(tiny_models['retinanet']), '--out', tmp_path / 'o', '--format', 'coco'
    )
    assert '0.png is not an image that OpenCV can read' in last
    assert not (tmp_path / 'o').exists()


def derived(model, folder: Path, text: str) -> Path:
    """A config on the model's, with more lines."""
    config = folder / 'own.py'
    config.write_text(f'_base_ = {str(model.config)!r}\n{text}\n')
    return config


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        (
            "model = dict(bbox_head=dict(stacked_convs='two'))",
            'RetinaHead cannot be built from the config, correct its',
        ),
        ("model = dict(bbox_head=dict(anchor_generator=dict(ratios='wide')))", 'AnchorGenerator cannot be built from'),
        ("model = dict(neck=dict(num_outs='all'))", 'FPN cannot be built from the config, correct its settings'),
        ('model = dict(neck=dict(in_channels=[16] * 4))', 'model.neck.in_channels=[16, 16, 16, 16] does not fit'),
        ('answer = 1 / 0', 'own.py cannot be read: ZeroDivisionError: division by zero; correct that line'),
    ],
)
def test_errors_of_libraries_name_the_part_of_the_config(text, said, refused, tiny_models, tmp_path):
    model = tiny_models['retinanet']
    assert said in refused('test', derived(model, tmp_path, text), model.checkpoint)


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        (
            "model = dict(neck=dict(norm_cfg=dict(type='BatchNorm')))",
            'FPN cannot be built from the config, correct its',
        ),
        ("optim_wrapper = dict(optimizer=dict(type='Adamm'))", 'did you mean Adam?'),
        ("optim_wrapper = dict(optimizer=dict(lr='fast'))", 'AdamW cannot be built from the config, correct its'),
        (
            "model = dict(backbone=dict(_delete_=True, type='mmpretrain.VAN', arch='b1'))",
            "write type='VAN_LSKA', arch=",
        ),
        (
            "train_dataloader = dict(batch_size='four')",
            "train_dataloader.batch_size 'four' is impossible; use 1 or more",
        ),
        ('default_hooks = dict(checkpoint=dict(intervall=2))', 'takes no intervall; did you mean interval?'),
        ("param_scheduler = [dict(type='Steps')]", 'Steps is not in the mmdet::parameter scheduler registry'),
    ],
)
def test_errors_of_libraries_in_training(text, said, refused, tiny_models, scenes, tmp_path):
    config = derived(tiny_models['retinanet'], tmp_path, text)
    last = refused(
        *('train', config, '--data', scenes, '--epochs', 2, '--no-report', '--work-dir', tmp_path / 'work'),
        cwd=tmp_path,
    )
    assert said in last


def test_an_error_that_nothing_foresaw_leaves_its_traceback_in_a_file(
    command, tiny_models, scenes, tmp_path, monkeypatch
):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    config = derived(tiny_models['retinanet'], tmp_path, 'model = dict(test_cfg=None, train_cfg=None)')
    ended = command(
        *('train', config, '--data', scenes, '--epochs', 2, '--no-report', '--work-dir', tmp_path / 'work'),
        cwd=tmp_path,
    )
    assert ended.code == 1
    (file,) = tmp_path.glob('mmlska-error-*.txt')
    assert re.fullmatch(
        rf'mmlska train: error: \w+Error.* \(in mmdet/.*\.py, line \d+\); the traceback is in {file}', ended.last
    )
    assert file.read_text().startswith('Traceback (most recent call last):')


@pytest.mark.parametrize('line', ['0 0.5 0.5 abc 0.2', 'person 0.5 0.5 0.2 0.2', '<html>'])
def test_labels_of_no_format_show_how_they_begin(line, refused, photos):
    for photo in photos.glob('*.png'):
        photo.with_suffix('.txt').write_text(f'\n{line}\n')
    assert f"0.txt is none of them: it begins with '{line}'; see docs/own_data.md" in refused('check', photos)


def test_a_validation_without_a_detection_is_no_error(command, tiny_models, scenes, tmp_path):
    config = derived(tiny_models['retinanet'], tmp_path, 'model = dict(test_cfg=dict(score_thr=0.9))')
    ended = command('train', config, '--data', scenes, '--epochs', 1, '--no-report', '--work-dir', 'work', cwd=tmp_path)
    assert ended.code == 0, ended
    assert 'warning: no object was found in any image, so there is no AP' in ended.out
    assert 'error' not in ended.out + ended.err


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        ('train x.py --lr 0.01', '--lr 0.01; write --cfg-options optim_wrapper.optimizer.lr=0.01'),
        ('train x.py --batch-size=4', '--batch-size=4; write --cfg-options train_dataloader.batch_size=4'),
        ('train --gpus 1 x.py', '--gpus 1; leave it out for one GPU, or start tools/dist_train.sh CONFIG 1'),
        ('train x.py --gpu-id 0', 'write CUDA_VISIBLE_DEVICES=0 in front of the command'),
        ('train x.py --load-from x.pth', 'write --pretrained x.pth for the backbone, or --cfg-options load_from=x.pth'),
        ('train x.py --resume-from x.pth', 'write --resume x.pth'),
        ('train x.py --imgsz 640', 'set scale of the Resize steps in the pipelines of the config'),
        ('train x.py --device cpu', 'leave it out: a GPU is used where there is one'),
        ('train x.py --no-validate', 'write --cfg-options val_dataloader=None val_evaluator=None val_cfg=None'),
        ('train --config x.py', 'write x.py alone: the config needs no option'),
        ('train x.py --data-root d/', 'write --data d, or --cfg-options data_root=d/'),
        ('test x.py x.pth --eval bbox', '--eval bbox; leave it out: test_evaluator of the config names the metrics'),
        ('test x.py x.pth --show', 'write --show-dir DIR: pictures are files, and no window opens'),
        ('test x.py --checkpoint x.pth', 'write x.pth alone, after the config'),
        ('predict a.jpg --config x.py --checkpoint x.pth --out o --conf 0.3', 'write --score-thr 0.3'),
        ('predict --source a.jpg', 'write a.jpg alone: images need no option'),
        ('predict a.jpg --weights x.pth', 'write --checkpoint x.pth'),
        ('complexity x.py --imgsz 640', 'write --shape HEIGHT WIDTH'),
        ('train x.py --workdir y', 'did you mean --work-dir?'),
        ('train x.py --options a=1', 'did you mean --cfg-options?'),
    ],
)  # fmt: skip
def test_options_of_other_tools_are_refused_with_those_of_this_one(refused, words, said):
    assert said in refused(*words.split())


@pytest.mark.parametrize(
    'words', ['train x.py --frobnicate', 'check d --lr 1', 'test x.py --fps', 'train x.py --iou 0.5']
)
def test_an_option_that_nothing_is_like_gets_no_guess(refused, words):
    last = refused(*words.split())
    assert 'unrecognized arguments: --' in last
    assert 'did you mean' not in last


@pytest.mark.parametrize('row', command_line._ROWS, ids=lambda row: row.names.split()[0])
def test_what_a_line_says_instead_of_an_option_is_taken(row, monkeypatch):
    """Options in the advice are those of the command, and their settings are written as it takes them."""
    for name, advice in row.here.items():
        module = importlib.import_module(f'mmlska.commands.{name.replace("-", "_")}')
        monkeypatch.setattr(sys, 'argv', [f'mmlska {name}'])
        options = module.make_parser()._option_string_actions
        assert set(re.findall(r'(?<![\w-])--[a-z-]+', advice)) <= set(options)
        for setting in re.findall(r'([\w.]+)=\{', advice):
            assert setting.partition('.')[0] in (*READ, 'CUDA_VISIBLE_DEVICES')


@pytest.mark.parametrize(
    'words', [('--amp', 'x.py'), ('x.py', '--amp'), ('x.py', '--amp', 'bf16'), ('x.py', '--dtype', 'bf16')]
)
def test_mixed_precision_needs_no_value(monkeypatch, words):
    monkeypatch.setattr(sys, 'argv', ['mmlska train', *words])
    args = parse_training()
    assert (args.config, args.dtype) == ('x.py', 'bf16' if 'bf16' in words else mixed_dtype())


def test_what_a_file_is_as_the_page_says_it(command, tiny_models):
    line = next(line for line in PAGE.read_text(encoding='utf-8').splitlines() if 'mmlska convert weights.pth' in line)
    ended = command(*line.split()[1:2], tiny_models['upernet'].checkpoint, *line.split()[3:])
    assert ended.code == 0, ended
