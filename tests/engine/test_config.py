"""From config file and settings to a config, and what it says."""

import logging

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from mmlska.engine.config import add_hook, find_checkpoint_file, has_hook, load_config, remove_hooks, replace_sync_bn
from mmlska.engine.config_parts import datasets_of

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason='tests what happens without a GPU')


def test_configs_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config('configs/fpn_van_lska_t.py').model.type == 'EncoderDecoder'


@pytest.mark.parametrize(
    ('path', 'error', 'message'),
    [
        ('configs/none.py', FileNotFoundError, 'config configs/none.py does not exist; see the folder configs'),
        ('configs', FileNotFoundError, 'config configs is a folder; see the folder configs'),
    ],
)
def test_missing_configs(path, error, message):
    with pytest.raises(error, match=message):
        load_config(path)


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match='is a folder; a training leaves its own in its work directory'):
        find_checkpoint_file(tmp_path)


def test_broken_configs_name_the_line(tmp_path):
    (tmp_path / 'broken.py').write_text('a = 1\nb = (\n')
    with pytest.raises(ValueError, match=r'broken.py is not valid Python: line 2'):
        load_config(str(tmp_path / 'broken.py'))


@pytest.mark.parametrize(
    ('option', 'near'),
    [
        ('dataroot', 'data_root'),
        ('train_dataloder.batch_size', 'train_dataloader'),
        ('modle.backbone.arch', 'model'),
        ('model.backbon.arch', 'backbone'),
    ],
)
def test_a_setting_that_is_nearly_one_is_refused(option, near):
    with pytest.raises(ValueError, match=f'setting {option}: the config has no .*; did you mean {near}[?]'):
        load_config('fpn_van_lska_t', {option: 1})


@pytest.mark.parametrize(
    'option',
    [
        'load_from',
        'resume',
        'find_unused_parameters',
        'tta_pipeline',
        'val_pipeline',
        'default_hooks.checkpoint2.type',
        'model.auxiliary_heads.type',
        'my_own',
        'model.backbone.norm_eval',
        'model.backbone.init_cfg.checkpoint',
        'optim_wrapper.paramwise_cfg.custom_keys.head.lr_mult',
        'default_hooks.early_stopping.type',
        'param_scheduler.0.end',
    ],
)
def test_settings_that_a_config_lacks_may_be_added(option):
    load_config('fpn_van_lska_t', {option: 1})


def test_data_root_is_the_one_place(scenes):
    cfg = load_config('configs/demo/mask_rcnn_van_lska_t_scenes.py', {'data_root': str(scenes)})
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.data_root == f'{scenes}/'
    for split in ('val', 'test'):
        assert cfg[f'{split}_evaluator'].ann_file == f'{scenes}/annotations/instances_validation.json'


def test_data_root_reaches_wrapped_datasets(tmp_path):
    cfg = load_config('configs/demo/mask_rcnn_van_lska_t_fruits.py', {'data_root': str(tmp_path)})
    assert cfg.train_dataloader.dataset.dataset.data_root == f'{tmp_path}/'
    cfg = load_config('configs/demo/upernet_van_lska_t_dubai.py', {'data_root': str(tmp_path)})
    assert {d.data_root for d in cfg.train_dataloader.dataset.datasets} == {f'{tmp_path}/'}
    tiles = [dataset.data_prefix.img_path for dataset in datasets_of(cfg, 'train')]
    assert tiles == [f'Tile_{number}/images' for number in (1, 2, 3, 6)]


@without_gpu
def test_sync_bn_becomes_bn_with_a_word():
    said = []
    logger = MMLogger.get_current_instance()
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger.addHandler(handler)
    cfg = load_config('configs/upernet_van_lska_t.py')
    assert 'SyncBN' in str(cfg.model)
    replace_sync_bn(cfg)
    logger.removeHandler(handler)
    assert 'SyncBN' not in str(cfg.model)
    assert cfg.model.backbone.norm_cfg.type == cfg.model.decode_head.norm_cfg.type == 'BN'
    assert said == ['SyncBN needs several GPU processes: using BN']


def test_a_hook_is_there_once():
    cfg = Config(dict(custom_hooks=[dict(type='EMAHook', momentum=0.1), dict(type='FSDPHook')]))
    add_hook(cfg, 'EMAHook', momentum=0.2)
    assert cfg.custom_hooks == [dict(type='FSDPHook'), dict(type='EMAHook', momentum=0.2)]
    assert has_hook(cfg, 'FSDPHook')
    remove_hooks(cfg, 'FSDPHook', 'DeployHook')
    assert not has_hook(cfg, 'FSDPHook')
    empty = Config()
    assert not has_hook(empty, 'EMAHook')
    add_hook(empty, 'DeployHook')
    assert empty.custom_hooks == [dict(type='DeployHook')]
