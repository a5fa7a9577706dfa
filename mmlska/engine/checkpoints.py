"""Checkpoints that survive whatever happens: written whole or not at all, with a checksum, and checked before a run goes on from one."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

import torch
from mmengine.dist import all_reduce, barrier, is_main_process
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.registry import HOOKS, VISBACKENDS
from mmengine.runner import Runner
from mmengine.visualization import LocalVisBackend

from ..weights import WeightsError
from ..weights.files import file_sha256, read_checkpoint, write_atomically
from .guards import bare_model
from .signals import StopRequest

INTERRUPTED = 'interrupted.pth'


class Interrupted(Exception):
    """A training that SIGTERM or Ctrl-C ended, after its state was saved; ``signum`` is the signal."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


def put_in_place(temporary: Path, path: Path) -> None:
    """Give a checkpoint that was written under another name its own, once all of it is on the disk, with its SHA-256 beside it."""
    _sync(temporary)
    digest, older = file_sha256(temporary), _recorded(path)
    # Until the rename below the older file of that name counts, after it the new one: both are good.
    _record(path, [digest, *older[:1]])
    os.replace(temporary, path)
    _sync(path.parent)
    if older:
        _record(path, [digest])


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
    write_atomically(_sidecar(path), lambda temporary: Path(temporary).write_text(text))


def _recorded(path: Path) -> list[str]:
    file = _sidecar(path)
    return [line.split()[0] for line in file.read_text().splitlines() if line.strip()] if file.is_file() else []


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _sidecar(path).unlink(missing_ok=True)


def why_not_resumable(path: str | Path) -> str | None:
    """Say what is wrong with a checkpoint to go on from, or None.

    A file with a ``.sha256`` beside it must match that; any other is read, and must hold the state of an optimizer.
    """
    path = Path(path)
    digests = _recorded(path)
    if digests:
        return None if file_sha256(path) in digests else f'its SHA-256 is not the one in {_sidecar(path).name}'
    try:
        content = read_checkpoint(path).content
    except (WeightsError, OSError) as error:
        return str(error).removeprefix(f'{path} ').removesuffix('; download it again')
    if not isinstance(content, dict) or not {'optimizer', 'message_hub', 'meta'} <= set(content):
        return 'it holds weights without the state of a training'
    return None


def find_resumable(work_dir: str | Path) -> tuple[Path | None, list[tuple[Path, str]]]:
    """Find the newest checkpoint in a work directory that verifies.

    Returns:
        The checkpoint, or None, and those newer ones that were skipped, each with the reason.
    """
    files = [p for p in Path(work_dir).glob('*.pth') if not p.name.startswith(('best_', 'nonfinite_', '.'))]
    skipped = []
    for path in sorted(files, key=lambda p: (p.stat().st_mtime_ns, p.name), reverse=True):
        reason = why_not_resumable(path)
        if reason is None:
            return path, skipped
        skipped.append((path, reason))
    return None, skipped


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's CheckpointHook that never deletes a checkpoint before its successor is on the disk.

    A checkpoint that can't be saved, for a full disk say, is reported, and the run goes on. SIGTERM and Ctrl-C save
    ``interrupted.pth`` behind the current iteration and raise :class:`Interrupted`, in all processes of a training if one of them was
    signalled. Gradients that were accumulated for the next update are part of a checkpoint.
    """

    _request: StopRequest | None = None

    def before_train(self, runner: Runner) -> None:
        """Prepare the folder and listen to signals."""
        super().before_train(runner)
        if is_main_process():
            for leftover in Path(self.out_dir).glob('.*.pth.tmp'):
                leftover.unlink()
        self._request = StopRequest()

    def after_train(self, runner: Runner) -> None:
        """Let signals end the process again."""
        super().after_train(runner)
        StopRequest.release()

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
            runner.logger.error(f'{_report(name, self.out_dir, error)}; the training goes on')
            self._restore(runner, before)
            self.last_ckpt = last
            return
        self.keep_ckpt_ids = kept
        if is_main_process():
            for old in [self.filename_tmpl.format(s) for s in dropped] + [INTERRUPTED]:
                _remove(Path(self.out_dir, old))
            record = Path(runner.work_dir, 'last_checkpoint')
            with suppress(OSError):  # for other tools; --resume looks at the checkpoints themselves
                write_atomically(record, lambda temporary: Path(temporary).write_text(self.last_ckpt))

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
    free = shutil.disk_usage(folder).free / 2**20
    return (
        f'{name} could not be saved: {error.strerror or error}, {free:.0f} MiB are free in {folder}; make room, '
        'the checkpoints before it are whole'
    )


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
