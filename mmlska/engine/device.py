"""The device of torch that a user names."""

from __future__ import annotations

import torch


def find_device(name: str) -> torch.device:
    """The device of torch that a name stands for; 'auto' is the first GPU, else the CPU.

    Args:
        name: 'auto', 'cpu', 'cuda', 'cuda:1', 'mps', ...; a number alone is that of a GPU.

    Raises:
        ValueError: If this machine, or this build of torch, has no such device.

    Example:
        >>> find_device('cpu')
        device(type='cpu')
    """
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    gpu = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    count = torch.accelerator.device_count() if gpu else 0
    device = None
    try:
        device = torch.device(f'{gpu.type if gpu else "cuda"}:{name}' if name.isdecimal() else name)
        usable = device.type == 'cpu' or (gpu and device.type == gpu.type and (device.index or 0) < count)
    except (ImportError, RuntimeError):  # no name of torch's
        usable = False
    if not usable:
        here = ['auto', 'cpu', *([gpu.type] if gpu else []), *(f'{gpu.type}:{i}' for i in range(1, count))]
        why = '' if gpu else '; PyTorch sees no GPU here, mmlska doctor shows what it is built for'
        raise ValueError(f'device={name!r} is not there; use {" or ".join(map(repr, here))}{why}')
    return device
