"""Predictions of real, tiny models: from the test loop, from a .pkl file, and on scenes of conflicting cues."""

import json
import pickle

import numpy as np
import pytest
import torch
from error_models import DETECTOR, SEGMENTOR, conflicting_scenes, small_model
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from mmlska.analysis.predictions import predict, read_predictions
from mmlska.analysis.shape_bias import measure_shape_bias
from mmlska.engine.config import load_config
from mmlska.engine.launch import build_test_runner, prepare
from mmlska.weights import use_safe_reader


def read(config, work_dir, **options) -> Config:
    cfg = load_config(str(config), options)
    prepare(cfg, str(config), work_dir=str(work_dir), launcher='none', seed=0)
    use_safe_reader()
    return cfg


@pytest.mark.slow
@pytest.mark.parametrize('base', [DETECTOR, SEGMENTOR])
def test_file_and_test_loop_agree_with_the_labels_beside(base, scenes, tmp_path):
    config, checkpoint = small_model(base, scenes, tmp_path)
    out = tmp_path / 'pred.pkl'
    build_test_runner(read(config, tmp_path / 'a'), str(checkpoint), out=str(out)).test()
    loaded = read_predictions(read(config, tmp_path / 'b'), out)
    tested = predict(read(config, tmp_path / 'c'), str(checkpoint))
    assert loaded.task == tested.task == ('detection' if base == DETECTOR else 'segmentation')
    assert loaded.classes == tested.classes
    assert len(loaded.palette) == len(loaded.classes)
    assert not loaded.metrics
    assert not loaded.as_stored
    color = {'test_dataloader.dataset.pipeline.0.color_type': 'color_ignore_orientation'}
    assert read_predictions(read(config, tmp_path / 'd', **color), out).as_stored
    assert {'detection': 'coco/bbox_mAP_50', 'segmentation': 'mIoU'}[tested.task] in tested.metrics
    assert len(loaded.images) == len(tested.images) == 2
    for a, b in zip(loaded.images, tested.images):
        for name, value in vars(a).items():
            assert np.array_equal(value, vars(b)[name]), name
    image = tested.images[0]
    if base == DETECTOR:
        assert len(image.boxes) > 3
        assert np.all(np.diff(image.scores) <= 0)
        assert len(image.true_boxes) == len(image.true_labels) == len(image.crowd) > 0
        assert not image.crowd.any()
        assert image.true_boxes.max() <= 96
    else:
        assert image.truth.shape == image.prediction.shape == (96, 96)
        assert 0 in image.truth
        assert image.truth.max() > 0


@pytest.mark.slow
@pytest.mark.parametrize('base', [DETECTOR, SEGMENTOR])
def test_shape_bias_counts_every_object_of_the_scenes(base, scenes, tmp_path):
    config, checkpoint = small_model(base, scenes, tmp_path)
    root = conflicting_scenes(tmp_path)
    cfg = read(config, tmp_path / 'work', data_root=f'{root}/')
    result = measure_shape_bias(cfg, str(checkpoint), root, score_thr=0.0)
    total = len(json.loads((root / 'annotations/instances_validation.json').read_text())['annotations'])
    assert sum(result[key] for key in ('shape', 'texture', 'other', 'none')) == total
    with pytest.raises(ValueError, match='its test data must lie below its data_root'):
        measure_shape_bias(read(config, tmp_path / 'work'), str(checkpoint), root)
    per_class = [sum(c[key] for key in ('shape', 'texture', 'other', 'none')) for c in result['per_class'].values()]
    assert sum(per_class) == total


@pytest.mark.slow
def test_config_that_a_resumed_training_left_is_tested_as_any_other(scenes, tmp_path):
    config, checkpoint = small_model(SEGMENTOR, scenes, tmp_path)
    cfg = read(config, tmp_path / 'work', resume=True)
    cfg.train_dataloader.dataset.data_root = str(tmp_path / 'gone')  # a test must not look for training data
    assert len(predict(cfg, str(checkpoint)).images) == 2


def test_other_files_are_refused(scenes, tmp_path):
    config, _ = small_model(SEGMENTOR, scenes, tmp_path)
    path = tmp_path / 'pred.pkl'
    with pytest.raises(FileNotFoundError, match='pred.pkl do not exist; write them by mmlska test'):
        read_predictions(read(config, tmp_path / 'work'), path)
    path.write_bytes(b'nothing')
    with pytest.raises(ValueError, match='is not a file of mmlska test --out'):
        read_predictions(read(config, tmp_path / 'work'), path)
    path.write_bytes(pickle.dumps({'state_dict': {}}))
    with pytest.raises(ValueError, match='no list of data samples'):
        read_predictions(read(config, tmp_path / 'work'), path)
    path.write_bytes(pickle.dumps([{'img_path': 'a.png'}]))
    with pytest.raises(ValueError, match='has 1 images, the test data of the config 2'):
        read_predictions(read(config, tmp_path / 'work'), path)
    cfg = read(config, tmp_path / 'work')
    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    names = [dataset.get_data_info(i)['img_path'] for i in range(2)]
    path.write_bytes(pickle.dumps([{'img_path': name, 'pred_sem_seg': {}} for name in (names[0], 'a.png')]))
    with pytest.raises(ValueError, match='image 0 holds no predictions of this config: .* has no labels; put LoadAnn'):
        read_predictions(read(config, tmp_path / 'work'), path)
    path.write_bytes(pickle.dumps([{'img_path': name} for name in ('a.png', names[1])]))
    with pytest.raises(ValueError, match=r"prediction 0 is for 'a.png', the data set has .*\.png there"):
        read_predictions(read(config, tmp_path / 'work'), path)
    sizes = {'pred_sem_seg': {'data': torch.zeros(1, 4, 4)}, 'gt_sem_seg': {'data': torch.zeros(1, 8, 8)}}
    path.write_bytes(pickle.dumps([{'img_path': name, **sizes} for name in names]))
    with pytest.raises(ValueError, match='put LoadAnnotations behind Resize'):
        read_predictions(read(config, tmp_path / 'work'), path)
    for wrong in (5, [[0]], None, torch.zeros(())):
        odd = {'pred_sem_seg': {'data': wrong}, 'gt_sem_seg': {'data': wrong}}
        path.write_bytes(pickle.dumps([{'img_path': name, **odd} for name in names]))
        with pytest.raises(ValueError, match='image 0 holds no predictions of this config: '):
            read_predictions(read(config, tmp_path / 'work'), path)
    maps = {key: {'data': torch.zeros(1, 96, 96, dtype=torch.long)} for key in ('pred_sem_seg', 'gt_sem_seg')}
    path.write_bytes(pickle.dumps([{'img_path': f'/elsewhere/{name.split("/")[-1]}', **maps} for name in names]))
    assert [
        image.path for image in read_predictions(read(config, tmp_path / 'work'), path).images
    ] == names  # the data set's own
