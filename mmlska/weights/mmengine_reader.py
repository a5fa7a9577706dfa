"""MMEngine's reading of checkpoints, led through :func:`mmlska.weights.read_checkpoint`.

A config's ``init_cfg``, ``load_from``, teachers and whatever else reads by MMEngine ends in its CheckpointLoader. Its own reader
either stops at its own checkpoints (the original MMEngine on current torch) or falls back to running what a file asks for (OneDL's;
and both for what they download). Outside of :func:`safe_reading` nothing is changed for the rest of a program.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from ..environment import has_mmengine
from ..log import log
from . import checkpoint_file
from .layouts import WeightsError
from .load import read_location

if has_mmengine():
    from mmengine.runner import checkpoint as mmengine_checkpoint
    from mmengine.runner.checkpoint import CheckpointLoader


@contextmanager
def safe_reading(trust: bool | None = None) -> Iterator[None]:
    """Within it, in this thread, MMEngine reads checkpoints without running code from them.

    The functions of this package that read checkpoints call it themselves, with their argument ``trust``.

    Args:
        trust: Allow files to run code; only for files whose maker you know. By default as in the code around, else no.

    Example:
        >>> with safe_reading(trust=True):
        ...     checkpoint_file.trust_of_caller()
        True
    """
    _divert()
    token = checkpoint_file._trust_here.set(checkpoint_file.is_trusted(trust))
    try:
        yield
    finally:
        checkpoint_file._trust_here.reset(token)


def use_safe_reader(*, trust: bool = False) -> None:
    """Make MMEngine read as within :func:`safe_reading` in the whole process from now on; for command lines."""
    _divert()
    checkpoint_file._trust_everywhere = trust


def _divert() -> None:
    if not has_mmengine() or hasattr(CheckpointLoader.load_checkpoint, '__wrapped__'):
        return
    original = CheckpointLoader.load_checkpoint

    @wraps(original)
    def load_checkpoint(filename: str, map_location: Any = None, logger: Any = 'current') -> Any:
        if checkpoint_file.trust_of_caller() is None:
            return original(filename, map_location, logger)
        loader = CheckpointLoader._get_checkpoint_loader(str(filename))
        if loader.__module__ != mmengine_checkpoint.__name__:  # registered by the user's own code
            return loader(filename, map_location)
        return _load(str(filename))

    CheckpointLoader.load_checkpoint = staticmethod(load_checkpoint)


def _load(name: str) -> Any:
    """Read a checkpoint; its tensors stay on the CPU: load_state_dict moves them, optimizers' too."""
    file = read_location(_address(name))
    checkpoint_file.state_dict_of(file)  # or an error that says what it holds
    log(f'read checkpoint {file.path}, sha256 {file.sha256[:16]}')
    if name.startswith('mmcls://'):
        return mmengine_checkpoint._process_mmcls_checkpoint(file.content)
    return file.content


def _address(name: str) -> str:
    """The address of a name in one of the lists that MMEngine and torchvision bring."""
    scheme, _, entry = name.partition('://')
    if scheme in ('torchvision', 'modelzoo'):
        addresses = mmengine_checkpoint.get_torchvision_models()
    elif scheme in ('open-mmlab', 'openmmlab'):
        addresses = mmengine_checkpoint.get_external_models()
        entry = mmengine_checkpoint.get_deprecated_model_names().get(entry, entry)
    elif scheme == 'mmcls':
        addresses = mmengine_checkpoint.get_mmcls_models()
    else:
        return name
    if entry not in addresses:
        raise WeightsError(f'{name} is not in the list of {scheme}; give a name that is, or a file')
    address = addresses[entry]
    return address if '://' in address else os.path.join(mmengine_checkpoint._get_mmengine_home(), address)
