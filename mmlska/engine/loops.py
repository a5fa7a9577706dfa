"""Training loops of which every step can be repeated, so that a resumed run ends where an uninterrupted one would, bit for bit.

MMEngine restores weights, optimizer and schedules, but neither random numbers nor the place within an epoch. Here both follow from the
seed and the number of the iteration; nothing needs to be stored.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator

import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from ..log import log
from .continuing import note_pace
from .errors import BadSampleError, TrainingError
from .memory import memory_advice, out_of_memory
from .samples import mix_seed, seed_generators

_LOST_PEER = re.compile(r'Connection (closed|reset) by peer|Broken pipe|Application timeout|NCCL|Gloo', re.IGNORECASE)
_SECONDS_TO_SIGCHLD = 5


def _dead_workers(error: Exception) -> list[int]:
    """The data workers whose death an error tells of.

    torch's handler of SIGCHLD raises its error wherever this process happens to be: in the loader, in a step, in a hook. A batch that the
    dead worker had sent before fails at once, by its closed connection; the handler then follows, after a moment.
    """
    if not isinstance(error, RuntimeError):
        try:
            time.sleep(_SECONDS_TO_SIGCHLD)
        except RuntimeError as later:
            error = later
    died = re.search(r'DataLoader worker \(pid\(?s?\)? ([\d, ]+)\)', str(error))
    return [int(pid) for pid in died[1].replace(',', ' ').split()] if died else []


class _Steps:
    """What both loops share: seeded steps, data and errors that say what to do."""

    def run(self) -> torch.nn.Module:
        """Train.

        Raises:
            TrainingError: For what a message can help with: memory, a broken file, a data worker that died, a lost process.
        """
        note_pace(self.runner)
        try:
            return self._run()
        except (RuntimeError, ConnectionError, EOFError) as error:
            if died := _dead_workers(error):
                raise TrainingError(self._about_workers(died)) from error
            raise

    def _about_workers(self, pids: list[int]) -> str:
        files = self.dataloader.dataset.read_by(pids)
        what = f'while it read {" or ".join(files)}' if files else 'between two images (out of memory?)'
        return (
            f'a data worker (process {", ".join(map(str, pids))}) died {what}; correct or remove the file, '
            'or look for memory with train_dataloader.num_workers=0'
        )

    def run_iter(self, *args) -> None:
        """One step; its random numbers depend on seed, iteration and process only."""
        seed_generators(mix_seed(self.runner.seed, self._iter, get_rank()))
        try:
            super().run_iter(*args)
        except RuntimeError as error:
            if out_of_memory(error):
                raise TrainingError(memory_advice(self.runner, args[-1], error)) from error
            if 'does not have a deterministic implementation' in str(error):
                name = str(error).split()[0]
                raise TrainingError(
                    f'--deterministic cannot be kept: {name} has no deterministic implementation here; leave the option out'
                ) from error
            if torch.distributed.is_initialized() and _LOST_PEER.search(str(error)):
                raise TrainingError(
                    f'rank {get_rank()} lost the connection to another process at iteration {self._iter + 1}; '
                    'see the message of the one that ended first, then start again with --resume'
                ) from error
            raise

    def _batches(self, epoch: int, skip: int) -> Iterator:
        self.dataloader.batch_sampler.begin(self.runner.seed, epoch, skip)
        try:
            yield from self.dataloader
        except BadSampleError as error:
            # A data worker's error arrives with its whole traceback as text.
            raise TrainingError(re.sub(r'^\S*BadSampleError: ', '', str(error).strip().splitlines()[-1])) from error

    def _validate(self, done: int, last: int) -> None:
        """Validate if it is time to after ``done`` of ``last`` epochs or iterations, once: a resumed run may have been killed before."""
        self._decide_current_val_interval()
        hub = self.runner.message_hub
        due = done >= self.val_begin and (done % self.val_interval == 0 or done == last)
        if due and self.runner.val_loop is not None and hub.runtime_info.get('iter_validated') != self._iter:
            hub.update_info('iter_validated', self._iter)
            self.runner.val_loop.run()


@LOOPS.register_module()
class RepeatableEpochLoop(_Steps, EpochBasedTrainLoop):
    """MMEngine's EpochBasedTrainLoop, which resumes within an epoch too."""

    def _run(self) -> torch.nn.Module:
        self.runner.call_hook('before_train')
        if self._epoch and self._iter == self._epoch * len(self.dataloader):
            # A run that was killed after an epoch's checkpoint and before its validation.
            self._validate(self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate(self._epoch, self._max_epochs)
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """The rest of an epoch."""
        skip = self._iter - self._epoch * len(self.dataloader)
        if not 0 <= skip <= len(self.dataloader):
            log(
                f'iteration {self._iter} is not within epoch {self._epoch + 1}, which has {len(self.dataloader)} steps: the data, '
                'the batch size or the number of processes changed; starting with the whole epoch',
                logging.WARNING,
            )
            self._iter, skip = self._epoch * len(self.dataloader), 0
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for number, batch in enumerate(self._batches(self._epoch, skip), start=skip):
            self.run_iter(number, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class RepeatableIterLoop(_Steps, IterBasedTrainLoop):
    """MMEngine's IterBasedTrainLoop, which resumes at once: the batches seen before are not loaded again."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.dataloader_iterator = None  # never used here; some versions have started data workers for it

    def _run(self) -> torch.nn.Module:
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        if self._iter:
            self._validate(self._iter, self._max_iters)
        if self._iter < self._max_iters:
            for batch in self._batches(0, self._iter):
                self.runner.model.train()
                self.run_iter(batch)
                self._validate(self._iter, self._max_iters)
                if self._iter >= self._max_iters or self.stop_training:
                    break
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model


_LOOPS = dict(EpochBasedTrainLoop='RepeatableEpochLoop', IterBasedTrainLoop='RepeatableIterLoop')


def use_repeatable_training(cfg: Config, skip_bad_images: int = 0) -> None:
    """Put the loops and samplers of this package in the place of MMEngine's, which continue past so many images that can't be read.

    A config with a loop of its own keeps it, and resumes as MMEngine does.
    """
    train_cfg, loader = cfg.train_cfg, cfg.train_dataloader
    if 'by_epoch' in train_cfg:  # MMEngine's other way to choose the loop
        by_epoch = train_cfg.pop('by_epoch')
        train_cfg.setdefault('type', 'EpochBasedTrainLoop' if by_epoch else 'IterBasedTrainLoop')
    loop = _LOOPS.get(train_cfg.get('type'), train_cfg.get('type'))
    if loop not in _LOOPS.values():
        log(f'train_cfg.type={loop} is kept: a resumed run will not repeat the interrupted one')
        return
    train_cfg.type = loop
    inner = loader.get('batch_sampler')
    if (inner or {}).get('type') != 'ResumableBatchSampler':
        loader.batch_sampler = dict(
            type='ResumableBatchSampler',
            drop_last=loader.pop('drop_last', False),
            inner=inner,
            endless=loop == 'RepeatableIterLoop',
        )
    if loader.dataset.type != 'GuardedDataset':
        loader.dataset = dict(type='GuardedDataset', dataset=loader.dataset)
    loader.dataset.skip_bad = skip_bad_images
