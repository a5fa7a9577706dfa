"""The Triton kernels against the reference in float64: on a GPU, or on the CPU in Triton's interpreter.

test_triton.py collects these tests where there is a GPU, and runs this file in a process of its own otherwise, since Triton reads
TRITON_INTERPRET once and for all when it is imported.
"""

from __future__ import annotations

from functools import partial

import ops_cases as cases
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmlska import ops
from mmlska.ops import gpu, library

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
# Shape and k_size: images of one pixel, narrower than the kernel, odd, square (which the two axes must not mix up), one or many channels.
LSKA = [
    ((1, 1, 1, 1), 7), ((2, 3, 13, 17), 23), ((1, 3, 5, 3), 53), ((1, 32, 5, 3), 7), ((3, 2, 16, 16), 23), ((1, 1, 9, 40), 35),
    ((2, 3, 7, 6), 41), ((1, 3, 1, 13), 11), ((1, 2, 18, 5), 53), ((1, 3, 11, 12), 47), ((1, 18, 2, 3), 23), ((2, 1, 24, 33), 7),
]  # fmt: skip
# Shape, output channels of the 1x1 or None. 40 rows and 140 columns are more than one program takes.
MLP = [
    ((1, 1, 1, 1), None), ((2, 3, 13, 17), 4), ((1, 32, 5, 3), 1), ((1, 3, 40, 2), None), ((1, 1, 2, 140), 3), ((3, 2, 8, 8), None),
    ((1, 33, 4, 5), None), ((1, 70, 1, 2), 8), ((1, 5, 65, 1), 2),
    ((1, 160, 2, 1), 3), ((1, 1, 97, 131), None),
]  # fmt: skip

pytestmark = pytest.mark.usefixtures('poisoned_memory')
every_dtype = pytest.mark.parametrize('dtype', DTYPES, ids=lambda d: str(d)[6:])
every_layout = pytest.mark.parametrize('layout', cases.LAYOUTS)
needs_gpu = pytest.mark.skipif(DEVICE == 'cpu', reason='needs a GPU')


def on_device(tensors: list[Tensor]) -> list[Tensor]:
    return [t.to(DEVICE) for t in tensors]


def lska_tensors(c: int, k_size: int, dtype: torch.dtype) -> tuple[list[Tensor], int]:
    flat, dilation = cases.lska_tensors(c, k_size, dtype)
    return on_device(flat), dilation


def mlp_tensors(c: int, dtype: torch.dtype, out_channels: int | None = None) -> list[Tensor]:
    return on_device(cases.mlp_tensors(c, dtype, out_channels))


def make_map(*shape: int, dtype: torch.dtype = torch.float32, layout: str = 'contiguous') -> Tensor:
    return cases.make_map(shape, dtype, layout, device=DEVICE)


def slack(dtype: torch.dtype) -> float:
    """The interpreter rounds to bfloat16 towards zero, which doubles an error and lets several add up."""
    return 2 if DEVICE == 'cpu' and dtype == torch.bfloat16 else 1


def check_lska(shape, k_size: int, dtype: torch.dtype, layout: str, gelu: bool = False) -> list[Tensor]:
    return cases.check_lska('triton', shape, k_size, dtype, [layout], gelu, DEVICE, slack(dtype))


def check_depthwise_gelu(shape, dtype: torch.dtype, layout: str, out_channels: int | None = None) -> list[Tensor]:
    return cases.check_depthwise_gelu('triton', shape, dtype, [layout], out_channels, DEVICE, slack(dtype))


def share(of: list, dtype: torch.dtype, layout: str) -> list:
    """All on a GPU; of the slow interpreter's a sixth, so that the nine pairs of dtype and layout together take each of them."""
    pair = 3 * DTYPES.index(dtype) + cases.LAYOUTS.index(layout)
    return of if DEVICE == 'cuda' else of[pair % 6 :: 6]


# ---- values ----


@every_dtype
@every_layout
def test_lska(dtype, layout):
    for i, (shape, k_size) in enumerate(share(LSKA, dtype, layout)):
        check_lska(shape, k_size, dtype, layout, gelu=i % 2 == 1)


# Larger than a tile, many channels, a whole map: what takes the interpreter long runs in one dtype there.
@pytest.mark.parametrize(
    ('shape', 'k_size', 'dtype'),
    [
        ((1, 1, 150, 3), 53, torch.float32),
        ((1, 1, 3, 150), 7, torch.float32),
        ((1, 1, 2, 140), 23, torch.bfloat16),
        ((1, 160, 2, 3), 7, torch.float32),
        ((1, 1, 97, 131), 23, torch.bfloat16),
    ],
)
def test_large_lska(shape, k_size, dtype):
    check_lska(shape, k_size, dtype, 'contiguous')


