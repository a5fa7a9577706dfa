"""How long a training is on the data set of its config."""

import pytest

from mmlska.engine.config import load_config
from mmlska.own_data.training import use_data_and_options


@pytest.fixture
def cfg(scenes):
    cfg = load_config('configs/demo/mask_rcnn_van_lska_t_scenes.py')
    cfg.train_dataloader.dataset.data_root = f'{scenes}/'  # of four images
    cfg.train_dataloader.batch_size = 2
    return cfg


def test_epochs_are_those_of_the_images_of_the_config(cfg):
    assert use_data_and_options(cfg, own=dict(epochs=50)) == ['100 iterations, 50 passes over the images']
    assert cfg.train_cfg.max_epochs == 50
    assert cfg.train_dataloader.dataset.type == 'CocoDataset'
    assert cfg.param_scheduler[1].end == 100


def test_an_epoch_is_one_pass_where_the_config_repeats_its_images(cfg):
    repeated = dict(type='RepeatDataset', times=5, dataset=cfg.train_dataloader.dataset)
    cfg.train_dataloader.dataset = dict(
        type='GuardedDataset', dataset=repeated
    )  # as in the config that a training leaves
    assert use_data_and_options(cfg, own=dict(epochs=3)) == ['6 iterations, 3 passes over the images']


def test_without_epochs_the_recipe_stays(cfg):
    before = cfg.to_dict()
    assert use_data_and_options(cfg) == []
    assert cfg.to_dict() == before


def test_missing_images_are_named_as_in_a_training(cfg):
    cfg.train_dataloader.dataset.data_root = 'nowhere/'
    with pytest.raises(FileNotFoundError, match='nowhere/annotations/instances_training.json'):
        use_data_and_options(cfg, own=dict(epochs=1))


def test_a_batch_of_nothing(cfg):
    cfg.train_dataloader.batch_size = 0
    with pytest.raises(ValueError, match='train_dataloader.batch_size 0 is impossible; use 1 or more'):
        use_data_and_options(cfg, own=dict(epochs=1))
