"""Turn the config of a recipe into one for a user's own folder of images and labels."""

from __future__ import annotations

import json
import os
from pathlib import Path
from shlex import quote

from mmengine.config import Config
from mmengine.fileio import list_from_file

from ..files import is_inside, write_atomically, write_text
from ..images import read_header
from ..text import printable
from .adapt_config import (
    each_transform,
    leaves,
    set_datasets,
    set_evaluators,
    set_mask_reader,
    set_num_classes,
    wants_masks,
)
from .layout import choose_val, distinct_colors, refuse_leading_out, walk
from .palettes import read_palette
from .schedule import scale_schedule
from .sources import coco as coco_files
from .sources import masks as mask_files

_CLASS_FILES = ('classes.json', 'classes.txt', 'class_dict.csv', 'labelmap.txt')


def own_work_dir(config: str, data: str) -> str:
    """The default work directory of a training on one's own data, another one for each config and folder."""
    return str(Path('work_dirs') / f'{Path(config).stem}_{Path(data).resolve().name}')


def use_own_data(
    cfg: Config, data: str, *, val_fraction: float = 0.2, epochs: int | None = None, palette: str | None = None
) -> list[str]:
    """Train a config on a folder of images with COCO files (detectors) or masks (segmentors).

    Class names go into the data sets' metainfo (with that the evaluators and the visualiser know them) and their number into every
    head; the schedule is scaled. What training reads besides the images is written to ``<work_dir>/data``; the folder itself is
    never changed.

    Args:
        cfg: A config that went through :func:`mmlska.engine.launch.prepare`; changed in place.
        data: The folder.
        val_fraction: Share of the images for validation where the folder has no split of its own.
        epochs: See :func:`mmlska.own_data.schedule.scale_schedule`.
        palette: File with the names and colours of the classes, for segmentors; by default ``classes.json`` or ``classes.txt``
            in the folder.

    Returns:
        Lines to print: the summary first, then what was found odd.

    Raises:
        FileNotFoundError: If the folder, an image or the palette is missing.
        ValueError: If the folder holds nothing that the config can be trained on.
    """
    root = Path(data).expanduser().resolve()
    if not root.is_dir():
        raise FileNotFoundError(f'--data {data} is not a folder; give the one that holds the images and labels')
    if cfg.default_scope == 'mmdet':
        if palette:
            raise ValueError('--palette is for segmentors; a detector takes its classes from the COCO files')
        return _use_coco(cfg, root, val_fraction, epochs)
    if cfg.default_scope == 'mmseg':
        return _use_masks(cfg, root, val_fraction, epochs, palette)
    raise ValueError(f'--data works for detectors and segmentors; the config has default_scope={cfg.default_scope!r}')


def _use_coco(cfg: Config, root: Path, val_fraction: float, epochs: int | None) -> list[str]:
    coco = read_coco(root)
    masks = wants_masks(cfg)
    notes = [*coco.notes, *_left_out(coco)]
    if masks:
        notes += _require_masks(cfg, root, coco)
    parts, split_note = split_coco(coco, val_fraction)
    folder = Path(cfg.work_dir).absolute() / 'data'
    files = {}
    for name, part in parts.items():
        files[name] = folder / f'{name}.json'
        write_text(files[name], json.dumps(part))
    metainfo = dict(classes=tuple(coco.classes), palette=[tuple(c) for c in distinct_colors(len(coco.classes))])
    set_num_classes(cfg.model, len(coco.classes))
    set_datasets(
        cfg,
        root,
        lambda split: dict(type='CocoDataset', ann_file=str(files[split]), data_prefix=dict(img=''), metainfo=metainfo),
        parts,
    )
    for split in ('val', 'test'):
        set_evaluators(cfg, split, str(files['test' if split == 'test' and 'test' in files else 'val']))
    if not masks:
        each_transform(cfg, 'LoadAnnotations', lambda t: t.update(with_mask=False))
    if coco.ignore_orientation:
        notes.append('photos are labelled as stored: their EXIF orientation is ignored')
        each_transform(cfg, 'LoadImageFromFile', lambda t: t.update(color_type='color_ignore_orientation'))
    length = scale_schedule(cfg, _trained_images(cfg, root, parts['train']), epochs)
    counts = [len(part['images']) for part in parts.values()]
    annotations = sum(len(part['annotations']) for part in parts.values())
    return [_summary(root, counts, list(parts), coco.classes, f'{annotations} annotations', split_note, length), *notes]


