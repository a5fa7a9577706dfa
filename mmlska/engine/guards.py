"""What stops a training with a message that helps: a loss that is not finite, and memory that does not suffice."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import Runner
from torch import Tensor, nn

from ..cost import saved_bytes
from ..files import write_atomically
from .fsdp import fsdp_hook, own_share
from .hooks import AutocastHook


class TrainingError(Exception):
    """What stopped a training; one line that says what, where and what to try."""


def bare_model(runner: Runner) -> nn.Module:
    """The model without the wrapper of a distributed training."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


@HOOKS.register_module()
class LossGuardHook(Hook):
    """Stop before the update when a loss is NaN or infinite.

    The message has the images of the batch and the first module whose output is not finite; the batch is saved in the work
    directory, as ``torch.load(file, weights_only=False)`` reads it.
    """

    def before_train(self, runner: Runner) -> None:
        """Check every loss from here on."""
        model = bare_model(runner)
        parse = model.parse_losses
        batch: dict = {}
        model.data_preprocessor.register_forward_hook(lambda _, __, output: batch.update(output))

        def checked(losses: dict):
            loss, log_vars = parse(losses)
            if not torch.isfinite(loss):
                model.parse_losses = parse
                raise TrainingError(_describe(runner, model, batch, log_vars))
            return loss, log_vars

        model.parse_losses = checked


def _describe(runner: Runner, model: nn.Module, batch: dict, log_vars: dict) -> str:
    iteration = runner.iter + 1
    module = _first_bad_module(runner, model, batch)
    path = Path(runner.work_dir) / f'nonfinite_iter_{iteration}.pth'
    values = {name: float(value) for name, value in log_vars.items()}
    saved = f'the batch is in {path}'
    try:
        content = dict(batch=batch, losses=values, module=module, iter=iteration)
        write_atomically(path, lambda tmp: torch.save(content, tmp))
    except OSError as error:
        saved = f'the batch could not be saved ({error})'
    bad = ', '.join(f'{name}={value}' for name, value in values.items() if value - value != 0 and name != 'loss')
    return (
        f'the loss is not finite at iteration {iteration} ({bad or "their sum"}) for {_images(batch)}; '
        f'first non-finite output: {module}; {saved}; go on from the last checkpoint by --resume with a lower learning rate, '
        'with --clip-grad, or without --dtype fp16'
    )


def _images(batch: dict) -> str:
    samples = batch.get('data_samples')
    if not samples:  # a classifier's batch names no images
        return f'a batch of {len(batch["inputs"])} images'
    names = [f'{s.metainfo.get("img_id", "?")} ({s.metainfo.get("img_path", "?")})' for s in samples]
    return 'images ' + ', '.join(names)


def _first_bad_module(runner: Runner, model: nn.Module, batch: dict) -> str:
    """Run the batch again and return the name of the first module with NaN or infinity in its output."""
    found: list[str] = []
    for name, p in model.named_parameters():
        if not torch.isfinite(own_share(p)).all():
            return f'the weight {name} itself'
    if not _finite(batch['inputs']):
        return 'the images themselves, after data_preprocessor'
    if fsdp_hook(runner):  # the others, which hold a part of each weight, may have gone on to the backward pass
        return 'not searched for with --fsdp'

    def watch(name: str):
        def hook(_, __, output) -> None:
            if not found and not _finite(output):
                found.append(name)

        return hook

    handles = [m.register_forward_hook(watch(name)) for name, m in model.named_modules() if name and m is not model]
    try:
        with torch.no_grad(), runner.optim_wrapper.optim_context(model):
            model(**batch, mode='loss')
    except Exception as error:  # the search must not hide what it was started for
        found.append(f'not found, the second pass failed ({type(error).__name__})')
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else 'none, the loss itself: look at the labels'


def _finite(output) -> bool:
    if isinstance(output, Tensor):
        return not output.is_floating_point() or bool(torch.isfinite(output).all())
    if isinstance(output, dict):
        output = output.values()
    elif not isinstance(output, (list, tuple)):
        return True
    return all(_finite(item) for item in output)


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that memory ran out, on GPU or CPU."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or 'DefaultCPUAllocator' in str(error)


def memory_advice(runner: Runner, data_batch: dict, error: RuntimeError) -> str:
    """One line for a training that ran out of memory: what it needs by part, and what each remedy would save.

    The backbone's activations are counted by running it on torch's meta device, which allocates nothing.

    Args:
        runner: The runner that ran out of memory.
        data_batch: The batch, as it came from the data loader.
        error: What torch raised.
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
    options = _savings(runner, backbone, batch, height, width)
    if not options:
        return f'{message}; try a smaller train_dataloader.batch_size, smaller images, with_cp or --dtype bf16'
    now, remedies = options
    listed = ', '.join(f'{_size(size)} with {what}' for what, size in remedies)
    return f"{message}, the backbone's activations {_size(now)}; these would be {listed}"


def _savings(runner: Runner, backbone: nn.Module, batch: int, height: int, width: int):
    autocast = any(isinstance(hook, AutocastHook) for hook in runner.hooks)
    amp = autocast or type(runner.optim_wrapper).__name__ in ('AmpOptimWrapper', 'BF16OptimWrapper')
    dtype = torch.bfloat16 if amp else torch.float32
    with_cp = bool(getattr(backbone, 'with_cp', False))
    try:
        now = activation_bytes(backbone, batch, height, width, dtype)
        remedies = []
        if batch > 1:
            size = activation_bytes(backbone, batch // 2, height, width, dtype)
            remedies.append((f'train_dataloader.batch_size={batch // 2} and --accumulate 2', size))
        smaller = [max(32, side * 3 // 4 // 32 * 32) for side in (height, width)]
        remedies.append(('images of {}x{}'.format(*smaller), activation_bytes(backbone, batch, *smaller, dtype)))
        if hasattr(backbone, 'with_cp') and not with_cp:
            size = activation_bytes(backbone, batch, height, width, dtype, with_cp=True)
            remedies.append(('model.backbone.with_cp=True', size))
        if not amp:
            remedies.append(('--dtype bf16', activation_bytes(backbone, batch, height, width, torch.bfloat16)))
    except (NotImplementedError, RuntimeError, TypeError):  # a backbone with operators that have no meta version
        return None
    return now, remedies


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
        backbone: The backbone.
        batch: Images in the batch.
        height: Of the images, in pixels.
        width: Of the images, in pixels.
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
    images = torch.empty(batch, 3, height, width, dtype=dtype, device='meta')
    return saved_bytes(lambda: copied(images), copied.parameters())


def _size(size: int) -> str:
    for unit in ('KiB', 'MiB', 'GiB'):
        size /= 1024
        if size < 1024 or unit == 'GiB':
            break
    return f'{size:.1f} {unit}'
