"""The Triton operators inside of PyTorch: compiled graphs, rules of custom operators, autocast, memory, CUDA graphs."""

from __future__ import annotations

from functools import partial

import ops_cases as cases
import pytest
import torch
from torch.utils.checkpoint import checkpoint
from triton_cases import DEVICE, Ops, every_layout, lska_tensors, make_map, mlp_tensors, needs_gpu, of_mmlska

from mmlska import ops
from mmlska.ops import functional
from mmlska.ops.triton import backend as gpu

pytestmark = pytest.mark.usefixtures('poisoned_memory')


@every_layout
def test_output_has_the_memory_format_of_a_convolution(layout):
    x = make_map(2, 2, 6, 7, layout=layout)
    assert Ops()(x).stride() == Ops(backend='reference')(x).stride()


@pytest.mark.parametrize('layout', ['channels_last', 'contiguous'])
def test_compile_in_one_graph(layout):
    model, x = Ops(), make_map(2, 2, 5, 6, layout=layout)
    wanted = cases.results(model, x)
    found = cases.results(model, x, torch.compile(model, fullgraph=True, backend='aot_eager'))
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b)
    assert found[0].stride() == wanted[0].stride()


def test_compiled_graph_has_the_kernels(monkeypatch):
    monkeypatch.setattr(gpu, 'pays', lambda op, x: True)
    # No backend is named, as networks call: for these the compiler before torch 2.13 answered that torch.export is at work.
    model, graphs = Ops(backend=None), []

    def backend(graph, inputs):
        graphs.append(str(graph.graph))
        return graph.forward

    torch.compile(model, fullgraph=True, backend=backend)(make_map(2, 2, 5, 6))
    assert len(graphs) == 1
    assert 'mmlska_triton' in graphs[0]
    assert 'conv2d' not in graphs[0]


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
    wanted = cases.results(model, x)
    found = cases.results(model, x, partial(checkpoint, model, use_reentrant=False))
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


@pytest.mark.parametrize('layout', ['channels_last', 'contiguous'])
def test_memory_saved_for_backward(layout):
    flat, dilation = lska_tensors(4, 23, torch.bfloat16)
    flat = [t.requires_grad_() for t in flat]
    x = make_map(2, 4, 6, 5, dtype=torch.bfloat16, layout=layout).requires_grad_()
    one = x.numel() * x.element_size()
    for gelu in (False, True):
        fused = partial(cases.lska, gelu=gelu, backend='triton')
        assert cases.saved_for_backward(lambda fused=fused: fused(x, *flat, dilation), *flat) == 2 * one
    for out_channels in (None, 8):
        mlp = [t.requires_grad_() for t in mlp_tensors(4, torch.bfloat16, out_channels)]
        assert cases.saved_for_backward(lambda mlp=mlp: cases.mlp(x, *mlp, backend='triton'), *mlp) == one


def test_float64_says_that_it_has_no_kernel(lenient, monkeypatch):
    monkeypatch.setattr(gpu, 'pays', lambda *_: True)
    monkeypatch.setattr(functional, '_BACKENDS', {'triton': gpu, 'reference': functional.reference})
    x, mlp = make_map(1, 2, 3, 4, dtype=torch.float64), mlp_tensors(2, torch.float64)
    text = rf'mlp of torch.float64 on {DEVICE} in plain PyTorch, .* use one of torch.float32, torch.float16'
    with pytest.warns(UserWarning, match=text) as seen:
        assert torch.equal(cases.mlp(x, *mlp), cases.mlp(x, *mlp))
    assert len(of_mmlska(seen)) == 1


def test_interpreter_or_gpu_is_offered():
    assert ops.available_backends(DEVICE)[0] == 'triton'
    assert 'triton' not in ops.available_backends(DEVICE, torch.float64)
    assert gpu.pays('lska_attention', make_map(1, 1, 1, 1)) == (DEVICE == 'cuda')


def test_eager_functions_are_the_operators():
    """Outside of compiled graphs autograd functions take the place of the custom operators, with the same results."""
    model, x = Ops(), make_map(2, 2, 5, 6)
    wanted = cases.results(model, x)
    calls = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            calls.append(str(func))
            return func(*args, **(kwargs or {}))

    with Watch():
        found = cases.results(model, x)
    assert any('mmlska_triton.lska_training' in call for call in calls)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted))


@needs_gpu
def test_compiled_by_inductor():
    model, x = Ops(), make_map(2, 2, 33, 20)
    wanted = cases.results(model, x)
    found = cases.results(torch.compile(model, fullgraph=True), x)
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@needs_gpu
def test_two_streams():
    """Work on one stream does not see the scratch memory of the other."""
    flat, dilation = lska_tensors(16, 23, torch.bfloat16)
    maps = [make_map(4, 16, 64, 64, dtype=torch.bfloat16) * (i + 1) for i in range(2)]
    wanted = [cases.lska(x, *flat, dilation, backend='triton') for x in maps]
    streams = [torch.cuda.Stream() for _ in maps]
    torch.cuda.synchronize()
    found = [[], []]
    for _ in range(20):
        for x, stream, outs in zip(maps, streams, found):
            with torch.cuda.stream(stream):
                outs.append(cases.lska(x, *flat, dilation, backend='triton'))
    torch.cuda.synchronize()
    assert all(torch.equal(out, y) for outs, y in zip(found, wanted) for out in outs)


@needs_gpu
def test_cuda_graph_of_a_training_step():
    model, x = Ops(), make_map(2, 2, 33, 20)
    step = partial(cases.results, model, x)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step()
    x.copy_(torch.randn_like(x))
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(found, step()))


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