def read_coco(root: Path) -> coco_files.CocoSet:
    """Find and clean the COCO files of a folder.

    Raises:
        ValueError: If there are none; the message says what is there instead. Or if something leads out of the folder.
    """
    refuse_leading_out(root)
    files = coco_files.find_coco(root)
    if files:
        return coco_files.clean(files, root)
    if any(path.suffix.lower() == '.json' for path in walk(root)):
        raise ValueError(
            f'no COCO file in {root}: its json files have no "images" and "annotations"; convert them to COCO format'
        )
    raise ValueError(
        f'no COCO file in {root}: a detector needs a .json in COCO format; a segmentor config reads folders of masks'
    )


def split_coco(coco: coco_files.CocoSet, val_fraction: float) -> tuple[dict[str, dict], str]:
    """The parts 'train', 'val' and, where the folder has one, 'test', and how they came about."""
    whole, others, note = _sides(coco.splits)
    if 'val' in others:
        return {'train': whole, **others}, note
    names = [image['file_name'] for image in whole['images']]
    chosen = choose_val(coco_files.classes_by_image(whole), names, val_fraction)
    train = coco_files.take_images(whole, set(range(len(names))) - chosen)
    val = coco_files.take_images(whole, chosen)
    return {'train': train, 'val': val, **others}, f'{val_fraction:g} of them held out by a hash of the names{note}'


def _sides(splits: dict) -> tuple:
    """What to train on, the other parts by name, and a note, from parts of which some may be missing."""
    name = next(name for name in ('train', '', 'val', 'test') if name in splits)
    others = {key: splits[key] for key in ('val', 'test') if key in splits and key != name}
    # A file of no split beside one for training may hold the same images.
    note = ', files of no split are not used' if '' in splits and name != '' else ''
    return splits[name], others, f'as the folder splits them{note}' if 'val' in others else note


def _left_out(coco: coco_files.CocoSet) -> list[str]:
    if not coco.left_out:
        return []
    reasons = ', '.join(f'{count} {reason}' for reason, count in coco.left_out.most_common())
    return [f'{sum(coco.left_out.values())} annotations left out: {reasons} (tools/check_dataset.py names them)']


def _require_masks(cfg: Config, root: Path, coco: coco_files.CocoSet) -> list[str]:
    total = sum(len(part['annotations']) for part in coco.splits.values())
    if total and not any(coco_files.has_masks(part) for part in coco.splits.values()):
        arch = cfg.model.get('backbone', {}).get('arch')
        arch = arch if arch in ('t', 's', 'b') else 't'
        raise ValueError(
            f'the {total} annotations of {root} have boxes without masks, which {cfg.model.type} needs; '
            f'train a box detector: configs/retinanet_van_lska_{arch}.py'
        )
    bare = sum(coco_files.ignore_boxes_without_mask(part) for part in coco.splits.values())
    return [f'{bare} of {total} annotations have no mask: their boxes are ignored, not learned'] if bare else []


def _trained_images(cfg: Config, root: Path, part: dict) -> int:
    """The number of images that the recipe's filter keeps."""
    rules = leaves(cfg.train_dataloader.dataset)[0].get('filter_cfg') or {}
    used = {annotation['image_id'] for annotation in part['annotations']}
    images = [i for i in part['images'] if min(i['width'], i['height']) >= rules.get('min_size', 0)]
    if rules.get('filter_empty_gt'):
        images = [image for image in images if image['id'] in used]
    if not images:
        raise ValueError(
            f'none of the {len(part["images"])} training images of {root} is left: they have no annotation or are smaller than '
            f'{rules.get("min_size", 0)} pixels; label some, or run tools/check_dataset.py {quote(str(root))}'
        )
    return len(images)


