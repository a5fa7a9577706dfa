"""What the tests of the Triton kernels share. They run on a GPU, or on the CPU in Triton's interpreter.

Triton reads TRITON_INTERPRET once and for all when it is imported: test_triton.py runs the files test_triton_*.py in a process of their
own where there is no GPU.
"""

from __future__ import annotations

import ops_cases as cases
import pytest
import torch
from torch import Tensor

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


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


def check_mlp(shape, dtype: torch.dtype, layout: str, out_channels: int | None = None) -> list[Tensor]:
    return cases.check_mlp('triton', shape, dtype, [layout], out_channels, DEVICE, slack(dtype))


class Ops(cases.Ops):
    """Small, on the device, on the kernels."""

    def __init__(self, backend: str | None = 'triton') -> None:
        super().__init__(2, 7, backend, DEVICE)


def of_mmlska(seen) -> list[str]:
    """Texts of our warnings; the interpreter and torch.compile give some too."""
    return [text for text in (str(w.message) for w in seen) if text.startswith('mmlska')]
