"""Every fused backend against the reference in float64: outputs and all gradients, with uninitialised memory filled with NaN.

Each size with each number of channels, kernel, dtype and layout. Triton's part takes a GPU; its interpreter runs a sample (test_triton.py).
"""

from __future__ import annotations

from itertools import product

import ops_cases as cases
import pytest
import torch

from mmlska.ops import functional

DTYPES = {
    'cpu': [torch.float64, torch.float32, torch.bfloat16],
    'triton': [torch.float32, torch.float16, torch.bfloat16],
}
# One pixel, one row, one column, width or height or both under the kernel, square, odd, even, more rows than the kernels take at a time.
SIZES = [(1, 1), (1, 13), (13, 1), (2, 3), (8, 8), (15, 16), (24, 33), (5, 40), (97, 131)]
# 16 and 33 are a vector and one over two of them.
CHANNELS = [1, 3, 16, 32, 33, 160]

pytestmark = pytest.mark.usefixtures('poisoned_memory')
every_shape = pytest.mark.parametrize(
    'shape',
    [(1 if size == SIZES[-1] else 2, c, *size) for size, c in product(SIZES, CHANNELS)],
    ids=lambda shape: 'x'.join(map(str, shape)),
)
every_dtype = pytest.mark.parametrize(
    ('backend', 'dtype'),
    [(b, dtype) for b, dtypes in DTYPES.items() if b != 'triton' or torch.cuda.is_available() for dtype in dtypes],
    ids=lambda value: str(value).removeprefix('torch.'),
)


def device_of(backend: str) -> str:
    """Where the backend runs; skip the test where it does not."""
    if functional._BACKENDS[backend].PROBLEM:
        pytest.skip(functional._BACKENDS[backend].PROBLEM)
    return 'cuda' if backend == 'triton' else 'cpu'


def test_every_backend_is_in_the_grid():
    assert {'reference', *DTYPES} == set(functional._BACKENDS)


@every_dtype
@every_shape
@pytest.mark.parametrize('k_size', cases.LADDER)
def test_lska(backend, dtype, shape, k_size):
    # Every kernel, every shape and every layout sees both.
    gelu = (list(cases.LADDER).index(k_size) + SIZES.index(shape[2:]) + CHANNELS.index(shape[1])) % 2 == 1
    cases.check_lska(backend, shape, k_size, dtype, cases.LAYOUTS, gelu, device_of(backend))


@every_dtype
@every_shape
@pytest.mark.parametrize(
    ('in_channels', 'out_channels'), [(None, None), (None, 1), (None, 8), (None, 20), (3, None), (5, 8), (40, 20)]
)
def test_mlp(backend, dtype, shape, in_channels, out_channels):
    cases.check_mlp(backend, shape, dtype, cases.LAYOUTS, out_channels, device_of(backend), in_channels=in_channels)