@every_dtype
@pytest.mark.parametrize('k_size', [1, 7, 53])
def test_design_without_dilated_kernels(dtype, k_size):
    shapes = [(3, 1, 1, k_size), (3, 1, k_size, 1), (3, 3, 1, 1)]
    flat = on_device([t for i, s in enumerate(shapes) for t in cases.make_pair(s, dtype, i)])

    def call(x, h0w, h0b, v0w, v0b, pw, pb, backend):
        return ops.lska_attention(x, (h0w, h0b), (v0w, v0b), None, None, (pw, pb), 1, backend=backend)

    x = make_map(1, 3, 11, 6, dtype=dtype)
    fused, twin = (partial(call, backend=backend) for backend in ('triton', 'reference'))
    cases.assert_close_to_reference(fused, twin, [x, *flat], ['contiguous'], slack=slack(dtype))


@every_dtype
@every_layout
def test_depthwise_gelu(dtype, layout):
    for shape, out_channels in share(MLP, dtype, layout):
        check_depthwise_gelu(shape, dtype, layout, out_channels)


def test_pointwise_before_depthwise_gelu():
    cases.check_depthwise_gelu('triton', (2, 3, 4, 5), torch.float32, ['contiguous'], 2, DEVICE, in_channels=4)


def test_extreme_values_of_gelu():
    x = torch.tensor([-1e18, -40.0, -14.0, -5.6, -3.0, -0.0, 0.0, 1e-20, 3.0, 5.6, 1e18], device=DEVICE).view(
        1, 1, 1, -1
    )
    weight = torch.zeros(1, 1, 3, 3, device=DEVICE)
    weight[0, 0, 1, 1] = 1
    results = []
    for backend in ('triton', 'reference'):
        leaf = x.clone().requires_grad_()
        y = ops.depthwise_gelu(leaf, weight, torch.zeros(1, device=DEVICE), backend=backend)
        results.append((y, *torch.autograd.grad(y.sum(), leaf)))
    for found, wanted in zip(*results):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_nan_does_not_vanish():
    flat, dilation = lska_tensors(1, 7, torch.float32)
    x = make_map(1, 1, 4, 5)
    x[..., 2, 3] = torch.nan
    assert cases.lska(x, *flat, dilation, backend='triton')[..., 2, 3].isnan()
    assert cases.mlp(x, *mlp_tensors(1, torch.float32), backend='triton')[..., 2, 3].isnan()


def test_empty_batch():
    flat, dilation = lska_tensors(3, 7, torch.float32)
    x = torch.empty(0, 3, 4, 5, device=DEVICE)
    inputs = [x, *flat]
    out, *grads = cases.outputs_and_grads(lambda *t: cases.lska(*t, dilation, backend='triton'), inputs, x)
    assert out.shape == x.shape
    assert not any(g.any() for g in grads)
    for out_channels in (None, 2):
        y = cases.mlp(x, *mlp_tensors(3, torch.float32, out_channels), backend='triton')
        assert y.shape == (0, out_channels or 3, 4, 5)


def test_twice_the_same():
    for run in (partial(check_lska, (3, 2, 5, 6), 7), partial(check_depthwise_gelu, (2, 3, 34, 3))):
        first, second = (run(torch.bfloat16, 'contiguous') for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(first, second))


# ---- inside PyTorch ----


class Ops(nn.Module):
    """Both operators, with their weights as parameters."""

    def __init__(self, c: int = 2, backend: str = 'triton') -> None:
        super().__init__()
        flat, self.dilation = lska_tensors(c, 7, torch.float32)
        self.flat = nn.ParameterList(flat)
        self.mlp = nn.ParameterList(mlp_tensors(c, torch.float32))
        self.whole_mlp = nn.ParameterList(mlp_tensors(c, torch.float32, 2))
        self.backend = backend

    def forward(self, x: Tensor) -> Tensor:
        x = cases.lska(x, *self.flat, self.dilation, backend=self.backend)
        x = cases.mlp(x, *self.mlp, backend=self.backend)
        return cases.mlp(x, *self.whole_mlp, backend=self.backend)


