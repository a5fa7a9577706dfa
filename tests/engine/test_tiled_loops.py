"""Tests in tiles: their predictions are the predictor's, and the metrics those of whole images."""

import pickle

import cv2
import numpy as np
import pytest
import torch

from mmlska.engine.config import load_config
from mmlska.engine.launch import build_test_runner, prepare
from mmlska.engine.tiling import choose_tiles
from mmlska.infer import Predictor

TILE, OVERLAP = 64, 16


def runner_of(model, work_dir, **options):
    cfg = load_config(str(model.config))
    prepare(cfg, str(model.config), work_dir=str(work_dir), launcher='none', seed=0)
    choose_tiles(cfg, TILE, OVERLAP)
    return build_test_runner(cfg, str(model.checkpoint), **options)


def predictor_of(model):
    return Predictor(str(model.config), model.checkpoint, device='cpu', deploy=False)


def rows(boxes, scores, labels):
    """Detections in an order that does not depend on scores that are nearly equal."""
    found = np.concatenate([boxes.numpy(), scores.numpy()[:, None], labels.numpy()[:, None]], axis=1)
    return found[np.lexsort(found[:, :4].round(1).T)]


@pytest.mark.parametrize('name', ['retinanet', 'mask_rcnn', 'upernet'])
def test_predictions_are_those_of_the_predictor(tiny_models, tmp_path, name):
    """The predictor's own are compared with whole images in tests/infer."""
    model = tiny_models[name]
    runner = runner_of(model, tmp_path, out=str(tmp_path / 'found.pkl'), show_dir=str(tmp_path / 'show'))
    metrics = runner.test()
    assert metrics
    found = pickle.loads((tmp_path / 'found.pkl').read_bytes())
    assert len(found) == len(list((tmp_path / 'show').glob('*.png'))) == 2
    predictor = predictor_of(model)
    for sample in found:
        (wanted,) = predictor(sample['img_path'], tile=TILE, overlap=OVERLAP, batch_size=1)
        (whole,) = predictor(sample['img_path'], tile=0)
        if name == 'upernet':
            assert np.array_equal(sample['pred_sem_seg']['data'][0].numpy(), wanted.index_mask)
            assert (wanted.index_mask != whole.index_mask).any(), 'tiles make no difference: this test shows nothing'
            continue
        instances, mine = wanted.sample.pred_instances, sample['pred_instances']
        assert len(instances) > 0
        one, other = (rows(each['bboxes'], each['scores'], each['labels']) for each in (mine, instances))
        assert np.allclose(one, other, atol=1e-3)
        assert len(instances) != len(whole.sample.pred_instances) or not torch.allclose(
            instances.bboxes, whole.sample.pred_instances.bboxes, atol=1
        )
        if name == 'mask_rcnn':
            counts = (sorted(mask['counts'] for mask in each['masks']) for each in (mine, instances))
            assert next(counts) == [text.encode() for text in next(counts)]


def test_miou_counts_the_whole_images(tiny_models, tmp_path):
    model = tiny_models['upernet']
    runner = runner_of(model, tmp_path)
    metrics = runner.test()
    predictor, cfg = predictor_of(model), runner.cfg
    classes = len(predictor.classes)
    confusion = np.zeros((classes, classes))
    folder = cfg.data_root
    for path in sorted(__import__('pathlib').Path(folder, 'images/validation').glob('*.png')):
        (prediction,) = predictor(path, tile=TILE, overlap=OVERLAP)
        labels = cv2.imread(str(path).replace('/images/', '/annotations/'), cv2.IMREAD_UNCHANGED).astype(int) - 1
        np.add.at(confusion, (labels, prediction.index_mask), 1)
    union = confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    iou = np.diag(confusion) / np.where(union, union, np.nan)
    assert metrics['mIoU'] == pytest.approx(100 * np.nanmean(iou), abs=0.02)


def test_box_ap_counts_the_whole_images(tiny_models, tmp_path):
    """Labels as predictions give an AP of 100, wherever tiles cut them."""
    runner = runner_of(tiny_models['retinanet'], tmp_path)
    loop = runner.test_loop

    def perfect(sample, *_):
        sample.pred_instances = sample.gt_instances.new(
            bboxes=sample.gt_instances.bboxes.tensor, labels=sample.gt_instances.labels
        )
        sample.pred_instances.scores = torch.ones(len(sample.gt_instances))
        return sample

    loop._predicted = perfect
    assert runner.test()['coco/bbox_mAP'] == pytest.approx(1.0)


def test_the_steps_are_those_of_the_loader_in_use(tiny_models, tmp_path):
    """As a test of robustness puts another one in."""
    runner = runner_of(tiny_models['upernet'], tmp_path)
    clean = runner.test()
    loader = runner.cfg.test_dataloader
    loader.dataset.dataset.pipeline.insert(1, dict(type='CorruptImage', corruption='contrast', severity=5, seed=0))
    runner.test_loop.dataloader = runner.build_dataloader(loader, seed=0)
    assert runner.test_loop.run() != clean


def test_masks_of_huge_images_stay_run_lengths(tiny_models, tmp_path, monkeypatch):
    monkeypatch.setattr('mmlska.engine.tiled_loops._DENSE', 100)
    model = tiny_models['mask_rcnn']
    runner = runner_of(model, tmp_path, show_dir=str(tmp_path / 'show'), out=str(tmp_path / 'runs.pkl'))
    metrics = runner.test()
    monkeypatch.undo()
    dense = runner_of(model, tmp_path / 'dense', out=str(tmp_path / 'dense.pkl')).test()
    assert metrics == dense
    one, other = (pickle.loads((tmp_path / f'{name}.pkl').read_bytes()) for name in ('runs', 'dense'))
    assert [s['pred_instances']['masks'] for s in one] == [s['pred_instances']['masks'] for s in other]
    assert any(len(s['pred_instances']['masks']) for s in one)
    assert len(list((tmp_path / 'show').glob('*.png'))) == 2


def test_a_test_loop_refuses_impossible_tiles(tiny_models, tmp_path):
    model = tiny_models['retinanet']
    cfg = load_config(str(model.config))
    prepare(cfg, str(model.config), work_dir=str(tmp_path), launcher='none', seed=0)
    choose_tiles(cfg, TILE, OVERLAP)
    cfg.test_cfg.overlap = 60
    with pytest.raises(ValueError, match='overlap=60 must be 0 to 21, a third of tile=64'):
        build_test_runner(cfg, str(model.checkpoint))
