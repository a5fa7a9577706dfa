"""Weights load whole by every door, or the reason why not is raised; nothing is loaded in part in silence."""

from __future__ import annotations

import logging

import pytest
import torch
from mmengine.model import BaseModule
from mmengine.runner.checkpoint import load_checkpoint
from mmengine.runner.checkpoint import load_state_dict as mmengine_load_state_dict
from published_layouts import SMALL, features, published
from torch import nn

from mmlska import VAN_LSKA
from mmlska.models.openmmlab import WrongInitCfg
from mmlska.weights import MissingCheckpoint, WeightsError, file_sha256, load_weights
from mmlska.weights.load import compare

LAYOUTS = ('classification', 'detection', 'mmpretrain', 'detector')


class Detector(BaseModule):
    """A backbone in a model, with a part that is not loaded."""

    def __init__(self, **kwargs) -> None:
        super().__init__()
        self.backbone = small(**kwargs)
        self.neck = nn.Conv2d(4, 4, 1)


def small(**kwargs) -> VAN_LSKA:
    return VAN_LSKA(**{**dict(arch=SMALL, k_size=23), **kwargs})


def pretrained(path, **options) -> dict:
    return dict(type='Pretrained', checkpoint=str(path), **options)


def holds(backbone: nn.Module, tensors: dict) -> bool:
    own = backbone.state_dict()
    return set(own) == set(tensors) and all(torch.equal(own[k], t) for k, t in tensors.items())


@pytest.fixture
def saved(tmp_path):
    def save(checkpoint, name: str = 'weights.pth'):
        torch.save(checkpoint, tmp_path / name)
        return tmp_path / name

    return save


@pytest.mark.parametrize('attention', ['lska', 'lka'])
@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_layout_by_every_door(saved, layout, attention):
    checkpoint, tensors = published(layout, attention=attention)
    path = saved(checkpoint)

    by_init_cfg = small(attention=attention, init_cfg=pretrained(path))
    by_init_cfg.init_weights()
    assert holds(by_init_cfg, tensors)

    directly = small(attention=attention)
    directly.load_state_dict(checkpoint)
    assert holds(directly, tensors)

    by_mmengine = small(attention=attention)
    mmengine_load_state_dict(by_mmengine, dict(checkpoint.get('state_dict', checkpoint)), strict=True)
    assert holds(by_mmengine, tensors)


@pytest.mark.parametrize('layout', ['mmpretrain', 'detector'])
def test_load_from_of_a_whole_model(saved, layout):
    checkpoint, tensors = published(layout)
    model = Detector()
    load_checkpoint(model, str(saved(checkpoint)))
    assert holds(model.backbone, tensors)


def test_load_from_of_a_whole_model_with_classification_names(saved):
    checkpoint, tensors = published('classification')
    weights = {
        name.replace('module.', 'backbone.'): t for name, t in checkpoint['state_dict'].items() if 'head' not in name
    }
    model = Detector()
    load_checkpoint(model, str(saved(weights)))
    assert holds(model.backbone, tensors)
    assert not [name for name in model.state_dict() if 'block1' in name]


