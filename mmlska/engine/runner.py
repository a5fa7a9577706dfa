"""MMEngine's Runner, made safe: whole checkpoints in and out, workers that outlive a signal, a test that changes nothing."""

from __future__ import annotations

import shutil
import sysconfig
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.logging import MMLogger
from mmengine.model import convert_sync_batchnorm
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from ..chatter import without_stderr
from ..files import file_sha256
from ..log import log
from ..weights import WeightsError, check_finite, inspect_state_dict, safe_reading
from ..weights.layouts import grouped, layout_text
from .checkpoints import save_whole
from .config import has_hook
from .config_text import SafeConfig
from .console import ConsoleHook, calm
from .continuing import continue_training, planned_schedules
from .fsdp import fsdp_hook, shard
from .hooks import to_channels_last
from .lock import unlock_work_dir
from .processes import bare_model
from .signals import start_worker


class SafeRunner(Runner):
    """MMEngine's Runner; a checkpoint appears under its name when all of it is on the disk, beside a file with its SHA-256.

    A checkpoint of another network, which MMEngine loads in part or not at all without an error, stops it.
    """

    needs_whole_weights = False  # training may start from a part of a network
    trust: bool | None = None  # whether checkpoints may run code; see mmlska.weights.safe_reading
    starts_anew = True  # False if it continues the training in the work directory

    def __init__(self, *args, cfg: Config | dict | None = None, **kwargs) -> None:
        """Take what MMEngine's Runner takes; whatever it writes of ``cfg`` reads back as what it was."""
        with safe_reading(self.trust):  # models may read a teacher's weights when they are built
            super().__init__(*args, cfg=SafeConfig.of(cfg), **kwargs)

    def load_checkpoint(self, filename: str, *args, **kwargs):
        """Load weights; see MMEngine's ``Runner.load_checkpoint``.

        Raises:
            WeightsError: If the file has no tensor of the model, for a test not all of its parameters, or, unless resumed, NaN.
        """
        model, absent = bare_model(self), set()
        if fsdp_hook(self):  # each tensor goes to its device when it is spread
            kwargs['map_location'] = 'cpu'
        # Asked after loading: the backbone takes other layouts too, whose names are not the model's.
        handle = model.register_load_state_dict_post_hook(lambda _, keys: absent.update(keys.missing_keys))
        try:
            with safe_reading(self.trust):
                checkpoint = super().load_checkpoint(filename, *args, **kwargs)
        finally:
            handle.remove()
        if isinstance(meta := checkpoint.get('meta'), dict):
            meta.pop('config', None)  # Python that MMEngine's resume() would run, only to count GPUs
        content = checkpoint.get('state_dict', checkpoint)
        if not self._resume:
            check_finite({name: t for name, t in content.items() if isinstance(t, torch.Tensor)}, filename)
        shapes = {name.removeprefix('module.'): getattr(t, 'shape', None) for name, t in content.items()}
        tensors = model.state_dict()
        unfit = [name for name, t in tensors.items() if name in absent or shapes.get(name, t.shape) != t.shape]
        own = dict(model.named_parameters())
        missing = [name for name in unfit if name in own]
        if len(missing) == len(own):
            example = f'it has {next(iter(shapes), "nothing")}, the model {next(iter(own))}'
            raise WeightsError(f'{filename} has no tensor of this model ({example}); give a checkpoint of this config')
        if missing and self.needs_whole_weights:
            raise WeightsError(
                f'{filename} lacks {len(missing)} of the {len(own)} parameters of this model, or has them in another shape '
                f'({missing[0]}, ...); give a checkpoint of this config'
            )
        what = f'{len(tensors) - len(unfit)}/{len(tensors)} tensors loaded, {_layout(content)}, from {filename}'
        digest = f' (sha256 {file_sha256(filename)[:16]})' if Path(filename).is_file() else ''
        rest = f'; missing or of another shape: {grouped(unfit)}' if unfit else ''
        log(f'{type(model).__name__}: {what}{digest}{rest}')
        return checkpoint

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Load the state of a training; see MMEngine's ``Runner.resume``.

        Raises:
            WeightsError: As :meth:`load_checkpoint`, or if the state is damaged or that of another optimizer.
        """
        planned = planned_schedules(self)
        try:
            super().resume(filename, *args, **kwargs)
        except WeightsError:
            raise
        except ValueError as error:  # torch's, of groups of parameters
            raise WeightsError(
                f'{filename} was saved with another optimizer or other parameters to train ({error}); '
                'resume with those settings, or start anew from its weights by --cfg-options load_from=FILE'
            ) from error
        except (AttributeError, LookupError, TypeError) as error:
            raise WeightsError(
                f'{filename} holds a damaged state ({type(error).__name__}: {error}); continue from another by --resume FILE'
            ) from error
        continue_training(self, planned)

    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Save a checkpoint; see MMEngine's ``Runner.save_checkpoint``.

        Raises:
            OSError: If it can't be written; an older file of that name is then untouched.
        """
        optimizer = getattr(self.optim_wrapper, 'optimizer', None)
        if kwargs.get('save_optimizer', True) and hasattr(optimizer, 'consolidate_state_dict'):
            optimizer.consolidate_state_dict(to=0)  # ZeRO-1: each process holds a part
        if hook := fsdp_hook(self):
            hook.gather(self, optimizer=kwargs.get('save_optimizer', True))
        if '://' in str(out_dir) or not is_main_process():  # storage that is no file system has no rename
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        save = super().save_checkpoint
        save_whole(Path(out_dir, filename), lambda tmp: save(out_dir, Path(tmp).name, *args, **kwargs))

    def train(self) -> nn.Module:
        """Train; see MMEngine's ``Runner.train``. The work directory is free for another training afterwards."""
        try:
            with safe_reading(self.trust):  # parts of the model may start from files, as their init_cfg says
                return super().train()
        finally:
            self._close_console()
            unlock_work_dir(self.work_dir)

    def test(self) -> dict:
        """Test; see MMEngine's ``Runner.test``."""
        try:
            return super().test()
        finally:
            self._close_console()

    def _close_console(self) -> None:
        for hook in self.hooks:
            if isinstance(hook, ConsoleHook):
                hook.close()

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Build the logger; see MMEngine's ``Runner.build_logger``. With a ConsoleHook the console shows little of it."""
        logger = super().build_logger(*args, **kwargs)
        if has_hook(self.cfg, 'ConsoleHook'):
            calm(logger, tables=self.needs_whole_weights)
        return logger

    def _log_env(self, *args, **kwargs) -> None:
        # MMEngine runs the compiler of this Python in a shell to learn its version. Without a compiler the shell prints an error.
        compiler = Path((sysconfig.get_config_var('CC') or 'cc').split()[0]).name
        with nullcontext() if shutil.which(compiler) else without_stderr():
            super()._log_env(*args, **kwargs)

    @staticmethod
    def build_dataloader(*args, **kwargs) -> DataLoader:
        """Build a data loader; see MMEngine's ``Runner.build_dataloader``. Its workers end with this process, not before."""
        loader = Runner.build_dataloader(*args, **kwargs)
        loader.worker_init_fn = partial(start_worker, loader.worker_init_fn)
        return loader

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap the model for several processes, its memory format set.

        DistributedDataParallel lays out its buckets by the strides that weights have when it is built; gradients of weights that are
        converted later end in the wrong places. FSDP wraps nothing: it spreads the weights, which have to be the initial ones by then.
        """
        if has_hook(self.cfg, 'FSDPHook'):
            self.model = model.to(get_device())
            if sync_bn := self.cfg.get('sync_bn'):
                self.model = convert_sync_batchnorm(self.model, sync_bn)
            super()._init_model_weights()
            return shard(self.model, get_device())
        if has_hook(self.cfg, 'ChannelsLastHook'):
            model = to_channels_last(model)
        return super().wrap_model(model_wrapper_cfg, model)

    def _init_model_weights(self) -> None:
        if not fsdp_hook(self):  # else they are since wrap_model()
            super()._init_model_weights()

    def scale_lr(self, optim_wrapper, auto_scale_lr: dict | None = None) -> None:
        """Scale the learning rate by the effective batch; MMEngine leaves out the steps between two updates."""
        if auto_scale_lr and auto_scale_lr.get('enable'):
            steps = self.cfg.optim_wrapper.get('accumulative_counts', 1)
            auto_scale_lr = dict(auto_scale_lr, base_batch_size=auto_scale_lr['base_batch_size'] / steps)
        super().scale_lr(optim_wrapper, auto_scale_lr)


class EvaluationRunner(SafeRunner):
    """The SafeRunner of tests: the checkpoint has to fill the model, and a training's config in the work directory stays as it is."""

    needs_whole_weights = True

    def dump_config(self) -> None:
        """Write the config of this test beside its log."""
        if is_main_process():
            name = Path(self.cfg.filename).name if self.cfg.filename else f'{self.timestamp}.py'
            self.cfg.dump(Path(self.log_dir, name))


def _layout(state_dict: dict) -> str:
    try:
        return layout_text(inspect_state_dict(state_dict).layout)
    except WeightsError:
        return 'of no layout known here'
