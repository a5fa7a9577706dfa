"""Who does the work: torchvision's compiled operators, the C++ kernels of this package, plain PyTorch; the first that can.

Every backend has the operators by the same names, with the same arguments and results; one that does not serve a call returns
NotImplemented, as Python's own operators do.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from . import from_torchvision, plain


class _Kernels:
    """The operators that the C++ extension registers, on the CPU."""

    NAME = 'C++'

    @staticmethod
    @cache
    def available() -> bool:
        try:
            import_module('._kernels', __package__)
        except ImportError:  # not built, or for another torch
            return False
        return True

    def __getattr__(self, name: str) -> Any:
        operator = getattr(torch.ops.mmlska_mmcv, name)  # AttributeError where a file of an earlier version lacks it

        def on_the_cpu(*args: Any) -> Any:
            tensors = [arg for arg in args if isinstance(arg, Tensor)]
            return operator(*args) if all(t.device.type == 'cpu' for t in tensors) else NotImplemented

        return on_the_cpu


KERNELS = _Kernels()
#: In the order in which they are asked; the last one takes everything.
BACKENDS = (from_torchvision, KERNELS, plain)


def available_backends() -> list[str]:
    """The names of the backends that are there, in the order in which they are asked."""
    return [backend.NAME for backend in BACKENDS if backend is plain or backend.available()]


def call(name: str, *args: Any) -> Any:
    """Run an operator on the first backend that takes it.

    Args:
        name: One of :mod:`mmlska.mmcv_ops.plain`.
        args: Its arguments, the tensors first.
    """
    # Compiled operators do not know autocast, and neither may their stand-ins: a product in bfloat16 would be another result.
    with torch.autocast(args[0].device.type, enabled=False):
        for backend in BACKENDS:
            if backend is plain or backend.available():
                result = getattr(backend, name, _not_here)(*args)
                if result is not NotImplemented:
                    return result
    raise AssertionError(f'{name} is not in plain PyTorch')


def _not_here(*args: Any) -> Any:
    return NotImplemented
