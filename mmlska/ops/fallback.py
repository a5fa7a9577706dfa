"""What is said where plain PyTorch replaces faster kernels."""

from __future__ import annotations

import os
import warnings
from collections.abc import Hashable

_warned: set[Hashable] = set()


def fall_back(key: Hashable, problem: str, what: str = '') -> None:
    """Say once for each key that plain PyTorch replaces faster kernels of ``what``, or of everything, with reason and next step.

    Raises:
        RuntimeError: Each time, if ``MMLSKA_STRICT=1`` is set.
    """
    text = f'mmlska.ops runs {what + " " if what else ""}in plain PyTorch, which is slower: {problem}'
    if os.environ.get('MMLSKA_STRICT', '0').lower() in ('1', 'true', 'on', 'yes', 'y'):
        raise RuntimeError(f'{text}; MMLSKA_STRICT=1 asks for an error')
    if key not in _warned:
        _warned.add(key)
        warnings.warn(text, stacklevel=4)


# What torch.compiler.assume_constant_result sets, without its import of torch._dynamo: torch.compile calls the function while it traces,
# since a warning in the graph would break it in two.
fall_back._dynamo_marked_constant = True
