"""The operators inside of PyTorch: rules of custom operators, compiled graphs, checkpointing, memory kept for backward."""

from __future__ import annotations

from functools import partial

import ops_cases as cases
import pytest
import torch
from torch.utils.checkpoint import checkpoint

from mmlska.ops.cpu import backend as cpu

needs_cpu = pytest.mark.skipif(cpu.PROBLEM is not None, reason=str(cpu.PROBLEM))


@needs_cpu
def test_operators_keep_the_rules_of_custom_operators():
    flat, dilation = cases.lska_tensors(4, 7, torch.float32)
    x = cases.channels_last(2, 4, 5, 6)
    learnt = [t.clone().requires_grad_() for t in (x, *flat)]
    mlp = cases.mlp_tensors(4, torch.float32, 6)
    learnt_mlp = [x.clone().requires_grad_(), *(t.clone().requires_grad_() for t in mlp)]
    whole_mlp = cases.mlp_tensors(8, torch.float32, 6, 4)
    y = cases.channels_last(2, 6, 5, 6)
    namespace = torch.ops.mmlska_cpu
    torch.library.opcheck(namespace.lska_inference.default, (x, *flat, dilation, False))
    torch.library.opcheck(namespace.lska_training.default, (*learnt, dilation, True))
    torch.library.opcheck(namespace.lska_backward.default, (x, x, x, *flat, dilation, True))
    torch.library.opcheck(namespace.depthwise_gelu.default, learnt_mlp[:3])
    torch.library.opcheck(namespace.depthwise_gelu_backward.default, (x, x, *mlp[:2]))
    torch.library.opcheck(namespace.depthwise_gelu_pointwise.default, learnt_mlp)
    torch.library.opcheck(namespace.depthwise_gelu_pointwise_backward.default, (y, x, *mlp[:3]))
    torch.library.opcheck(namespace.mlp_inference.default, (x, *whole_mlp))
    learnt_mlp = [learnt[0], *(t.clone().requires_grad_() for t in whole_mlp)]
    torch.library.opcheck(namespace.mlp_training.default, learnt_mlp)
    wide = cases.channels_last(2, 8, 5, 6)
    torch.library.opcheck(namespace.mlp_backward.default, (y, x, wide, whole_mlp[0], *whole_mlp[2:5]))


@needs_cpu
@pytest.mark.parametrize('layout', ['channels_last', 'contiguous'])
def test_compile_in_one_graph(layout):
    model, x = cases.Ops(backend='cpu'), cases.make_map((2, 8, 9, 5), torch.float32, layout)
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    wanted, found = cases.results(model, x), cases.results(model, x, compiled)
    with torch.no_grad():
        found.append(torch.compile(model, fullgraph=True, backend='aot_eager')(x))
    for a, b in zip(found, [*wanted, wanted[0]], strict=True):
        torch.testing.assert_close(a, b)
    assert found[0].stride() == found[-1].stride() == wanted[0].stride()


@needs_cpu
def test_activation_checkpointing():
    model, x = cases.Ops(backend='cpu'), cases.channels_last(1, 8, 9, 5)
    found = cases.results(model, x, partial(checkpoint, model, use_reentrant=False))
    assert all(torch.equal(a, b) for a, b in zip(found, cases.results(model, x), strict=True))


@needs_cpu
def test_inference_mode():
    model, x = cases.Ops(backend='cpu'), cases.channels_last(1, 8, 9, 5)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # inference mode is a state of the calling thread; what others compute must not need it
    try:
        wanted = model(x)
        with torch.inference_mode():
            found = model(x)
    finally:
        torch.set_num_threads(threads)
    assert found.is_inference()
    assert torch.equal(found, wanted)


@needs_cpu
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_memory_saved_for_backward(dtype):
    flat, dilation = cases.lska_tensors(32, 23, dtype)
    flat = [t.requires_grad_() for t in flat]
    x = cases.channels_last(2, 32, 16, 12, dtype=dtype).requires_grad_()
    one = x.numel() * x.element_size()
    # Its input and one intermediate; plain PyTorch keeps the input, the four depthwise results and the attention.
    assert cases.saved_for_backward(lambda: cases.lska(x, *flat, dilation, backend='cpu'), *flat) == 2 * one
    assert cases.saved_for_backward(lambda: cases.lska(x, *flat, dilation, backend='reference'), *flat) == 6 * one
    assert cases.saved_for_backward(lambda: cases.lska(x, *flat, dilation, gelu=True, backend='cpu'), *flat) == 2 * one
    # The input of the depthwise convolution; plain PyTorch keeps the GELU's input, and its output for the 1x1.
    for out_channels, plain in ((None, 2), (8, 3)):
        mlp = [t.requires_grad_() for t in cases.mlp_tensors(32, dtype, out_channels)]
        assert cases.saved_for_backward(lambda mlp=mlp: cases.mlp(x, *mlp, backend='cpu'), *mlp) == one
        assert cases.saved_for_backward(lambda mlp=mlp: cases.mlp_twin(x, *mlp), *mlp) == plain * one
    # The input and the output of the first 1x1, which is four times as wide; plain PyTorch keeps two more of that.
    mlp = [t.requires_grad_() for t in cases.mlp_tensors(128, dtype, 32, 32)]
    assert cases.saved_for_backward(lambda: cases.mlp(x, *mlp, expand=True, backend='cpu'), *mlp) == 5 * one
    assert cases.saved_for_backward(lambda: cases.mlp_twin(x, *mlp, expand=True), *mlp) == 13 * one
