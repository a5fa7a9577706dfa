"""Checkpoints that survive whatever happens: written whole or not at all, with a checksum, and checked before a run goes on from one."""

from __future__ import annotations

import errno
import math
import os
import re
import shlex
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from mmengine.dist import all_reduce, barrier, broadcast, is_main_process
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.registry import HOOKS, VISBACKENDS
from mmengine.runner import Runner
from mmengine.visualization import LocalVisBackend

from ..files import file_sha256, is_inside, write_atomically, write_text
from ..weights import WeightsError
from ..weights.files import read_checkpoint, read_outline
from .guards import TrainingError, bare_model
from .signals import StopRequest

INTERRUPTED = 'interrupted.pth'
_SIDECAR_BYTES = 4096  # a checksum has 64


class Interrupted(Exception):
    """A training that SIGTERM or Ctrl-C ended, after its state was saved; ``signum`` is the signal."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


class _Unfit(Exception):
    """Why a training cannot go on from a file."""


def save_whole(path: Path, write: Callable[[str], object]) -> None:
    """Call ``write(temporary name)`` and give the file its own name once all of it is on the disk, with its SHA-256 beside it.

    Raises:
        OSError: If it can't be written; an older file of that name is then untouched.
    """
    for file in (
        path,
        _sidecar(path),
    ):  # links to an archived checkpoint, say: the file that they lead to stays as it is
        if file.is_symlink():
            file.unlink()
    try:
        older = _recorded(path)[:1]
    except _Unfit:
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


def _sidecar(path: Path) -> Path:
    return path.with_name(f'{path.name}.sha256')


def _record(path: Path, digests: list[str]) -> None:
    """Write checksums in the format of ``sha256sum -c``."""
    text = ''.join(f'{digest}  {path.name}\n' for digest in digests)
    write_text(_sidecar(path), text)


def _recorded(path: Path) -> list[str]:
    """The checksums beside a checkpoint; none if there is no file with them, or an empty one."""
    file = _sidecar(path)
    if not os.path.lexists(file):
        return []
    try:
        content = _start_of(file)
    except OSError as error:
        raise _Unfit(f'{file.name} cannot be read ({error.strerror})') from error
    lines = content.decode('ascii', errors='replace').splitlines()
    digests = [line.split()[0].removeprefix('\\').lower() for line in lines if line.strip()]
    if len(content) > _SIDECAR_BYTES or not all(re.fullmatch('[0-9a-f]{64}', digest) for digest in digests):
        raise _Unfit(f'{file.name} holds no SHA-256; delete that file to have the checkpoint itself read')
    return digests


def _start_of(file: Path) -> bytes:
    if not file.is_file():
        raise OSError(errno.EINVAL, 'no regular file')
    with open(file, 'rb') as opened:
        return opened.read(_SIDECAR_BYTES + 1)


def _remove(path: Path) -> None:
    for file in (path, _sidecar(path)):
        with suppress(OSError):
            file.unlink()


def why_not_resumable(path: str | Path) -> str | None:
    """Say what is wrong with a checkpoint to go on from, or None.

    It must hold the state of a training, and match the ``.sha256`` beside it; without one all of it is read.
    """
    try:
        _progress(Path(path))
        _verify(Path(path))
    except _Unfit as error:
        return str(error)
    return None


def _progress(path: Path) -> tuple[float, int, int]:
    """How far a checkpoint is: when its training was started anew, iteration and epoch."""
    try:
        status = path.stat()
    except (OSError, RuntimeError) as error:
        raise _Unfit('it is a link that leads nowhere' if path.is_symlink() else 'it cannot be read') from error
    if not stat.S_ISREG(status.st_mode):
        raise _Unfit('it is a folder' if stat.S_ISDIR(status.st_mode) else 'it is no regular file')
    content = _read(read_outline, path)
    if not isinstance(content, dict) or not {'optimizer', 'message_hub', 'meta'} <= set(content):
        raise _Unfit('it holds weights without the state of a training')
    try:
        iteration, epoch = (content['meta'][name] for name in ('iter', 'epoch'))
        started = content['message_hub']['runtime_info'].get('run_started', 0.0)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise _Unfit('it does not say at which iteration it was saved') from error
    if not all(isinstance(number, int) and 0 <= number < 1 << 53 for number in (iteration, epoch)):
        raise _Unfit('it does not say at which iteration it was saved')
    return started if isinstance(started, float) and math.isfinite(started) else 0.0, iteration, epoch


def _verify(path: Path) -> None:
    digests = _recorded(path)
    if not digests:
        _read(read_checkpoint, path)
    elif _read(file_sha256, path) not in digests:
        raise _Unfit(f'its SHA-256 is not the one in {_sidecar(path).name}')


def _read(read: Callable, path: Path):
    try:
        return read(path)
    except WeightsError as error:
        raise _Unfit(str(error).removeprefix(f'{path} ').removesuffix('; download it again')) from error
    except OSError as error:
        raise _Unfit(f'it cannot be read ({error.strerror})') from error


def find_resumable(work_dir: str | Path) -> tuple[Path | None, list[tuple[Path, str]]]:
    """Find the checkpoint in a work directory that is furthest in the newest training there, and verifies.

    What a checkpoint holds decides; when its file was written does not.

    Returns:
        The checkpoint, or None, and those that were skipped, each with the reason.
    """
    found, skipped = [], []
    for path in sorted(Path(work_dir).glob('*.pth')):
        if path.name.startswith(('best_', 'nonfinite_', '.')):
            continue
        try:
            found.append((_progress(path), path))
        except _Unfit as error:
            skipped.append((path, str(error)))
    for _, path in sorted(found, reverse=True):
        try:
            _verify(path)
        except _Unfit as error:
            skipped.append((path, str(error)))
        else:
            return path, skipped
    return None, skipped


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's CheckpointHook that never deletes a checkpoint before its successor is on the disk.

    A checkpoint that can't be saved, for a full disk say, is reported, and the run goes on; if it was the last one, it is tried again at
    the end, and an error then says that the state is lost. A training that its settings would leave without any checkpoint saves its
    last state too. SIGTERM and Ctrl-C save
    ``interrupted.pth`` behind the current iteration and raise :class:`Interrupted`, in all processes of a training if one of them was
    signalled. Gradients that were accumulated for the next update are part of a checkpoint.
    """

    _request: StopRequest | None = None

    def before_train(self, runner: Runner) -> None:
        """Prepare the folder and listen to signals."""
        ids = runner.message_hub.runtime_info.pop(
            'keep_ckpt_ids', []
        )  # MMEngine would delete those that are too many now
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
        path = Path(self.out_dir, name)
        before, last = dict(runner.message_hub.runtime_info), self.last_ckpt
        kept, dropped = list(getattr(self, 'keep_ckpt_ids', [])), []
        if self.max_keep_ckpts > 0:
            kept = [*(s for s in kept if s != step), step]
            kept, dropped = kept[-self.max_keep_ckpts :], kept[: -self.max_keep_ckpts]
            runner.message_hub.update_info('keep_ckpt_ids', kept)
        self.last_ckpt = str(path)
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
            runner.logger.error(f'{self._failure}; the training goes on, the checkpoints before it are whole')
            self._restore(runner, before)
            self.last_ckpt = last
            return
        self._saved, self._saved_iter = True, meta['iter']
        self.keep_ckpt_ids = kept
        if is_main_process():
            for old in [self.filename_tmpl.format(s) for s in dropped] + [INTERRUPTED]:
                _remove(Path(self.out_dir, old))
            record = Path(runner.work_dir, 'last_checkpoint')
            with suppress(OSError):  # for other tools; --resume looks at the checkpoints themselves
                write_text(record, self.last_ckpt)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best:
            return
        many = len(self.key_indicators) > 1
        old = dict(self.best_ckpt_path_dict) if many else {'': self.best_ckpt_path}
        before = dict(runner.message_hub.runtime_info)
        # MMEngine would delete the old best first.
        self._set_best(dict.fromkeys(old), many)
        try:
            super()._save_best_checkpoint(runner, metrics)
        except OSError as error:
            runner.logger.error(f'{_report("the best checkpoint", self.out_dir, error)}; the training goes on')
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


def resume_command(launcher: str) -> str:
    """The command that goes on with this run."""
    arguments, skip = [], False
    for argument in sys.argv[1:]:
        if skip and not argument.startswith('-'):
            skip = False
            continue
        skip = argument == '--resume'
        if not skip and not argument.startswith('--resume='):
            arguments.append(argument)
    if launcher == 'none':
        return f'python {shlex.join([sys.argv[0], *arguments, "--resume"])}'
    return 'the same command with --resume'