def results(model: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.detach().requires_grad_()
    y = model(x)
    return [y.detach(), *torch.autograd.grad(y.square().sum(), [x, *model.parameters()])]


@every_layout
def test_output_has_the_memory_format_of_a_convolution(layout):
    x = make_map(2, 2, 6, 7, layout=layout)
    assert Ops()(x).stride() == Ops(backend='reference')(x).stride()


@pytest.mark.parametrize('layout', ['channels_last', 'contiguous'])
def test_compile_in_one_graph(layout):
    model, x = Ops(), make_map(2, 2, 5, 6, layout=layout)
    wanted = results(model, x)
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    y = compiled(x.requires_grad_())
    found = [y.detach(), *torch.autograd.grad(y.square().sum(), [x, *model.parameters()])]
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b)
    assert found[0].stride() == wanted[0].stride()


def test_operators_keep_the_rules_of_custom_operators():
    flat, dilation = lska_tensors(2, 7, torch.float32)
    x = make_map(1, 2, 3, 4, layout='channels_last')
    learnt = [t.clone().requires_grad_() for t in (x, *flat)]
    mlp = mlp_tensors(2, torch.float32, 3)
    learnt_mlp = [x.clone().requires_grad_(), *(t.clone().requires_grad_() for t in mlp)]
    y, kept = make_map(1, 3, 3, 4, layout='channels_last'), x.contiguous()
    namespace = torch.ops.mmlska_triton
    # Not the test that traces with unknown sizes: it runs each operator three times more, in the interpreter.
    check_rules = partial(
        torch.library.opcheck, test_utils=('test_schema', 'test_autograd_registration', 'test_faketensor')
    )
    check_rules(namespace.lska_inference.default, (x, *flat, dilation, False))
    check_rules(namespace.lska_training.default, (*learnt, dilation, True))
    check_rules(namespace.lska_backward.default, (x, x, kept, *flat, dilation, True))
    check_rules(namespace.depthwise_gelu.default, learnt_mlp[:3])
    check_rules(namespace.depthwise_gelu_backward.default, (x, x, *mlp[:2]))
    check_rules(namespace.depthwise_gelu_pointwise.default, learnt_mlp)
    check_rules(namespace.depthwise_gelu_pointwise_backward.default, (y, x, *mlp[:3]))


def test_activation_checkpointing():
    model, x = Ops(), make_map(1, 2, 3, 5)
    wanted = results(model, x)
    x = x.requires_grad_()
    y = checkpoint(model, x, use_reentrant=False)
    found = [y.detach(), *torch.autograd.grad(y.square().sum(), [x, *model.parameters()])]
    assert all(torch.equal(a, b) for a, b in zip(found, wanted))


def test_inference_mode():
    model, x = Ops(), make_map(1, 2, 3, 5)
    with torch.inference_mode():
        found = model(x)
    assert found.is_inference()
    assert torch.equal(found, model(x))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=lambda d: str(d)[6:])
def test_autocast(dtype):
    model, x = Ops(), make_map(1, 2, 3, 5)
    with torch.autocast(DEVICE, dtype):
        y = model(x.to(dtype))
    assert y.dtype == dtype
    y.float().square().sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.parameters())
    plain = model(x)
    assert ((y - plain).abs().max() / plain.abs().max()).item() < (0.05 if dtype == torch.bfloat16 else 0.01)


def test_backward_inside_autocast():
    model, x = Ops(), make_map(1, 2, 3, 5)
    wanted = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))
    loss = model(x).square().sum()
    with torch.autocast(DEVICE, torch.bfloat16):
        found = torch.autograd.grad(loss, list(model.parameters()))
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b)


def test_second_derivative():
    x = make_map(1, 2, 3, 5).requires_grad_()
    found = []
    for backend in ('triton', 'reference'):
        (first,) = torch.autograd.grad(Ops(backend=backend)(x).square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), x)[0])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


def saved_for_backward(function, *parameters: Tensor) -> int:
    """Bytes of distinct memory, other than the parameters', that autograd keeps between forward and backward."""
    own, kept = {p.untyped_storage().data_ptr() for p in parameters}, {}

    def pack(t):
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = function()
    del out
    return sum(size for pointer, size in kept.items() if pointer not in own)


