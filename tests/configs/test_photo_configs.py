"""The configs for real photos read them as their sources say; skipped where the photos are absent."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner

from mmlska.engine.config import load_config
from mmlska.engine.launch import build_test_runner, prepare


@pytest.fixture
def read(shared_data):
    def config_of(config: str, data: str):
        cfg = load_config(f'configs/demo/{config}.py', dict(data_root=f'{shared_data(data)}/'))
        init_default_scope(cfg.default_scope)
        return cfg

    return config_of


def test_fruits_are_split_as_their_source_suggests(read):
    cfg = read('mask_rcnn_van_lska_t_fruits', 'fruits_nuts')
    train = DATASETS.build(cfg.train_dataloader.dataset)
    test = DATASETS.build(cfg.test_dataloader.dataset)
    names = {Path(test.get_data_info(i)['img_path']).name for i in range(len(test))}
    assert names == {'3.jpg', '7.jpg', '11.jpg', '15.jpg'}
    trained = {Path(train.dataset.get_data_info(i)['img_path']).name for i in range(len(train.dataset))}
    assert len(trained) == 14
    assert not trained & names
    assert sum(len(test.get_data_info(i)['instances']) for i in range(4)) == 38
    assert train[0]['data_samples'].gt_instances.masks.masks.shape[0] > 0


def test_dubai_is_split_and_read_by_its_colours(read):
    cfg = read('upernet_van_lska_t_dubai', 'dubai_aerial')
    train, test = (DATASETS.build(cfg[f'{split}_dataloader'].dataset) for split in ('train', 'test'))
    assert (len(train), len(test)) == (28, 8)
    held_out = {test.get_data_info(i)['img_path'][-len('Tile_1/images/image_part_003.jpg') :] for i in range(8)}
    assert held_out == {f'Tile_{t}/images/image_part_00{p}.jpg' for t in (1, 2, 3, 6) for p in (3, 7)}
    masks = [test[i]['data_samples'].gt_sem_seg.data.numpy() for i in range(8)]
    values, counts = np.unique(np.concatenate([m.ravel() for m in masks]), return_counts=True)
    assert set(values) <= {0, 1, 2, 3, 4, 255}
    assert counts[values == 255].sum() < 0.05 * counts.sum()


@pytest.mark.slow
def test_an_80_class_model_runs_over_coco_photos_with_true_category_ids(read, tmp_path):
    cfg = read('mask_rcnn_van_lska_t_coco_cc', 'coco_cc')
    cfg.test_dataloader.dataset.indices = 6
    cfg.test_dataloader.dataset.pipeline[1].scale = (160, 128)
    cfg.model.test_cfg.rcnn.score_thr = 0.0  # an untrained model's scores are small
    prepare(cfg, 'coco_cc', work_dir=str(tmp_path), launcher='none', seed=0)
    untrained = tmp_path / 'untrained.pth'
    torch.save({'state_dict': Runner.from_cfg(cfg).model.state_dict()}, untrained)
    runner = build_test_runner(cfg, str(untrained), out=str(tmp_path / 'out.json'))
    metrics = runner.test()
    assert 0.0 <= metrics['coco/bbox_mAP'] < 0.05
    found = {r['category_id'] for r in json.loads((tmp_path / 'out.bbox.json').read_text())}
    assert found <= set(runner.test_dataloader.dataset.cat_ids)
    assert max(runner.test_dataloader.dataset.cat_ids) == 90
