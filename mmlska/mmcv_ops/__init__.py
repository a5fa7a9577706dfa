"""Stand-ins for the compiled operators of mmcv (``mmcv._ext``), for where mmcv has none.

The light onedl-mmcv and mmcv-lite come without them, and ``import mmcv.ops``, which MMDetection and MMSegmentation do, fails. ``import
mmlska`` puts in their place the operators that detectors and segmentors need. Compiled operators that are there are never touched: the
stand-ins are asked for last, when Python has found ``mmcv._ext`` nowhere else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_loader
from inspect import isfunction
from types import ModuleType
from typing import Any

from ..environment import compiled_mmcv
from . import extension
from .backends import available_backends

__all__ = ['available_backends', 'in_use', 'install']

_NAME = 'mmcv._ext'
_ORIGIN = __name__


class _Stand(MetaPathFinder, Loader):
    """Finds one module, and fills it."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The module's, where nobody before has found it."""
        return spec_from_loader(name, self, origin=_ORIGIN) if name == _NAME else None

    def exec_module(self, module: ModuleType) -> None:
        """Give the module the operators."""
        vars(module).update(
            (name, value)
            for name, value in vars(extension).items()
            if isfunction(value) and value.__module__ == extension.__name__ and not name.startswith('_')
        )
        module.__getattr__ = _absent


def _absent(name: str) -> Callable[..., Any]:
    """What stands for an operator without a stand-in: a function that raises when it is called.

    mmcv asserts that its operators have all their names when ``mmcv.ops`` is imported.
    """
    if name.startswith('_'):
        raise AttributeError(f'mmcv._ext has no attribute {name!r}')

    def operator(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(
            f"mmcv's operator {name} has no stand-in in mmlska; it needs mmcv with compiled operators: {compiled_mmcv()}"
        )

    operator.__name__ = name
    return operator


def install() -> None:
    """Let Python find the stand-ins where it finds no ``mmcv._ext``; nothing is imported."""
    if not any(isinstance(finder, _Stand) for finder in sys.meta_path):
        sys.meta_path.append(_Stand())


def in_use() -> bool:
    """Whether mmcv's operators are those of mmlska; no where they are compiled, or mmcv is not installed."""
    try:
        spec = find_spec(_NAME)
    except ModuleNotFoundError:
        return False
    return spec is not None and spec.origin == _ORIGIN
