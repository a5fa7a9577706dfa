"""What all Triton kernels share: settings, memory formats, launches that cost the CPU little.

Block sizes are functions of shape, dtype and GPU generation, never of measurements, so that a result does not depend on what ran before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

# Triton reads the same variable when it is imported: its interpreter runs the kernels on the CPU, for tests.
INTERPRETED = os.environ.get('TRITON_INTERPRET', '0').lower() in ('1', 'true', 'on', 'yes', 'y')


# ---- settings ----


def settings_of(table: dict[str, dict]) -> Callable[[str, Tensor], dict]:
    """How the launch settings of a file's kernels are looked up: by a kernel's name, for the GPU that holds a map.

    A row is what a program takes on. ``tile``, ``step``, ``pixels`` are (16 bit, 32 bit) numbers. ``warps`` and ``stages``, of the pipeline
    of loads, are Triton's; a sum is split among so many ``programs``, a constant, so that its order does not depend on the machine. ``on``
    has what differs on a generation, by NVIDIA's major compute capability.
    """

    @cache
    def found(kernel: str, generation: int) -> dict:
        row = dict(table[kernel])
        special = row.pop('on', {})
        return {**row, **special.get(generation, {})}

    return lambda kernel, x: found(kernel, _generation(x))


def power_of_two(value: int) -> int:
    """The next one from a value on."""
    return 1 << max(value - 1, 0).bit_length()


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _generation(x: Tensor) -> int:
    """NVIDIA's major compute capability (8: Ampere, 9: Hopper); 0 elsewhere."""
    return 0 if INTERPRETED else _generation_of(x.device.index)


@cache
def _generation_of(device: int) -> int:
    return 0 if torch.version.hip else torch.cuda.get_device_capability(device)[0]


def precision(x: Tensor) -> str:
    """Of the tensor cores' modes for float32 the exact one; 16-bit products ignore it."""
    if INTERPRETED:
        return 'interpreter'
    return 'ieee' if _generation(x) < 8 else 'tf32x3'


# ---- maps ----


def dense_format(x: Tensor) -> torch.memory_format:
    last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def dense(x: Tensor) -> Tensor:
    return x if x.is_contiguous() else x.contiguous(memory_format=dense_format(x))


def new_map(x: Tensor, like: Tensor | None = None, channels: int | None = None) -> Tensor:
    """An uninitialised map of x's size; contiguous, or in the memory format of another."""
    shape = x.shape if channels is None else (x.shape[0], channels, *x.shape[2:])
    form = torch.contiguous_format if like is None else dense_format(like)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=form)


def flat_strides(x: Tensor) -> tuple[int, int, int]:
    """Strides of a dense (N, C, H, W) as (N, C, H * W)."""
    of_image, of_channel, _, of_pixel = strides(x)
    return of_image, of_channel, of_pixel


def strides(x: Tensor) -> tuple[int, ...]:
    """Strides of a dense map as its memory format has them: those of an axis of length 1 may be anything."""
    n, c, h, w = x.shape
    return (c * h * w, 1, w * c, c) if dense_format(x) == torch.channels_last else (c * h * w, h * w, w, 1)


# ---- launching ----


class Plan(NamedTuple):
    """How a kernel is launched: all but its tensors, which are its first parameters."""

    grid: tuple[int, ...]
    numbers: tuple[int | float, ...]  # the parameters after the tensors
    constants: dict[str, Any]  # those known at compile time, and Triton's options


# Compiled launchers with their numbers and constants. The key holds all that they depend on.
_compiled: dict[tuple, tuple[Callable, list]] = {}
# Some 30 MB; a data set of photos of a thousand sizes needs more, and then plans anew from time to time.
_KEPT = 20_000


@cache
def _keeps_kernels() -> bool:
    """Tell whether this Triton's compiled kernels take all arguments in order, as they do from 3.3 on."""
    import triton

    return not INTERPRETED and tuple(map(int, triton.__version__.split('.')[:2])) >= (3, 3)


def launch(kernel, case: tuple, tensors: tuple[Tensor | None, ...], plan: Callable[[], Plan]) -> None:
    """Launch a kernel on tensors, its first arguments, as planned.

    Plans, and what Triton does before each of its launches, take longer on the CPU than a small map on the GPU. So both are done once for
    each ``case``, which is all that the plan is made of but dtypes.
    """
    pointers = [None if t is None else t.data_ptr() for t in tensors]
    key = id(kernel), tensors[0].get_device(), case, *[t if t is None else t.dtype for t in tensors]
    known = _compiled.get(key)
    # Memory of PyTorch's own is aligned; for a view into the middle of some Triton compiles another kernel.
    aligned = not any(pointer is not None and pointer % 16 for pointer in pointers)
    if known is not None and aligned:
        # Addresses, since the launcher asks the driver about every tensor.
        run, rest = known
        run(*pointers, *rest)
        return
    grid, numbers, constants = plan()
    compiled = kernel[grid](*tensors, *numbers, **constants)
    if aligned and _keeps_kernels():
        if len(_compiled) >= _KEPT:
            _compiled.clear()
        names = kernel.arg_names[len(tensors) + len(numbers) :]
        _compiled[key] = compiled[grid + (1,) * (3 - len(grid))], [*numbers, *(constants[name] for name in names)]
