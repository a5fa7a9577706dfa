"""Configs that are right: of MMDetection and MMSegmentation, and of users who know what they do. None may be refused or changed."""

import importlib
from pathlib import Path

import pytest
from own_sets import ROOT

from mmlska.engine.config import read_config
from mmlska.engine.config_parts import datasets_of, evaluators_of
from mmlska.engine.evaluator_files import check_evaluators
from mmlska.engine.ignored_label import spread_ignored_label
from mmlska.engine.known_keys import check_keys, check_plain_keys
from mmlska.engine.label_checks import check_labels
from mmlska.engine.model_checks import check_model
from mmlska.engine.schedule_checks import check_schedule

SPLITS = ('train', 'val', 'test')
MASK_RCNN, UPERNET = (str(ROOT / f'configs/{name}.py') for name in ('mask_rcnn_van_lska_t', 'upernet_van_lska_t'))
#: Of models whose parts count other classes than the data, whose data sets have other classes, or whose settings have old names.
OFFICIAL = {
    'mmdet': (
        'panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py',
        'mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py',
        'mm_grounding_dino/grounding_dino_swin-t_finetune_8xb4_20e_cat.py',
        'deepsort/deepsort_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_test-mot17halfval.py',
        'qdtrack/qdtrack_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_test-mot17halfval.py',
        'bytetrack/bytetrack_yolox_x_8xb4-80e_crowdhuman-mot17halftrain_test-mot17halfval.py',
        'solov2/solov2_r101-dcn_fpn_ms-3x_coco.py',
        'tood/tood_r101-dconv-c3-c5_fpn_ms-2x_coco.py',
        'rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py',
        'dino/dino-4scale_r50_8xb2-12e_coco.py',
        'htc/htc_r50_fpn_1x_coco.py',
    ),
    'mmseg': (
        'stdc/stdc1_4xb12-80k_cityscapes-512x1024.py',
        'pspnet/pspnet_r50-d8_4xb4-20k_voc12aug-512x512.py',
        'point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024.py',
        'segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512.py',
        'mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024.py',
    ),
}


def check_all(config: str, options: dict | None = None):
    """All that is checked of a config before its data are read; the config."""
    cfg, _ = read_config(config, options)
    check_plain_keys(cfg)
    spread_ignored_label(cfg)
    check_keys(cfg)
    check_labels(cfg, SPLITS)
    check_schedule(cfg)
    check_evaluators(cfg, SPLITS)
    check_model(cfg)
    return cfg


@pytest.mark.parametrize(('package', 'name'), [(package, name) for package in OFFICIAL for name in OFFICIAL[package]])
def test_official_configs_pass(package, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for part in ('models', 'datasets', 'evaluation', 'engine'):
        importlib.import_module(f'{package}.{part}')
    file = Path(importlib.import_module(package).__file__).with_name('.mim') / 'configs' / name
    if not file.is_file():
        pytest.skip(f'this {package} has no {name}')
    check_all(str(file))


def derived(folder: Path, base: str, text: str) -> str:
    file = folder / 'own.py'
    file.write_text(f'_base_ = {base!r}\n{text}\n')
    return str(file)


def roots_of(cfg, split: str) -> list[str]:
    return [dataset.data_root for dataset in datasets_of(cfg, split)]


def test_data_sets_that_say_where_they_are_stay(tmp_path):
    text = """
data_root = 'mine/'
train_dataloader = dict(dataset=dict(_delete_=True, type='ConcatDataset', datasets=[
    dict(type='CocoDataset', data_root='data/coco/', ann_file='a.json', data_prefix=dict(img=''), pipeline=[]),
    dict(type='CocoDataset', data_root='mine/', ann_file='a.json', data_prefix=dict(img=''), pipeline=[])]))
"""
    cfg, _ = read_config(derived(tmp_path, MASK_RCNN, text))
    assert roots_of(cfg, 'train') == ['data/coco/', 'mine/']
    cfg, _ = read_config(
        derived(tmp_path, MASK_RCNN, "data_root = 'mine/'\nval_dataloader = dict(dataset=dict(data_root='data/coco/'))")
    )
    assert (roots_of(cfg, 'train'), roots_of(cfg, 'val')) == (['mine/'], ['data/coco/'])


def test_a_folder_whose_name_begins_alike_is_another(tmp_path):
    text = "data_root = 'mine'\nval_evaluator = dict(ann_file='mine2/a.json')"
    cfg, _ = read_config(derived(tmp_path, MASK_RCNN, text))
    assert [evaluator.ann_file for evaluator in evaluators_of(cfg, 'val')] == ['mine2/a.json']


@pytest.mark.parametrize(
    'text',
    [
        "train_pipeline = [dict(type='Albu', transforms=[dict(type='RandomCrop', height=256, width=256)])]\n"
        'train_dataloader = dict(dataset=dict(pipeline=train_pipeline))',
        'optim_wrapper = dict(paramwise_cfg=dict(bias_decay_mult=0.0, flat_decay_mult=0.0))',
        'batch_size = 4\ntrain_dataloader = dict(batch_size=4)',
        "param_scheduler = [dict(type='CosineAnnealingLR', begin=5, T_max=10, by_epoch=True)]\ntrain_cfg = dict(max_epochs=1)",
        "val_dataloader = dict(dataset=dict(_delete_=True, type='ConcatDataset', datasets=[dict(type='CocoDataset', data_root='{}', "
        "ann_file=name, metainfo=dict(classes=('cat',)), data_prefix=dict(img=''), pipeline=[]) for name in ('one.json', 'none.json')]))\n"
        "train_dataloader = dict(dataset=dict(metainfo=dict(classes=('cat',))))\nval_evaluator = dict(ann_file=None)\n"
        'model = dict(roi_head=dict(bbox_head=dict(num_classes=1), mask_head=dict(num_classes=1)))\n'
        "test_dataloader = dict(dataset=dict(metainfo=dict(classes=('cat',))))",
    ],
    ids=['albumentations', 'paramwise', 'batch size twice', 'schedule without end', 'one of two files labelled'],
)
def test_right_settings_pass(text, tmp_path):
    image, categories = '{"id": 1, "file_name": "a.jpg", "width": 9, "height": 9}', '[{"id": 1, "name": "cat"}]'
    one = '{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "area": 25, "iscrowd": 0}'
    for name, annotations in (('one', one), ('none', '')):
        content = f'{{"images": [{image}], "annotations": [{annotations}], "categories": {categories}}}'
        (tmp_path / f'{name}.json').write_text(content)
    check_all(derived(tmp_path, MASK_RCNN, text.replace('{}', str(tmp_path))))


def test_a_head_that_ignores_no_label(tmp_path):
    head = 'dict(ignore_index=None, loss_decode=dict(use_sigmoid=True))'
    cfg = check_all(derived(tmp_path, UPERNET, f'model = dict(decode_head={head})'))
    assert 'ignore_index' not in cfg.test_evaluator


def test_a_run_never_replaces_its_own_config(refused, scenes, tmp_path):
    config = Path(derived(tmp_path, MASK_RCNN, '# my notes'))
    for command in (['train', config, '--data', scenes], ['test', config, 'x.pth']):
        last = refused(*command, '--work-dir', '.', cwd=tmp_path)
        assert 'work_dir . is the folder of the config own.py, which the run would replace' in last
    assert '# my notes' in config.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['own.py']
