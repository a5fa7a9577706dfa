"""What a training leaves for its report while it runs: facts of the run, its first batches, and its last validation.

Nothing here takes random numbers or changes a batch, so a training ends with the same weights with and without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..analysis.predictions import as_array, classes_of
from ..command_line import sibling
from ..engine.continuing import counts_epochs
from ..engine.resume import resume_command
from ..files import write_text
from ..images import shrink
from ..results import run_environment
from .pictures import Picture, encode, instance_map, paint, pixels_of
from .validation import ValidationRecord, bands_in_pictures

FOLDER = 'report'
#: So many batches are kept, so many images of each, with a longer side of so many pixels and at most so many bytes.
BATCHES, IMAGES_OF_BATCH, _SIDE, _BYTES = 3, 8, 400, 50_000


def _never_fails(part: str) -> Callable:
    """Make of any error of a method one warning, and of its reason a line in the report: the training continues."""

    def decorate(method: Callable) -> Callable:
        @wraps(method)
        def guarded(self: RunRecord, runner: Runner, *args: Any, **kwargs: Any) -> None:
            if not is_main_process() or part in self.facts['missing']:
                return
            try:
                method(self, runner, *args, **kwargs)
            except Exception as error:
                reason = f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'
                self.facts['missing'][part] = reason
                runner.logger.warning(f'report.html will lack its {part}: {reason}')

        return guarded

    return decorate


class RunRecord(Hook):
    """Keeps in ``work_dir/report`` what :func:`mmlska.report.page.write_report` cannot find out afterwards.

    Only the process of rank 0 does so, and an error is a warning.
    """

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self.facts: dict[str, Any] = dict(missing={})
        self._batches: dict[str, Any] = dict(batches=[])
        self._wanted = 0
        self._validation: ValidationRecord | None = None

    @_never_fails('facts')
    def before_train(self, runner: Runner) -> None:
        """Note how the run was started; forget what another training left in this work directory."""
        folder, old, before = Path(runner.work_dir, FOLDER), {}, []
        if runner.starts_anew:
            for name in ('batches.json', 'validation.npz'):
                (folder / name).unlink(missing_ok=True)
        else:
            old = read_facts(runner.work_dir)
            # Without a record, as after --no-report, all logs there are this training's.
            before = old.get('logs') or [path.parent.name for path in sorted(Path(runner.work_dir).glob('*/vis_data'))]
        epochs = counts_epochs(runner)
        self.facts |= dict(
            config=Path(runner.cfg.filename).name if runner.cfg.filename else '',
            logs=list(dict.fromkeys([*before, runner.timestamp])),
            started=old.get('started') or _now(),
            steps=dict(
                unit='epoch' if epochs else 'iteration', total=runner.max_epochs if epochs else runner.max_iters
            ),
            resume=resume_command(runner.cfg.get('launcher', 'none')),
            programs={name: sibling(name) for name in ('test', 'predict', 'export', 'report')},
            environment=run_environment(),
        )
        self._wanted = 0 if (folder / 'batches.json').is_file() else BATCHES
        self._save_facts(runner)

    @_never_fails('batches')
    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Keep one of the first batches."""
        if not self._wanted:
            return
        self._wanted -= 1
        classes, palette = classes_of(runner.train_dataloader.dataset)
        self._batches |= dict(classes=classes, palette=palette)
        self._batches.setdefault('first', runner.iter + 1)
        self._batches['batches'].append(
            [picture.plain() for picture in batch_pictures(data_batch, runner.cfg, classes, palette)]
        )
        write_text(Path(runner.work_dir, FOLDER, 'batches.json'), json.dumps(self._batches))

    @_never_fails('validation')
    def before_val_epoch(self, runner: Runner) -> None:
        """Forget the validation before."""
        dataset = runner.val_dataloader.dataset
        self._validation = ValidationRecord(dataset, runner.cfg, every=get_world_size())

    @_never_fails('validation')
    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Keep what was predicted, as far as the report needs it."""
        self._validation.add(data_batch, outputs or ())

    @_never_fails('validation')
    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write it, so that the report of a run that is stopped later has it."""
        step = runner.epoch if counts_epochs(runner) else runner.iter
        unit = self.facts.get('steps', {}).get('unit', 'step')
        self._validation.save(Path(runner.work_dir, FOLDER, 'validation.npz'), f'the validation of {unit} {step}')
        self._validation = None

    @_never_fails('facts')
    def after_train(self, runner: Runner) -> None:
        """Note that the run came to its end."""
        self.facts |= dict(finished=_now(), iterations=runner.iter)
        self._save_facts(runner)

    def _save_facts(self, runner: Runner) -> None:
        write_text(Path(runner.work_dir, FOLDER, 'run.json'), json.dumps(self.facts, indent=1))


def read_facts(work_dir: str | Path) -> dict[str, Any]:
    """What :class:`RunRecord` noted of a run; empty where there was none."""
    file = Path(work_dir, FOLDER, 'run.json')
    return json.loads(file.read_text(encoding='utf-8')) if file.is_file() else {}


def batch_pictures(batch: Any, cfg: Config, classes: Sequence[str], palette: Sequence[Sequence[int]]) -> list[Picture]:
    """The first images of a training batch as the data preprocessor gets it, with their labels.

    Raises:
        ValueError: If the batch is none of mmdet, mmseg, mmpretrain or this package's photos in memory.
    """
    if not isinstance(batch, dict) or not isinstance(batch.get('inputs'), (list, tuple, torch.Tensor)):
        raise ValueError('a batch is no dict with a list of images under inputs')
    pictures, settings = [], cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    # OpenCV's order, but for a preprocessor that expects the other one, and photos in memory.
    rgb = bool(settings.get('rgb_to_bgr')) or 'labels' in batch
    bands = bands_in_pictures(cfg)
    for number, image in enumerate(batch['inputs'][:IMAGES_OF_BATCH]):
        sample = batch['data_samples'][number] if 'data_samples' in batch else dict(label=batch['labels'][number])
        pictures.append(_labelled(pixels_of(image, rgb, bands), sample, classes, palette))
    return pictures


def _labelled(pixels: np.ndarray, sample: Any, classes: Sequence[str], palette: Sequence[Sequence[int]]) -> Picture:
    """An image, (H, W, 3) in BGR, with what its data sample says, which is a dict for photos in memory."""
    height, width = pixels.shape[:2]
    small, boxes, labels, note = shrink(pixels, _SIDE), np.zeros((0, 4)), [], ''
    if 'gt_instances' in sample:
        objects = sample.gt_instances
        boxes, labels = as_array(objects.bboxes), as_array(objects.labels).tolist()
        if boxes.shape[1:] != (4,):
            raise ValueError(f'boxes of {boxes.shape[1]} numbers are not drawn')
        if 'masks' in objects and len(labels):
            small = paint(small, instance_map(objects.masks.to_ndarray(), _SIDE), [palette[label] for label in labels])
    if 'gt_sem_seg' in sample:
        index = shrink(as_array(sample.gt_sem_seg.data)[0].astype(np.uint8), _SIDE, cv2.INTER_NEAREST)
        small = paint(small, index, palette, 0.55)
    for key in ('gt_label', 'label'):
        if key in sample:
            chosen = sample[key] if isinstance(sample, dict) else sample.gt_label
            note = ', '.join(classes[label] for label in as_array(chosen).reshape(-1).tolist())
    path = '' if isinstance(sample, dict) else sample.metainfo.get('img_path') or ''
    return Picture(Path(path).name, encode(small, _BYTES), (width, height), boxes.tolist(), labels, note=note)


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec='seconds')
