"""A pipeline or a model whose parts do not go together: told by the setting, before a run, and never blamed on a photo."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_sets import simple
from tiny_models import TINY_MASK_RCNN, TINY_UPERNET

RETINANET = TINY_MASK_RCNN.replace('mask_rcnn', 'retinanet')
LOAD = "dict(type='LoadImageFromFile')"
LABELS = "dict(type='LoadAnnotations', with_bbox=True, with_mask=True)"
RESIZE = "dict(type='Resize', scale=(96, 96), keep_ratio=True)"
PACK = "dict(type='PackDetInputs')"
SEG_LABELS, SEG_PACK = "dict(type='LoadAnnotations')", "dict(type='PackSegInputs')"


@pytest.fixture
def own(scenes, tmp_path):
    """Writes a config of a tiny model with one pipeline of its own, and more lines."""

    def write(base: str, split: str = 'train', steps: tuple[str, ...] = (), more: str = '') -> Path:
        pipeline = f'{split}_dataloader = dict(dataset=dict(pipeline=[{", ".join(steps)}]))' if steps else ''
        length = 'max_iters=2, val_interval=2' if 'upernet' in base else 'max_epochs=1, val_interval=1'
        text = f'{base}\ndata_root = {f"{scenes}/"!r}\ntrain_cfg = dict({length})\n{pipeline}\n{more}\n'
        (tmp_path / 'own.py').write_text(text)
        return tmp_path / 'own.py'

    return write


@pytest.mark.parametrize(
    ('split', 'steps', 'said'),
    [
        ('train', (LOAD, LABELS, "dict(type='Resize', scale='96,96')", PACK), 'the step Resize of the pipeline fails on every'),
        ('val', (LOAD, "dict(type='Resize', scale='96,96')", LABELS, PACK), 'val data: the step Resize of the pipeline fails'),
        ('train', (LABELS, LOAD, RESIZE, PACK), 'or the order of the steps'),
        ('train', (LOAD, LABELS, RESIZE), "does not end in PackDetInputs; add dict(type='PackDetInputs') as its last step"),
        ('train', (LOAD, "dict(type='LoadAnnotations', with_bbox=True)", RESIZE, PACK), 'reads no masks, which MaskRCNN learns from'),
        ('val', (LOAD, LABELS, PACK), 'gives no scale_factor, by which boxes are scaled back; give it a Resize step'),
        ('val', (LOAD, RESIZE, LABELS, "dict(type='PackDetInputs', meta_keys=('img_path',))"), 'gives no img_id'),
    ],
)  # fmt: skip
def test_pipelines_of_detectors(refused, own, tmp_path, split, steps, said):
    last = refused('train', own(TINY_MASK_RCNN, split, steps), '--work-dir', tmp_path / 'wd', cwd=tmp_path)
    assert said in last
    assert '.png' not in last
    assert not (tmp_path / 'wd').exists()


@pytest.mark.parametrize(
    ('split', 'steps', 'said'),
    [
        ('train', (LOAD, SEG_LABELS, RESIZE), "add dict(type='PackSegInputs') as its last step"),
        ('train', (LOAD, RESIZE, SEG_PACK), "reads no masks; add dict(type='LoadAnnotations')"),
        ('val', (LOAD, RESIZE, SEG_PACK), 'the pipeline of val_dataloader reads no masks'),
        ('train', (LOAD, SEG_LABELS, "dict(type='Resize', scale='96,96')", SEG_PACK), 'the step Resize of the pipeline fails on'),
    ],
)  # fmt: skip
def test_pipelines_of_segmentors(refused, own, tmp_path, split, steps, said):
    assert said in refused('train', own(TINY_UPERNET, split, steps), cwd=tmp_path)


def test_the_pipeline_of_a_test(refused, tiny_models, tmp_path):
    steps = f'[{LOAD}, dict(type="Resize", scale="96,96"), {LABELS}, {PACK}]'
    model = tiny_models['retinanet']
    text = f'_base_ = {str(model.config)!r}\ntest_dataloader = dict(dataset=dict(pipeline={steps}))\n'
    (tmp_path / 'own.py').write_text(text)
    last = refused('test', 'own.py', model.checkpoint, cwd=tmp_path)
    assert 'test data: the step Resize of the pipeline fails on every image that was tried' in last


def test_a_photo_that_cannot_be_read_is_named_still(refused, tmp_path):
    simple(tmp_path / 'pets', 8)
    for photo in list((tmp_path / 'pets/images').iterdir())[:7]:
        photo.write_bytes(photo.read_bytes()[:300])
    (tmp_path / 'own.py').write_text(RETINANET)
    last = refused('train', 'own.py', '--data', 'pets', '--epochs', 1, cwd=tmp_path)
    assert 'the step' not in last
    assert 'pets/images/' in last or 'images/' in last


@pytest.mark.parametrize(
    ('base', 'more', 'said'),
    [
        (RETINANET, "train_cfg.update(val_interval=0)", 'train_cfg.val_interval=0 is impossible; use a whole number of 1 or more'),
        (RETINANET, "train_cfg.update(val_interval='2')", "train_cfg.val_interval='2' is impossible"),
        (TINY_UPERNET, 'train_cfg.update(max_epochs=24)', 'this training counts iterations and has max_iters='),
        (TINY_UPERNET, "model['decode_head'].update(ignore_index=None)", 'model.decode_head.ignore_index=None is no label; use a whole'),
    ],
)  # fmt: skip
def test_numbers_that_cannot_be(refused, own, tmp_path, base, more, said):
    assert said in refused('train', own(base, more=more), cwd=tmp_path)


PARTS = {
    'out_indices=3': 'the backbone gives 1 maps of [8] channels; set model.neck.in_channels=[8], or model.backbone.out_indices to 4 stages',
    'out_indices=(1, 2, 3)': 'set model.neck.in_channels=[8,8,8], or model.backbone.out_indices to 4 stages',
    "arch='s', k_size=23": 'set model.neck.in_channels=[64,128,320,512]',
}


@pytest.mark.parametrize(
    ('tool', 'backbone'),
    [('complexity', backbone) for backbone in PARTS]
    + [(tool, 'out_indices=3') for tool in ('test', 'predict', 'export', 'feature-maps')],
)
def test_every_tool_says_which_parts_of_a_model_do_not_fit(refused, tiny_models, scenes, tmp_path, tool, backbone):
    model = tiny_models['retinanet']
    (tmp_path / 'own.py').write_text(f'_base_ = {str(model.config)!r}\nmodel = dict(backbone=dict({backbone}))\n')
    photo, checkpoint = scenes / 'images/validation', model.checkpoint
    words = {
        'complexity': ['own.py'],
        'test': ['own.py', checkpoint],
        'predict': [photo, '--config', 'own.py', '--checkpoint', checkpoint, '--out', 'out'],
        'export': ['own.py', checkpoint, '--out', 'own.onnx'],
        'feature-maps': ['own.py', sorted(photo.iterdir())[0], '--checkpoint', checkpoint, '--out', 'maps.png'],
    }
    assert PARTS[backbone] in refused(tool, *words[tool], cwd=tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name in ('out', 'own.onnx', 'maps.png')]


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        ("'cat'", "metainfo.classes='cat' is a text and not a list of names; write metainfo=dict(classes=('cat',))"),
        ('(1, 2)', "is no list of names; write them as ('cat', 'dog')"),
        ("('cat', 'cat')", "has 'cat' twice"),
    ],
)
def test_check_and_train_have_one_sentence_for_classes(refused, tmp_path, given, said):
    simple(tmp_path / 'pets', 4)
    data = f"dict(ann_file='all.json', data_prefix=dict(img='images/'), metainfo=dict(_delete_=True, classes={given}))"
    lines = f"data_root = 'pets/'\nd = {data}\ntrain_dataloader = val_dataloader = test_dataloader = dict(dataset=d)\n"
    lines += "val_evaluator = test_evaluator = dict(ann_file=data_root + 'all.json')\n"
    (tmp_path / 'own.py').write_text(f'{RETINANET}\n{lines}')
    for tool in ('check', 'train'):
        assert said in refused(tool, 'own.py', cwd=tmp_path)
