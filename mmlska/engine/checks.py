"""Checks before a run starts; each error names the value, what is allowed and the next step."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from ..datasets.coco_labels import refuse_deadly_mask
from ..image_windows import MOST_PIXELS
from ..images import MAX_PIXELS, is_image
from ..text import counted, shown
from .config import has_hook
from .config_parts import datasets_of
from .evaluator_files import check_evaluators
from .label_map_checks import check_zero_label
from .missing_files import check_files, missing_text
from .samples import mask_pipelines
from .tiling import tiles_of


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
    for split in ('train', 'val', 'test'):
        if split != 'train':
            _check_all_or_none(cfg, (f'{split}_dataloader', f'{split}_evaluator', f'{split}_cfg'))
        for name, least in (('batch_size', 1), ('num_workers', 0)):
            value = (cfg.get(f'{split}_dataloader') or {}).get(name, least)
            if type(value) is not int or value < least:
                raise ValueError(f'{split}_dataloader.{name} {shown(value)} is impossible; use {least} or more')
    if work_dir:
        check_folder('--work-dir', work_dir)


def _check_all_or_none(cfg: Config, names: tuple[str, ...]) -> None:
    off = [name for name in names if cfg.get(name) is None]
    if 0 < len(off) < len(names):
        given = ' and '.join(name for name in names if name not in off)
        none = ' '.join(f'{name}=None' for name in names)
        raise ValueError(
            f'{" and ".join(off)} {"is" if len(off) == 1 else "are"} None and {given} not; set all three to None '
            f'(--cfg-options {none}), or none of them'
        )


def check_parts(cfg: Config, split: str) -> None:
    """Make sure that a config has what MMEngine needs to train, or to test.

    Raises:
        ValueError: If it does not.
    """
    names = (f'{split}_dataloader', f'{split}_cfg', 'optim_wrapper' if split == 'train' else f'{split}_evaluator')
    if missing := [name for name in names if cfg.get(name) is None]:
        raise ValueError(
            f'the config has no {" and no ".join(missing)}, without which MMEngine cannot {split}; add them, or put a config of '
            f'`mmlska configs` into _base_'
        )


def check_config_kept(cfg: Config) -> None:
    """Make sure that the config which a run leaves in its work directory does not replace the user's own.

    Raises:
        FileExistsError: If it would. A config that an earlier run left there may be replaced.
    """
    if not cfg.filename:
        return
    own, folder = Path(cfg.filename), Path(cfg.work_dir)
    kinds = ('last_checkpoint', 'training.json', 'iter_*.pth', 'epoch_*.pth', '*/vis_data')
    left = any(True for kind in kinds for _ in folder.glob(kind))
    if (folder / own.name).resolve() == own.resolve() and not left:
        raise FileExistsError(
            f'work_dir {cfg.work_dir} is the folder of the config {own.name}, which the run would replace; give another --work-dir'
        )


def check_folder(option: str, path: str) -> None:
    """Raise FileExistsError if a folder to be written is a file."""
    if Path(path).is_file():
        raise FileExistsError(f'{option} {path} is a file; name a folder')


def check_training(cfg: Config, *, auto_scale_lr: bool, skip_bad_images: int) -> None:
    """Make sure that config and options can start a training.

    Raises:
        FileNotFoundError: As :func:`check_data`.
        ValueError: If an option is out of range or does not fit the config.
    """
    if skip_bad_images < 0:
        raise ValueError(f'--skip-bad-images {skip_bad_images} is out of range; give 0 or more')
    check_parts(cfg, 'train')
    check_data(cfg, ('train', 'val'))
    check_fsdp(cfg)
    if auto_scale_lr and 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise ValueError('--auto-scale-lr needs auto_scale_lr.base_batch_size in the config; set it with --cfg-options')


def check_data(cfg: Config, splits: tuple[str, ...]) -> None:
    """Make sure that the files and folders which the datasets of these splits name exist, before anything is built.

    Raises:
        FileNotFoundError: If one is missing; the message names the folder expected and how to get it.
        ValueError: If an evaluator compares with other labels than its data set has.
    """
    check_evaluators(cfg, splits)
    for split in splits:
        for dataset in datasets_of(cfg, split):
            root = Path(dataset.get('data_root') or '')
            prefixes = dataset.get('data_prefix') or {}
            named = {
                'ann_file': dataset.get('ann_file'),
                **{f'data_prefix.{key}': name for key, name in prefixes.items()},
            }
            for setting, name in named.items():
                if isinstance(name, str) and name and not (root / name).exists():
                    raise FileNotFoundError(missing_text(cfg, split, root, setting, name))


def check_fsdp(cfg: Config) -> None:
    """Make sure that a config with ``--fsdp`` has nothing that can't go with it.

    Raises:
        ValueError: If there is one process, the torch is too old, or the optimizer, the loss scaling or a hook needs whole weights.
    """
    if not has_hook(cfg, 'FSDPHook'):
        return
    if cfg.get('launcher', 'none') == 'none':
        raise ValueError('--fsdp needs several processes; start with tools/dist_train.sh, or leave it out')
    if cfg.optim_wrapper.optimizer.type == 'Zero1Optimizer':
        raise ValueError('--fsdp spreads the state of the optimizer too; leave out --zero1')
    if cfg.optim_wrapper.get('type') == 'AmpOptimWrapper':
        raise ValueError('--fsdp cannot train with loss scaling; use --dtype bf16 instead of fp16')
    if has_hook(cfg, 'EMAHook'):
        raise ValueError('--fsdp cannot average the weights; leave out --ema (EMAHook in custom_hooks), or use --zero1')
    if has_hook(cfg, 'ChannelsLastHook'):
        raise ValueError(
            '--fsdp cannot spread channels_last weights; leave out --channels-last (ChannelsLastHook in custom_hooks)'
        )
    if not torch.distributed.is_available() or not _has_fully_shard():
        raise ValueError(f'--fsdp needs torch 2.8 or later and this is {torch.__version__}; update it, or use --zero1')


def _has_fully_shard() -> bool:
    from torch.distributed import fsdp

    # Its FSDPModule is younger than fully_shard and younger still is this method, see FSDPHook.before_val_epoch.
    return hasattr(getattr(fsdp, 'FSDPModule', None), 'set_reshard_after_forward')


def build_data(runner: Runner, cfg: Config, splits: tuple[str, ...]) -> None:
    """Build the loops of these splits, and with them the data, now, so that what is wrong with them is found before anything runs.

    Raises:
        FileNotFoundError: If photos or label maps are missing.
        ValueError: If annotations can't be read, a split has no samples, a mask that predictions are compared with cannot be used, or
            data set and pipeline do not agree whether the label 0 is a class.
    """
    for split in splits:
        if cfg.get(f'{split}_dataloader') is None:
            continue
        with _named_errors(cfg, split):
            loop = getattr(runner, f'{split}_loop')
        if len(loop.dataloader.dataset) == 0:
            raise ValueError(_why_empty(cfg, split))
        if cfg.get('default_scope') in ('mmdet', 'mmseg'):
            dataset = loop.dataloader.dataset
            check_files(dataset, split, getattr(dataset, 'skip_bad', 0))
            check_zero_label(dataset, split)
        _check_masks(loop, cfg, split)


def _check_masks(loop, cfg: Config, split: str) -> None:
    """The masks that results are compared with; those of training are looked at as they are read."""
    most = MOST_PIXELS if tiles_of(cfg) else MAX_PIXELS
    for metric in getattr(getattr(loop, 'evaluator', None), 'metrics', ()):
        coco = getattr(metric, '_coco_api', None)
        if coco is None or not ('segm' in metric.metrics or mask_pipelines(loop.dataloader.dataset)):
            continue
        for annotation in coco.anns.values():
            try:
                refuse_deadly_mask(annotation.get('segmentation'), coco.imgs.get(annotation.get('image_id'), {}), most)
            except ValueError as error:
                what = f'{_files(cfg, split)}: annotation {annotation.get("id")}'
                raise ValueError(f'{split} data: {what}: {error}') from error


def _annotations(cfg: Config, split: str) -> list[Path]:
    named = [(d.get('data_root') or '', d.get('ann_file')) for d in datasets_of(cfg, split)]
    return [Path(root) / name for root, name in named if isinstance(name, str) and name.endswith('.json')]


def _files(cfg: Config, split: str) -> str:
    return ' or '.join(map(str, _annotations(cfg, split)))


@contextmanager
def _named_errors(cfg: Config, split: str) -> Iterator[None]:
    """Say which annotation file it is that can't be read; pycocotools does not."""
    try:
        yield
    except json.JSONDecodeError as error:
        reason = f'{_files(cfg, split)} is not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}'
        raise ValueError(f'{split} data: {reason}; write or download it again') from error
    except ValueError as error:
        if 'need at least one array' not in str(error):  # what MMEngine makes of an empty list of samples
            raise
        raise ValueError(_why_empty(cfg, split)) from error
    except KeyError as error:
        if error.args[0] not in ('images', 'annotations', 'categories'):
            raise
        wanted = 'COCO annotations have "images", "annotations" and "categories"'
        raise ValueError(f'{split} data: {_files(cfg, split)} has no "{error.args[0]}"; {wanted}') from error


