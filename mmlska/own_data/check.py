"""Check a folder or the data sets of a config: what ``mmlska check`` and ``mmlska train --check`` call."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from ..colors import pack_rgb
from ..engine.checks import check_data
from ..engine.config_parts import datasets_of, heads
from ..engine.ignored_label import ignored_label
from ..engine.image_reading import band_reader
from ..engine.input_checks import differing_readers
from ..engine.label_checks import check_labels, classes_of
from ..engine.metric_checks import check_followed_metrics
from ..engine.sample_checks import check_samples
from ..files import is_inside
from .anchors import anchor_sizes, choose_anchors
from .annotations import AnnotationFile, check_entries, check_objects
from .coco_repairs import repair_annotations
from .config_edits import first_dataset
from .folder import LEADS_OUT, find_folder, is_file, leading_out, refuse_leading_out
from .input_scale import input_scale, resized_boxes
from .label_text import read_json
from .mask_files import Labels, MaskPair
from .pixels import check_pixels
from .report import ERROR, WARNING, Report
from .sources import find_source, nothing_found
from .sources.coco import CocoSource
from .sources.masks import MaskSource
from .sources.source import Source
from .tile_advice import SMALL_OBJECTS, tile_advice


@dataclass
class Checked:
    """A report and the labels that it is about, to draw and to repair."""

    report: Report
    source: Source


def check_folder(
    folder: str,
    *,
    cfg: Config | None = None,
    palette: str | None = None,
    label_format: str | None = None,
    instances: bool = False,
    tiled: bool = False,
    keep_anchors: bool = False,
) -> Checked:
    """Check a folder of images with labels.

    Args:
        cfg: A config to compare the boxes with the anchors of, and with those that training on the folder would choose; it also says
            which kind of labels is meant where both are there.
        palette: File with names and colours of the classes of masks.
        label_format: One of :func:`mmlska.own_data.sources.format_names`; by default the first that fits.
        instances: Take the connected pieces of masks for objects.
        tiled: Training will cut tiles (``--tile``): boxes keep their own size, and tiles are not advised.
        keep_anchors: Training will leave the anchors as they are.

    Raises:
        FileNotFoundError: If the folder or the palette does not exist.
        ValueError: If there are no labels in it.
    """
    root = _folder(folder)
    scope = cfg.default_scope if cfg is not None else None
    source = find_source(root, scope, palette, label_format, instances)
    if source is None:
        refuse_leading_out(root)
        raise ValueError(nothing_found(root, scope, MaskSource.name if instances or palette else label_format))
    scale = None if cfg is None or tiled else input_scale(cfg)
    report = source.check(scale)
    if cfg is not None:
        trained = copy.deepcopy(cfg)
        if report.box_sizes and not keep_anchors:
            report.anchor_choice = choose_anchors(trained, resized_boxes(report.learned, scale))
        _compare_anchors(report, cfg, trained)
    if scope in (None, 'mmdet') and not tiled:
        advice = tile_advice([image for images in report.boxes.values() for image in images], scale)
        if advice:
            report.add(WARNING, SMALL_OBJECTS, advice)
    check_pixels(report)
    reader = None if cfg is None else band_reader(cfg)
    if (
        reader is not None
        and report.pixels
        and all(kind.is_photo and not kind.fits(reader.pixels) for kind in report.pixels)
    ):
        report.add(ERROR, f'photos, where the config reads {reader.pixels}', str(root))
    for path in leading_out(root):
        report.add(ERROR, LEADS_OUT, str(path.relative_to(root)))
    return Checked(report, source)


def _folder(folder: str) -> Path:
    root = find_folder(folder)
    if root is None:
        raise FileNotFoundError(f'{folder} is not a folder; give the one that holds the images and labels, or a config')
    return root


def check_config(cfg: Config) -> Checked:
    """Check the data sets of a config, as their own classes find them.

    Raises:
        FileNotFoundError: If an annotation file or folder is missing.
        ValueError: If the config is neither a detector's nor a segmentor's, or its classes are no list of names.
    """
    if cfg.get('default_scope') not in ('mmdet', 'mmseg'):
        raise ValueError(
            f'only the data of detectors and segmentors can be checked; the config has default_scope={cfg.get("default_scope")!r}'
        )
    init_default_scope(cfg.default_scope)
    check_data(cfg, ('train', 'val', 'test'))
    datasets = []
    for split in ('train', 'val', 'test'):
        classes_of(cfg, split)  # a text would become one class for each letter
        for dataset in datasets_of(cfg, split):
            # The files count, not what is done with them.
            built = DATASETS.build(dict(dataset, pipeline=[], lazy_init=True))
            if all((built.ann_file, built.data_prefix) != (b.ann_file, b.data_prefix) for _, b in datasets):
                datasets.append((split, built))
    root = Path(cfg.get('data_root') or '.').resolve()
    names = list(datasets[0][1].metainfo['classes'])
    if cfg.default_scope == 'mmdet':
        files = [_coco_file(split, built, root) for split, built in datasets]
        source = CocoSource(root, files, names)
        outside = []
    else:
        every = [pair for split, built in datasets for pair in _mask_pairs(split, built, root)]
        pairs = [pair for pair, inside in every if inside]
        outside = [pair for pair, inside in every if not inside]
        source = MaskSource(root, pairs, labels=_labels(cfg, datasets[0][1], names), as_is=True)
    report = source.check(input_scale(cfg))
    _compare_anchors(report, cfg)
    check_pixels(report, cfg)
    for pair in outside:
        report.add(ERROR, LEADS_OUT, f'{pair.image} or {pair.mask}')
    for path, head in heads(cfg.model):
        if head['num_classes'] != len(names):
            kind = f'num_classes unlike the {len(names)} classes of the data'
            report.add(ERROR, kind, f'{path}.num_classes={head["num_classes"]}')
    if not report.errors:  # what else a training would stop at
        try:
            check_labels(cfg, ('train', 'val'))
        except ValueError as error:
            report.add(ERROR, 'classes or ids that do not go together', str(error))
        try:
            check_followed_metrics(cfg)
        except ValueError as error:
            report.add(ERROR, 'metrics that the validation does not give', str(error))
    if not report.errors:
        _check_samples(report, cfg)
    if text := differing_readers(cfg):
        report.add(WARNING, 'photos read in two ways', text)
    return Checked(report, source)


def _check_samples(report: Report, cfg: Config) -> None:
    """Add what a training would stop at when its pipelines have read the first images."""
    loaders = {split: loader for split in ('train', 'val') if (loader := cfg.get(f'{split}_dataloader'))}
    try:
        check_samples(cfg, {split: DATASETS.build(loader.dataset) for split, loader in loaders.items()})
    except ValueError as error:
        report.add(ERROR, 'images that do not go with the model', str(error))


def _coco_file(split: str, built, root: Path) -> AnnotationFile:
    content = read_json(Path(built.ann_file))
    check_objects(Path(built.ann_file), content)
    prefix = Path(built.data_prefix.get('img') or '')
    item = AnnotationFile(Path(built.ann_file), split, content)
    names = {name for image in content['images'] if isinstance(name := image.get('file_name'), str)}
    for name in (name for name in names if is_file(prefix / name)):
        # Photos that were within label files lie beside the annotations made of these.
        if _is_in(prefix / name, (prefix, root, item.path.parent)):
            item.images[name] = prefix / name
        else:
            item.outside.add(name)
    repair_annotations(item, as_is=True)
    check_entries(item.path, content)
    return item


def _mask_pairs(split: str, built, root: Path) -> list[tuple[MaskPair, bool]]:
    """The pairs, each with whether it lies in the folders that the config names."""
    folders = [root, *(Path(built.data_prefix.get(key) or '') for key in ('img_path', 'seg_map_path'))]
    files = [(Path(info['img_path']), Path(info['seg_map_path'])) for info in built.load_data_list()]
    return [(MaskPair(image, mask, split), _is_in(image, folders) and _is_in(mask, folders)) for image, mask in files]


def _is_in(path: Path, folders: Iterable[Path]) -> bool:
    return any(is_inside(path, folder) for folder in folders)


def _labels(cfg: Config, built, names: list[str]) -> Labels:
    palette = [list(color) for color in built.metainfo['palette']]
    reader = next((t for t in first_dataset(cfg, 'train').pipeline if t.type == 'LoadColorAnnotations'), None)
    if reader is not None:
        return Labels(names, pack_rgb(reader.palette).tolist(), palette, plain=False)
    first = int(built.reduce_zero_label)
    values = list(range(first, len(names) + first))
    return Labels(names, values, palette, plain=True, reduce_zero=bool(first), ignored=ignored_label(cfg))


def _compare_anchors(report: Report, cfg: Config, trained: Config | None = None) -> None:
    """Note the anchors of a config, and warn where those, or others that training on a folder chose, are far from many boxes."""
    report.anchor_sizes = anchor_sizes(cfg)
    sizes = anchor_sizes(cfg if trained is None else trained)
    change = 'change scales of the anchor_generator or the scale of Resize'
    change = change if trained is None else 'change the scale of Resize, or train with --tile'
    if not sizes:
        return
    small = sum(size < sizes[0] / 2 for size in report.box_sizes)
    large = sum(size > sizes[-1] * 2 for size in report.box_sizes)
    for count, what, limit in ((small, 'under half the smallest', 0), (large, 'over twice the largest', -1)):
        if count > 0.1 * len(report.box_sizes):
            advice = f'{count} of {len(report.box_sizes)}; {change}'
            report.add(WARNING, f'boxes {what} anchor ({sizes[limit]:g} px)', advice)
