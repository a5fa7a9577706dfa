"""What a config's own data sets have wrong, said before a training that reads them as they are: MMDetection looks at none of it.

``mmlska check CONFIG`` looks at all of it and calls it errors. Here some of the photos are looked at, and none is decoded.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from ..datasets.coco_labels import has_size, problem
from ..engine.config_parts import datasets_of
from ..engine.label_checks import read_coco
from ..image_windows import MOST_PIXELS, header_of
from ..images import Header, spread
from ..text import counted, printable
from .annotations import (
    AnnotationFile,
    check_entries,
    check_objects,
    is_resized,
    labelled_as_stored,
    photo_header,
    said_size,
)
from .coco_repairs import repair_annotations
from .folder import is_file
from .label_reach import note_reach
from .photo_identity import photo_names
from .repeated_objects import count_once
from .report import first_of

_LOOKED_AT = 500  # photos of an annotation file
_MASKS = 50
_COMPARED = 20000  # photos, of which the files are compared besides the names


def config_doubts(cfg: Config) -> list[str]:
    """Lines on the data of a config that is trained as it is; none on what cannot be read, which the data set names itself."""
    if cfg.get('default_scope') not in ('mmdet', 'mmseg'):
        return []
    read = _of_detector if cfg.default_scope == 'mmdet' else _of_segmentor
    sides: dict[str, dict[Path, None]] = {}
    lines: list[str] = []
    for split in ('train', 'val'):
        try:
            sides[split] = read(cfg, split, lines)
        except Exception:  # whatever a data set makes of its files: building it names what is wrong
            sides[split] = {}
    return [*_on_both_sides(*sides.values()), *lines]


def _on_both_sides(train: dict[Path, None], val: dict[Path, None]) -> list[str]:
    both = [*train, *val]
    known = photo_names(both) if len(both) <= _COMPARED else {path: path for path in both}
    learned = {known[path] for path in train}
    found = [path.name for path in val if known[path] in learned]
    if not found:
        return []
    what = (
        f'{len(found)} of {len(val)} validation photos are training photos too, by file or content: {first_of(found)}'
    )
    return [f'warning: {what}; results are better than they will be on new photos']


def _of_detector(cfg: Config, split: str, lines: list[str]) -> dict[Path, None]:
    """The photos of a split; what is wrong with its annotations goes into ``lines``."""
    photos, seen = {}, set()
    for dataset in datasets_of(cfg, split):
        if dataset.get('type') != 'CocoDataset' or not isinstance(dataset.get('ann_file'), str):
            continue
        root = dataset.get('data_root') or ''
        path, folder = Path(root, dataset.ann_file), Path(root, (dataset.get('data_prefix') or {}).get('img') or '')
        if (path, folder) in seen:
            continue
        seen.add((path, folder))
        content = read_coco(path)
        if not {'images', 'annotations', 'categories'} <= content.keys():  # a file that is too large to be read twice
            continue
        check_objects(path, content)
        every = [image for image in content['images'] if isinstance(image.get('file_name'), str)]
        photos.update(dict.fromkeys(Path(os.path.normpath(folder / image['file_name'])) for image in every))
        item = AnnotationFile(path, split, _part(content))
        for image in item.content['images']:
            name = image.get('file_name')
            if isinstance(name, str) and is_file(folder / name):
                item.images[name] = folder / name
        lines += [f'warning: {split} data: {path}: {line}' for line in _of_file(item, str(cfg.filename or 'CONFIG'))]
    return photos


def _part(content: dict) -> dict:
    """A COCO file with some of its images, their annotations and those of no image."""
    images = spread(content['images'], _LOOKED_AT)
    kept = {image.get('id') for image in images}
    rest = {image.get('id') for image in content['images']} - kept
    annotations = [annotation for annotation in content['annotations'] if annotation.get('image_id') not in rest]
    return {**content, 'images': images, 'annotations': annotations}


def _of_file(item: AnnotationFile, config: str) -> Iterator[str]:
    sizes = [(image, header) for image in item.content['images'] if (header := _header(item, image))]
    other = [(image, header) for image, header in sizes if not _has_its_size(image, header)]
    if other:
        image, header = other[0]
        said, has = (f'{width}x{height}' for width, height in (said_size(image) or (0, 0), header.upright))
        yield (
            f'{len(other)} of {len(sizes)} photos looked at have another size than it says, such as '
            f'{printable(image["file_name"])[:200]} ({said}, not {has}); MMDetection does not rescale labels: '
            'train with --data FOLDER, or write a corrected copy: mmlska check FOLDER --fix NEW_DIR'
        )
    total, faults = len(item.content['annotations']), _faults(item, bool(other))
    if faults:
        what = ', '.join(f'{count} x {reason}' for reason, count in faults.most_common())
        yield (
            f'{counted(sum(faults.values()), "fault")} in {total} annotations: {what}; MMDetection leaves such out, learns them as they '
            f'are or stops at them: mmlska check {quote(config)} names them'
        )


def _header(item: AnnotationFile, image: dict) -> Header | None:
    path = item.images.get(image.get('file_name'))
    return None if path is None else photo_header(item, path)


def _has_its_size(image: dict, header: Header) -> bool:
    """Whether an entry says the size of the file, up to a pixel, or none."""
    said = said_size(image)
    sizes = header.upright, header.stored
    return said is None or any(max(abs(a - b) for a, b in zip(said, size)) <= 1 for size in sizes)


def _faults(item: AnnotationFile, resized: bool) -> Counter:
    """What is wrong with annotations, by reason."""
    repair_annotations(item, as_is=True)
    check_entries(item.path, item.content)
    found = Counter(reason for reason, _ in item.dropped)
    found.update(fault for fault, _, _ in item.repaired)
    item.remarks.clear()
    count_once([item], leave_out=False)
    if not resized:
        note_reach([item])
    found.update(kind for kind, _ in (*item.remarks, *item.doubts))
    images = {image['id']: dict(image) for image in item.content['images']}
    for image in images.values():
        if header := _header(item, image):
            image['width'], image['height'] = header.stored if labelled_as_stored(image, header) else header.upright
    categories = {category.get('id') for category in item.content['categories']}
    for annotation in item.content['annotations']:
        image = images.get(annotation.get('image_id'))
        if (image is None or has_size(image, MOST_PIXELS)) and (reason := problem(annotation, image, categories)):
            found[reason] += 1
    return found


def _of_segmentor(cfg: Config, split: str, lines: list[str]) -> dict[Path, None]:
    """The photos of a split; masks of other shapes go into ``lines``."""
    init_default_scope(cfg.default_scope)
    pairs: dict[tuple[str, str], None] = {}
    for dataset in datasets_of(cfg, split):
        built = DATASETS.build(dict(dataset, pipeline=[], lazy_init=True))
        pairs.update(dict.fromkeys((info['img_path'], info['seg_map_path']) for info in built.load_data_list()))
    every = list(pairs)
    looked = spread(every, _MASKS)
    odd = [line for pair in looked if (line := _odd_mask(*map(Path, pair)))]
    if odd:
        lines.append(
            f'warning: {split} data: {len(odd)} of {len(looked)} masks looked at have another shape than their photo: {first_of(odd)}'
        )
    return dict.fromkeys(Path(os.path.normpath(image)) for image, _ in every)


def _odd_mask(image: Path, mask: Path) -> str | None:
    try:
        photo, size = header_of(image), header_of(mask).stored
    except (OSError, ValueError):
        return None
    if any(size == one or is_resized(size, one) or is_resized(one, size) for one in (photo.upright, photo.stored)):
        return None
    return f'{mask.name} ({size[0]}x{size[1]}, the photo {photo.upright[0]}x{photo.upright[1]})'
