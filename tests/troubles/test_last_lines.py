"""The last line of a command that failed: what is wrong with the user's setting, and what to do."""

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest


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
        ('model = dict(neck=dict(in_channels=[16] * 4))', 'lacks 3 of the 162 parameters of this model'),
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
