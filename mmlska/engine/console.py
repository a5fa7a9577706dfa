"""What a person sees of a training or test: its data, what differs from the recipe, progress, and a row for each validation.

The log file of the run has all that MMEngine logs; see :func:`calm`.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Iterator, Sequence
from numbers import Real
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.logging.logger import MMFormatter
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from rich.progress import BarColumn, Progress, TextColumn

from ..chatter import WARNINGS, WithoutChatter
from ..metric_names import in_percent
from ..text import counted, printable, shown
from .config_parts import datasets_of, leaves, setting_at
from .continuing import counts_epochs, passes
from .inheritance import READ, base_settings, is_own, source_of
from .tiling import tiles_of, trains_on_tiles

# Without a terminal, a line is written after a tenth of the run, but at least every five minutes and at most every ten seconds.
_SHARE, _LONGEST, _SHORTEST = 0.1, 300, 10
# Settings that are not told as different: where things are, what the data tell, how it is logged, and what mmlska sets in every run.
_UNTOLD = (
    'work_dir',
    'launcher',
    'env_cfg',
    'default_hooks',
    'log_',
    'custom_',
    'metainfo',
    'visualizer',
    'vis_backends',
    'tta_',
    'test_',
    'val_cfg',
    'data_root',
    'data_help',
)
_UNTOLD_PARTS = ('.dataset', '.sampler', '_evaluator', 'meta_keys', 'by_epoch', 'convert_to_iter_based')
_MOST_SETTINGS = 10
# mmdet's words, as an error, for a validation without a detection.
_NOTHING_FOUND = 'The testing results of the whole dataset is empty'
# How MMEngine begins to list every tensor that a checkpoint lacks.
_UNLIKE_TENSORS = 'The model and loaded state dict do not match exactly'


def calm(logger: MMLogger, *, tables: bool = False) -> None:
    """Make the console show warnings and mmlska's own lines of a logger, without times; its files keep everything.

    Args:
        logger: Its handlers change.
        tables: Show the tables of evaluators too, which have a row for each class.
    """
    for handler in logger.handlers:
        # A file is a stream too, and other handlers are somebody else's.
        if type(handler) is logging.StreamHandler and isinstance(handler.formatter, MMFormatter):
            handler.setStream(_CurrentStdout())
            handler.setFormatter(_Plain())
            handler.addFilter(lambda record: _is_shown(record, tables))


class _CurrentStdout:
    """Where print() writes at that time: a progress bar replaces sys.stdout, to write above itself."""

    def write(self, text: str) -> None:
        sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = f'{record.levelname.lower()}: ' if record.levelno >= logging.WARNING else ''
        message = record.getMessage()
        if message.startswith(_NOTHING_FOUND):
            return 'warning: no object was found in any image, so there is no AP; a model of so few iterations may find none yet'
        if message.startswith(_UNLIKE_TENSORS):
            message = f'{_UNLIKE_TENSORS}; the log file names the tensors'
        return f'{level}{message}'


def _is_shown(record: logging.LogRecord, tables: bool) -> bool:
    message = record.getMessage()
    if record.levelno >= logging.WARNING:
        return not message.startswith(WARNINGS)
    return getattr(record, 'for_console', False) or (tables and message.startswith('\n+-'))


def data_line(runner: Runner, splits: Sequence[str]) -> str:
    """What the built data loaders of a runner have: 'data: 8 images to train on, 5 classes (circle, ...), in DIR'."""
    words = dict(train='to train on', val='to validate on', test='to test on')
    used = [split for split in splits if runner.cfg.get(f'{split}_dataloader')]
    loaders = {split: getattr(runner, f'{split}_dataloader') for split in used}
    datasets = {split: loader.dataset for split, loader in loaders.items() if hasattr(loader, 'dataset')}
    units = dict(train='tile' if trains_on_tiles(runner.cfg) else 'image')
    tiles = tiles_of(runner.cfg)
    how = dict.fromkeys(('val', 'test'), f' in {tiles}' if tiles else '')
    parts = [
        f'{counted(len(data), units.get(split, "image"))} {words[split]}{how.get(split, "")}'
        for split, data in datasets.items()
    ]
    for dataset in list(datasets.values())[:1]:
        classes = (getattr(dataset, 'metainfo', None) or {}).get('classes') or ()
        names = ', '.join(str(name) for name in classes[:6]) + (', ...' if len(classes) > 6 else '')
        parts += [f'{counted(len(classes), "class", "classes")} ({names})'] if classes else []
    roots = dict.fromkeys(d.get('data_root') for split in datasets for d in datasets_of(runner.cfg, split))
    folders = [printable(str(root)) for root in roots if root]
    parts += ['in ' + ' and '.join(folders)] if folders else []
    return 'data: ' + ', '.join(parts)


def changed_settings(cfg: Config, only: str = '') -> list[str]:
    """The settings of a config that differ from its recipe, as lines to print; data and folders left out.

    The recipe is the config that comes with the package or has no ``_base_``; else what the files in its ``_base_`` set.

    Args:
        cfg: A config of a file.
        only: What the keys of the settings to tell begin with.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), 'recipe.py')
        >>> _ = file.write_text('optim_wrapper = dict(optimizer=dict(lr=1e-4))')
        >>> cfg = Config.fromfile(file)
        >>> cfg.optim_wrapper.optimizer.lr = 2e-4
        >>> changed_settings(cfg)
        ['setting: optim_wrapper.optimizer.lr=0.0002 (recipe: 0.0001)']
    """
    if not cfg.filename or not Path(cfg.filename).is_file():
        return []
    file = Path(cfg.filename)
    written, base = Config.fromfile(file), base_settings(source_of(file)) if is_own(file) else None
    now = dict(leaves('', cfg.to_dict()))
    recipes = [(recipe, dict(leaves('', recipe.to_dict()))) for recipe in (written, base) if recipe is not None]
    # What the command line changes comes first.
    changed = {
        key: f'setting: {_said(cfg, key, now)} (recipe: {_in_recipe(*recipes[-1], key)})'
        for _, recipe in recipes
        for key in dict.fromkeys((*now, *recipe))
        if key.startswith(only)
        and _is_told(key)
        and _unless_off(now.get(key)) != _unless_off(recipe.get(key))
        # One line for a dict in the place of a value, and for a value in the place of a dict.
        and not any(above in recipe or above in now for above in _above(key))
        # Said by replace_sync_bn() already.
        and (recipe.get(key), now.get(key)) != ('SyncBN', 'BN')
    }
    lines, rest = list(changed.values()), len(changed) - _MOST_SETTINGS
    return lines if rest <= 0 else [*lines[:_MOST_SETTINGS], f'and {rest} more settings; the log file has the config']


def _said(cfg: Config, key: str, leaves: dict) -> str:
    """A setting as a line has it; one that the config does not have is left to its class."""
    value = setting_at(cfg, key)
    return f'{key}={shown(value)}' if key in leaves or value is not None else f'{key} left out'


def _in_recipe(recipe: Config, leaves: dict, key: str) -> str:
    value = setting_at(recipe, key)
    return shown(value) if key in leaves or value is not None else 'not set'


def _above(key: str) -> Iterator[str]:
    """The dotted keys of the parts that a setting is in."""
    while '.' in key:
        key = key.rpartition('.')[0]
        yield key


def _is_told(key: str) -> bool:
    return (
        key.partition('.')[0] in READ and not key.startswith(_UNTOLD) and not any(part in key for part in _UNTOLD_PARTS)
    )


def _unless_off(value: object) -> object:
    return None if value is False else value  # False is what is not set


@HOOKS.register_module()
class ConsoleHook(Hook):
    """Show how far a run is, in a bar or, without a terminal, in lines, and a table with a row for each validation.

    With this hook in its config a SafeRunner also keeps MMEngine's log lines from the console, see :func:`calm`.
    """

    priority = 'VERY_LOW'  # after the hooks that count and time

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._started = self._told = 0.0
        self._images = 0
        self._columns: list[str] = []

    def before_train(self, runner: Runner) -> None:
        """Start the bar."""
        self._start(runner.max_iters)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Show the loss, the learning rate, the speed and the time left."""
        done, total, hub = runner.iter + 1, runner.max_iters, runner.message_hub
        name = _epoch_of(runner)
        parts = [f'loss {hub.get_scalar("train/loss").mean(20):.4g}'] if 'train/loss' in hub.log_scalars else []
        parts += [f'lr {hub.get_scalar("train/lr").current():.2g}'] if 'train/lr' in hub.log_scalars else []
        self._show(name, done, total, data_batch, hub.get_scalar('train/time').mean(20), hub.get_info('eta', 0), parts)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Show how far a validation is."""
        if self._bar:
            self._bar.update(0, description=f'validation {batch_idx + 1}/{len(runner.val_dataloader)}')

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Write the row of a validation."""
        step = dict(epoch=runner.epoch) if counts_epochs(runner) else _passes_done(runner) | dict(iteration=runner.iter)
        if metrics:
            self._row(step | in_percent(metrics))

    def after_train(self, runner: Runner) -> None:
        """End the bar."""
        self.close()

    def before_test_epoch(self, runner: Runner) -> None:
        """Start the bar."""
        self._start(len(runner.test_dataloader))

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Show how far a test is."""
        hub, total = runner.message_hub, len(runner.test_dataloader)
        self._show(
            'test', batch_idx + 1, total, data_batch, hub.get_scalar('test/time').mean(20), hub.get_info('eta', 0)
        )

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Write the metrics of a test."""
        self.close()
        self._columns = []
        metrics = metrics or {}
        self._row(in_percent(metrics))
        if is_main_process() and metrics:  # not where labels are absent
            print('  '.join(f'{key}: {value:.4g}' for key, value in metrics.items() if isinstance(value, Real)))

    def close(self) -> None:
        """Take the bar from the screen; a run that stops early needs this too."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _start(self, total: int) -> None:
        self._started = self._told = time.monotonic()
        if is_main_process() and sys.stdout.isatty():
            columns = ('{task.description}', BarColumn(), '{task.completed}/{task.total}', '{task.fields[state]}')
            columns = [TextColumn(column) if isinstance(column, str) else column for column in columns]
            self._bar = Progress(*columns)
            self._bar.add_task('start', total=total, state='')
            self._bar.start()
            sys.stdout = WithoutChatter(sys.stdout)  # which is the bar's until it stops

    def _show(self, name, done, total, data_batch, seconds, left, parts=()) -> None:
        images = len(data_batch['inputs']) if isinstance(data_batch, dict) and 'inputs' in data_batch else 0
        speed = [f'{images * get_world_size() / seconds:.3g} images/s'] if images and seconds else []
        memory = [f'{torch.cuda.max_memory_allocated() / 2**30:.1f} GB'] if torch.cuda.is_available() else []
        state = '  '.join([*parts, *speed, *memory, f'{_clock(left)} left'])
        if self._bar:
            self._bar.update(0, completed=done, description=name, state=state)
        elif is_main_process():
            now = time.monotonic()
            pause = min(max(_SHARE * (now - self._started) * total / done, _SHORTEST), _LONGEST)
            if now - self._told >= pause:
                self._told = now
                print(f'{name}  {done}/{total}  {state}', flush=True)

    def _row(self, values: dict) -> None:
        if not values or not is_main_process():
            return
        if list(values) != self._columns:
            self._columns = list(values)
            print('  '.join(f'{name:>{_width(name)}}' for name in self._columns))
        cells = (str(value) if isinstance(value, int) else f'{value:.4g}' for value in values.values())
        print('  '.join(f'{cell:>{_width(name)}}' for name, cell in zip(self._columns, cells)), flush=True)


def _epoch_of(runner: Runner) -> str:
    """The pass over the data that a training is in, of all its passes; 'training' where that is not known."""
    if counts_epochs(runner):
        return f'epoch {runner.epoch + 1}/{runner.max_epochs}'
    now, last = (passes(runner, count) for count in (runner.iter, runner.max_iters))
    return f'epoch {int(now) + 1}/{math.ceil(last)}' if last else 'training'


def _passes_done(runner: Runner) -> dict[str, float]:
    done = passes(runner, runner.iter)
    return {} if done is None else dict(epoch=int(done) if done == int(done) else round(done, 2))


def _width(name: str) -> int:
    return max(len(name), 7)


def _clock(seconds: float) -> str:
    """Seconds as people read them.

    Example:
        >>> _clock(59.6), _clock(3725)
        ('1:00', '1:02:05')
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02}:{seconds:02}' if hours else f'{minutes}:{seconds:02}'
