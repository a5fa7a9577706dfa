"""Backbones in the words of other VAN implementations, in whole configs: understood, or refused with what to write."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS
from tiny_models import CONFIGS, TINY_MASK_RCNN

from mmlska.engine.config import load_config
from mmlska.engine.known_keys import check_keys
from mmlska.models import VAN_LSKA

DELETE = '_delete_=True, '


@pytest.mark.parametrize(
    ('backbone', 'said'),
    [
        # MMPretrain
        ("type='VAN', arch='b2', drop_path_rate=0.1", "write type='VAN_LSKA', arch='b', attention='lka'"),
        ("type='mmpretrain.VAN', arch='tiny', out_indices=(3,)", "write type='VAN_LSKA', arch='t', attention='lka'"),
        ("type='VAN_LSKA', patch_sizes=[7, 5, 3, 3]", 'VAN_LSKA has no patch_sizes=[7, 5, 3, 3]; it is fixed at [7, 3, 3, 3]'),
        ("type='VAN_LSKA', block_cfgs=dict(mlp_ratio=2)", 'act_cfg, attention, k_size and layer_scale_init_value'),
        ("type='VAN_LSKA', arch='b4'", "arch='b4' is unknown; choose one of 't', 's', 'b', 'l', 'tiny'"),
        # VAN-Segmentation and VAN-Detection
        ("type='van_b3', style='pytorch'", "write type='VAN_LSKA', arch='l', attention='lka'"),
        ("type='van_tiny', k_size=35", "write type='VAN_LSKA', arch='t', attention='lska', k_size=35"),
        ("type='VAN_LSKA', embed_dims=[32, 64, 160, 256], depths=[3, 3, 5, 2]", 'write arch=dict(embed_dims=[...], '),
        ("type='VAN_LSKA', mlp_ratios=[4, 4, 4, 4]", 'mlp_ratios are ffn_ratios here'),
        ("type='VAN_LSKA', in_chans=4", 'write in_channels'),
        ("type='VAN_LSKA', img_size=224", 'images may have any size: leave it out'),
        ("type='VAN_LSKA', num_classes=1000", 'a backbone has no classifier: leave it out'),
        ("type='VAN_LSKA', num_stages=3", 'write out_indices'),
        ("type='VAN_LSKA', pretrained='van_b0.pth'", "write init_cfg=dict(type='Pretrained', checkpoint=...)"),
        ("type='VAN_LSKA', out_channels=(3,)", 'write arch, and out_indices'),
        ("type='VAN_LSKA', arch_settings=dict(b0=1)", 'write arch=dict(embed_dims=[...], '),
        ("type='VAN_LSKA', arch=dict(embed_dims=[8], depths=[1], mlp_ratios=[2])", 'mlp_ratios, which is ffn_ratios here'),
    ],
)  # fmt: skip
def test_the_other_words_in_a_config(refused, scenes, tmp_path, backbone, said):
    file = tmp_path / 'moved.py'
    lines = f'model = dict(backbone=dict({DELETE}{backbone}))\ndata_root = {str(scenes)!r}'
    file.write_text(f'_base_ = {str(CONFIGS / "demo/mask_rcnn_van_lska_t_scenes.py")!r}\n{lines}\n')
    assert said in refused('train', file, '--no-report', cwd=tmp_path)


@pytest.mark.parametrize(
    'same',
    [
        dict(patch_sizes=[7, 3, 3, 3]),
        dict(patch_sizes=(7, 3, 3, 3), block_cfgs=dict()),
        dict(in_chans=3, num_stages=4, flag=False, linear=False, pretrained=None),
        dict(mlp_ratios=[8, 8, 4, 4]),
    ],
)
def test_what_means_the_same_is_understood(same, tmp_path):
    file = tmp_path / 'moved.py'
    file.write_text(f'{TINY_MASK_RCNN}\nmodel["backbone"].update({same!r})\n')
    cfg = load_config(str(file))
    check_keys(cfg)
    plain = {name: value for name, value in cfg.model.backbone.items() if name not in same}
    with torch.device('meta'):
        nets = [MODELS.build(backbone) for backbone in (cfg.model.backbone, plain)]
    shapes = [{name: tensor.shape for name, tensor in net.state_dict().items()} for net in nets]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ('name', 'arch'), [('b0', 't'), ('B1', 's'), ('van_b2', 'b'), ('van-large', 'l'), ('tiny', 't')]
)
def test_names_of_archs(name, arch):
    with torch.device('meta'):
        assert VAN_LSKA(name).depths == VAN_LSKA(arch).depths


def test_the_type_that_a_message_gives_works(scenes, refused, tmp_path):
    """Followed to the letter, with the neck's channels as they are."""
    base = f'_base_ = {str(CONFIGS / "demo/mask_rcnn_van_lska_t_scenes.py")!r}\n'
    (tmp_path / 'moved.py').write_text(f"{base}model = dict(backbone=dict({DELETE}type='van_b0'))\n")
    advice = refused('train', tmp_path / 'moved.py', cwd=tmp_path).rpartition('write ')[2]
    (tmp_path / 'moved.py').write_text(f'{base}model = dict(backbone=dict({DELETE}{advice}))\n')
    cfg = load_config(str(tmp_path / 'moved.py'))
    check_keys(cfg)
    assert MODELS.build(cfg.model.backbone).attention == 'lka'
