"""From a config file and command-line settings to the config that MMEngine's Runner takes.

Each function changes one thing of a :class:`mmengine.config.Config` in place; ``tools/train.py`` and ``tools/test.py`` call them in
order. Nothing here imports mmdet or mmseg: their classes are named in the configs and found by MMEngine's registry.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

import mmlska

from .config_text import SafeConfig


def search_roots() -> list[Path]:
    """Folders that relative paths of configs and data are looked up in: where the user is, then the checkout or the wheel."""
    package = Path(mmlska.__file__).resolve().parent
    checkout = package.parent
    return [Path.cwd(), checkout if (checkout / 'configs').is_dir() else package / '.mim']


def find_path(path: str | Path) -> Path | None:
    """Return ``path`` as found under one of :func:`search_roots`, or None."""
    return next((root / path for root in search_roots() if (root / path).exists()), None)


def load_config(path: str, cfg_options: dict | None = None) -> Config:
    """Read a config file, apply ``--cfg-options`` and spread its ``data_root`` over its datasets.

    Args:
        path: The file, relative to the working directory or to the repository.
        cfg_options: Settings by dotted key, as MMEngine's ``Config.merge_from_dict`` takes them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a config that MMEngine can read.
    """
    found = find_path(path)
    if found is None or not found.is_file():
        raise FileNotFoundError(f'config {path} does not exist; see the folder configs for those there are')
    if found.suffix not in ('.py', '.json', '.yml', '.yaml'):
        raise ValueError(f'config {path} is no .py, .json or .yml file; give one such as those in the folder configs')
    _check_data_variable()
    try:
        cfg = SafeConfig.of(Config.fromfile(found))
    except SyntaxError as error:
        raise ValueError(f'config {path} is not valid Python: line {error.lineno}: {error.msg}') from error
    except Exception as error:  # a config is a program and may raise anything
        raise ValueError(f'config {path} cannot be read: {type(error).__name__}: {error}; correct that line') from error
    written_root = cfg.get('data_root')
    cfg.merge_from_dict(cfg_options or {})
    _spread_data_root(cfg, written_root)
    return cfg


def _check_data_variable() -> None:
    """MMEngine puts the value of this variable into a string literal of the config as it is."""
    value = os.environ.get('MMLSKA_DATA', '')
    if not value.isprintable() or set(value) & set('\'"\\{}'):
        raise ValueError(
            f'MMLSKA_DATA={value!r} has a quote, a backslash, a brace or a control character, which no config can hold; '
            f'rename the folder or give a link to it'
        )


def _spread_data_root(cfg: Config, written_root: str | None) -> None:
    """Make the top-level ``data_root`` the one place to set it, relative to the working directory or to the repository."""
    if not cfg.get('data_root'):
        return
    found = find_path(cfg.data_root)
    # A path that does not exist is left as written, for check_data() to name.
    root = str(found) + '/' if found else cfg.data_root
    for split in ('train', 'val', 'test'):
        for dataset in _datasets(cfg, split):
            if dataset.get('data_root') == written_root:
                dataset.data_root = root
        for evaluator in _evaluators(cfg, split):
            # CocoMetric takes a whole path where the datasets take one below data_root.
            if evaluator.get('ann_file', '').startswith(written_root):
                evaluator.ann_file = root + evaluator.ann_file.removeprefix(written_root)
    cfg.data_root = root


def _datasets(cfg: Config, split: str) -> Iterator[ConfigDict]:
    """The datasets of a split, those inside wrappers such as RepeatDataset or ConcatDataset too."""
    pending = [(cfg.get(f'{split}_dataloader') or {}).get('dataset')]
    while pending:
        dataset = pending.pop()
        if dataset is None:
            continue
        inner = [dataset[key] for key in ('dataset', 'datasets') if key in dataset]
        if inner:
            pending += [d for item in inner for d in (item if isinstance(item, (list, tuple)) else [item])]
        else:
            yield dataset


def _evaluators(cfg: Config, split: str) -> list[ConfigDict]:
    evaluators = cfg.get(f'{split}_evaluator') or []
    return evaluators if isinstance(evaluators, list) else [evaluators]


def check_data(cfg: Config, splits: tuple[str, ...]) -> None:
    """Make sure that the files and folders which the datasets name exist, before anything is built.

    Args:
        cfg: A config as :func:`load_config` returns it.
        splits: Those of 'train', 'val', 'test' that are about to be used.

    Raises:
        FileNotFoundError: If one is missing; the message names the folder expected and how to get it.
    """
    for split in splits:
        for dataset in _datasets(cfg, split):
            root = Path(dataset.get('data_root') or '')
            named = [dataset.get('ann_file'), *(dataset.get('data_prefix') or {}).values()]
            for path in (root / name for name in named if isinstance(name, str) and name):
                if not path.exists():
                    how = f'; {cfg.data_help}' if cfg.get('data_help') else ''
                    raise FileNotFoundError(
                        f'{split} data not found: {path} does not exist (expected under {root.absolute()}){how}; '
                        f'data elsewhere: --cfg-options data_root=DIR, or the variable MMLSKA_DATA for the folder above it'
                    )


def use_dtype(cfg: Config, dtype: str, training: bool) -> None:
    """Compute convolutions and matrix products in fewer bits; weights, losses and what detectors do with boxes stay in float32.

    Args:
        cfg: The config.
        dtype: 'fp32', which changes nothing; 'bf16', on CPU and GPU; or 'fp16', on GPU, with loss scaling in training.
        training: Whether the config is for training.

    Raises:
        ValueError: If 'fp16' is asked for without a GPU.
    """
    if dtype == 'fp16' and not torch.cuda.is_available():
        raise ValueError('--dtype fp16 needs a GPU and there is none here; use --dtype bf16')
    if dtype == 'fp16' and training:
        cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic')
    elif dtype != 'fp32':
        # A config dumped by an earlier run has the hook already.
        others = [hook for hook in cfg.get('custom_hooks', []) if hook.get('type') != 'AutocastHook']
        cfg.custom_hooks = [*others, dict(type='AutocastHook', dtype=dtype)]


def replace_sync_bn(cfg: Config) -> None:
    """Turn SyncBN into BN in the model's config where SyncBN can't work: in one process, or without GPUs."""
    if cfg.get('launcher', 'none') != 'none' and torch.cuda.is_available():
        return
    if _replace_type(cfg.model, 'SyncBN', 'BN'):
        print_log('SyncBN needs several GPU processes: using BN', logger='current')


def _replace_type(node, old: str, new: str) -> int:
    """Replace ``type=old`` everywhere below ``node``; return how often."""
    if isinstance(node, (list, tuple)):
        return sum(_replace_type(item, old, new) for item in node)
    if not isinstance(node, dict):
        return 0
    count = sum(_replace_type(value, old, new) for value in node.values())
    if node.get('type') == old:
        node['type'] = new
        count += 1
    return count


def use_safe_parts(cfg: Config) -> None:
    """Save checkpoints whole and with a checksum, outlast a full disk, and stop at a loss that is not finite."""
    _replace_type(cfg.get('default_hooks', {}), 'CheckpointHook', 'SafeCheckpointHook')
    _replace_type(cfg.get('visualizer', {}), 'LocalVisBackend', 'SafeLocalVisBackend')
    if not any(hook.get('type') == 'LossGuardHook' for hook in cfg.get('custom_hooks', [])):
        cfg.custom_hooks = [*cfg.get('custom_hooks', []), dict(type='LossGuardHook')]


def image_reading(cfg: Config) -> dict[str, str]:
    """How the test of a config reads its images: ``color_type`` and ``imdecode_backend`` where it names them."""
    transforms = (transform for dataset in _datasets(cfg, 'test') for transform in dataset.get('pipeline', []))
    loader = next((transform for transform in transforms if transform['type'] == 'LoadImageFromFile'), {})
    return {key: loader[key] for key in ('color_type', 'imdecode_backend') if key in loader}


def use_overlays(cfg: Config, folder: str) -> None:
    """Write each test image with its labels and its predictions side by side into ``folder``.

    Raises:
        ValueError: If the model is a classifier, which has nothing to draw.
    """
    if cfg.get('default_scope') in ('mmpretrain', 'mmengine'):
        raise ValueError(
            '--show-dir draws boxes and masks, which a classifier has not; --out FILE.pkl writes its predictions'
        )
    hook = dict(type='OverlayHook', out_dir=str(Path(folder).absolute()), **image_reading(cfg))
    cfg.custom_hooks = [*cfg.get('custom_hooks', []), hook]


def use_predictions(cfg: Config, out: str) -> None:
    """Write the predictions of a test.

    Args:
        cfg: The config.
        out: ``*.pkl`` for the raw data samples; for detection ``*.json`` for files in COCO's result format; for segmentation a
            folder for index masks as PNG. A classifier has raw data samples only.

    Raises:
        ValueError: If ``out`` is none of these.
    """
    path = Path(out).absolute()
    detection = cfg.default_scope == 'mmdet'
    evaluators = _evaluators(cfg, 'test')
    if path.suffix == '.pkl':
        dump = 'DumpDetResults' if detection else 'DumpResults'
        evaluators = [*evaluators, dict(type=dump, out_file_path=str(path))]
    elif detection and path.suffix == '.json':
        evaluators[0].outfile_prefix = str(path.with_suffix(''))
    elif cfg.default_scope == 'mmseg' and not path.suffix:
        evaluators[0].output_dir = str(path)
    else:
        others = {'mmdet': 'a .pkl or a .json file', 'mmseg': 'a .pkl file or a folder'}
        allowed = others.get(cfg.default_scope, 'a .pkl file')
        raise ValueError(f'--out {out} is not possible with this model; give {allowed}')
    path.parent.mkdir(parents=True, exist_ok=True)
    cfg.test_evaluator = evaluators


def use_tta(cfg: Config) -> ConfigDict:
    """Switch the test data to test-time augmentation and return the config of the model wrapper that merges the views.

    Instance masks can't be merged by mmdet's wrapper: a detector with masks is then evaluated by its boxes.

    Raises:
        ValueError: If the config has no ``tta_model`` and ``tta_pipeline``.
    """
    if not cfg.get('tta_model') or not cfg.get('tta_pipeline'):
        raise ValueError('--tta needs tta_model and tta_pipeline in the config; see configs/_base_/datasets')
    for dataset in _datasets(cfg, 'test'):
        dataset.pipeline = cfg.tta_pipeline
    roi_head = cfg.model.get('roi_head') or {}
    if roi_head.get('mask_head'):
        print_log('--tta merges boxes only: masks are neither predicted nor evaluated', logger='current')
        roi_head.mask_head = roi_head.mask_roi_extractor = None
        cfg.test_evaluator.metric = 'bbox'
    return cfg.tta_model