@pytest.mark.parametrize('layout', ['channels_last', 'contiguous'])
def test_memory_saved_for_backward(layout):
    flat, dilation = lska_tensors(4, 23, torch.bfloat16)
    flat = [t.requires_grad_() for t in flat]
    x = make_map(2, 4, 6, 5, dtype=torch.bfloat16, layout=layout).requires_grad_()
    one = x.numel() * x.element_size()
    for gelu in (False, True):
        fused = partial(cases.lska, gelu=gelu, backend='triton')
        assert saved_for_backward(lambda fused=fused: fused(x, *flat, dilation), *flat) == 2 * one
    for out_channels in (None, 8):
        mlp = [t.requires_grad_() for t in mlp_tensors(4, torch.bfloat16, out_channels)]
        assert saved_for_backward(lambda mlp=mlp: cases.mlp(x, *mlp, backend='triton'), *mlp) == one


def test_kernels_that_do_not_compile_fall_back_once(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError('first line\nFailed to find C compiler.')

    for name in ('launch_chain', 'launch_depthwise'):
        monkeypatch.setattr(gpu, name, fail)
    monkeypatch.setattr(gpu, 'INTERPRETED', False)
    monkeypatch.setattr(gpu, 'supports', lambda *_: True)
    monkeypatch.setattr(gpu, 'PROBLEM', None)
    monkeypatch.setattr(library, '_warned', set())
    flat, dilation = lska_tensors(2, 7, torch.float32)
    x = make_map(2, 2, 5, 3, layout='channels_last')
    mlp = mlp_tensors(2, torch.float32, 2)
    operators = torch.ops.mmlska_triton
    # What a compiled graph calls, which has chosen its backend before the kernels fail.
    calls = [
        (
            lambda *t: operators.lska_training(*t, dilation, False)[0],
            lambda *t: cases.lska_twin(*t, dilation),
            [x, *flat],
        ),
        (operators.depthwise_gelu, cases.mlp_twin, [x, *mlp[:2]]),
        (operators.depthwise_gelu_pointwise, cases.mlp_twin, [x, *mlp]),
    ]
    text = r'plain PyTorch.*\(RuntimeError: Failed to find C compiler.\).*C compiler.*pip install'
    with pytest.warns(UserWarning, match=text) as seen:
        results = [[cases.outputs_and_grads(f, inputs, x) for f in (fused, twin)] for fused, twin, inputs in calls]
    assert len(seen) == 1
    for found, wanted in results:
        for a, b in zip(found, wanted):
            torch.testing.assert_close(a, b)
            assert a.stride() == b.stride()
    assert 'triton' not in ops.available_backends(DEVICE)
    with pytest.raises(ValueError, match=r"backend='triton' cannot be used here: .*Failed to find C compiler"):
        Ops()(x)


def test_out_of_memory_is_no_reason_to_fall_back(monkeypatch):
    def fail(*_, **__):
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(gpu, 'launch_depthwise', fail)
    monkeypatch.setattr(gpu, 'INTERPRETED', False)
    monkeypatch.setattr(gpu, 'supports', lambda *_: True)
    with pytest.raises(torch.OutOfMemoryError):
        cases.mlp(make_map(1, 2, 3, 4), *mlp_tensors(2, torch.float32), backend='triton')
    assert gpu.PROBLEM is None


def test_interpreter_or_gpu_is_offered():
    assert ops.available_backends(DEVICE)[0] == 'triton'
    assert 'triton' not in ops.available_backends(DEVICE, torch.float64)
    assert gpu.pays('lska_attention', make_map(1, 1, 1, 1)) == (DEVICE == 'cuda')


# ---- on a GPU only ----


@needs_gpu
def test_cuda_graph():
    model, x = Ops(), make_map(2, 2, 33, 20)
    with torch.no_grad():
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            model(x)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = model(x)
        x.copy_(torch.randn_like(x))
        graph.replay()
        assert torch.equal(y, model(x))


@needs_gpu
@pytest.mark.slow
def test_more_than_two_to_the_31_elements():
    x = torch.randn(1, 3, 26800, 26800, dtype=torch.bfloat16, device=DEVICE)
    assert x.numel() > 2**31
    flat, dilation = lska_tensors(3, 7, torch.bfloat16)
    corner = x[..., -64:, -64:].contiguous()
    with torch.no_grad():
        far = cases.lska(x, *flat, dilation, backend='triton')[..., -32:, -32:]
        torch.testing.assert_close(far, cases.lska(corner, *flat, dilation, backend='triton')[..., -32:, -32:])
        mlp = mlp_tensors(3, torch.bfloat16)
        far = cases.mlp(x, *mlp, backend='triton')[..., -32:, -32:]
        torch.testing.assert_close(far, cases.mlp(corner, *mlp, backend='triton')[..., -32:, -32:])
