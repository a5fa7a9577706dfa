"""Checks before a run starts; each error names the value, what is allowed and the next step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from ..datasets.coco_labels import refuse_deadly_mask
from .config import _datasets
from .samples import mask_pipelines


def check_settings(cfg: Config, config_path: str, *, work_dir: str | None, seed: int | None) -> None:
    """Make sure that config and options can start a run.

    Raises:
        ValueError: If the config has no model, or an option is out of range.
        FileExistsError: If the work directory is a file.
    """
    if 'model' not in cfg:
        raise ValueError(
            f'config {config_path} has no model; give it one by _base_, such as those in the folder configs'
        )
    if seed is not None and not 0 <= seed < 2**32:
        raise ValueError(f'--seed {seed} is out of range; give 0 or more, below 2**32')
    if work_dir:
        check_folder('--work-dir', work_dir)


def check_folder(option: str, path: str) -> None:
    """Raise FileExistsError if a folder to be written is a file."""
    if Path(path).is_file():
        raise FileExistsError(f'{option} {path} is a file; name a folder')


def build_data(runner: Runner, cfg: Config, splits: tuple[str, ...]) -> None:
    """Build the loops, and with them the data, now, so that what is wrong with them is found before anything runs.

    Args:
        runner: The runner.
        cfg: Its config.
        splits: Those of 'train', 'val', 'test' that are about to be used.

    Raises:
        ValueError: If annotations can't be read, a split has no samples, or a mask to compare with is none.
    """
    for split in splits:
        if cfg.get(f'{split}_dataloader') is None:
            continue
        with _named_errors(cfg, split):
            loop = getattr(runner, f'{split}_loop')
        if len(loop.dataloader.dataset) == 0:
            raise ValueError(_why_empty(cfg, split))
        _check_masks(loop, cfg, split)


def _check_masks(loop, cfg: Config, split: str) -> None:
    """The masks that results are compared with; those of training are looked at as they are read."""
    for metric in getattr(getattr(loop, 'evaluator', None), 'metrics', ()):
        coco = getattr(metric, '_coco_api', None)
        if coco is None or not ('segm' in metric.metrics or mask_pipelines(loop.dataloader.dataset)):
            continue
        for annotation in coco.anns.values():
            try:
                refuse_deadly_mask(annotation.get('segmentation'), coco.imgs.get(annotation.get('image_id'), {}))
            except ValueError as error:
                files = ' or '.join(map(str, _annotations(cfg, split)))
                raise ValueError(f'{split} data: {files}: annotation {annotation.get("id")}: {error}') from error


def _annotations(cfg: Config, split: str) -> list[Path]:
    named = [(d.get('data_root') or '', d.get('ann_file')) for d in _datasets(cfg, split)]
    return [Path(root) / name for root, name in named if isinstance(name, str) and name.endswith('.json')]


@contextmanager
def _named_errors(cfg: Config, split: str) -> Iterator[None]:
    """Say which annotation file it is that can't be read; pycocotools does not."""
    try:
        yield
    except json.JSONDecodeError as error:
        files = ' or '.join(map(str, _annotations(cfg, split)))
        reason = f'line {error.lineno}, column {error.colno}: {error.msg}'
        raise ValueError(f'{split} data: {files} is not valid JSON: {reason}; write or download it again') from error
    except ValueError as error:
        if 'need at least one array' not in str(error):  # what MMEngine makes of an empty list of samples
            raise
        raise ValueError(_why_empty(cfg, split)) from error
    except KeyError as error:
        if error.args[0] not in ('images', 'annotations', 'categories'):
            raise
        files = ' or '.join(map(str, _annotations(cfg, split)))
        wanted = 'COCO annotations have "images", "annotations" and "categories"'
        raise ValueError(f'{split} data: {files} has no "{error.args[0]}"; {wanted}') from error


def _why_empty(cfg: Config, split: str) -> str:
    for path in _annotations(cfg, split):
        content = json.loads(path.read_text(encoding='utf-8'))
        names = [category['name'] for category in content.get('categories', [])]
        classes = [name for d in _datasets(cfg, split) for name in (d.get('metainfo') or {}).get('classes', ())]
        if classes and not set(names) & set(classes):
            return (
                f'{split} data: {path} has the classes {", ".join(names[:5])}, none of which the config knows '
                f'({", ".join(classes[:5])}); set metainfo.classes of the datasets to the names in the file'
            )
    folders = [
        Path(d.get('data_root') or '', str(name)) for d in _datasets(cfg, split) for name in d.data_prefix.values()
    ]
    where = ', '.join(map(str, _annotations(cfg, split) or folders))
    return f'{split} data: {where} has no sample with labels; check data_root, ann_file, data_prefix and img_suffix'
