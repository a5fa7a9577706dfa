"""Checkpoints that are written whole or not at all, each with a checksum; resume.py checks them."""

from __future__ import annotations

import errno
import math
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from numbers import Real
from pathlib import Path

import torch
from mmengine.dist import all_reduce, barrier, broadcast, is_main_process
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.registry import HOOKS, VISBACKENDS
from mmengine.runner import Runner
from mmengine.visualization import LocalVisBackend

from ..files import file_sha256, is_inside, write_atomically, write_text
from .errors import Interrupted, TrainingError
from .processes import bare_model
from .resume import Unfit, recorded, sidecar
from .signals import StopRequest

INTERRUPTED = 'interrupted.pth'


def save_whole(path: Path, write: Callable[[str], object]) -> None:
    """Call ``write(temporary name)`` and give the file its own name once all of it is on the disk, with its SHA-256 beside it.

    Raises:
        OSError: If it can't be written; an older file of that name is then untouched.
    """
    for file in (path, sidecar(path)):  # links to an archived checkpoint, say: the file that they lead to stays
        if file.is_symlink():
            file.unlink()
    try:
        older = recorded(path)[:1]
    except Unfit:
        older = []
    digests = []

    def write_and_record(temporary: str) -> None:
        write(temporary)
        _sync(Path(temporary))
        # Until the file has its name the older one counts, then the new one: both are good.
        digests.append(file_sha256(temporary))
        _record(path, digests + older)

    write_atomically(path, write_and_record)
    with suppress(OSError):  # it is in place, and verifies already
        _sync(path.parent)
        if older:
            _record(path, digests)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _record(path: Path, digests: list[str]) -> None:
    """Write checksums in the format of ``sha256sum -c``."""
    text = ''.join(f'{digest}  {path.name}\n' for digest in digests)
    write_text(sidecar(path), text)


