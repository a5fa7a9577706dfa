"""The reference means what the papers say."""

from __future__ import annotations

import ops_cases as cases
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmlska import ops


def by_shifting(x: Tensor, weight: Tensor, bias: Tensor, dilation: int = 1) -> Tensor:
    """A depthwise convolution written as what it means: a sum of shifted maps, zero outside the image."""
    c, _, kh, kw = weight.shape
    ph, pw = dilation * (kh - 1) // 2, dilation * (kw - 1) // 2
    padded = F.pad(x, (pw, pw, ph, ph))
    out = bias.view(1, c, 1, 1).expand_as(x).clone()
    for i in range(kh):
        for j in range(kw):
            top, left = i * dilation, j * dilation
            out += weight[:, 0, i, j].view(1, c, 1, 1) * padded[:, :, top : top + x.shape[2], left : left + x.shape[3]]
    return out


@pytest.mark.parametrize('size', [(1, 1), (2, 9), (13, 17)])
@pytest.mark.parametrize('k_size', cases.LADDER)
def test_reference_is_the_definition(k_size, size):
    flat, dilation = cases.lska_tensors(3, k_size, torch.float64)
    x = cases.make_map((2, 3, *size), torch.float64, 'contiguous')
    h0, v0, h1, v1, (weight, bias) = cases.as_pairs(flat)
    t = by_shifting(by_shifting(by_shifting(by_shifting(x, *h0), *v0), *h1, dilation), *v1, dilation)
    wanted = x * (torch.einsum('nchw,oc->nohw', t, weight[:, :, 0, 0]) + bias.view(1, -1, 1, 1))
    torch.testing.assert_close(cases.lska(x, *flat, dilation, backend='reference'), wanted, rtol=1e-12, atol=1e-12)


def test_reference_of_the_mlp_is_the_definition():
    x = cases.make_map((2, 3, 5, 4), torch.float64, 'contiguous')
    weight, bias = cases.make_pair((3, 1, 3, 3), torch.float64, 0)
    t = by_shifting(x, weight, bias)
    wanted = t * 0.5 * (1 + torch.special.erf(t / 2**0.5))
    torch.testing.assert_close(
        ops.mlp(x, None, (weight, bias), None, backend='reference'), wanted, rtol=1e-12, atol=1e-12
    )
