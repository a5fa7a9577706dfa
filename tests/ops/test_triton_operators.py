"""The Triton kernels against the reference in float64, as both front doors call them."""

from __future__ import annotations

from functools import partial

import ops_cases as cases
import pytest
import torch
from triton_cases import (
    DEVICE,
    DTYPES,
    check_lska,
    check_mlp,
    every_dtype,
    every_layout,
    lska_tensors,
    make_map,
    mlp_tensors,
    needs_gpu,
    on_device,
    slack,
)

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


def share(of: list, dtype: torch.dtype, layout: str) -> list:
    """A third on a GPU, of the slow interpreter's a sixth, so that the nine pairs of dtype and layout together take each of them."""
    pair, parts = 3 * DTYPES.index(dtype) + cases.LAYOUTS.index(layout), 3 if DEVICE == 'cuda' else 6
    return of[pair % parts :: parts]


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
    x = make_map(1, 3, 11, 6, dtype=dtype)
    fused, twin = (partial(cases.lska_trivial, backend=backend) for backend in ('triton', 'reference'))
    cases.assert_close_to_reference(fused, twin, [x, *flat], ['contiguous'], slack=slack(dtype))


@every_dtype
@every_layout
def test_mlp(dtype, layout):
    for shape, out_channels in share(MLP, dtype, layout):
        check_mlp(shape, dtype, layout, out_channels)


def test_pointwise_before_the_mlp():
    cases.check_mlp('triton', (2, 3, 4, 5), torch.float32, ['contiguous'], 2, DEVICE, in_channels=4)


def test_extreme_values_of_gelu():
    x = torch.tensor([-1e18, -40.0, -14.0, -5.6, -3.0, -0.0, 0.0, 1e-20, 3.0, 5.6, 1e18], device=DEVICE).view(
        1, 1, 1, -1
    )
    weight = torch.zeros(1, 1, 3, 3, device=DEVICE)
    weight[0, 0, 1, 1] = 1
    both = []
    for backend in ('triton', 'reference'):
        leaf = x.clone().requires_grad_()
        y = cases.mlp(leaf, weight, torch.zeros(1, device=DEVICE), backend=backend)
        both.append((y, *torch.autograd.grad(y.sum(), leaf)))
    for found, wanted in zip(*both):
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
    for run in (partial(check_lska, (3, 2, 5, 6), 7), partial(check_mlp, (2, 3, 34, 3))):
        first, second = (run(torch.bfloat16, 'contiguous') for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(first, second))


@pytest.mark.parametrize('dilation', [5, 6, 10**7, 2**28])
def test_dilation_of_any_size(dilation):
    """Beyond the size of the map only the middle taps lie inside, and no index may overflow."""
    flat = lska_tensors(1, 7, torch.float32)[0]
    inputs = [make_map(1, 1, 4, 6), *flat]
    fused, twin = (lambda *t, f=f: f(*t, dilation) for f in (partial(cases.lska, backend='triton'), cases.lska_twin))
    cases.assert_close_to_reference(fused, twin, inputs, ['contiguous'])


@needs_gpu
@every_dtype
@pytest.mark.parametrize('k_size', cases.LADDER)
def test_every_kernel_size(dtype, k_size):
    for i, layout in enumerate(cases.LAYOUTS):
        check_lska((2, 24, 40, 72), k_size, dtype, layout, gelu=i == 1)


@needs_gpu
@every_dtype
def test_stages_of_a_network(dtype):
    """Whole tiles, of each size, and several of them."""
    # The largest of millions of errors is larger than that of some hundreds: 1.04 times what these may have, on an H100 in float16.
    check = dict(layouts=['contiguous'], device=DEVICE, slack=1.5)
    for shape in ((2, 64, 128, 128), (2, 128, 64, 64), (2, 320, 32, 32), (2, 512, 16, 16), (1, 64, 200, 334)):
        cases.check_lska('triton', shape, 23, dtype, gelu=True, **check)
        cases.check_mlp('triton', shape, dtype, out_channels=64, **check)


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
