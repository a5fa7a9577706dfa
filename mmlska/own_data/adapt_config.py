"""Turn the config of a recipe into one for a user's own folder of images and labels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..engine.config_parts import heads
from ..engine.ignored_label import IGNORED, ignored_label, spread_ignored_label, use_ignored_label
from ..engine.tiling import training_tiles, use_tiles
from ..engine.work_dir import record_origin, recorded_options
from ..image_windows import header_of, is_huge
from ..images import MAX_PIXELS
from ..text import counted, printable
from .anchors import choose_anchors
from .command_settings import check_beside_data, places_of
from .config_edits import each_transform, first_dataset, set_datasets
from .folder import find_folder
from .input_scale import SizedBoxes, network_sizes
from .label_drawing import BACKGROUND
from .palettes import spelling
from .pixels import use_pixels
from .report import first_of
from .schedule import check_length, scale_schedule
from .sources import SOURCES, require_source
from .sources.source import TrainingLabels
from .split import split_images
from .tile_counts import tile_line, training_samples

_AS_STORED = '_ignore_orientation'
_COUNTED = 100  # detections of a class in an image that COCO's AP counts


def own_work_dir(config: str, data: str | None) -> str:
    """The default work directory of a training, of one on one's own data by the names of config and folder.

    Several may have one name; see :func:`mmlska.engine.work_dir.work_dir_for`.
    """
    folder = f'_{Path(os.path.realpath(data)).name}' if data else ''
    return str(Path('work_dirs') / f'{Path(config).stem}{folder}')


def use_own_data(
    cfg: Config,
    data: str,
    *,
    val_fraction: float = 0.2,
    epochs: int | None = None,
    palette: str | None = None,
    label_format: str | None = None,
    instances: bool = False,
    bands: Sequence[int] = (),
    tile: int | None = None,
    overlap: int | None = None,
    keep_anchors: bool = False,
    iterations: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[str]:
    """Train a config on a folder of images with labels of objects or masks; see docs/own_data.md.

    Class names go into the data sets' metainfo (with that the evaluators and the visualiser know them) and their number into every
    head; the schedule is scaled. What training reads besides the images is written to ``<work_dir>/data``; the folder itself is
    never changed.

    Args:
        cfg: A config that went through :func:`mmlska.engine.launch.prepare`; changed in place.
        data: The folder.
        val_fraction: Share of the images for validation where the folder has no split of its own.
        epochs: See :func:`mmlska.own_data.schedule.scale_schedule`.
        palette: File with the names and colours of the classes, for segmentors; by default the first of
            ``classes.json``, ``classes.txt``, ``class_dict.csv`` and ``labelmap.txt`` in the folder.
        label_format: One of :func:`mmlska.own_data.sources.format_names`, where the folder has labels in several; by default the
            first of them that fits.
        instances: Train a detector on masks: each connected piece of a class is an object.
        bands: See :func:`mmlska.own_data.pixels.use_pixels`.
        tile: Train and evaluate on tiles of this side; see :func:`mmlska.engine.tiling.use_tiles`. None as the config does.
        overlap: Pixels that neighbouring tiles share; by default an eighth.
        keep_anchors: Leave the anchors of a detector as the config has them; by default they are chosen by the training objects, see
            :func:`mmlska.own_data.anchors.choose_anchors`.
        iterations: See :func:`mmlska.own_data.schedule.scale_schedule`.
        settings: What the user set in ``cfg`` by dotted key, which stays; see :mod:`mmlska.own_data.command_settings`.

    Returns:
        Lines to print: the summary first, then what was found odd.

    Raises:
        FileNotFoundError: If the folder, an image or the palette is missing.
        ValueError: If the folder holds nothing that the config can be trained on, a setting says something else of the data, or the config
            has no ``train_dataloader``.
    """
    root = find_folder(data)
    if root is None:
        raise FileNotFoundError(f'--data {data} is not a folder; give the one that holds the images and labels')
    scope = cfg.default_scope
    if scope not in {kind.scope for kind in SOURCES}:
        raise ValueError(f'--data works for detectors and segmentors; the config has default_scope={scope!r}')
    if palette and scope == 'mmdet' and not instances:
        raise ValueError(
            '--palette is for segmentors; a detector takes its classes from the labels, or, with --instances, from masks'
        )
    tiles = training_tiles(cfg, tile, overlap)
    source = require_source(root, scope, palette, label_format, instances)
    labels = source.read()
    notes = [*labels.adapt(cfg), *labels.notes]
    notes += source.other_formats()
    notes += _use_orientation(cfg, labels.as_stored)
    parts, split_note = split_images(labels, val_fraction)
    trained = labels.trained(cfg, parts['train'])
    seen = set().union(*map(labels.classes_in, parts['train']))
    # Outlines leave pixels of no object, of which this does not know.
    never = [name for i, name in enumerate(labels.classes) if i not in seen and spelling(name) != BACKGROUND]
    if never:
        notes.append(f'{counted(len(never), "class has", "classes have")} no label to train on: {first_of(never)}')
    files = {split: [labels.path_of(image) for image in images] for split, images in parts.items()}
    if not tiles or scope == 'mmseg':
        _refuse_huge(files, scope)
    notes += use_pixels(cfg, files, bands, bool(labels.as_stored))
    first_dataset(cfg, 'train')
    check_beside_data(cfg, settings, data, labels.classes)
    check_length(cfg, epochs)
    if scope == 'mmseg':
        notes += _use_ignored_label(cfg, labels, [image for images in parts.values() for image in images])
    if any(len(boxes) for _, boxes in labels.boxes(parts['train'])):
        _refuse_unlabelled(labels.boxes(parts.get('val', [])), data)
    folder = (
        Path(cfg.work_dir).absolute() / 'data'
    )  # what cannot be trained was refused above: from here on files are written
    # Before them, so that they are known for copies; the new options are recorded when all has been checked.
    record_origin(cfg, recorded_options(cfg.work_dir), data)
    datasets = {split: labels.write(folder, split, images) for split, images in parts.items()}
    set_datasets(cfg, root, datasets, dict(classes=tuple(labels.classes), palette=labels.palette))
    spread_ignored_label(cfg)  # data sets and readers of masks are new
    if tiles:
        notes += use_tiles(cfg, tiles)
        built = training_samples(cfg)
        trained, notes = len(built), [*tile_line(built), *notes]
    boxes = [] if keep_anchors else labels.boxes(parts['train'])
    if boxes and (chosen := choose_anchors(cfg, network_sizes(cfg, boxes))):
        notes.append(chosen)
    notes += _too_many_objects(labels.boxes(parts.get('val', [])))
    unused = [split for split in parts if not cfg.get(f'{split}_dataloader')]
    notes += [
        f'the config has no {split}_dataloader: {len(parts[split])} {split} images are not used' for split in unused
    ]
    for _, head in heads(cfg.model):
        head['num_classes'] = len(labels.classes)
    length = scale_schedule(cfg, trained, epochs, iterations, places_of(settings))
    sides = ', '.join(f'{len(images)} {split}' for split, images in parts.items())
    every = [image for images in parts.values() for image in images]
    # Nothing in a name moves the cursor or begins a line.
    shown = ', '.join(map(printable, labels.classes[:12])) + (', ...' if len(labels.classes) > 12 else '')
    kinds = counted(len(labels.classes), 'class', 'classes')
    held = f'{len(every)} images, {kinds} ({shown}), {labels.describe(every)}'
    return [f'data {root}: {held}; {sides} ({split_note}); {length}; format {source.name}', *notes]


def _use_orientation(cfg: Config, as_stored: bool | None) -> list[str]:
    """Let every pipeline turn photos as their EXIF data say, or not, as the labels count; None where these do not tell."""
    changed = []

    def change(loader: dict) -> None:
        before = loader.get('color_type', 'color')
        plain = before.removesuffix(_AS_STORED)
        wanted = plain + _AS_STORED if as_stored and plain in ('color', 'grayscale') else before if as_stored else plain
        if wanted != before:
            loader['color_type'] = wanted
            changed.append(before)

    if as_stored is not None:
        each_transform(cfg, 'LoadImageFromFile', change)
    if as_stored:
        return ['photos are labelled as stored: their EXIF orientation is ignored']
    return ['photos are turned as their EXIF data say, as the labels count so'] if changed else []


def _use_ignored_label(cfg: Config, labels: TrainingLabels, images: list) -> list[str]:
    """Let the heads ignore what means no label in these masks; a line where the config has another label for it.

    A head that ignores one of the classes does not learn that class, and goes on so.

    Raises:
        ValueError: If there are pixels without a label beside such a class.
    """
    label = ignored_label(cfg)
    if label == IGNORED:
        return []
    known = [len(labels.classes), *(head['num_classes'] for place, head in heads(cfg.model) if 'decode_head' in place)]
    if not 0 <= label < min(known):
        use_ignored_label(cfg, IGNORED, label)
        return [f'ignore_index={IGNORED} in the heads (config: {label}): it means no label in these masks']
    if labels.has_unlabelled(images):
        places = [place for place, head in heads(cfg.model) if head.get('ignore_index') == label]
        fix = ' '.join(f'{place}.ignore_index={IGNORED}' for place in places)
        raise ValueError(
            f'model.decode_head.ignore_index={label} is the class {printable(labels.classes[label])}, and the masks have pixels without a '
            f'label as well; give these the class too, or set --cfg-options {fix}'
        )
    return [f'the class {printable(labels.classes[label])} is not learned (ignore_index={label})']


def _too_many_objects(images: Sequence[SizedBoxes]) -> list[str]:
    """A line where COCO's box AP does not count all of the objects."""
    count = sum(len(boxes) > _COUNTED for _, boxes in images)
    some = f'{counted(count, "validation image has", "validation images have")} more than {_COUNTED} objects'
    return [f'{some}: box and mask AP count {_COUNTED} of a class in an image, AP50 1000'] if count else []


def _refuse_unlabelled(validated: Sequence[SizedBoxes], data: str) -> None:
    """Raise ValueError where objects are boxes and no image for validation has one: every metric would be -1."""
    if validated and not any(len(boxes) for _, boxes in validated):
        raise ValueError(
            f'--data {data}: none of the {counted(len(validated), "image")} for validation has a label, so every metric would be -1; '
            'label some of them, or hold out other images by --val-fraction'
        )


def _refuse_huge(files: Mapping[str, Sequence[Path]], scope: str) -> None:
    """Raise ValueError for images that are not read at once."""
    huge = [path for paths in files.values() for path in paths if is_huge(header_of(path))]
    if huge:
        fix = 'train on tiles of them, such as --tile 640'
        if scope == 'mmseg':
            fix = 'cut them up, as label maps are read whole even for tiles'
        raise ValueError(
            f'{counted(len(huge), "image")} of more than {MAX_PIXELS / 1e6:.3g} million pixels, which are not read at once: '
            f'{first_of([path.name for path in huge])}; {fix}'
        )
