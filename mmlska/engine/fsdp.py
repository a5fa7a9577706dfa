"""Fully sharded data parallelism (FSDP): weights, gradients and optimizer spread over the processes, in checkpoints that are whole."""

from __future__ import annotations

from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.utils import apply_to
from torch import Tensor, nn

from ..models.van_lska import VANBlock


def shard(model: nn.Module, device: str) -> nn.Module:
    """Spread the parameters of a detector, segmentor or classifier over all processes, in place.

    Each VAN block, the rest of the backbone, the neck and what remains, heads above all, is gathered when it runs. Heads are
    gathered for the whole step: they are called by methods of their own, where no gathering could begin. Buffers stay as they are.
    ``load_state_dict`` still takes whole tensors.

    Args:
        model: With the same weights in all processes.
        device: 'cuda' or 'cpu'.

    Raises:
        ValueError: If a parameter has no dimension to spread.

    Source: PyTorch FSDP, arXiv 2304.11277; torch's ``fully_shard``.
    """
    scalars = [name for name, p in model.named_parameters() if p.dim() == 0]
    if scalars:
        raise ValueError(f'--fsdp cannot spread a parameter of one number ({scalars[0]}); use --zero1 instead')
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device, (get_world_size(),))
    parts = [getattr(model, name, None) for name in ('backbone', 'neck')]
    units = [*(m for m in model.modules() if isinstance(m, VANBlock)), *parts, model]
    for unit in units:
        if isinstance(unit, nn.Module):
            fully_shard(unit, mesh=mesh)
    for module in model.modules():
        module.register_load_state_dict_pre_hook(_spread_what_is_loaded)
    return model


def _spread_what_is_loaded(module: nn.Module, state_dict: dict, prefix: str, *_) -> None:
    # Here, when the parents have brought the names of foreign checkpoints to those of the model.
    for name, parameter in module.named_parameters(recurse=False):
        if prefix + name in state_dict:
            state_dict[prefix + name] = _spread_like(parameter, state_dict[prefix + name])


def _spread_like(parameter: Tensor, value):
    """This process's share of a whole tensor, spread as the parameter is; anything else as it is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(value, Tensor) or isinstance(value, DTensor) or value.shape != parameter.shape:
        return value
    # Each process has read the file itself.
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)


def own_share(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor: all of it, unless it is spread."""
    return tensor.to_local() if hasattr(tensor, 'to_local') else tensor


def _full(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if hasattr(tensor, 'full_tensor') else tensor


def _gathered(data, keep: bool):
    """Put whole tensors on CPU in the place of those that are spread; all processes have to call it, ``keep`` is for one."""

    def gather(tensor: Tensor) -> Tensor | None:
        full = _full(tensor)
        return full.detach().cpu() if keep else None

    return apply_to(data, lambda value: isinstance(value, Tensor), gather)


@HOOKS.register_module()
class FSDPHook(Hook):
    """What a training with spread weights does otherwise: :class:`mmlska.engine.runner.SafeRunner` spreads them where it sees this hook.

    Checkpoints hold whole tensors, as those of any other training, and any other training's can be loaded and resumed.
    """

    def __init__(self) -> None:
        self._whole: dict = {}

    def before_train(self, runner: Runner) -> None:
        """Log the norm of all gradients; torch returns the largest of this process's share for ``norm_type='inf'``."""
        clip = getattr(runner.optim_wrapper, 'clip_func', None)
        if clip is not None:
            runner.optim_wrapper.clip_func = lambda *args, **kwargs: _full(clip(*args, **kwargs))

    def before_val_epoch(self, runner: Runner) -> None:
        """Keep the weights whole once they are gathered: processes may run the model a different number of times on their images."""
        runner.model.set_reshard_after_forward(False)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Spread the weights again."""
        runner.model.set_reshard_after_forward(True)
        # The backward pass begins with what the root holds.
        runner.model.set_reshard_after_forward(False, recurse=False)
        _reshard(runner.model)

    def gather(self, runner: Runner, optimizer: bool) -> None:
        """Collect what is spread for the checkpoint that the first process is about to write, the optimizer's state too if asked for.

        All processes have to call it.
        """
        model, keep = runner.model, is_main_process()
        _reshard(model)
        state_dict = model.state_dict()
        whole = dict(state_dict=_gathered(state_dict, keep))
        whole['state_dict']._metadata = state_dict._metadata  # versions of the modules, as torch saves them
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        if gradients:
            whole['gradients'] = _gathered(gradients, keep)
        if optimizer:
            whole['optimizer'] = _gathered(runner.optim_wrapper.state_dict(), keep)
        self._whole = whole if keep else {}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put what was collected into the checkpoint."""
        checkpoint.update(self._whole)
        self._whole = {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Spread the optimizer's state, and gradients that wait for an update, of a training to continue."""
        if not runner._resume:
            return
        parameters = [p for group in runner.optim_wrapper.optimizer.param_groups for p in group['params']]
        saved = checkpoint['optimizer']
        numbers = [number for group in saved['param_groups'] for number in group['params']]
        for number, parameter in zip(numbers, parameters):
            state = saved['state'].get(number, {})
            state.update({name: _spread_like(parameter, value) for name, value in state.items()})
        gradients = checkpoint.get('gradients', {})
        for name, parameter in runner.model.named_parameters():
            if name in gradients:
                gradients[name] = _spread_like(parameter, gradients[name])


def _reshard(model: nn.Module) -> None:
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def fsdp_hook(runner: Runner) -> FSDPHook | None:
    """The hook of a training whose weights are spread, or None."""
    return next((hook for hook in runner.hooks if isinstance(hook, FSDPHook)), None)
