"""Random calls of the C++ operators, for `make test-sanitized`, which runs them on kernels that watch every access to memory.

Right calls are compared with the reference in float64, gradients included. Wrong ones, made without the front door, must be refused.

    python tests/ops/random_cases.py --cases 200 --seed 0
"""

from __future__ import annotations

import argparse
import importlib
import random
import warnings
from collections.abc import Iterator
from pathlib import Path

import ops_cases as cases
import torch
from torch import Tensor

from mmlska.ops import lska_attention, reference
from mmlska.ops.cpu import backend as cpu

DTYPES = (torch.float32, torch.bfloat16, torch.float64)
OPERATORS = torch.ops.mmlska_cpu
# Of the schemas: all parameters follow the maps.
MAPS = {'x', 'grad', 'kept', 'wide'}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--cases', type=int, default=200, help='number of right calls, and of wrong ones')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    if cpu.PROBLEM:
        raise SystemExit(cpu.PROBLEM)
    warnings.filterwarnings('ignore', message='mmlska.ops runs')
    file = Path(importlib.import_module('mmlska.ops.cpu._kernels').__file__)
    watched = 'watched by a sanitizer' if b'__asan_init' in file.read_bytes() else 'not watched by a sanitizer'
    draw = random.Random(args.seed)
    for _ in range(args.cases):
        torch.set_num_threads(draw.choice((1, 2, 3)))
        draw.choice((check_lska, check_mlp))(draw)
    names = sorted(n.split('::')[1] for n in torch._C._dispatch_get_all_op_names() if n.startswith('mmlska_cpu::'))
    for i in range(args.cases):
        check_refusal(draw, names[i % len(names)])
    print(f'{args.cases} right calls and {args.cases} wrong ones passed; kernels {watched}: {file}')


def check_lska(draw: random.Random) -> None:
    """Kernels of any odd length up to the largest, also of two lengths, and dilations of any size."""
    dtype, shape = draw.choice(DTYPES), a_shape(draw)
    c, dilation = shape[1], draw.choice((1, 2, 3, draw.randint(1, 70), 10**7))
    k0, k1 = (2 * draw.randint(0, draw.choice((2, 6, 31))) + 1 for _ in range(2))
    other = draw.choice((k0, 3))
    sizes = [(c, 1, 1, k0), (c, 1, other, 1), (c, 1, 1, k1), (c, 1, k1, 1), (c, c, 1, 1)]
    flat = [t for i, size in enumerate(sizes) for t in cases.make_pair(size, dtype, i)]
    gelu = draw.random() < 0.5

    def call(x: Tensor, *flat: Tensor, backend: str = 'cpu') -> Tensor:
        return lska_attention(x, *cases.as_pairs(flat), dilation, gelu=gelu, backend=backend)

    def twin(x: Tensor, *flat: Tensor) -> Tensor:
        return reference.lska_attention(x, *cases.as_pairs(flat), dilation, gelu)

    compare(draw, call, twin, [cases.make_map(shape, dtype, 'contiguous'), *flat], c, f'{sizes}, dilation {dilation}')


def check_mlp(draw: random.Random) -> None:
    dtype, (n, c, h, w) = draw.choice(DTYPES), a_shape(draw)
    outputs, inputs = (draw.choice((None, channels(draw))) for _ in range(2))
    tensors = cases.mlp_tensors(c, dtype, outputs, inputs)
    x = cases.make_map((n, inputs or c, h, w), dtype, 'contiguous')

    def call(*tensors: Tensor) -> Tensor:
        return cases.mlp(*tensors, expand=inputs is not None, backend='cpu')

    def twin(*tensors: Tensor) -> Tensor:
        return cases.mlp_twin(*tensors, expand=inputs is not None)

    compare(draw, call, twin, [x, *tensors], outputs or c, f'{inputs} to {c} to {outputs} channels')


def compare(draw: random.Random, call, twin, inputs: list[Tensor], outputs: int, case: str) -> None:
    x = inputs[0]
    if x.numel():
        # Twice the usual limit: it was set for known cases, and these are many.
        cases.assert_close_to_reference(call, twin, inputs, [draw.choice(cases.LAYOUTS)], outputs, 2, case)
        return
    grad = x.new_empty(x.shape[0], outputs, *x.shape[2:])
    for found, wanted in zip(*(cases.outputs_and_grads(f, inputs, grad) for f in (call, twin))):
        assert found.shape == wanted.shape, case
        assert not found.any(), case


def channels(draw: random.Random) -> int:
    return draw.choice((1, 15, 16, 17, 33, draw.randint(1, 70)))


def a_shape(draw: random.Random) -> tuple[int, int, int, int]:
    h, w = (draw.choice((1, 2, draw.randint(1, 24), draw.randint(1, 70))) for _ in range(2))
    n = draw.choice((0, 1, 1, 2, 3))
    return n, channels(draw), h, w


def right_inputs(draw: random.Random, name: str) -> dict[str, Tensor | int | bool]:
    """Inputs of an operator by their names in its schema."""
    (n, c, h, w), dtype = a_shape(draw), draw.choice(DTYPES)
    n = max(n, 1)
    wide, outputs = (c, c) if name.startswith('lska') else (channels(draw), channels(draw))
    wide = wide if name.startswith('mlp') else c
    k0, k1 = 3, 5
    shapes = dict(
        h0w=(c, 1, 1, k0), v0w=(c, 1, k0, 1), h1w=(c, 1, 1, k1), v1w=(c, 1, k1, 1),
        h0b=(c,), v0b=(c,), h1b=(c,), v1b=(c,), x=(n, c, h, w), kept=(n, c, h, w), wide=(n, wide, h, w),
        ew=(wide, c, 1, 1), eb=(wide,), weight=(wide, 1, 3, 3), bias=(wide,),
        pw=(outputs, wide, 1, 1), pb=(outputs,), grad=(n, c if name == 'depthwise_gelu_backward' else outputs, h, w),
    )  # fmt: skip
    known = dict(dilation=draw.choice((1, 3, 2**31, 2**61, 2**63 - 1)), gelu=draw.random() < 0.5)
    schema = getattr(OPERATORS, name).default._schema
    return {
        a.name: known[a.name] if a.name in known else torch.randn(shapes[a.name]).to(dtype) for a in schema.arguments
    }


def wrong_values(name: str, value: Tensor | int) -> Iterator[Tensor | int]:
    """What can be no value of this input beside the others."""
    if not isinstance(value, Tensor):
        yield from (0, -1, -(2**63)) if name == 'dilation' else ()
        return
    yield value[..., 0]
    yield value[None]
    yield value.half()
    yield value.long()
    yield value.to('meta')
    for axis in (1,) if name in MAPS else range(value.dim()):
        yield torch.cat([value, value], axis)
        yield value.narrow(axis, 0, value.shape[axis] - 1)
    for left in (0, value.untyped_storage().nbytes() - 1):
        cut = value.clone()
        cut.untyped_storage().resize_(left)
        yield cut


def check_refusal(draw: random.Random, name: str) -> None:
    """An operator takes the right inputs and refuses them with any single one wrong."""
    operator, inputs = getattr(OPERATORS, name), right_inputs(draw, name)
    operator(**inputs)
    for label, value in inputs.items():
        for wrong in wrong_values(label, value):
            problem = error_of(operator, {**inputs, label: wrong})
            assert problem.startswith('mmlska_cpu: '), f'{name} with a wrong {label}: {problem}'


def error_of(operator, inputs: dict) -> str:
    try:
        operator(**inputs)
    except RuntimeError as error:
        return str(error)
    return 'no error'


if __name__ == '__main__':
    main()
