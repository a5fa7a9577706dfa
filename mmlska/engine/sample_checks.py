"""Whether a pipeline makes samples that the model can use, seen at one sample before a run starts."""

from __future__ import annotations

import random
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.runner import Runner

from ..text import printable
from .config_parts import evaluators_of
from .input_checks import check_inputs

_PACKS = dict(mmdet='PackDetInputs', mmseg='PackSegInputs')
# What detectors and metrics of mmdet read of each image that is predicted.
_RESULT_KEYS = dict(
    img_id='which tells the metric the image; leave meta_keys of PackDetInputs out, or add it to them',
    ori_shape='the size of the photo; leave meta_keys of PackDetInputs out, or add it to them',
    scale_factor='by which boxes are scaled back; give it a Resize step, and leave meta_keys of PackDetInputs out',
)


class _Failure(NamedTuple):
    """How a sample cannot be made: the kind of error and its text, and the step of the pipeline that raised it."""

    kind: str
    text: str
    step: str | None
    file_named: bool

    def is_like(self, other: _Failure) -> bool:
        """Whether the step is to blame for both and not a file: the same error, for a step that reads no file with other numbers too."""
        if None in (self.step, other.step) or self.file_named or other.file_named:
            return False
        texts = {
            failure.text if self.step.startswith('Load') else _without_numbers(failure.text)
            for failure in (self, other)
        }
        return (self.kind, self.step) == (other.kind, other.step) and len(texts) == 1


def built_datasets(runner: Runner, cfg: Config, splits: Sequence[str]) -> dict[str, Any]:
    """The data sets that a runner has built for these splits."""
    loaders = {split: getattr(runner, f'{split}_dataloader') for split in splits if cfg.get(f'{split}_dataloader')}
    return {split: loader.dataset for split, loader in loaders.items() if hasattr(loader, 'dataset')}


def check_samples(cfg: Config, datasets: Mapping[str, Any]) -> None:
    """Make sure that pipelines work, and give a detector or segmentor what it reads.

    One image is read of each data set, and two more where that fails: a step that fails on all of them alike has wrong settings, while a
    single image that cannot be used is told by its file when it is met.

    Args:
        cfg: The config.
        datasets: The built data set of each split.

    Raises:
        ValueError: If a step fails on every image tried, or samples lack what the model or its metric reads, or have other channels.
    """
    if cfg.get('default_scope') not in _PACKS:
        return
    samples = {}
    for split, dataset in datasets.items():
        if getattr(dataset, 'whole_batches', False):
            continue
        with _same_random_numbers():
            samples[split] = _first_sample(dataset, split)
        if samples[split] is not None:
            _check_sample(samples[split], cfg, split)
    check_inputs(cfg, samples)


def _first_sample(dataset: Any, split: str) -> Any:
    """A sample of a data set; None where the first image cannot be used and others can, or fail otherwise."""
    inner = (
        getattr(dataset, 'dataset', dataset) if hasattr(dataset, 'skip_bad') else dataset
    )  # without marking files as bad
    count, failures = len(dataset), []
    for index in dict.fromkeys((0, count // 2, count - 1)):
        try:
            sample = inner[index]
        except Exception as error:  # whatever a transform raises
            failures.append(_failure(error, inner, index))
            if not failures[-1].is_like(failures[0]):
                return None
        else:
            return None if failures else sample
    if len(failures) > 1:
        first = failures[0]
        raise ValueError(
            f'{split} data: the step {first.step} of the pipeline fails on every image that was tried ({first.kind}: {first.text[:200]}); '
            f'correct its settings in the pipeline of {split}_dataloader, or the order of the steps'
        )
    return None


def _failure(error: Exception, dataset: Any, index: int) -> _Failure:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    steps = [frame.f_locals.get('self') for frame in frames]
    names = [type(step).__name__ for step in steps if isinstance(step, BaseTransform)]
    text = printable(' '.join(str(error).split()))
    try:
        info = dataset.get_data_info(index)
    except Exception:  # no file can be named then
        info = {}
    files = [Path(info[key]).name for key in ('img_path', 'seg_map_path') if isinstance(info.get(key), str)]
    file_named = isinstance(error, OSError) or any(file in text for file in files)
    return _Failure(type(error).__name__, text, names[-1] if names else None, file_named)


def _without_numbers(text: str) -> str:
    return re.sub(r'\d+', '', text)


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Leave the random numbers of a run as they are without the samples that are looked at."""
    state, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002  the generator that mmcv's transforms use
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(numbers)  # noqa: NPY002


def _check_sample(sample: Any, cfg: Config, split: str) -> None:
    scope = cfg.default_scope
    place = f'the pipeline of {split}_dataloader'
    if not isinstance(sample, dict) or not {'inputs', 'data_samples'} & set(sample):  # UnreadDataset has no inputs
        raise ValueError(f"{place} does not end in {_PACKS[scope]}; add dict(type='{_PACKS[scope]}') as its last step")
    labels = sample.get('data_samples')
    if not hasattr(labels, 'metainfo') or {'detector', 'tracker', 'generator'} & set(cfg.model):
        return
    if scope == 'mmseg':
        compared = split == 'train' or any(e.get('type') == 'IoUMetric' for e in evaluators_of(cfg, split))
        # A test that only writes predictions needs no labels.
        if (
            compared
            and not {'gt_sem_seg', 'gt_depth_map'} & set(labels.keys())
            and not any(e.get('format_only') for e in evaluators_of(cfg, split))
        ):
            raise ValueError(
                f"{place} reads no masks; add dict(type='LoadAnnotations') after the step that loads the image"
            )
        return
    if split == 'train':
        _check_objects(labels, cfg.model, place)
    elif any(e.get('type') == 'CocoMetric' for e in evaluators_of(cfg, split)):
        for key, why in _RESULT_KEYS.items():
            if key not in labels.metainfo:
                raise ValueError(f'{place} gives no {key}, {why}')


def _check_objects(labels: Any, model: dict, place: str) -> None:
    """Make sure that the samples of a detector have the labels that its heads learn from."""
    found = getattr(labels, 'gt_instances', ())
    roi_head = model.get('roi_head')
    mask_head = isinstance(roi_head, dict) and roi_head.get('mask_head')
    wanted = [('bboxes', 'with_bbox=True', 'boxes')] if {'rpn_head', 'bbox_head'} & set(model) else []
    wanted += [('masks', 'with_mask=True', 'masks')] if mask_head else []
    for key, setting, what in wanted:
        if key not in found:
            every = ', '.join(setting for _, setting, _ in wanted)
            raise ValueError(
                f'{place} reads no {what}, which {model.get("type")} learns from; give its step LoadAnnotations {setting}: '
                f"dict(type='LoadAnnotations', {every})"
            )
