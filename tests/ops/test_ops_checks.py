"""The front doors refuse arguments that do not fit, in one line that says what does."""

from __future__ import annotations

import ops_cases as cases
import pytest
import torch

from mmlska import ops


@pytest.mark.parametrize(
    ('change', 'error', 'text'),
    [
        (dict(x=[1.0]), TypeError, r'x must be a Tensor, got list'),
        (dict(x=torch.rand(4, 5, 6)), ValueError, r'x has shape \(4, 5, 6\); it must be \(N, C, H, W\)'),
        (dict(x=torch.ones(1, 4, 5, 6, dtype=torch.int64)), TypeError, r'x has dtype torch.int64; .* x.float\(\)'),
        (dict(x=torch.rand(1, 5, 5, 6)), ValueError, r'h0 weight has shape \(4, 1, 1, 3\); .* with C = 5'),
        (dict(h0=torch.rand(4, 1, 1, 3)), TypeError, r'h0 must be a pair \(weight, bias\) of Tensors, got Tensor'),
        (dict(v0=(torch.rand(4, 1, 3, 1), None)), TypeError, r'v0 must be a pair .* got tuple of \(Tensor, NoneType\)'),
        (dict(v0=(torch.rand(4, 1, 1, 3), torch.rand(4))), ValueError, r'v0 weight .* must be \(C, 1, k, 1\)'),
        (dict(h1=(torch.rand(4, 1, 1, 4), torch.rand(4))), ValueError, r'h1 weight .* k odd'),
        (dict(h1=None), ValueError, r'h1 and v1 must both be given'),
        (dict(v1=(torch.rand(4, 1, 3, 1), torch.rand(5))), ValueError, r'v1 bias has shape \(5,\); it must be \(4,\)'),
        (dict(pointwise=(torch.rand(4, 4), torch.rand(4))), ValueError, r'pointwise weight .* must be \(4, 4, 1, 1\)'),
        (dict(pointwise=(torch.rand(4, 4, 1, 1).double(), torch.rand(4))), ValueError, r'float64 on cpu but x is torch.float32'),
        (dict(dilation=0), ValueError, r'dilation=0 must be 1 or more'),
        (dict(dilation=2.0), TypeError, r'dilation must be an int, got 2.0'),
        (dict(backend='fast'), ValueError, r"backend='fast' is unknown; choose one of .*'cpu', 'reference'"),
    ],
)  # fmt: skip
def test_wrong_arguments_of_lska(change, error, text):
    arguments = {**cases.lska_arguments(), **change}
    with pytest.raises(error, match=text) as raised:
        ops.lska_attention(**arguments)
    assert '\n' not in str(raised.value)


@pytest.mark.parametrize(
    ('change', 'error', 'text'),
    [
        (dict(x=torch.rand(4)), ValueError, r'x has shape \(4,\)'),
        (
            dict(depthwise=(torch.rand(4, 1, 5, 5), torch.rand(4))),
            ValueError,
            r'depthwise weight has shape \(4, 1, 5, 5\); it must be \(4, 1, 3, 3\)',
        ),
        (
            dict(depthwise=(torch.rand(4, 1, 3, 3), None)),
            TypeError,
            r'depthwise must be a pair \(weight, bias\) of Tensors, got tuple of \(Tensor, NoneType\)',
        ),
        (dict(depthwise=(torch.rand(4, 1, 3, 3), torch.rand(3))), ValueError, r'depthwise bias has shape \(3,\); it must be \(4,\)'),
        (dict(depthwise=(torch.rand(4, 1, 3, 3), torch.rand(4).half())), ValueError, r'depthwise bias is torch.float16'),
        (dict(pointwise=torch.rand(2, 4, 1, 1)), TypeError, r'pointwise must be a pair \(weight, bias\) of Tensors'),
        (
            dict(pointwise=(torch.rand(2, 3, 1, 1), torch.rand(2))),
            ValueError,
            r'pointwise has .* shapes \(2, 3, 1, 1\) and \(2,\); they must be \(C2, 4, 1, 1\) and \(C2,\)',
        ),
        (dict(expand=torch.rand(4, 4, 1, 1)), TypeError, r'expand must be a pair \(weight, bias\) of Tensors, got Tensor'),
        (
            dict(expand=(torch.rand(4, 3, 1, 1), torch.rand(4))),
            ValueError,
            r'expand has .* shapes \(4, 3, 1, 1\) and \(4,\); they must be \(C2, 4, 1, 1\) and \(C2,\), as x has 4 channels',
        ),
        (
            dict(expand=(torch.rand(6, 4, 1, 1), torch.rand(6))),
            ValueError,
            r'weight has shape \(4, 1, 3, 3\); it must be \(6, 1, 3, 3\), as the output of expand has 6 channels',
        ),
        (
            dict(expand=(torch.rand(4, 4, 1, 1), torch.rand(4).double())),
            ValueError,
            r'expand bias is torch.float64 on cpu but x is torch.float32',
        ),
    ],
)  # fmt: skip
def test_wrong_arguments_of_the_mlp(change, error, text):
    depthwise = torch.rand(4, 1, 3, 3), torch.rand(4)
    arguments = {**dict(x=torch.rand(1, 4, 5, 6), expand=None, depthwise=depthwise, pointwise=None), **change}
    with pytest.raises(error, match=text):
        ops.mlp(**arguments)
