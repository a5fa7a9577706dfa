"""The compiled C++ kernels of other rooms: whether they are there, and whether they fit the Python code beside them.

``memory.inl`` is what their C++ sources share.
"""

from __future__ import annotations

from importlib import import_module

_FIX = 'with a C++ compiler, `pip install --no-build-isolation .` (or `-e .`) in the mmlska repository builds them'


def problem_of(name: str, version: int) -> str | None:
    """Load compiled kernels, which registers their operators.

    Args:
        name: The whole name of the module, such as ``mmlska.ops.cpu._kernels``.
        version: The ``VERSION`` for which the Python code is written.

    Returns:
        None where they can be used, else the reason and the next step.

    Example:
        >>> problem_of('no_such_kernels', 1)
        "the C++ kernels are not there (No module named 'no_such_kernels'); with a C++ compiler, ..."
    """
    try:
        kernels = import_module(name)
    except ImportError as error:
        return f'the C++ kernels are not there ({error}); {_FIX}'
    if getattr(kernels, 'VERSION', None) != version:
        # A checkout that was updated without a new build still has the old file.
        return f'the C++ kernels are those of another version; {_FIX}'
    return None
