"""What the options of ``mmlska test`` change in a config."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict

from ..files import check_writable
from ..log import log
from ..text import shown
from .config import add_hook
from .config_parts import datasets_of, evaluators_of
from .image_reading import band_reader, each_step, image_reading, picture_reading, step_name
from .tiling import tiles_of, trains_on_tiles

_IMAGE_LOADERS = ('LoadImageFromFile', 'LoadBands')
_MAP_LOADERS = ('LoadAnnotations', 'LoadColorAnnotations')


def use_overlays(cfg: Config, folder: str) -> None:
    """Write each test image with its labels and its predictions side by side into ``folder``.

    Raises:
        ValueError: If the model is a classifier, which has nothing to draw.
    """
    if cfg.get('default_scope') in ('mmpretrain', 'mmengine'):
        raise ValueError(
            '--show-dir draws boxes and masks, which a classifier has not; --out FILE.pkl writes its predictions'
        )
    reading = image_reading(cfg) if band_reader(cfg) is None else picture_reading(cfg)
    huge = dict(skip_huge=True) if tiles_of(cfg) else {}
    add_hook(cfg, 'OverlayHook', out_dir=str(Path(folder).absolute()), **reading, **huge)


def use_predictions(cfg: Config, out: str) -> None:
    """Write the predictions of a test to ``out``.

    That is ``*.pkl`` for the raw data samples; for detection ``*.json`` for files in COCO's result format; for segmentation a folder for
    index masks as PNG. A classifier has raw data samples only.

    Raises:
        ValueError: If ``out`` is none of these, or cannot be written.
    """
    path = Path(out).absolute()
    detection = cfg.default_scope == 'mmdet'
    evaluators = evaluators_of(cfg, 'test')
    written = path
    if path.suffix == '.pkl':
        dump = 'DumpDetResults' if detection else 'DumpResults'
        evaluators = [*evaluators, dict(type=dump, out_file_path=str(path))]
    elif detection and path.suffix == '.json':
        evaluators[0].outfile_prefix = str(path.with_suffix(''))
        written = path.with_suffix('.bbox.json')
    elif cfg.default_scope == 'mmseg' and not path.suffix:
        evaluators[0].output_dir = str(path)
    else:
        others = {'mmdet': 'a .pkl or a .json file', 'mmseg': 'a .pkl file or a folder'}
        allowed = others.get(cfg.default_scope, 'a .pkl file')
        raise ValueError(f'--out {out} is not possible with this model; give {allowed}')
    try:
        check_writable(written, folder=not path.suffix)
    except OSError as error:
        raise ValueError(f'--out {shown(out)} cannot be written: {error.strerror}; name another path') from error
    cfg.test_evaluator = evaluators


def use_tta(cfg: Config) -> ConfigDict:
    """Switch the test data to test-time augmentation and return the config of the model wrapper that merges the views.

    Instance masks can't be merged by mmdet's wrapper: a detector with masks is then evaluated by its boxes.

    Raises:
        ValueError: If the config has no ``tta_model`` and ``tta_pipeline``.
    """
    if trains_on_tiles(cfg):
        raise ValueError(
            '--tta scales whole images, which a model that was trained on tiles does not know; leave --tta out'
        )
    if tiles := tiles_of(cfg):
        raise ValueError(f'--tta does not go with --tile {tiles.tile}; leave out one of them')
    if not cfg.get('tta_model') or not cfg.get('tta_pipeline'):
        raise ValueError('--tta needs tta_model and tta_pipeline in the config; see configs/_base_/datasets')
    for dataset in datasets_of(cfg, 'test'):
        dataset.pipeline = _read_alike(cfg.tta_pipeline, dataset.get('pipeline') or (), cfg.default_scope)
    roi_head = cfg.model.get('roi_head') or {}
    if roi_head.get('mask_head'):
        log('--tta merges boxes only: masks are neither predicted nor evaluated')
        roi_head.mask_head = roi_head.mask_roi_extractor = None
        for evaluator in evaluators_of(cfg, 'test'):
            if evaluator.type == 'CocoMetric':
                evaluator.metric = 'bbox'
    return cfg.tta_model


def _read_alike(views: Sequence[dict], pipeline: Sequence[dict], scope: str) -> list[dict]:
    """A pipeline of views that reads images, and label maps, as the pipeline of the test does.

    Boxes and outlines are read as the views have it: mmdet turns none in a view.
    """
    views = copy.deepcopy(list(views))
    for kinds in (_IMAGE_LOADERS, _MAP_LOADERS) if scope == 'mmseg' else (_IMAGE_LOADERS,):
        wanted = next((step for step in each_step(pipeline) if step_name(step) in kinds), None)
        for step in each_step(views) if wanted else ():
            if step_name(step) in kinds:
                step.clear()
                step.update(copy.deepcopy(wanted))
    return views


def use_validation_data(cfg: Config) -> None:
    """Test on the data of the validations.

    Raises:
        ValueError: If the config has none.
    """
    for part in ('dataloader', 'evaluator'):
        if not cfg.get(f'val_{part}'):
            raise ValueError(f"{Path(cfg.filename).name} has no val_{part}; use split='test'")
        cfg[f'test_{part}'] = cfg[f'val_{part}']
