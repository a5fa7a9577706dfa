"""Write a mended copy of a data set: what can be put right is, what can not is left out."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from . import coco_files
from .check import Report, check_image
from .coco_files import CocoFile, labelled_as_stored
from .layout import read_header
from .mask_files import IGNORE, Labels, MaskPair


def write_mended(
    target: str, root: Path, files: Sequence[CocoFile] | None, pairs: Sequence[MaskPair], labels: Labels | None
) -> list[str]:
    """Write a mended copy into a new folder; the data themselves are never changed.

    Images go to ``images/``, COCO files to ``annotations/``, masks as indices to ``masks/`` with ``classes.json``. Left out are
    images that are missing or broken, annotations that training can't use, and masks of another size than their image. Photos
    whose labels count pixels as stored lose their EXIF orientation.

    Args:
        target: The folder to make.
        root: The folder of the data.
        files, pairs, labels: As :func:`mmlska.datasets.check_config.check_folder` returns them.

    Returns:
        Lines that say what was written.

    Raises:
        FileExistsError: If the folder exists and is not empty.
        ValueError: If the folder lies inside the data, or the classes of the masks are unknown.
    """
    new = Path(target).expanduser().resolve()
    if new.is_dir() and any(new.iterdir()) or new.is_file():
        raise FileExistsError(f'--fix {target} exists already; give a folder that is not there yet')
    if new.is_relative_to(root):
        raise ValueError(f'--fix {target} lies inside the data; give a folder elsewhere')
    if files is None and labels is None:
        raise ValueError('the masks can not be mended before their classes are known; give --palette')
    new.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{new.name}-', dir=new.parent) as temporary:
        part = Path(temporary) / 'new'
        part.mkdir()
        lines = _mend_coco(part, root, files) if files is not None else _mend_masks(part, root, pairs, labels)
        if new.exists():
            new.rmdir()
        part.rename(new)
    return lines


def _mend_coco(part: Path, root: Path, files: Sequence[CocoFile]) -> list[str]:
    broken, merged = set(), []
    for item in files:
        images, seen, paths = [], set(), {}
        for image in item.content['images']:
            path = item.images.get(image.get('file_name'))
            if path is None or image['id'] in seen or check_image(Report(), path) is None:
                broken.add(image['file_name'])
                continue
            seen.add(image['id'])
            images.append(image)
            paths[image['file_name']] = _copy_image(path, root, part, labelled_as_stored(image, read_header(path)))
        merged.append(CocoFile(item.path, item.split, {**item.content, 'images': images}, paths))
    coco = coco_files.clean(merged, part)
    (part / 'annotations').mkdir()
    lines = []
    for split, dataset in coco.splits.items():
        # file_name counts from images/, as in COCO.
        for image in dataset['images']:
            image['file_name'] = image['file_name'].removeprefix('images/')
        file = part / 'annotations' / f'instances_{split or "all"}.json'
        file.write_text(json.dumps(dataset), encoding='utf-8')
        lines.append(f'{file.name}: {len(dataset["images"])} images, {len(dataset["annotations"])} annotations')
    left_out = ', '.join(f'{count} {reason}' for reason, count in coco.left_out.items())
    return [*lines, *coco.notes, f'left out: {len(broken)} images' + (f'; annotations: {left_out}' if left_out else '')]


def _copy_image(path: Path, root: Path, part: Path, as_stored: bool) -> Path:
    """Copy an image below ``images/``, without its EXIF orientation if the labels count pixels as stored."""
    name = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    name = Path(*name.parts[1:]) if len(name.parts) > 1 and name.parts[0] == 'images' else name
    target = part / 'images' / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not as_stored:
        shutil.copy2(path, target)
        return target
    from PIL import Image

    with Image.open(path) as image:
        exif = image.getexif()
        exif.pop(0x0112, None)
        options = dict(quality='keep') if image.format == 'JPEG' else {}
        image.save(target, format=image.format, exif=exif, **options)
    return target


def _mend_masks(part: Path, root: Path, pairs: Sequence[MaskPair], labels: Labels) -> list[str]:
    from PIL import Image

    written, left_out, cleared = 0, 0, 0
    for pair in pairs:
        if check_image(Report(), pair.image) is None or not pair.values:
            left_out += 1
            continue
        header = read_header(pair.image)
        if pair.size not in (header.upright, header.stored):
            left_out += 1
            continue
        index = read_index(pair, labels)
        cleared += sum(value not in (*labels.values, IGNORE) for value in pair.values) if labels.plain else 0
        target = _copy_image(pair.image, root, part, pair.size == header.stored != header.upright)
        mask = part / 'masks' / target.relative_to(part / 'images').with_suffix('.png')
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(index).save(mask)
        written += 1
    classes = [{'name': name} for name in labels.classes]
    (part / 'classes.json').write_text(json.dumps(classes, ensure_ascii=False, indent=1) + '\n', encoding='utf-8')
    return [
        f'{written} pairs of image and mask, {len(classes)} classes',
        f'left out: {left_out} pairs; {cleared} strange values cleared',
    ]


def read_index(pair: MaskPair, labels: Labels) -> np.ndarray:
    """The mask of a pair as class indices, uint8 (H, W), 255 where there is no label."""
    from PIL import Image

    with Image.open(pair.mask) as file:
        if labels.plain:
            values = np.asarray(file).astype(np.int64)
        else:
            values = np.asarray(file.convert('RGB')).astype(np.int64) @ np.array([65536, 256, 1])
    index = np.full(values.shape, IGNORE, np.uint8)
    for number, value in enumerate(labels.values):
        index[values == value] = number
    return index