def _use_masks(cfg: Config, root: Path, val_fraction: float, epochs: int | None, palette: str | None) -> list[str]:
    pairs, labels, notes = read_masks(root, palette)
    parts, split_note = split_pairs(pairs, labels, val_fraction)
    folder = Path(cfg.work_dir).absolute() / 'data'
    metainfo = dict(classes=tuple(labels.classes), palette=labels.palette)
    datasets = {name: _seg_datasets(part, root, folder, name, labels, metainfo) for name, part in parts.items()}
    set_num_classes(cfg.model, len(labels.classes))
    set_datasets(cfg, root, datasets.__getitem__, parts)
    set_mask_reader(cfg, labels)
    if _masks_as_stored(pairs):
        notes.append('masks have the size of the photos as stored: their EXIF orientation is ignored')
        each_transform(cfg, 'LoadImageFromFile', lambda t: t.update(color_type='color_ignore_orientation'))
    for split in ('val', 'test'):  # photos of several sizes do not fit into one batch
        cfg[f'{split}_dataloader'].batch_size = 1
    length = scale_schedule(cfg, len(parts['train']), epochs)
    counts = [len(part) for part in parts.values()]
    return [
        _summary(
            root,
            counts,
            list(parts),
            labels.classes,
            'index masks' if labels.plain else 'masks by colour',
            split_note,
            length,
        ),
        *notes,
    ]


def read_masks(root: Path, palette: str | None) -> tuple[list[mask_files.MaskPair], mask_files.Labels, list[str]]:
    """Find, read and understand the masks of a folder.

    Raises:
        FileNotFoundError: If the palette is missing.
        ValueError: If there are no masks or they make no sense, or something leads out of the folder.
    """
    refuse_leading_out(root)
    pairs, alone = mask_files.find_pairs(root)
    if not pairs:
        hint = (
            'COCO files are for detectors, such as configs/mask_rcnn_van_lska_t.py'
            if any(path.suffix.lower() == '.json' for path in walk(root))
            else ('put images into images/ and masks of the same names into masks/')
        )
        raise ValueError(f'no pair of image and mask in {root}: {hint}')
    mask_files.scan(pairs)
    named_in = find_palette(root, palette)
    named = read_palette(named_in) if named_in else None
    labels = mask_files.understand(pairs, named, asked=bool(palette))
    notes = list(labels.notes)
    if alone:
        notes.append(f'{len(alone)} images have no mask and are left out, such as {alone[0].relative_to(root)}')
    wrong = [pair for pair in pairs if pair.size not in _sizes(pair)]
    if wrong:
        raise ValueError(
            f'mask {wrong[0].mask} is {wrong[0].size[0]}x{wrong[0].size[1]} and its image {_sizes(wrong[0])[0][0]}x'
            f'{_sizes(wrong[0])[0][1]}, like {len(wrong)} of {len(pairs)}; write a corrected copy: '
            f'tools/check_dataset.py {quote(str(root))} --fix NEW_DIR'
        )
    return pairs, labels, notes


def find_palette(root: Path, palette: str | None) -> Path | None:
    """The file of class names and colours: the one asked for, or one in the folder, or None."""
    if palette:
        return Path(palette)
    return next(
        (root / name for name in _CLASS_FILES if (root / name).is_file() and is_inside(root / name, root)), None
    )


def _sizes(pair: mask_files.MaskPair) -> tuple[tuple[int, int], tuple[int, int]]:
    header = read_header(pair.image)
    return header.upright, header.stored


