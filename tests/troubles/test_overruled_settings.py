"""What ``--cfg-options`` sets and ``--data`` or ``--epochs`` sets too: the user's value stays, or the run stops and says why."""

from __future__ import annotations

import pytest
from mmengine.config import Config
from own_sets import annotation, coco, image, photo, simple
from tiny_models import CONFIGS, TINY_MASK_RCNN

from mmlska.cli.setting_values import setting_value
from mmlska.engine.launch import prepared_config
from mmlska.engine.lock import unlock_work_dir
from mmlska.own_data.command_settings import length_of
from mmlska.own_data.training import use_data_and_options

DETECTOR = f"""{TINY_MASK_RCNN}
model['roi_head'] = dict(bbox_head=dict(fc_out_channels=16), mask_head=dict(num_convs=1))
model['backbone']['init_cfg'] = None
train_dataloader = dict(batch_size=2)
"""


@pytest.fixture
def own_data(tmp_path):
    """A folder with photos of cats and dogs, and a config of a tiny detector."""
    (tmp_path / 'own.py').write_text(DETECTOR)
    simple(tmp_path / 'pets', 5)  # four to train on
    return tmp_path


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ('--epochs 2 --cfg-options train_cfg.max_epochs=1', '--epochs 2 and train_cfg.max_epochs=1 of --cfg-options are'),
        ('--epochs 2 --cfg-options train_cfg=dict(max_epochs=4)', 'train_cfg.max_epochs=4 of --cfg-options are two'),
        ('--cfg-options train_cfg.max_epochs=0', 'train_cfg.max_epochs=0 is impossible; use a whole number of 1 or more'),
        ('--cfg-options train_cfg.max_iters=9', 'this training counts epochs and has max_epochs=6; set train_cfg.max_epochs'),
        ('--cfg-options model.roi_head.bbox_head.num_classes=5', 'num_classes=5: pets has 2 classes (cat, dog); leave it'),
        ("--cfg-options train_dataloader.dataset.metainfo.classes=['cat']", '--data trains on all of them'),
        ("--cfg-options metainfo.classes=['cat']", "setting metainfo.classes=['cat']: pets has 2 classes (cat, dog)"),
        ('--cfg-options data_root=other/', "setting data_root='other/': the data are those of --data pets; give one"),
        ('--cfg-options test_dataloader.dataset.data_root=other/', 'the data are those of --data pets'),
        ('--cfg-options val_dataloader.dataset.ann_file=x.json', 'sets this itself; leave it out, or name the data in a'),
        ('--cfg-options val_evaluator.ann_file=x.json', "setting val_evaluator.ann_file='x.json': --data pets sets this"),
        ("--cfg-options train_dataloader.dataset=dict(data_prefix=dict(img='x'))", "dataset.data_prefix.img='x': --data"),
        ('--cfg-options train_dataloader.dataset.indices=2', 'train_dataloader.dataset.indices=2: --data pets sets this'),
    ],
)  # fmt: skip
def test_settings_that_data_would_overrule_are_refused(refused, own_data, options, said):
    before = sorted(path for path in own_data.rglob('*') if '__pycache__' not in path.parts)
    assert said in refused('train', 'own.py', '--data', 'pets', *options.split(), cwd=own_data)
    assert sorted(path for path in own_data.rglob('*') if '__pycache__' not in path.parts) == before


def test_settings_beside_data_are_kept(command, own_data):
    settings = {
        'train_cfg.max_epochs': 3,
        'train_cfg.val_interval': 2,
        'default_hooks.checkpoint.interval': 1,
        'default_hooks.checkpoint.max_keep_ckpts': 9,
        'default_hooks.logger.interval': 1,
        'param_scheduler.0.end': 4,
        'param_scheduler.1.begin': 1,
        'data_root': 'pets',
        'model.roi_head.mask_head.num_classes': 2,
        'train_dataloader.dataset.filter_cfg.min_size': 4,
        'val_evaluator.classwise': True,
        'metainfo.classes': "['cat','dog']",
        'train_dataloader.dataset.metainfo.classes': "['cat','dog']",
        'train_dataloader.dataset.data_root': 'pets',
        'work_dir': 'kept',
    }
    settings = [f'{key}={value}' for key, value in settings.items()]
    ended = command('train', 'own.py', '--data', 'pets', '--no-report', '--cfg-options', *settings, cwd=own_data)
    assert ended.code == 0, ended
    assert '6 iterations, 3 passes over the images' in ended.out
    assert '--data sets' not in ended.out
    ran = Config.fromfile(own_data / 'kept/own.py')
    assert {path.name for path in (own_data / 'kept').glob('epoch_*.pth')} == {f'epoch_{i}.pth' for i in (1, 2, 3)}
    assert (ran.train_cfg.max_epochs, ran.train_cfg.val_interval, ran.default_hooks.logger.interval) == (3, 2, 1)
    warm_up, cosine = ran.param_scheduler
    assert (warm_up.begin, warm_up.end) == (0, 4)  # iterations, as in the recipe
    assert (cosine.begin, cosine.end, cosine.by_epoch) == (2, 6, False)  # after an epoch, to the end
    assert ran.val_evaluator.classwise
    assert ran.train_dataloader.dataset.dataset.filter_cfg.min_size == 4