@pytest.mark.parametrize('attention', ['lska', 'lka', 'lska_trivial', 'lka_trivial'])
@pytest.mark.parametrize('k_size', [7, 35])
def test_the_loaded_network_computes_what_the_published_one_does(k_size, attention):
    checkpoint, _ = published('classification', k_size=k_size, attention=attention)
    net = small(k_size=k_size, attention=attention).eval()
    net.load_state_dict(checkpoint)
    x = torch.randn(2, 3, 45, 70)
    weights = {name.removeprefix('module.'): t for name, t in checkpoint['state_dict'].items()}
    with torch.no_grad():
        for ours, theirs in zip(net(x), features(weights, x, k_size), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_28_of_452_trap(saved):
    """The names that coincide by accident: MMEngine alone would go on with them."""
    checkpoint, tensors = published('classification', 't')
    net = VAN_LSKA('t')
    bare = {name.removeprefix('module.'): t for name, t in checkpoint['state_dict'].items() if 'head' not in name}
    coverage = compare(bare, net.state_dict())
    assert (coverage.matched, coverage.total) == (28, 452)
    net.init_cfg = pretrained(saved(checkpoint))
    net.init_weights()
    assert holds(net, tensors)

    by_accident = {name: t for name, t in bare.items() if name in tensors}
    assert len(by_accident) == 28
    for load in (net.load_state_dict, lambda sd: mmengine_load_state_dict(net, sd)):
        with pytest.raises(WeightsError, match='28 of 452 tensors fit'):
            load(by_accident)
    with pytest.raises(WeightsError, match=r'foreign.pth.*this looks like a ResNet'):
        load_weights(net, str(saved({'layer1.0.conv1.weight': torch.zeros(1)}, 'foreign.pth')))


def test_one_line_says_what_was_loaded(saved, log):
    path = saved(published('classification')[0])
    total = len(small().state_dict())
    load_weights(small(), str(path))
    ((level, text),) = log
    assert level == logging.INFO
    assert text == (
        f'VAN_LSKA: {total}/{total} tensors loaded, the names of the published VAN and LSKA classification code, '
        f'from {path} (sha256 {file_sha256(path)[:16]})'
    )


def test_our_own_checkpoints_pass_untouched_and_unmentioned(log):
    model = Detector()
    twin = Detector()
    assert str(twin.load_state_dict(model.state_dict())) == '<All keys matched successfully>'
    mmengine_load_state_dict(twin, model.state_dict(), strict=True)
    assert holds(twin.backbone, model.backbone.state_dict())
    assert log == []


def test_the_callers_dict_is_left_alone():
    checkpoint, _ = published('classification')
    before = list(checkpoint['state_dict'])
    small().load_state_dict(checkpoint['state_dict'])
    assert list(checkpoint['state_dict']) == before


def test_the_reason_and_the_next_step(saved):
    path = saved(published('classification', 's', 35)[0])
    with pytest.raises(WeightsError) as info:
        VAN_LSKA('t', init_cfg=pretrained(path)).init_weights()
    message = str(info.value)
    assert 'the file holds arch s, k_size 35; the model is arch t, k_size 23' in message
    assert 'set the model to what the file holds, or insist by strict=False in init_cfg' in message
    assert 'adapt' not in message
    assert str(path) in message
    assert '\n' not in message


@pytest.mark.parametrize(
    ('file', 'model', 'adapt'),
    [
        (dict(k_size=35), dict(), "['k_size']"),
        (dict(attention='lka'), dict(), "['rank1']"),
        (dict(in_channels=4), dict(), "['in_channels']"),
        (dict(attention='lka', k_size=11), dict(in_channels=1), "['rank1', 'k_size', 'in_channels']"),
    ],
)
def test_adaptations_are_offered_and_do_what_they_say(saved, log, file, model, adapt):
    checkpoint, tensors = published('classification', **file)
    net = small(**model, init_cfg=pretrained(saved(checkpoint)))
    initial = {name: t.clone() for name, t in net.state_dict().items()}
    with pytest.raises(WeightsError, match='allow the change by adapt=') as info:
        net.init_weights()
    assert f'adapt={adapt}' in str(info.value)
    assert all(torch.equal(t, initial[name]) for name, t in net.state_dict().items())

    net = small(**model, init_cfg=pretrained(net.init_cfg['checkpoint'], adapt=eval(adapt)))
    net.init_weights()
    own = net.state_dict()
    assert all(torch.equal(own[k], t) for k, t in tensors.items() if 'DW' not in k and 'patch_embed1.proj' not in k)
    notes = ' '.join(text for _, text in log)
    assert all(f'VAN_LSKA: {name}: ' in notes for name in eval(adapt))


def test_strict_false_loads_what_fits_and_says_what_not(saved, log):
    checkpoint, tensors = published('classification', k_size=35)
    net = small(init_cfg=pretrained(saved(checkpoint), strict=False))
    net.init_weights()
    own = net.state_dict()
    fitting = [k for k, t in tensors.items() if own[k].shape == t.shape]
    assert all(torch.equal(own[k], tensors[k]) for k in fitting)
    level, text = log[-1]
    assert level == logging.WARNING
    assert f'{len(fitting)}/{len(own)} tensors loaded' in text
    first = 'blocks1.0.attn.spatial_gating_unit.DW_D_conv_h.weight'
    assert f'of another shape: {first} (8x1x1x11 in the file, 8x1x1x7 in' in text
    assert 'blocks2.*.attn.spatial_gating_unit.DW_D_conv_v.weight (2)' in text


def test_a_few_missing_or_extra_tensors_are_listed(saved, log):
    checkpoint, _ = published('detection')
    del checkpoint['norm1.bias']
    checkpoint['blocks2.7.mlp.fc1.bias'] = torch.zeros(3)
    load_weights(small(), str(saved(checkpoint)))
    level, text = log[-1]
    assert level == logging.WARNING
    assert text.endswith('; missing: norm1.bias; unexpected: blocks2.*.mlp.fc1.bias')
    with pytest.raises(RuntimeError, match='Missing key.*norm1.bias'):
        small().load_state_dict(checkpoint)


def test_counters_of_batch_norm_may_be_missing(saved, log):
    checkpoint, tensors = published('classification')
    weights = {k: t for k, t in checkpoint['state_dict'].items() if 'num_batches' not in k}
    load_weights(small(), str(saved(weights)))
    assert log[-1][0] == logging.INFO
    assert f'{len(tensors)}/{len(tensors)} tensors loaded' in log[-1][1]


def test_a_bare_backbone_file_is_no_load_from(saved):
    path = saved(published('classification')[0])
    with pytest.raises(
        WeightsError, match=r"begins with 'backbone\.': it holds a backbone alone.*init_cfg=dict\(type='Pretrained'"
    ):
        load_checkpoint(Detector(), str(path))
    _, tensors = published('detection')
    with pytest.raises(WeightsError, match='it holds a backbone alone'):
        Detector().load_state_dict(tensors, strict=False)


def test_heads_alone_load_where_torch_is_told_so(log):
    model = Detector()
    initial = model.backbone.norm1.weight.clone()
    model.load_state_dict({'neck.weight': torch.ones(4, 4, 1, 1)}, strict=False)
    assert model.neck.weight.eq(1).all()
    assert torch.equal(model.backbone.norm1.weight, initial)
    assert log[-1][0] == logging.WARNING


def test_another_k_of_a_whole_model_is_refused(saved):
    path = saved(dict(state_dict=Detector(k_size=35).state_dict()))
    with pytest.raises(WeightsError, match='the file holds k_size 35; the model is k_size 23'):
        load_checkpoint(Detector(), str(path))


def test_other_init_cfgs_come_first_and_bad_ones_are_named(saved):
    checkpoint, tensors = published('classification')
    both = [dict(type='Constant', layer='Conv2d', val=5.0), pretrained(saved(checkpoint))]
    net = small(init_cfg=both)
    net.init_weights()
    assert holds(net, tensors)
    assert net.init_cfg == both
    with pytest.raises(WrongInitCfg, match="has .*'stric'.*; it takes checkpoint, prefix"):
        small(init_cfg=pretrained('x.pth', stric=False)).init_weights()
    with pytest.raises(WeightsError, match="adapt='rank2' is unknown; choose among 'rank1', 'k_size', 'in_channels'"):
        small(init_cfg=pretrained(saved(checkpoint), adapt='rank2')).init_weights()
    with pytest.raises(MissingCheckpoint, match='no checkpoint file nowhere.pth'):
        small(init_cfg=pretrained('nowhere.pth')).init_weights()


def test_weights_are_loaded_within_a_whole_model_and_recorded(saved):
    checkpoint, tensors = published('classification')
    model = Detector(init_cfg=pretrained(saved(checkpoint)))
    model.init_weights()
    assert holds(model.backbone, tensors)
    model.init_weights()  # a second call warns and changes nothing
    assert holds(model.backbone, tensors)


def test_half_precision_files_fill_a_float_model(saved):
    checkpoint, tensors = published('detection')
    halves = {k: t.half() if t.is_floating_point() else t for k, t in checkpoint.items()}
    net = small()
    load_weights(net, str(saved(halves)))
    assert net.norm1.weight.dtype == torch.float32
    torch.testing.assert_close(net.norm1.weight, tensors['norm1.weight'], rtol=1e-3, atol=1e-3, check_dtype=True)


def test_only_the_stages_that_are_built(saved, log):
    checkpoint, tensors = published('classification')
    net = small(out_indices=(0, 1), init_cfg=pretrained(saved(checkpoint)))
    net.init_weights()
    assert all(torch.equal(t, tensors[name]) for name, t in net.state_dict().items())
    assert 'unexpected: patch_embed3' in log[-1][1]


def test_integers_are_no_weights():
    """PyTorch would copy them into the network, cut off at the point."""
    backbone = small()
    state = dict(backbone.state_dict())
    state['patch_embed1.projection.weight'] = state['patch_embed1.projection.weight'].long()
    with pytest.raises(
        WeightsError, match=r'patch_embed1.projection.weight is of torch.int64; weights are floating-point'
    ):
        backbone.load_state_dict(state)
