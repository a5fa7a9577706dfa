"""The comparison of the operator tests itself: it lets an exact kernel with one last rounding pass, and no wrong one."""

from __future__ import annotations

import ops_cases as cases
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

SHAPES = [(2, 1, 5, 40), (1, 33, 24, 33), (2, 160, 8, 8)]
SMALL = 7, 53

every_shape = pytest.mark.parametrize('shape', SHAPES, ids=lambda shape: 'x'.join(map(str, shape)))
every_dtype = pytest.mark.parametrize('dtype', list(cases.TOLERANCE), ids=lambda dtype: str(dtype)[6:])


def check(op: str, shape: tuple[int, ...], dtype: torch.dtype, change=lambda twin, *tensors: twin(*tensors)) -> None:
    """Compare the operator ('mlp' or the k_size of an LSKA) with a kernel that is exact but for ``change`` and its last rounding."""
    if op == 'mlp':
        tensors, twin, out_channels = cases.mlp_tensors(shape[1], dtype, 8), cases.mlp_twin, 8
    else:
        (tensors, dilation), out_channels = cases.lska_tensors(shape[1], op, dtype), None

        def twin(*tensors):
            return cases.lska_twin(*tensors, dilation, gelu=True)

    def kernel(*tensors):
        return change(twin, *(t.double() for t in tensors)).to(dtype)

    inputs = [cases.make_map(shape, dtype, 'contiguous'), *tensors]
    cases.assert_close_to_reference(kernel, twin, inputs, out_channels=out_channels)


def without_tap(twin, x: Tensor, *tensors: Tensor) -> Tensor:
    """The tap below the middle of the last depthwise kernel is left out."""
    i = 6 if len(tensors) > 4 else 0
    weight = tensors[i].clone()
    weight[..., weight.shape[2] // 2 + 1, :] = 0
    return twin(x, *tensors[:i], weight, *tensors[i + 1 :])


def without_column(twin, x: Tensor, *tensors: Tensor) -> Tensor:
    """The last column of the image counts as 0."""
    return twin(F.pad(x[..., :-1], (0, 1)), *tensors)


def wrong_border(twin, x: Tensor, *tensors: Tensor) -> Tensor:
    """The last column of the output is that of an image which goes on."""
    return twin(F.pad(x, (0, 1, 0, 0), mode='replicate'), *tensors)[..., :-1]


def without_bias(twin, *tensors: Tensor) -> Tensor:
    return twin(*tensors[:2], tensors[2] * 0, *tensors[3:])


def gradients_without_column(twin, x: Tensor, *tensors: Tensor) -> Tensor:
    """The gradients of the parameters lack the last column."""
    constant = twin(x, *(t.detach() for t in tensors))
    return torch.cat([twin(x, *tensors)[..., :-1], constant[..., -1:]], -1)


@every_dtype
@every_shape
@pytest.mark.parametrize('op', [*SMALL, 'mlp'])
def test_exact_kernel_passes(op, shape, dtype):
    check(op, shape, dtype)


@every_dtype
@every_shape
@pytest.mark.parametrize('op', [*SMALL, 'mlp'])
@pytest.mark.parametrize(
    ('change', 'found'),
    [
        (without_tap, 'output'),
        (without_column, 'output'),
        (wrong_border, 'output'),
        (without_bias, 'output'),
        (gradients_without_column, 'gradient of input [1-9]'),
    ],
    ids=lambda value: getattr(value, '__name__', ''),
)
def test_wrong_kernel_fails(change, found, op, shape, dtype):
    with pytest.raises(AssertionError, match=found):
        check(op, shape, dtype, change)


class _LowSum(torch.autograd.Function):
    """A sum over the last dimension that is kept in bfloat16 while terms are added to it."""

    @staticmethod
    def forward(ctx, terms: Tensor) -> Tensor:
        ctx.shape = terms.shape
        total = torch.zeros_like(terms[..., 0], dtype=torch.bfloat16)
        for term in terms.unbind(-1):
            total = (total + term).bfloat16()
        return total.double()

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return grad[..., None].expand(ctx.shape)


def test_sum_in_bfloat16_fails():
    def low_pointwise(twin, x, weight, bias, pointwise, bias1):
        wide = cases.mlp_twin(x, weight, bias)
        return _LowSum.apply(torch.einsum('nchw,oc->nohwc', wide, pointwise[..., 0, 0])) + bias1[:, None, None]

    check('mlp', (2, 160, 24, 33), torch.float32, lambda twin, *tensors: twin(*tensors))
    with pytest.raises(AssertionError, match='output'):
        check('mlp', (2, 160, 24, 33), torch.bfloat16, low_pointwise)


class _LowGradient(torch.autograd.Function):
    """A bias for each pixel, whose gradient is summed in bfloat16."""

    @staticmethod
    def forward(ctx, bias: Tensor, shape: tuple[int, ...]) -> Tensor:
        return bias[:, None, None].expand(shape)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return _LowSum.apply(grad.transpose(0, 1).flatten(1)), None


@every_dtype
def test_gradient_summed_in_bfloat16_fails(dtype):
    def low(twin, x, weight, bias, pointwise, bias1):
        y = twin(x, weight, bias, pointwise, torch.zeros_like(bias1))
        return y + _LowGradient.apply(bias1, y.shape)

    with pytest.raises(AssertionError, match='gradient of input 4'):
        check('mlp', (1, 3, 97, 131), dtype, low)
