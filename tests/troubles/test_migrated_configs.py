"""Backbones in the words of other VAN implementations, in whole configs: understood, or refused with what to write."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS
from tiny_models import CONFIGS, TINY_MASK_RCNN, TINY_UPERNET

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
        ("type='VAN_B2'", "model.backbone.type='VAN_B2' is not here; write type='VAN_LSKA', arch='b', attention='lka'"),
        # this package's own name with its arch: LSKA stays
        ("type='van_lska_t'", "model.backbone.type='van_lska_t' is not here; write type='VAN_LSKA', arch='t'"),
        ("type='VAN-LSKA-base', k_size=35", "write type='VAN_LSKA', arch='b', k_size=35"),
        # transformers, timm
        ("type='VanModel', arch='b0'", "write type='VAN_LSKA', arch='t', attention='lka'"),
        ("type='VAN_LSKA', hidden_sizes=[32, 64, 160, 256], depths=[3, 3, 5, 2]", 'hidden_sizes=[32, 64, 160, 256]; they are embed_dims'),
        ("type='VAN_LSKA', mlp_expansions=[4, 4, 4, 4]", 'mlp_expansions are ffn_ratios here'),
        ("type='VAN_LSKA', hidden_act='relu'", "write act_cfg=dict(type='GELU'), with a name of torch.nn"),
        ("type='VAN_LSKA', attn_drop_rate=0.1", 'the attention has no dropout here'),
        ("type='VAN_LSKA', use_checkpoint=True", 'write with_cp'),
        ("type='VAN_LSKA', kernel_sizes=[7, 11, 23, 35]", 'all stages have one kernel size: write k_size'),
        ("type='VAN_LSKA', drop_path=0.0", 'write drop_path_rate'),
        ("type='VAN_LSKA', arch=dict(embed_dims=[8] * 4, depths=[1, 1, 1, -2], ffn_ratios=[2] * 4)", 'depths=[1, 1, 1, -2]; use whole'),
        ("type='VAN_LSKA', arch=dict(embed_dims=[8, 0], depths=[1] * 2, ffn_ratios=[2] * 2)", 'embed_dims=[8, 0]; use whole numbers of 1'),
        ("type='VAN_LSKA', arch=dict(embed_dims=[8] * 2, depths=[1] * 2, ffn_ratios=['2', 2])", 'use positive numbers, such as 8 and 4'),
        ("type='VAN_LSKA', arch=dict(embed_dims=8, depths=[1], ffn_ratios=[2])", 'give a list with one entry for each stage'),
        ("type='VAN_LSKA', arch=dict(embed_dims=[8] * 3, depths=[1] * 3, ffn_ratios=[2] * 3)", 'from 0 to 2, for example (0, 1, 2)'),
        ("type='VAN_LSKA', out_indices=None", 'must be rising stage numbers'),
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
        dict(attn_drop_rate=0.0, use_checkpoint=False, hidden_act='gelu', num_channels=3, style='pytorch'),
        dict(img_size=None, norm_layer=None, out_features=None, pretrained=False, drop=0),
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


@pytest.mark.parametrize('tool', ['complexity', 'test', 'check'])
@pytest.mark.parametrize(
    ('kind', 'said'), [("'mmcls.VAN', arch='b2'", "arch='b', attention='lka'"), ("'van_lska_s'", "write type='VAN_LSKA', arch='s'")]
)  # fmt: skip
def test_every_tool_says_what_to_write_for_a_type(refused, tiny_models, tmp_path, tool, kind, said):
    model = tiny_models['mask_rcnn']
    (tmp_path / 'moved.py').write_text(
        f'_base_ = {str(model.config)!r}\nmodel = dict(backbone=dict({DELETE}type={kind}))\n'
    )
    assert said in refused(tool, 'moved.py', *([model.checkpoint] if tool == 'test' else []), cwd=tmp_path)


@pytest.mark.parametrize('model', [TINY_MASK_RCNN, TINY_UPERNET])
def test_weights_by_pretrained_of_the_model(refused, command, tmp_path, model):
    """Refused with what to write, which is followed here: leaving it out would train from nothing."""
    (tmp_path / 'own.py').write_text(f"{model}model['pretrained'] = 'van_b0.pth'\n")
    advice = refused('complexity', 'own.py', cwd=tmp_path).rpartition('write model.backbone.')[2]
    assert advice == "init_cfg=dict(type='Pretrained', checkpoint='van_b0.pth')"
    (tmp_path / 'own.py').write_text(f"{model}model['backbone'].update({advice})\n")
    assert load_config(str(tmp_path / 'own.py')).model.backbone.init_cfg.checkpoint == 'van_b0.pth'
    (tmp_path / 'own.py').write_text(f"{model}model['pretrained'] = None\n")
    assert command('complexity', 'own.py', '--shape', 64, 64, cwd=tmp_path).code == 0


OLD = dict(
    runner="dict(type='EpochBasedRunner', max_epochs=7)",
    data='dict(samples_per_gpu=2, workers_per_gpu=2)',
    evaluation="dict(interval=1, metric='bbox')",
    fp16='dict(loss_scale=512.0)',
    workflow="[('train', 1), ('val', 1)]",
    lr_config="dict(policy='step', step=[8, 11])",
    checkpoint_config='dict(interval=1)',
)
SAID = dict(
    runner='set train_cfg: type, and max_epochs or max_iters; or start with --epochs N',
    data='set train_dataloader, val_dataloader and test_dataloader',
    evaluation='set val_evaluator, and train_cfg.val_interval',
    fp16='leave it out and start with --dtype bf16',
    workflow='set train_cfg.val_interval',
    lr_config='set param_scheduler',
    checkpoint_config='set default_hooks.checkpoint',
)


@pytest.mark.parametrize('name', OLD)
def test_settings_of_mmdet_2_are_refused_with_those_of_today(refused, tmp_path, name):
    (tmp_path / 'own.py').write_text(f'{TINY_MASK_RCNN}{name} = {OLD[name]}\n')
    assert SAID[name] in refused('train', 'own.py', cwd=tmp_path)


@pytest.mark.parametrize('name', ['runner', 'data', 'lr_config'])
@pytest.mark.parametrize('tool', ['train', 'complexity'])
def test_a_whole_config_of_mmdet_2_too(refused, tmp_path, name, tool):
    lines = f"model = dict(type='MaskRCNN', backbone=dict(type='VAN_LSKA'))\n{name} = {OLD[name]}\n"
    (tmp_path / 'old.py').write_text(lines)
    assert SAID[name] in refused(tool, 'old.py', cwd=tmp_path)


def test_what_an_old_setting_has_anyway_may_stay(tmp_path):
    (tmp_path / 'own.py').write_text(f"{TINY_MASK_RCNN}workflow = [('train', 1)]\nfp16 = None\n")
    load_config(str(tmp_path / 'own.py'))


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_a_config_of_a_model_alone(refused, tiny_models, tmp_path, tool):
    text = "default_scope = 'mmdet'\nmodel = dict(type='MaskRCNN', backbone=dict(type='VAN_LSKA'))\n"
    (tmp_path / 'model.py').write_text(text)
    last = refused(tool, 'model.py', *([tiny_models['mask_rcnn'].checkpoint] if tool == 'test' else []), cwd=tmp_path)
    assert f'the config has no {tool}_dataloader and no {tool}_cfg' in last