def _masks_as_stored(pairs: list[mask_files.MaskPair]) -> bool:
    turned = [pair for pair in pairs if _sizes(pair)[0] != _sizes(pair)[1]]
    stored = [pair for pair in turned if pair.size == _sizes(pair)[1]]
    if stored and len(stored) < len(turned):
        raise ValueError(
            f'mask {stored[0].mask} fits its photo as stored, others fit theirs turned as EXIF data say; '
            f'save the photos without EXIF orientation: tools/check_dataset.py DIR --fix NEW_DIR'
        )
    return bool(stored)


def split_pairs(
    pairs: list[mask_files.MaskPair], labels: mask_files.Labels, val_fraction: float
) -> tuple[dict[str, list[mask_files.MaskPair]], str]:
    """The pairs of 'train', 'val' and, where the folder has one, 'test', and how they came about."""
    splits: dict[str, list] = {}
    for pair in pairs:
        splits.setdefault(pair.split or '', []).append(pair)
    whole, others, note = _sides(splits)
    if 'val' in others:
        return {'train': whole, **others}, note
    classes = [{c for c in mask_files.classes_in(pair, labels) if c >= 0} for pair in whole]
    chosen = choose_val(classes, ['/'.join(pair.image.parts[-3:]) for pair in whole], val_fraction)
    train = [pair for i, pair in enumerate(whole) if i not in chosen]
    val = [pair for i, pair in enumerate(whole) if i in chosen]
    return {'train': train, 'val': val, **others}, f'{val_fraction:g} of them held out by a hash of the names{note}'


def _seg_datasets(pairs, root: Path, folder: Path, name: str, labels: mask_files.Labels, metainfo: dict) -> dict:
    """A data set for each pair of folders, and the lists of names that they read."""
    groups: dict[tuple, list[str]] = {}
    for pair in pairs:
        image, mask = pair.image.relative_to(root), pair.mask.relative_to(root)
        shared = os.path.commonprefix([image.name, mask.name])
        shared = shared[: min(len(shared), len(image.stem), len(mask.stem))].rstrip()
        key = (image.parent.as_posix(), mask.parent.as_posix(), image.name[len(shared) :], mask.name[len(shared) :])
        groups.setdefault(key, []).append(shared)
    datasets = []
    for number, ((image_dir, mask_dir, image_end, mask_end), stems) in enumerate(groups.items()):
        list_file = folder / f'{name}_{number}.txt'
        _write_names(list_file, stems)
        datasets.append(
            dict(
                type='BaseSegDataset',
                ann_file=str(list_file),
                data_prefix=dict(img_path=image_dir, seg_map_path=mask_dir),
                img_suffix=image_end,
                seg_map_suffix=mask_end,
                reduce_zero_label=labels.reduce_zero,
                metainfo=metainfo,
            )
        )
    return datasets[0] if len(datasets) == 1 else dict(type='ConcatDataset', datasets=datasets)


def _write_names(file: Path, names: list[str]) -> None:
    """Write the list of names that BaseSegDataset reads: one a line, white space around it left away.

    Raises:
        ValueError: If it would read other names, which may lie in any folder.
    """

    def write(temporary: str) -> None:
        Path(temporary).write_text(''.join(f'{name}\n' for name in names), encoding='utf-8')
        if [line.strip() for line in list_from_file(temporary)] != names:
            raise ValueError('it has a line break or white space at its beginning')

    try:
        write_atomically(file, write)
    except ValueError as error:  # a name that is no Unicode is one too
        odd = next((name for name in names if name != name.strip() or not name.isprintable()), names[0])
        raise ValueError(f'file name {odd!r} cannot be listed ({error}); rename the image and its mask') from error


def _summary(root, counts, names, classes, what, split_note, length) -> str:
    # Nothing in a name moves the cursor or begins a line.
    shown = ', '.join(map(printable, classes[:12])) + (', ...' if len(classes) > 12 else '')
    sides = ', '.join(f'{count} {name}' for count, name in zip(counts, names))
    kinds = '1 class' if len(classes) == 1 else f'{len(classes)} classes'
    return f'data {root}: {sum(counts)} images, {kinds} ({shown}), {what}; {sides} ({split_note}); {length}'
