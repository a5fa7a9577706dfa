"""The numbers of the backbone: against the reference in float64, then the same in every mode of execution."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import van_reference as ref
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from van_small import SMALL, TWO, small, stir, train_step

from mmlska.models import VAN_LSKA
from mmlska.models.van_lska import LayerNorm2d

LAYOUTS = pytest.mark.parametrize(
    'memory_format', [torch.channels_last, torch.contiguous_format], ids=['channels_last', 'nchw']
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
@pytest.mark.parametrize('attention', ['lska', 'lka'])
def test_tiny_matches_reference(attention, training):
    net = stir(VAN_LSKA('t', 23, attention, drop_path_rate=0.0)).double().train(training)
    x = torch.randn(2, 3, 37, 45, dtype=torch.float64, requires_grad=True)
    leaves = {'input': x, **dict(net.named_parameters())}
    wanted = ref.van(net.state_dict(keep_vars=True), x, [3, 3, 5, 2], attention, 23, training)
    found = net(x)
    torch.testing.assert_close(list(found), wanted, rtol=1e-10, atol=1e-10)
    directions = [torch.randn_like(out) for out in found]
    gradients = [torch.autograd.grad(outs, list(leaves.values()), directions) for outs in (found, wanted)]
    for name, a, b in zip(leaves, *gradients):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10, msg=lambda text, name=name: f'{name}: {text}')


@LAYOUTS
def test_layer_norm_is_over_channels(memory_format):
    norm = LayerNorm2d(6, eps=1e-3).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, 6, 3, 5, dtype=torch.float64).to(memory_format=memory_format)
    wanted = F.layer_norm(x.movedim(1, -1), (6,), norm.weight, norm.bias, 1e-3).movedim(-1, 1)
    torch.testing.assert_close(norm(x), wanted, rtol=1e-12, atol=1e-12)
    assert norm(x).is_contiguous(memory_format=memory_format)


def relative_error(found: dict[Any, Tensor], wanted: dict[Any, Tensor]) -> float:
    """Over all tensors at once: BatchNorm cancels the bias before it, so such gradients are rounding errors alone."""
    assert found.keys() == wanted.keys()
    error = sum((found[name] - wanted[name]).square().sum() for name in wanted)
    return (error / sum(t.square().sum() for t in wanted.values())).sqrt().item()


class CopyWatch(TorchDispatchMode):
    """Collect the operators that copy a feature map."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (torch.ops.aten.clone, torch.ops.aten._to_copy, torch.ops.aten.copy_):
            self.copies.append(f'{func} of {tuple(args[0].shape)}')
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('attention', ['lska', 'lka', 'lska_trivial', 'lka_trivial'])
@LAYOUTS
def test_memory_format_is_kept(memory_format, attention):
    net, x = small(attention=attention).train(), torch.rand(2, 3, 70, 97)
    wanted, wanted_gradients = train_step(copy.deepcopy(net), x)
    checked = set()

    def check(module, inputs, out):
        checked.add(type(module))
        assert inputs[0].is_contiguous(memory_format=memory_format), f'{module} receives strides {inputs[0].stride()}'
        assert out.is_contiguous(memory_format=memory_format), f'{module} returns strides {out.stride()}'

    net, x = net.to(memory_format=memory_format), x.to(memory_format=memory_format)
    hooked = copy.deepcopy(net)  # hooks make the layers run one by one; without them they may run fused
    for m in hooked.modules():
        if m is not hooked and not isinstance(m, nn.ModuleList):
            m.register_forward_hook(check)
    for twin in (net, hooked):
        found, gradients = train_step(twin, x)
        assert all(out.is_contiguous(memory_format=memory_format) for out in found)
        assert relative_error(dict(enumerate(found)), dict(enumerate(wanted))) < 1e-5
        assert relative_error(gradients, wanted_gradients) < 1e-5
    assert {nn.Conv2d, nn.BatchNorm2d, LayerNorm2d, nn.GELU} <= checked
    if memory_format == torch.channels_last:
        for twin in (net, hooked):
            with torch.no_grad(), CopyWatch() as watch:
                twin(x)
            assert not watch.copies


def test_bf16_autocast_is_near_fp32():
    net, x = small().train(), torch.rand(2, 3, 65, 66)
    wanted, wanted_gradients = train_step(net, x)
    with torch.autocast('cpu', torch.bfloat16):
        found, gradients = train_step(net, x)
    for a, b in zip(found, wanted):
        assert a.isfinite().all()
        assert (a.float() - b).norm() < 0.05 * b.norm()
    assert all(g.isfinite().all() for g in gradients.values())
    assert relative_error(gradients, wanted_gradients) < 0.05


ONE = dict(arch=dict(embed_dims=[8], depths=[1], ffn_ratios=[2]), out_indices=(0,))


@pytest.mark.parametrize(
    ('backend', 'kwargs'),
    [
        ('eager', dict(arch=TWO, out_indices=(0, 1), drop_path_rate=0.5, drop_rate=0.1)),
        ('aot_eager', dict(ONE, attention='lka')),
        ('aot_eager', dict(ONE, with_cp=True)),
    ],
    ids=['eager', 'aot_eager', 'with_cp'],
)
def test_compiles_without_graph_breaks(backend, kwargs):
    torch._dynamo.reset()
    net = small(**kwargs)
    plain, x = copy.deepcopy(net), torch.rand(4, 3, 41, 38)
    compiled = torch.compile(net, fullgraph=True, backend=backend)
    outs, gradients = train_step(plain.train(), x)
    net.train()
    outs_compiled, _ = train_step(compiled, x)
    torch.testing.assert_close(outs_compiled, outs)
    assert relative_error({name: p.grad for name, p in net.named_parameters()}, gradients) < 1e-5
    torch.testing.assert_close(dict(net.named_buffers()), dict(plain.named_buffers()))
    net.eval()
    plain.eval()
    with torch.no_grad():
        images = torch.rand(1, 3, 50, 61)
        torch.testing.assert_close(compiled(images), plain(images))


@pytest.mark.parametrize('attention', ['lska', 'lka'])
def test_traced_network_takes_other_sizes(attention):
    net = small(attention=attention).eval()
    with warnings.catch_warnings():
        warnings.simplefilter('error', torch.jit.TracerWarning)  # a warning means that a size was baked in
        traced = torch.jit.trace(net, torch.rand(1, 3, 64, 64))
    with torch.no_grad():
        for size in ((2, 3, 49, 75), (1, 3, 5, 3), (1, 3, 96, 33)):
            x = torch.rand(size)
            torch.testing.assert_close(traced(x), net(x))


@pytest.mark.parametrize('twin', [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=['copy', 'pickle'])
def test_copies_are_equal_and_independent(twin):
    net, x = small(with_cp=True).eval(), torch.rand(1, 3, 40, 50)
    other = twin(net)
    torch.testing.assert_close(other(x), net(x), rtol=0, atol=0)
    with torch.no_grad():
        other.blocks1[0].layer_scale_1.mul_(2)
    assert not torch.equal(other(x)[0], net(x)[0])


def test_state_dict_round_trip(tmp_path):
    net, x = small().eval(), torch.rand(1, 3, 40, 50)
    torch.save(net.state_dict(), tmp_path / 'net.pth')
    other = VAN_LSKA(SMALL, 7).eval()
    other.load_state_dict(torch.load(tmp_path / 'net.pth', weights_only=True), strict=True)
    torch.testing.assert_close(other(x), net(x), rtol=0, atol=0)
