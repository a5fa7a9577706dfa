"""The modules on the fused operators: the same numbers and parameters as on plain PyTorch, whatever machinery is around them."""

from __future__ import annotations

import pytest
import torch
import van_small
from torch import nn

from mmlska.cost import saved_bytes
from mmlska.models import LSKA, LSKATrivial
from mmlska.models.van_lska import MixFFN, SpatialAttention
from mmlska.ops import functional
from mmlska.ops.cpu import backend as cpu

needs_cpu = pytest.mark.skipif(cpu.PROBLEM is not None, reason=str(cpu.PROBLEM))
BLOCKS = {
    'lska': lambda: LSKA(8, 23),
    'lska_trivial': lambda: LSKATrivial(8, 9),
    'mlp': lambda: MixFFN(8, 16, dict(type='GELU'), 0.0),
}
every_block = pytest.mark.parametrize('block', BLOCKS)


def make(block: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return BLOCKS[block](), torch.randn(2, 8, 13, 9).to(memory_format=torch.channels_last)


@pytest.fixture
def plain(monkeypatch):
    """Call a function with the reference as the only backend."""

    def call(function, *args):
        with monkeypatch.context() as patch:
            patch.setattr(functional, '_BACKENDS', {'reference': functional.reference})
            return function(*args)

    return call


@needs_cpu
@every_block
@pytest.mark.parametrize('layout', [torch.channels_last, torch.contiguous_format])
def test_same_outputs_and_gradients_as_plain_pytorch(block, layout, plain):
    module, x = make(block)
    module.double()
    x = x.double().contiguous(memory_format=layout).requires_grad_()

    def run():
        y = module(x)
        return [y, *torch.autograd.grad(y.square().sum(), [x, *module.parameters()])]

    found, wanted = run(), plain(run)
    assert found[0].stride() == wanted[0].stride()
    with torch.no_grad():
        found.append(module(x))
    for a, b in zip(found, [*wanted, wanted[0]], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@needs_cpu
def test_backbone_trains_as_on_plain_pytorch(plain):
    net, x = van_small.small(k_size=23).double(), torch.randn(2, 3, 65, 70, dtype=torch.float64)
    (outs, grads), (plain_outs, plain_grads) = van_small.train_step(net, x), plain(van_small.train_step, net, x)
    for found, wanted in zip(outs, plain_outs):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    for name in plain_grads:
        torch.testing.assert_close(
            grads[name], plain_grads[name], rtol=1e-8, atol=1e-8, msg=lambda m, name=name: f'{name}: {m}'
        )


@every_block
@pytest.mark.parametrize('record', ['trace', 'export', 'strict export', 'fx'])
def test_recorders_see_convolutions(block, record):
    module, x = make(block)
    if record == 'trace':
        recorded = torch.jit.trace(module, x)
        text = str(recorded.inlined_graph)
    elif record != 'fx':
        program = torch.export.export(module, (x,), strict=record == 'strict export')
        recorded, text = program.module(), str(program.graph)
    else:
        recorded = torch.fx.symbolic_trace(module, {'scale': None} if block == 'mlp' else None)
        text = str(recorded.graph)
    assert 'conv' in text
    assert 'mmlska_cpu' not in text
    torch.testing.assert_close(recorded(x), module(x))


@needs_cpu
@every_block
def test_compiled_graph_has_the_kernels(block):
    """Before torch 2.13 its compiler answers that torch.export is at work, which would leave plain PyTorch in the graph."""
    module, x = make(block)
    graphs = []

    def backend(graph, inputs):
        graphs.append(str(graph.graph))
        return graph.forward

    torch.compile(module, fullgraph=True, backend=backend)(x)
    assert len(graphs) == 1
    assert 'mmlska_cpu' in graphs[0]
    assert 'conv2d' not in graphs[0]


@needs_cpu
@every_block
def test_compile_in_one_graph(block):
    module, x = make(block)
    compiled = torch.compile(module, fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(compiled(x), module(x))
    for a, b in zip(*(torch.autograd.grad(f(x).square().sum(), list(module.parameters())) for f in (compiled, module))):
        torch.testing.assert_close(a, b)


@every_block
def test_autocast_keeps_the_dtype_of_plain_pytorch(block, plain):
    module, x = make(block)
    for dtype in (torch.float32, torch.bfloat16):
        with torch.autocast('cpu', torch.bfloat16):
            found, wanted = module(x.to(dtype)), plain(module, x.to(dtype))
        assert found.dtype == wanted.dtype
        assert ((found - wanted).abs().max() / wanted.abs().max()).item() < 0.03


@needs_cpu
def test_autocast_keeps_the_input_of_an_attention_once():
    """In the dtype of the convolutions: its own of float32, which the shortcut would keep, is twice as large."""
    unit = SpatialAttention(8, 'lska', 7, dict(type='GELU'))
    x = torch.randn(2, 8, 64, 64).to(memory_format=torch.channels_last).requires_grad_()
    scale = torch.full((8,), 0.1, requires_grad=True)

    def run():
        with torch.autocast('cpu', torch.bfloat16):
            return unit(x, scale)

    one = x.numel() * 2
    # Besides it what LSKA keeps, its input and its chain's result, and its output for the 1x1 after it; the rest are weights.
    assert 4 * one <= saved_bytes(run, [scale, *unit.parameters()]) < 4.1 * one


@pytest.mark.parametrize('act', [dict(type='ReLU'), dict(type='GELU', approximate='tanh')])
def test_other_activations_stay_themselves(act):
    torch.manual_seed(0)
    mlp, x = MixFFN(4, 8, act, 0.0), torch.randn(1, 4, 5, 6).to(memory_format=torch.channels_last)
    assert torch.equal(mlp(x), mlp.fc2(mlp.act(mlp.dwconv(mlp.fc1(x)))))


@every_block
def test_hooks_and_replaced_layers_take_effect(block):
    module, x = make(block)
    wanted = module(x)
    for name, child in [(n, m) for n, m in module.named_children() if n != 'drop']:
        seen = []
        handle = child.register_forward_hook(lambda _m, _i, out, seen=seen: seen.append(out))
        torch.testing.assert_close(module(x), wanted)
        with torch.no_grad():
            torch.testing.assert_close(module(x), wanted)
        handle.remove()
        assert len(seen) == 2, name
        setattr(module, name, nn.Sequential(child, nn.Hardtanh(-0.01, 0.01)))
        assert not torch.allclose(module(x), wanted), name
        setattr(module, name, child)


def test_parametrised_weights_take_effect():
    module, x = make('lska')

    class Zero(nn.Module):
        def forward(self, weight):
            return weight * 0

    torch.nn.utils.parametrize.register_parametrization(module.conv1, 'weight', Zero())
    torch.testing.assert_close(module(x), x * module.conv1.bias.view(1, -1, 1, 1))
