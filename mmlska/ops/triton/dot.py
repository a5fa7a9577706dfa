"""The product of matrices in the kernels. Importing this file imports triton."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def dot(a, b, accumulator, PRECISION: tl.constexpr):
    """``accumulator + a @ b``; the precision is that of launch.py."""
    if PRECISION == 'interpreter':  # its bfloat16 are bit patterns, which it would multiply as integers
        accumulator = tl.dot(a.to(tl.float32), b.to(tl.float32), accumulator)
    else:
        accumulator = tl.dot(a, b, accumulator, input_precision=PRECISION)
    return accumulator
