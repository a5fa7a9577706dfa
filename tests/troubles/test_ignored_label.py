"""Pixels without a label that are not 255: the head's ``ignore_index`` holds for the data, the metric and the analyses."""

import shutil
from pathlib import Path

import numpy as np
import pytest
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
