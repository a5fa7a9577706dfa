"""The schedule of a recipe on another number of images."""

import pytest

from mmlska.engine.config import load_config
from mmlska.own_data.schedule import scale_schedule


def test_a_recipe_of_epochs_keeps_its_steps():
    cfg = load_config('configs/mask_rcnn_van_lska_t.py')
    line = scale_schedule(cfg, 2000, None)  # batch 2
    assert line == '12000 iterations, 12 passes over the images'
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (12, 1)
    warm_up, steps = cfg.param_scheduler
    assert (warm_up.begin, warm_up.end) == (0, 1000)
    assert (steps.by_epoch, steps.begin, steps.end, steps.milestones) == (False, 0, 12000, [8000, 11000])
    assert cfg.train_dataloader.dataset.type == 'CocoDataset'


def test_epochs_are_passes_over_the_images():
    cfg = load_config('configs/mask_rcnn_van_lska_t.py')
    scale_schedule(cfg, 2000, 3)
    assert cfg.train_cfg.max_epochs == 3
    assert cfg.param_scheduler[0].end == 300  # a tenth of the run at most
    assert cfg.param_scheduler[1].milestones == [2000, 2750]


@pytest.mark.parametrize('epochs', [1, 7, 10, 12, 30, 100])
def test_an_epoch_is_a_pass_over_few_images_too(epochs):
    cfg = load_config('configs/mask_rcnn_van_lska_t.py')
    scale_schedule(cfg, 20, epochs)
    assert cfg.train_dataloader.dataset.type == 'CocoDataset'
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.param_scheduler[1].end == 10 * epochs
    # Validations and checkpoints come no more often than every 50 iterations.
    assert (
        cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == min(max(5, round(epochs / 12)), epochs)
    )


def test_a_last_batch_that_is_left_out_is_not_counted():
    cfg = load_config('configs/mask_rcnn_van_lska_t.py')
    cfg.train_dataloader.drop_last = True
    assert scale_schedule(cfg, 5, 10) == '20 iterations, 10 passes over the images'


def test_without_epochs_training_is_long_enough_to_learn():
    cfg = load_config('configs/mask_rcnn_van_lska_t.py')
    scale_schedule(cfg, 14, None)
    total = cfg.param_scheduler[1].end
    assert 600 <= total < 650
    assert total == cfg.train_cfg.max_epochs * 7
    assert cfg.train_cfg.val_interval == 8


def test_a_recipe_of_iterations():
    cfg = load_config('configs/upernet_van_lska_t.py')
    assert scale_schedule(cfg, 500, None) == '25000 iterations, 100 passes over the images'
    assert (cfg.train_cfg.max_iters, cfg.train_cfg.val_interval) == (25000, 2500)
    assert cfg.default_hooks.checkpoint.interval == 2500
    warm_up, poly = cfg.param_scheduler
    assert warm_up.end == poly.begin == 1500
    assert poly.end == 25000
    cfg = load_config('configs/upernet_van_lska_t.py')
    scale_schedule(cfg, 500, 10)
    assert cfg.param_scheduler[0].end == cfg.param_scheduler[1].begin == 250
    assert cfg.param_scheduler[1].end == cfg.train_cfg.max_iters == 2500


@pytest.mark.parametrize(('recipe', 'loop'), [('upernet', 'RepeatableIterLoop'), ('mask_rcnn', 'RepeatableEpochLoop')])
def test_the_config_that_a_training_leaves_is_scaled_as_its_recipe(recipe, loop):
    first, left = (load_config(f'configs/{recipe}_van_lska_t.py') for _ in range(2))
    left.train_cfg = dict(left.train_cfg, type=loop)
    left.train_cfg.pop('by_epoch', None)
    assert scale_schedule(left, 500, 10) == scale_schedule(first, 500, 10)
    assert left.param_scheduler == first.param_scheduler


def test_a_recipe_is_never_made_longer_than_it_is_by_itself():
    cfg = load_config('configs/upernet_van_lska_t.py')
    scale_schedule(cfg, 20210, None)
    assert cfg.train_cfg.max_iters == 160000


def test_processes_share_the_images(monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '4')
    cfg = load_config('configs/mask_rcnn_van_lska_t.py')
    cfg.launcher = 'pytorch'
    assert scale_schedule(cfg, 8000, 1).startswith('1000 iterations')


def test_a_config_that_was_scaled_before_is_scaled_again():
    cfg = load_config('configs/mask_rcnn_van_lska_t.py')
    scale_schedule(cfg, 2000, 12)
    scale_schedule(cfg, 1000, 12)
    assert cfg.param_scheduler[1].end == 6000
    assert cfg.param_scheduler[1].milestones == [4000, 5500]