@pytest.mark.parametrize(
    ('settings', 'ends'),
    [
        (['epochs=4'], [1, 8]),  # a variable of the recipe, which its schedule uses
        (['train_cfg.max_epochs=4'], [1, 8]),
        (['epochs=3', 'train_cfg.max_epochs=4'], [1, 8]),
        (['train_cfg.max_epochs=4', 'param_scheduler.1.end=2'], [1, 4]),
        (["param_scheduler=[dict(type='MultiStepLR', milestones=[1, 3])]", 'epochs=4'], [[2, 6]]),
    ],
)
def test_a_length_among_the_settings_is_that_of_the_training(own_data, monkeypatch, settings, ends):
    monkeypatch.chdir(own_data)
    recipe = CONFIGS / 'demo/retinanet_van_lska_t_small.py'
    options = dict(option.split('=', 1) for option in settings)
    options = {key: setting_value(value) for key, value in options.items()} | {'train_dataloader.batch_size': 2}
    cfg = prepared_config(str(recipe), options, work_dir='work', launcher='none', seed=0)
    lines = use_data_and_options(cfg, 'pets', settings=options)
    unlock_work_dir('work')
    assert '8 iterations, 4 passes over the images' in lines[0]
    assert [s.get('milestones', s.end) for s in cfg.param_scheduler] == ends


def test_what_data_change_all_the_same_is_said(command, tmp_path):
    """Boxes of grey photos for a detector of colours."""
    for i in range(5):
        photo(tmp_path / f'grey/images/{i}.png', mode='L')
    coco(
        tmp_path / 'grey/all.json',
        [image(i, f'{i}.png') for i in range(5)],
        [annotation(i + 1, i, 1) for i in range(5)],
    )
    (tmp_path / 'own.py').write_text(DETECTOR)
    settings = ('model.data_preprocessor.std=[1,1,1]', 'train_cfg.max_epochs=1', 'optim_wrapper.optimizer.lr=1e-5')
    ended = command('train', 'own.py', '--data', 'grey', '--no-report', '--cfg-options', *settings, cwd=tmp_path)
    assert ended.code == 0, ended
    assert '--data sets model.data_preprocessor.std=[' in ended.out
    assert 'not [1, 1, 1] of --cfg-options' in ended.out
    assert ended.out.count('of --cfg-options') == 1


def test_a_length_of_ones_own_config_that_data_change_is_said(own_data, monkeypatch):
    monkeypatch.chdir(own_data)
    with open(own_data / 'own.py', 'a') as file:
        file.write('train_cfg = dict(max_epochs=3)')
    for own, said in (({}, True), (dict(epochs=3), False)):
        cfg = prepared_config('own.py', work_dir='work', launcher='none', seed=0)
        lines = use_data_and_options(cfg, 'pets', own)
        unlock_work_dir('work')
        line = 'train_cfg.max_epochs=3 of own.py became 300, to fit the number of images; --epochs 3 keeps it'
        assert (line in lines) is said


def test_a_config_that_needs_its_settings_keeps_them(own_data, monkeypatch):
    """The length is looked for in the config without the setting that gives it, and with all others."""
    monkeypatch.chdir(own_data)
    with open(own_data / 'own.py', 'a') as file:
        file.write("model['pretrained'] = 'van_b0.pth'\n")
    settings = {'model.pretrained': None, 'train_cfg.max_epochs': 2}
    for given in (settings, {'model.pretrained': None}):
        cfg = prepared_config('own.py', given, work_dir='work', launcher='none', seed=0)
        length = length_of(cfg, given)
        assert (length and length.value) == given.get('train_cfg.max_epochs')
