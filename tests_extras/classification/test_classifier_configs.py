"""The ImageNet configs on MMPretrain: recipe, published checkpoints with their head, and the tools on a small image tree."""

import json
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from published_layouts import SMALL, published

from mmlska.engine.config import load_config
from mmlska.engine.evaluation_options import use_overlays, use_predictions
from mmlska.models import VANLSKAClassifier
from mmlska.weights import WeightsError
from tests_extras.helpers import ROOT, fresh

NAMES = [f'van_lska_{arch}_imagenet' for arch in 'tsb']
# DESIGN: backbone parameters at K = 23 with LSKA and LKA, and the head's.
PARAMETERS = {
    't': (3_772_000, 3_848_800, 257_000),
    's': (13_219_776, 13_348_800, 513_000),
    'b': (25_779_776, 26_065_472, 513_000),
}


def build(cfg: Config):
    init_default_scope('mmpretrain')
    return MODELS.build(cfg.model)


def test_every_classification_config_is_tested_here():
    assert sorted(path.stem for path in (ROOT / 'configs').glob('van_lska_*_imagenet.py')) == sorted(NAMES)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('attention', ['lska', 'lka'])
def test_parameters(name, attention):
    model = build(load_config(f'configs/{name}.py', {'model.backbone.attention': attention}))
    lska, lka, head = PARAMETERS[name.split('_')[2]]
    assert sum(p.numel() for p in model.parameters()) == (lska if attention == 'lska' else lka) + head


@pytest.mark.parametrize('name', NAMES)
def test_published_recipe(name):
    cfg = load_config(f'configs/{name}.py')
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 1e-3, 0.05)
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[-1].end == 300
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 1024
    assert cfg.model.backbone.drop_path_rate == 0.1
    assert cfg.custom_hooks[0].type == 'EMAHook'


def small_model(classes=1000):
    cfg = load_config(
        'configs/van_lska_t_imagenet.py', {'model.head.num_classes': classes, 'model.head.in_channels': 24}
    )
    cfg.model.backbone.arch = SMALL
    return build(cfg)


@pytest.fixture
def files(tmp_path):
    """Published checkpoints with heads that are told apart."""
    paths = {}
    for layout in ('classification', 'mmpretrain'):
        checkpoint, tensors = published(layout)
        for name, value in checkpoint['state_dict'].items():
            if 'head' in name:
                value.copy_(torch.arange(value.numel()).reshape(value.shape))
        paths[layout] = tmp_path / f'{layout}.pth'
        torch.save(checkpoint, paths[layout])
        if layout == 'classification':
            bare = {name.removeprefix('module.'): value for name, value in checkpoint['state_dict'].items()}
            paths['bare'] = tmp_path / 'bare.pth'
            torch.save(bare, paths['bare'])
    return paths, tensors


@pytest.mark.parametrize('layout', ['classification', 'mmpretrain', 'bare'])
@pytest.mark.parametrize('plain', [False, True])
def test_published_checkpoints_load_whole_with_their_head(files, layout, plain):
    paths, tensors = files
    if plain:
        model = VANLSKAClassifier(SMALL)
        loaded = torch.load(paths[layout], weights_only=True)
        assert model.load_state_dict(loaded.get('state_dict', loaded)).missing_keys == []
        head = model.head
    else:
        model = small_model()
        load_checkpoint(model, str(paths[layout]), map_location='cpu', strict=True)
        head = model.head.fc
    assert all(torch.equal(v, tensors[k]) for k, v in model.backbone.state_dict().items() if k in tensors)
    assert torch.equal(head.bias, torch.arange(1000.0))
    assert torch.equal(head.weight, torch.arange(24_000.0).reshape(1000, 24))


@pytest.mark.parametrize('layout', ['classification', 'mmpretrain'])
def test_a_head_of_other_classes_is_refused(files, layout):
    for model in (small_model(5), VANLSKAClassifier(SMALL, 5)):
        with pytest.raises(
            WeightsError, match='the file has a head of 1000 classes, the model one of 5; to keep only the'
        ):
            load_checkpoint(model, str(files[0][layout]), map_location='cpu')


def test_a_classifier_neither_draws_nor_writes_coco():
    cfg = load_config('configs/van_lska_t_imagenet.py')
    with pytest.raises(ValueError, match='--out out.json is not possible with this model; give a .pkl file$'):
        use_predictions(cfg, 'out.json')
    with pytest.raises(ValueError, match='--show-dir draws boxes and masks, which a classifier has not'):
        use_overlays(cfg, 'out')


SMALL_CONFIG = """
_base_ = {base!r}
data_root = {data!r}
crop = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=32), dict(type='PackInputs')]
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root, pipeline=crop))
val_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root, pipeline=crop))
test_dataloader = val_dataloader
model = dict(
    data_preprocessor=dict(num_classes=5),
    backbone=dict(arch=dict(_delete_=True, embed_dims=[8] * 4, depths=[1] * 4, ffn_ratios=[2] * 4), k_size=7),
    head=dict(num_classes=5, in_channels=8),
)
train_cfg = dict(max_epochs=1)
"""


@pytest.mark.slow
def test_the_tools_train_and_test_a_classifier(crops, tmp_path):
    base, config = ROOT / 'configs/van_lska_t_imagenet.py', tmp_path / 'small.py'
    config.write_text(SMALL_CONFIG.format(base=str(base), data=f'{crops}/'))
    fresh(ROOT / 'tools/train.py', config, '--work-dir', tmp_path / 'run', '--seed', 0, cwd=tmp_path)
    checkpoint = Path((tmp_path / 'run/last_checkpoint').read_text().strip())
    assert 'ema_state_dict' in torch.load(checkpoint, weights_only=False)
    fresh(
        ROOT / 'tools/test.py',
        config,
        checkpoint,
        '--work-dir',
        tmp_path / 'test',
        '--out',
        tmp_path / 'out.pkl',
        cwd=tmp_path,
    )
    (report,) = (tmp_path / 'test').glob('*/*.json')
    assert 0 <= json.loads(report.read_text())['accuracy/top1'] <= 100
    assert (tmp_path / 'out.pkl').exists()


def test_missing_images_are_named(tmp_path):
    from mmlska.engine.checks import check_data

    cfg = load_config('configs/van_lska_b_imagenet.py', {'data_root': str(tmp_path)})
    with pytest.raises(FileNotFoundError, match=re.escape(f'train data not found: {tmp_path}/train does not exist')):
        check_data(cfg, ('train',))
