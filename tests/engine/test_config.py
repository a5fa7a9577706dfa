"""From config file and settings to what the Runner takes."""

import logging
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from mmlska.engine.config import (
    check_data,
    load_config,
    replace_sync_bn,
    use_dtype,
    use_overlays,
    use_predictions,
    use_tta,
)

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason='tests what happens without a GPU')


def test_configs_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config('configs/fpn_van_lska_t.py').model.type == 'EncoderDecoder'


@pytest.mark.parametrize(
    ('path', 'error', 'message'),
    [
        ('configs/none.py', FileNotFoundError, 'config configs/none.py does not exist; see the folder configs'),
        ('configs', FileNotFoundError, 'config configs does not exist'),
    ],
)
def test_missing_configs(path, error, message):
    with pytest.raises(error, match=message):
        load_config(path)


def test_broken_configs_name_the_line(tmp_path):
    (tmp_path / 'broken.py').write_text('a = 1\nb = (\n')
    with pytest.raises(ValueError, match=r'broken.py is not valid Python: line 2'):
        load_config(str(tmp_path / 'broken.py'))


def test_data_root_is_the_one_place(scenes):
    cfg = load_config('configs/demo/mask_rcnn_van_lska_t_scenes.py', {'data_root': str(scenes)})
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.data_root == f'{scenes}/'
    for split in ('val', 'test'):
        assert cfg[f'{split}_evaluator'].ann_file == f'{scenes}/annotations/instances_validation.json'
    check_data(cfg, ('train', 'val', 'test'))


def test_data_root_reaches_wrapped_datasets(tmp_path):
    cfg = load_config('configs/demo/mask_rcnn_van_lska_t_fruits.py', {'data_root': str(tmp_path)})
    assert cfg.train_dataloader.dataset.dataset.data_root == f'{tmp_path}/'
    cfg = load_config('configs/demo/upernet_van_lska_t_dubai.py', {'data_root': str(tmp_path)})
    assert {d.data_root for d in cfg.train_dataloader.dataset.datasets} == {f'{tmp_path}/'}
    with pytest.raises(FileNotFoundError, match=f'train data not found: {tmp_path}/Tile_6/images does not exist'):
        check_data(cfg, ('train',))


def test_the_variable_names_the_folder_above(scenes, monkeypatch):
    monkeypatch.setenv('MMLSKA_DATA', str(scenes.parent))
    check_data(load_config('configs/demo/upernet_van_lska_t_scenes.py'), ('train', 'val', 'test'))


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
@pytest.mark.parametrize('name', ['retinanet_van_lska_t', 'upernet_van_lska_t'])
def test_missing_data_is_named_with_the_way_to_get_it(name, split, tmp_path):
    cfg = load_config(f'configs/{name}.py', {'data_root': f'{tmp_path}/none/'})
    with pytest.raises(FileNotFoundError) as caught:
        check_data(cfg, (split,))
    message = str(caught.value)
    assert message.startswith(f'{split} data not found: {tmp_path}/none/')
    assert cfg.data_help in message
    assert 'data_root=DIR' in message
    assert 'MMLSKA_DATA' in message
    assert '\n' not in message


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


@without_gpu
def test_mixed_precision():
    cfg = load_config('configs/fpn_van_lska_t.py')
    before = cfg.to_dict()
    with pytest.raises(ValueError, match='--dtype fp16 needs a GPU and there is none here; use --dtype bf16'):
        use_dtype(cfg, 'fp16', training=True)
    use_dtype(cfg, 'fp32', training=True)
    assert cfg.to_dict() == before
    for _ in range(2):  # as with the config that a training wrote
        use_dtype(cfg, 'bf16', training=True)
    assert [hook.type for hook in cfg.custom_hooks].count('AutocastHook') == 1
    assert cfg.custom_hooks[-1] == dict(type='AutocastHook', dtype='bf16')


def test_predictions_by_the_kind_of_file(tmp_path):
    cfg = load_config('configs/mask_rcnn_van_lska_t.py')
    use_predictions(cfg, str(tmp_path / 'new/out.json'))
    assert cfg.test_evaluator[0].outfile_prefix == str(tmp_path / 'new/out')
    use_predictions(cfg, str(tmp_path / 'out.pkl'))
    assert cfg.test_evaluator[-1] == dict(type='DumpDetResults', out_file_path=str(tmp_path / 'out.pkl'))
    with pytest.raises(ValueError, match='--out out.txt is not possible with this model; give a .pkl or a .json file'):
        use_predictions(cfg, 'out.txt')
    cfg = load_config('configs/fpn_van_lska_t.py')
    use_predictions(cfg, str(tmp_path / 'masks'))
    assert cfg.test_evaluator[0].output_dir == str(tmp_path / 'masks')
    with pytest.raises(
        ValueError, match='--out out.json is not possible with this model; give a .pkl file or a folder'
    ):
        use_predictions(cfg, 'out.json')


def test_time_augmentation_needs_its_pipeline():
    cfg = load_config('configs/mask_rcnn_van_lska_t.py')
    assert use_tta(cfg).type == 'DetTTAModel'
    assert cfg.test_dataloader.dataset.pipeline[-1].type == 'TestTimeAug'
    assert cfg.model.roi_head.mask_head is None
    cfg.pop('tta_model')
    with pytest.raises(ValueError, match='--tta needs tta_model and tta_pipeline in the config'):
        use_tta(cfg)


def test_overlays_keep_other_hooks(tmp_path):
    cfg = Config(dict(custom_hooks=[dict(type='EMAHook')]))
    use_overlays(cfg, str(tmp_path))
    assert [hook['type'] for hook in cfg.custom_hooks] == ['EMAHook', 'OverlayHook']
    assert cfg.custom_hooks[1]['out_dir'] == str(Path(tmp_path))
