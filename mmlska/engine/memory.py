"""What a training that ran out of memory needed, and what would save memory."""

from __future__ import annotations

import copy

import torch
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import nn

from ..cost import saved_bytes
from .fsdp import fsdp_hook
from .model_checks import trains_with_batch
from .precision import AutocastHook
from .processes import bare_model


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that memory ran out, on GPU or CPU."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or 'DefaultCPUAllocator' in str(error)


def memory_advice(runner: Runner, data_batch: dict, error: RuntimeError) -> str:
    """One line for a training that ran out of memory: what it needs by part, and what each remedy would save.

    The backbone's activations are counted by running it on torch's meta device, which allocates nothing. ``data_batch`` is the batch as
    it came from the data loader.
    """
    model = bare_model(runner)
    sizes = [tuple(image.shape[-2:]) for image in data_batch['inputs']]
    height, width = (-(-max(size[axis] for size in sizes) // 32) * 32 for axis in (0, 1))
    batch = len(sizes)
    first_line = ' '.join(str(error).split())[:160].rstrip(' .')
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    # gradients, and the two moments of Adam
    spread = runner.world_size if fsdp_hook(runner) else 1
    fixed = f'weights, gradients and optimizer take {_size((weights + 3 * trained) / spread)}'
    message = (
        f'out of memory at iteration {runner.iter + 1} with batch {batch} of {height}x{width} ({first_line}); {fixed}'
    )
    backbone = model.backbone
    if fsdp_hook(runner):  # can't be copied
        with torch.device('meta'):
            backbone = MODELS.build(runner.cfg.model.backbone)
    halved = batch > 1 and trains_with_batch(runner.cfg, batch // 2)
    options = _savings(runner, backbone, batch, height, width, halved)
    if not options:
        smaller = 'a smaller train_dataloader.batch_size, ' if halved else ''
        return f'{message}; try {smaller}smaller images, with_cp or --dtype bf16'
    now, remedies = options
    listed = ', '.join(f'{_size(size)} with {what}' for what, size in remedies.items())
    return f"{message}, the backbone's activations {_size(now)}; these would be {listed}"


def _savings(runner: Runner, backbone: nn.Module, batch: int, height: int, width: int, halved: bool):
    autocast = any(isinstance(hook, AutocastHook) for hook in runner.hooks)
    amp = autocast or type(runner.optim_wrapper).__name__ == 'AmpOptimWrapper'
    now = dict(batch=batch, height=height, width=width, dtype=torch.bfloat16 if amp else torch.float32)
    remedies = {}
    if halved:
        remedies[f'train_dataloader.batch_size={batch // 2} and --accumulate 2'] = dict(batch=batch // 2)
    smaller = [max(32, side * 3 // 4 // 32 * 32) for side in (height, width)]
    remedies['images of {}x{}'.format(*smaller)] = dict(height=smaller[0], width=smaller[1])
    if not getattr(backbone, 'with_cp', True):
        remedies['model.backbone.with_cp=True'] = dict(with_cp=True)
    if not amp:
        remedies['--dtype bf16'] = dict(dtype=torch.bfloat16)
    try:
        needed = {what: activation_bytes(backbone, **(now | change)) for what, change in remedies.items()}
        return activation_bytes(backbone, **now), needed
    except (NotImplementedError, RuntimeError, TypeError):  # a backbone with operators that have no meta version
        return None


def activation_bytes(
    backbone: nn.Module,
    batch: int,
    height: int,
    width: int,
    dtype: torch.dtype = torch.float32,
    with_cp: bool | None = None,
) -> int:
    """Bytes that a training step of a backbone keeps for its backward pass; nothing of that size is allocated.

    Args:
        backbone: It is copied, not run.
        batch: Images in the batch.
        height, width: Of the images, in pixels.
        dtype: Of the activations.
        with_cp: With activation checkpointing or without; None for what the backbone does.

    Example:
        >>> from mmlska import VAN_LSKA
        >>> net = VAN_LSKA(dict(embed_dims=[8], depths=[1], ffn_ratios=[2]), out_indices=0)
        >>> round(activation_bytes(net, 2, 64, 64) / activation_bytes(net, 1, 64, 64), 1)
        2.0
    """
    copied = copy.deepcopy(backbone).to(device='meta', dtype=dtype).train()
    for module in copied.modules():
        module._forward_hooks.clear()  # those of whoever watches the original
        if with_cp is not None and hasattr(module, 'with_cp'):
            module.with_cp = with_cp
    images = torch.empty(batch, getattr(backbone, 'in_channels', 3), height, width, dtype=dtype, device='meta')
    return saved_bytes(lambda: copied(images), copied.parameters())


def _size(size: int) -> str:
    for unit in ('KiB', 'MiB', 'GiB'):
        size /= 1024
        if size < 1024 or unit == 'GiB':
            break
    return f'{size:.1f} {unit}'
