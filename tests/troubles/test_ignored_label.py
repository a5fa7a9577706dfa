"""Pixels without a label that are not 255: the head's ``ignore_index`` holds for the data, the metric and the analyses."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from own_sets import adapt, mask_labels, mask_set
from PIL import Image
from tiny_models import TINY_UPERNET

from mmlska.analysis.overlaps import iou_of_classes, pixel_confusion
from mmlska.analysis.predictions import predict
from mmlska.engine.config import load_config
from mmlska.engine.launch import prepare


@pytest.fixture
def strips(scenes, tmp_path) -> Path:
    """The scenes with a quarter of each label map set to 254, which the pipeline makes 253."""
    root = tmp_path / 'strips'
    shutil.copytree(scenes, root)
    for file in root.glob('annotations/*/*.png'):
        mask = np.array(Image.open(file))
        mask[: len(mask) // 4] = 254
        Image.fromarray(mask).save(file)
    return root


def config_of(folder: Path, more: str = '') -> Path:
    config = folder / 'tiny.py'
    config.write_text(
        f'{TINY_UPERNET}\nmodel["decode_head"].update(ignore_index=253)\nmodel["auxiliary_head"].update(ignore_index=253)\n'
        f'train_cfg = dict(max_iters=2, val_interval=2)\n{more}'
    )
    return config


def trained(command, strips, tmp_path, more=''):
    config, work = config_of(tmp_path, more), tmp_path / 'work'
    ended = command(
        *('train', config, '--work-dir', work, '--verbose', '--cfg-options', f'data_root={strips}/'), cwd=tmp_path
    )
    return config, work / 'iter_2.pth', ended


def test_a_training_ignores_what_its_head_ignores(command, strips, tmp_path):
    config, checkpoint, ended = trained(command, strips, tmp_path)
    assert ended.code == 0, ended.err
    assert (tmp_path / 'work/report.html').is_file()

    cfg = load_config(str(config), {'data_root': f'{strips}/'})
    prepare(cfg, str(config), work_dir=str(tmp_path / 'test'), launcher='none', seed=0)
    found = predict(cfg, str(checkpoint))
    confusion = sum(pixel_confusion(image, len(found.classes)) for image in found.images)
    assert confusion.sum() == sum(image.truth.size for image in found.images) * 3 / 4
    # mmseg's metric, which sees the same pixels
    assert found.metrics['mIoU'] == pytest.approx(np.nanmean(iou_of_classes(confusion)) * 100, abs=0.01)


def test_labels_that_nothing_ignores_are_refused_with_what_is_ignored(command, strips, tmp_path):
    for file in strips.glob('annotations/training/*.png'):
        mask = np.array(Image.open(file))
        mask[-1] = 200
        Image.fromarray(mask).save(file)
    _, _, ended = trained(command, strips, tmp_path)
    assert ended.code == 2
    assert 'it has the label 199, there are 6 classes from 0 on and 253 for pixels without a label' in ended.err


def test_a_metric_with_a_label_of_its_own_keeps_it(tmp_path):
    config = config_of(tmp_path, 'val_evaluator = dict(ignore_index=7)\n')
    cfg = load_config(str(config))
    prepare(cfg, str(config), work_dir=str(tmp_path / 'work'), launcher='none', seed=0)
    assert cfg.val_evaluator.ignore_index == 7
    assert cfg.test_evaluator.ignore_index == 253
    assert cfg.train_dataloader.dataset.ignore_index == 253


def test_a_class_that_is_not_learned_is_still_evaluated(tmp_path):
    config = config_of(tmp_path, 'model["decode_head"].update(ignore_index=0)\n')
    cfg = load_config(str(config))
    prepare(cfg, str(config), work_dir=str(tmp_path / 'work'), launcher='none', seed=0)
    assert 'ignore_index' not in cfg.test_evaluator


STEPS = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='RandomCrop', crop_size=(90, 90), cat_max_ratio=0.9),
    dict(type='RandomRotate', prob=1.0, degree=(45, 45)),
    dict(type='Pad', size=(100, 104), pad_val=dict(img=7, seg=255)),
    dict(type='PackSegInputs'),
]


def padded(size: tuple[int, int]) -> str:
    return (
        f'train_pipeline = {STEPS}\ntrain_dataloader["dataset"] = dict(pipeline=train_pipeline)\n'
        f'model["data_preprocessor"] = dict(size={size})\n'
    )


def test_padding_of_every_kind_is_what_the_head_ignores(command, scenes, tmp_path):
    config = config_of(tmp_path, padded((128, 128)))
    options = ('--cfg-options', f'data_root={scenes}/')
    ended = command('train', config, '--work-dir', tmp_path / 'work', '--no-report', *options, cwd=tmp_path)
    assert ended.code == 0, ended.err

    cfg = load_config(str(config), {'data_root': f'{scenes}/'})
    prepare(cfg, str(config), work_dir=str(tmp_path / 'test'), launcher='none', seed=0)
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert steps['RandomCrop'].ignore_index == steps['RandomRotate'].seg_pad_val == 253
    assert steps['Pad'].pad_val == dict(img=7, seg=253)
    assert cfg.model.data_preprocessor.seg_pad_val == 253


@pytest.mark.parametrize(('label', 'in_pipeline'), [(0, 0), (254, 254), (-100, None)])
def test_labels_go_where_they_fit(label, in_pipeline, tmp_path):
    """Label maps have 8 bits, of which -100 would become a class."""
    more = f'model["decode_head"].update(ignore_index={label})\n{padded((96, 96))}'
    config = tmp_path / 'tiny.py'
    config.write_text(f'{TINY_UPERNET}\n{more}')
    cfg = load_config(str(config))
    prepare(cfg, str(config), work_dir=str(tmp_path / 'work'), launcher='none', seed=0)
    assert cfg.train_dataloader.dataset.pipeline[3].get('seg_pad_val') == in_pipeline
    assert cfg.model.data_preprocessor.seg_pad_val == label
    assert cfg.model.auxiliary_head.ignore_index == label  # which would learn the padding


def test_own_masks_without_label_are_ignored_whatever_the_head_has_ignored(command, tmp_path):
    root = mask_set(tmp_path / 'd', (0, 1, 2, 255), count=6)
    config = config_of(tmp_path)
    ended = command('train', config, '--data', root, '--epochs', 1, '--work-dir', tmp_path / 'work', '--no-report')
    assert ended.code == 0, ended.err
    assert 'ignore_index=255 in the heads (config: 253): it means no label in these masks' in ended.out + ended.err


@pytest.mark.parametrize('label', [7, 254, -100])
def test_other_labels_of_a_head_give_way_to_255_of_own_masks(label, tmp_path):
    root = mask_set(tmp_path / 'd', (0, 1, 2, 255), count=6)
    config = config_of(tmp_path, padded((96, 96)).replace("'reduce_zero_label': True", ''))
    config.write_text(config.read_text().replace('253', str(label)))
    cfg, lines = adapt(str(config), root, tmp_path / 'work')
    assert any(f'ignore_index=255 in the heads (config: {label})' in line for line in lines)
    assert cfg.model.decode_head.ignore_index == cfg.model.auxiliary_head.ignore_index == 255
    assert cfg.model.data_preprocessor.seg_pad_val == 255
    assert cfg.train_dataloader.dataset.pipeline[4].pad_val.seg == 255
    assert cfg.val_evaluator.get('ignore_index', 255) == 255
    assert mask_labels(cfg) == [0, 1, 2, 255]


def test_a_class_that_is_not_learned_beside_pixels_without_label(refused, tmp_path):
    text = 'model["decode_head"].update(ignore_index=0)\nmodel["auxiliary_head"].update(ignore_index=0)\n'
    config = config_of(tmp_path, text)
    root = mask_set(tmp_path / 'd', (0, 1, 2, 255), count=6)
    line = refused('train', config, '--data', root, '--work-dir', tmp_path / 'work')
    assert 'model.decode_head.ignore_index=0 is the class class_0, and the masks have pixels without a label' in line
    options = dict(option.split('=') for option in line.partition('--cfg-options ')[2].split())
    cfg, _ = adapt(str(config), root, tmp_path / 'work', {key: int(value) for key, value in options.items()})
    assert cfg.model.decode_head.ignore_index == cfg.model.auxiliary_head.ignore_index == 255

    cfg, lines = adapt(str(config), mask_set(tmp_path / 'e', (0, 1, 2), count=6), tmp_path / 'work2')
    assert 'the class class_0 is not learned (ignore_index=0)' in lines
    assert cfg.model.decode_head.ignore_index == cfg.train_dataloader.dataset.ignore_index == 0


@pytest.mark.parametrize(('value', 'code'), [(254, 0), (255, 1), (0, 1)])
def test_check_knows_what_the_head_ignores(value, code, command, scenes, tmp_path):
    """The pipeline makes 253 of 254, and 255 of both 0 and 255."""
    root = tmp_path / 'strips'
    shutil.copytree(scenes, root)
    for file in root.glob('annotations/*/*.png'):
        mask = np.array(Image.open(file))
        mask[mask == 0] = 1
        mask[:5] = value
        Image.fromarray(mask).save(file)
    config = config_of(tmp_path, f'data_root = {f"{root}/"!r}\n')
    ended = command('check', config)
    assert ended.code == code, ended.out
    if code:
        kind = 'mask values beyond the 6 classes; 253 is for pixels without a label (ignore_index of the head)'
        assert kind in ended.out
        assert f'({value} in ' in ended.out


def test_a_label_of_no_class_at_a_head_that_ignores_another(command, strips, tmp_path):
    for file in strips.glob('annotations/training/*.png'):
        mask = np.array(Image.open(file))
        mask[-1] = 255
        Image.fromarray(mask).save(file)
    _, _, ended = trained(command, strips, tmp_path)
    assert ended.code == 2
    assert 'where 255 means no label, set ignore_index=255 in each head' in ended.last


def test_a_class_of_colour_masks_that_is_not_learned(tmp_path):
    config = config_of(tmp_path)
    settings = {'model.decode_head.ignore_index': 0, 'model.auxiliary_head.ignore_index': 0}
    colors = [(0, 0, 0), (200, 0, 0), (0, 200, 0), (0, 0, 200)]
    root = mask_set(tmp_path / 'd', colors, mode='RGB')
    cfg, lines = adapt(str(config), root, tmp_path / 'work', settings)
    assert any('is not learned (ignore_index=0)' in line for line in lines)
    assert mask_labels(cfg) == [0, 3, 2, 1]  # classes are in the order of their colour codes
    for path in root.glob('masks/*.png'):
        pixels = np.array(Image.open(path))
        pixels[:2, :2] = 9
        Image.fromarray(pixels).save(path)
    with pytest.raises(ValueError, match='and the masks have pixels without a label as well'):
        adapt(str(config), root, tmp_path / 'other', settings)