def _remove(path: Path) -> None:
    for file in (path, sidecar(path)):
        with suppress(OSError):
            file.unlink()


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's CheckpointHook that never deletes a checkpoint before its successor is on the disk.

    A checkpoint that can't be saved, for a full disk say, is reported, and the run continues; if it was the last one, it is tried again at
    the end, and an error then says that the state is lost. A training that its settings would leave without any checkpoint saves its last
    state too. SIGTERM and Ctrl-C save ``interrupted.pth`` behind the current iteration and raise :class:`Interrupted`, in all processes of
    a training if one of them was signalled. Gradients that were accumulated for the next update are part of a checkpoint.
    """

    _request: StopRequest | None = None

    def before_train(self, runner: Runner) -> None:
        """Prepare the folder and listen to signals."""
        # MMEngine would delete those that are too many now.
        ids = runner.message_hub.runtime_info.pop('keep_ckpt_ids', [])
        super().before_train(runner)
        resumed_here = runner._resume and (runner._load_from is None or is_inside(runner._load_from, self.out_dir))
        self._own_files_only(runner, ids if resumed_here else [])
        if getattr(runner, 'starts_anew', True) or 'run_started' not in runner.message_hub.runtime_info:
            runner.message_hub.update_info('run_started', time.time())
        self._saved = False
        saved_already = resumed_here and Path(runner._load_from or '').name != INTERRUPTED
        self._saved_iter = runner.iter if saved_already else None
        if is_main_process():
            # What a training that was killed was writing; nobody else trains here.
            for leftover in Path(self.out_dir).glob('.new-*'):
                if leftover.suffix in ('.pth', '.sha256'):
                    _remove(leftover)
        self._request = StopRequest()

    def _own_files_only(self, runner: Runner, ids: list) -> None:
        """Forget files outside this folder that the checkpoint of a resume names: what they name will be deleted one day."""
        info = runner.message_hub.runtime_info
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = [step for step in ids if isinstance(step, int)] if isinstance(ids, list) else []
            runner.message_hub.update_info('keep_ckpt_ids', self.keep_ckpt_ids)
        for name in [name for name in info if str(name).startswith('best_ckpt')]:
            path = Path(str(info[name]))
            if not path.name.startswith('best_') or not is_inside(path, self.out_dir):
                del info[name]
        if self.save_best and len(self.key_indicators) > 1:
            self.best_ckpt_path_dict = {key: info.get(f'best_ckpt_{key}') for key in self.key_indicators}
        elif self.save_best:
            self.best_ckpt_path = info.get('best_ckpt')

    def after_train(self, runner: Runner) -> None:
        """Save what no checkpoint holds yet, and let signals end the process again.

        Raises:
            TrainingError: If that can't be saved.
        """
        try:
            self._save_what_is_not_saved(runner)
            super().after_train(runner)
        finally:
            StopRequest.release()

    def _save_what_is_not_saved(self, runner: Runner) -> None:
        wanted = self.save_last or not self._saved
        unsaved = torch.tensor(int(wanted and self._saved_iter != runner.iter))
        broadcast(unsaved)  # the first process alone knows what could not be written
        if not unsaved:
            return
        step = runner.epoch if self.by_epoch else runner.iter
        self._save_checkpoint_with_step(runner, step, dict(epoch=runner.epoch, iter=runner.iter))
        if self._saved_iter != runner.iter:
            raise TrainingError(
                f'the training ended at iteration {runner.iter}, and its last state is lost: {self._failure}, '
                'then repeat what is missing with --resume'
            )

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Save where it is time to, or where a signal came to any of the processes."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self._request.agreed():
            self._stop(runner, runner.iter + 1)

    def before_val_epoch(self, runner: Runner) -> None:
        """Learn how many steps all processes have; behind them nothing can be agreed on."""
        steps = torch.tensor(len(runner.val_dataloader))
        all_reduce(steps, 'min')
        self._val_steps = int(steps)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Stop a validation where a signal came; it is done again after the resume."""
        if self._request and batch_idx < self._val_steps and self._request.agreed():
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):
                    hook.after_val_epoch(runner)  # puts the weights of the training back
            runner.message_hub.runtime_info.pop('iter_validated', None)
            self._stop(runner, runner.iter)

    def _stop(self, runner: Runner, iteration: int) -> None:
        signum = self._request.signum
        name = signal.Signals(signum).name
        try:
            runner.save_checkpoint(self.out_dir, INTERRUPTED, meta=dict(epoch=runner.epoch, iter=iteration))
            saved = f'saved {Path(self.out_dir, INTERRUPTED)}'
        except OSError as error:
            saved = _report(INTERRUPTED, self.out_dir, error)
        barrier()  # torchrun ends the others as soon as one has ended
        raise Interrupted(f'{name} at iteration {iteration}: {saved}', signum)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the gradients of a half-done accumulation."""
        named = bare_model(runner).named_parameters()
        gradients = {name: p.grad.detach().cpu() for name, p in named if p.grad is not None}
        if gradients:
            checkpoint.setdefault('gradients', gradients)  # FSDP has collected them

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put the accumulated gradients back."""
        if runner._resume:
            gradients = checkpoint.get('gradients', {})
            for name, p in bare_model(runner).named_parameters():
                if name in gradients:
                    p.grad = gradients[name].to(p)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        name = self.filename_tmpl.format(step)
        before, last = dict(runner.message_hub.runtime_info), self.last_ckpt
        kept, dropped = list(getattr(self, 'keep_ckpt_ids', [])), []
        if self.max_keep_ckpts > 0:
            kept = [*(s for s in kept if s != step), step]
            kept, dropped = kept[-self.max_keep_ckpts :], kept[: -self.max_keep_ckpts]
            runner.message_hub.update_info('keep_ckpt_ids', kept)
        self.last_ckpt = str(Path(self.out_dir, name))
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        try:
            runner.save_checkpoint(
                self.out_dir,
                name,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
        except OSError as error:
            self._failure = _report(name, self.out_dir, error)
            runner.logger.error(f'{self._failure}; the training continues, the checkpoints before it are whole')
            self._restore(runner, before)
            self.last_ckpt = last
            return
        self._saved, self._saved_iter = True, meta['iter']
        self.keep_ckpt_ids = kept
        if is_main_process():
            for old in [self.filename_tmpl.format(s) for s in dropped] + [INTERRUPTED]:
                _remove(Path(self.out_dir, old))
            with suppress(OSError):  # for other tools; --resume looks at the checkpoints themselves
                write_text(Path(runner.work_dir, 'last_checkpoint'), self.last_ckpt)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best or not metrics:
            return
        absent = [key for key in self.key_indicators if key != 'auto' and key not in metrics]
        if absent:
            raise TrainingError(
                f'default_hooks.checkpoint.save_best={absent[0]} is none of the metrics of the validation ({", ".join(metrics)}); '
                "set it to one of these or to 'auto', then continue with --resume"
            )
        metrics = {name: None if _says_nothing(name, value) else value for name, value in metrics.items()}
        if all(value is None for value in metrics.values()):
            runner.logger.warning('no metric of this validation has a value: it counts for no best checkpoint')
            return
        many = len(self.key_indicators) > 1
        old = dict(self.best_ckpt_path_dict) if many else {'': self.best_ckpt_path}
        before = dict(runner.message_hub.runtime_info)
        # MMEngine would delete the old best first.
        self._set_best(dict.fromkeys(old), many)
        try:
            super()._save_best_checkpoint(runner, metrics)
        except OSError as error:
            runner.logger.error(f'{_report("the best checkpoint", self.out_dir, error)}; the training continues')
            self._restore(runner, before)
            self._set_best(old, many)
            return
        new = self.best_ckpt_path_dict if many else {'': self.best_ckpt_path}
        self._saved = self._saved or any(new.values())
        best = {key: new.get(key) or path for key, path in old.items()} | {k: p for k, p in new.items() if p}
        self._set_best(best, many)
        if is_main_process():
            for path in set(filter(None, old.values())) - set(filter(None, best.values())):
                _remove(Path(path))

    def _set_best(self, paths: dict, many: bool) -> None:
        if many:
            self.best_ckpt_path_dict = dict(paths)
        else:
            (self.best_ckpt_path,) = paths.values()

    @staticmethod
    def _restore(runner: Runner, info: dict) -> None:
        runner.message_hub.runtime_info.clear()
        runner.message_hub.runtime_info.update(info)


def _says_nothing(name: str, value: object) -> bool:
    """Whether a metric has no value: NaN, or the -1 of COCO's metrics where there is no label."""
    if not isinstance(value, Real):
        return False
    return math.isnan(value) or (value == -1 and any(kind in name for kind in ('AP', 'AR')))


def _report(name: str, folder: str, error: OSError) -> str:
    reason = f'{name} could not be saved: {error.strerror or str(error).split(";")[0]}'
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f'{reason}; correct that'
    return f'{reason}, {shutil.disk_usage(folder).free / 2**20:.0f} MiB are free in {folder}; make room'


@VISBACKENDS.register_module()
class SafeLocalVisBackend(LocalVisBackend):
    """MMEngine's LocalVisBackend that a full disk does not stop."""

    def add_scalar(self, name: str, value, step: int = 0, **kwargs) -> None:
        """Write one value."""
        with suppress(OSError):
            super().add_scalar(name, value, step, **kwargs)

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs) -> None:
        """Write values."""
        with suppress(OSError):
            super().add_scalars(scalar_dict, step, file_path, **kwargs)