def _why_empty(cfg: Config, split: str) -> str:
    for path in _annotations(cfg, split):
        content = json.loads(path.read_text(encoding='utf-8'))
        names = [category['name'] for category in content.get('categories', [])]
        classes = [name for d in datasets_of(cfg, split) for name in (d.get('metainfo') or {}).get('classes', ())]
        if classes and not set(names) & set(classes):
            return (
                f'{split} data: {path} has the classes {", ".join(names[:5])}, none of which the config knows '
                f'({", ".join(classes[:5])}); set metainfo.classes of the datasets to the names in the file'
            )
    if hint := _other_image_suffix(cfg, split):
        return f'{split} data: {hint}'
    folders = [
        Path(d.get('data_root') or '', str(name)) for d in datasets_of(cfg, split) for name in d.data_prefix.values()
    ]
    where = ', '.join(map(str, _annotations(cfg, split) or folders))
    return f'{split} data: {where} has no sample with labels; check data_root, ann_file, data_prefix and img_suffix'


def _other_image_suffix(cfg: Config, split: str) -> str | None:
    """What to say if the images of a data set of mmseg have another suffix than it looks for."""
    for dataset in datasets_of(cfg, split):
        folder = Path(dataset.get('data_root') or '', (dataset.get('data_prefix') or {}).get('img_path') or '')
        wanted = dataset.get('img_suffix')
        found = Counter(path.suffix for path in folder.glob('*') if is_image(path)) if wanted else Counter()
        if found and wanted.lstrip('.') and not any(True for _ in folder.rglob(f'*{wanted}')):
            suffix, count = found.most_common(1)[0]
            return f'img_suffix is {wanted!r} and {folder} has {counted(count, "image")} that end in {suffix}; set img_suffix={suffix!r}'
    return None
