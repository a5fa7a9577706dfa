"""Stop a training at a loss that is not finite, and say where that came from."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from ..files import write_atomically
from .errors import TrainingError
from .fsdp import fsdp_hook, own_share
from .processes import bare_model


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
    bad = ', '.join(f'{name}={value}' for name, value in values.items() if not math.isfinite(value) and name != 'loss')
    return (
        f'the loss is not finite at iteration {iteration} ({bad or "their sum"}) for {_images(batch)}; '
        f'first non-finite output: {module}; {saved}; continue from the last checkpoint by --resume with a lower learning rate, '
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
    if fsdp_hook(runner):  # the others, which hold a part of each weight, may be in the backward pass already
        return 'not searched for with --fsdp'

    def watch(name: str, _, __, output) -> None:
        if not found and not _finite(output):
            found.append(name)

    handles = [m.register_forward_hook(partial(watch, name)) for name, m in model.named_modules() if name]
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
