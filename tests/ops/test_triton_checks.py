"""The Triton operators refuse what they cannot take, without the front door too."""

from __future__ import annotations

import ops_cases as cases
import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from triton_cases import lska_tensors, make_map, mlp_tensors

from mmlska.ops.schemas import SCHEMAS

pytestmark = pytest.mark.usefixtures('poisoned_memory')


OPERATORS = [name for name in SCHEMAS if hasattr(torch.ops.mmlska_triton, name)]


def inputs_of_operators() -> dict[str, dict[str, Tensor | int | bool]]:
    """Right inputs of every operator, by their names in its schema."""
    x, outputs = make_map(1, 2, 3, 4), make_map(1, 3, 3, 4)
    flat, dilation = lska_tensors(2, 7, torch.float32)
    weight, bias, pw, pb = mlp_tensors(2, torch.float32, 3)
    known = dict(zip(('h0w', 'h0b', 'v0w', 'v0b', 'h1w', 'h1b', 'v1w', 'v1b', 'pw', 'pb'), flat))
    lska = dict(known, x=x, grad=x, kept=x, dilation=dilation, gelu=True)
    mlp = dict(x=x, grad=x, weight=weight, bias=bias)
    both = dict(mlp, grad=outputs, pw=pw, pb=pb)
    single = dict(both, weight=pw, bias=pb)
    found = {}
    for name in OPERATORS:
        inputs = (
            lska if 'lska' in name else single if name.startswith('pointwise') else both if 'pointwise' in name else mlp
        )
        schema = getattr(torch.ops.mmlska_triton, name).default._schema
        found[name] = {a.name: inputs[a.name] for a in schema.arguments}
    return found


@pytest.mark.parametrize('name', list(OPERATORS))
def test_operators_refuse_wrong_inputs(name):
    inputs = inputs_of_operators()[name]
    for label, value in inputs.items():
        wrongs = (0, 2**40) if label == 'dilation' else ()
        if isinstance(value, Tensor):
            axis, cut = min(1, value.dim() - 1), value.clone()
            cut.untyped_storage().resize_(value.untyped_storage().nbytes() - 1)
            wrongs = value[..., 0], value[None], value.double(), torch.cat([value, value], axis), value.to('meta'), cut
        for wrong in wrongs:
            with pytest.raises(RuntimeError, match='^mmlska_triton: '):
                getattr(torch.ops.mmlska_triton, name)(**{**inputs, label: wrong})


def test_tangents_are_refused():
    x, weight, bias = inputs_of_operators()['depthwise_gelu'].values()
    with forward_ad.dual_level():
        x = forward_ad.make_dual(x, x)
        with pytest.raises(RuntimeError, match='mmlska_triton: x has a tangent'):
            torch.ops.mmlska_triton.depthwise_gelu(x, weight, bias)
        with pytest.raises(ValueError, match="backend='triton' has no rule for forward-mode derivatives"):
            cases.mlp(x, weight, bias, backend='triton')
