"""Who does the work: torchvision's compiled operators, the C++ kernels of this package, plain PyTorch; the first that can.

Every backend has the operators by the same names, with the same arguments and results; one that does not take a call returns
NotImplemented, as Python's own operators do.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from ..native import problem_of
from . import from_torchvision, plain


class _Kernels:
    """The operators that the C++ extension registers, on the CPU."""

    NAME = 'C++'
    MODULE = f'{__package__}._kernels'
    VERSION = 2  # that of kernels.cpp for which this package is written

    @classmethod
    @cache
    def available(cls) -> bool:
        problem = problem_of(cls.MODULE, cls.VERSION)
        if problem and find_spec(cls.MODULE):  # built, but for another torch or from older sources
            warnings.warn(f"mmlska stands in for mmcv's operators without its C++ kernels: {problem}", stacklevel=2)
        return problem is None

    def __getattr__(self, name: str) -> Any:
        operator = getattr(torch.ops.mmlska_mmcv, name)

        def on_the_cpu(*args: Any) -> Any:
            tensors = [arg for arg in args if isinstance(arg, Tensor)]
            return operator(*args) if all(t.device.type == 'cpu' for t in tensors) else NotImplemented

        return on_the_cpu


KERNELS = _Kernels()
#: In the order in which they are asked; the last one takes everything.
BACKENDS = (from_torchvision, KERNELS, plain)


def available_backends() -> list[str]:
    """The names of the backends that are there, in the order in which they are asked."""
    return [backend.NAME for backend in BACKENDS if backend.available()]


def call(name: str, *args: Any) -> Any:
    """Run an operator on the first backend that takes it. The result is contiguous, and autograd does not see the call.

    Args:
        name: One of :mod:`mmlska.mmcv_ops.plain`.
        args: Its arguments, the tensors first.
    """
    # Compiled operators do not know autocast or autograd, and neither may their stand-ins: a product in bfloat16 would be another
    # result, and mmcv calls the operator of the gradient itself.
    with torch.no_grad(), torch.autocast(args[0].device.type, enabled=False):
        for backend in BACKENDS:
            if backend.available():
                result = getattr(backend, name, _not_here)(*args)
                if result is not NotImplemented:
                    return result
    raise AssertionError(f'{name} is not in plain PyTorch')


def _not_here(*args: Any) -> Any:
    return NotImplemented
