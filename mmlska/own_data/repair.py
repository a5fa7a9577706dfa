"""Write a corrected copy of a data set: what can be put right is, what can not is left out."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..images import open_image, read_header
from .check import Report, check_image
from .sources import coco as coco_files
from .sources.coco import CocoFile, labelled_as_stored
from .sources.masks import IGNORE, Labels, MaskPair, read_index


def write_mended(
    target: str, root: Path, files: Sequence[CocoFile] | None, pairs: Sequence[MaskPair], labels: Labels | None
) -> list[str]:
    """Write a corrected copy into a new folder; the data themselves are never changed.

    Images go to ``images/``, COCO files to ``annotations/``, masks as indices to ``masks/`` with ``classes.json``. Left out are
    images that are missing or broken, annotations that training can't use, and masks of another size than their image. Photos
    whose labels count pixels as stored lose their EXIF orientation.

    Args:
        target: The folder to make.
        root: The folder of the data.
        files, pairs, labels: As :func:`mmlska.own_data.check_folder.check_folder` returns them.

    Returns:
        Lines that say what was written.

    Raises:
        FileExistsError: If the folder exists and is not empty, or is a link or no folder.
        ValueError: If the folder lies inside the data, or the classes of the masks are unknown.
    """
    check_target(target)
    new = Path(target).expanduser().resolve()
    if new.is_relative_to(root):
        raise ValueError(f'--fix {target} lies inside the data; give a folder elsewhere')
    if files is None and labels is None:
        raise ValueError('the masks can not be corrected before their classes are known; give --palette')
    new.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{new.name}-', dir=new.parent) as temporary:
        part = Path(temporary) / 'new'
        part.mkdir()
        lines = _mend_coco(part, root, files) if files is not None else _mend_masks(part, root, pairs, labels)
        if new.exists():
            new.rmdir()
        part.rename(new)
    return lines


def check_target(target: str) -> None:
    """Raise FileExistsError if a corrected copy can't go there: only an empty folder is replaced."""
    new = Path(target).expanduser()
    if new.is_symlink() or new.exists() and not (new.is_dir() and not any(new.iterdir())):
        raise FileExistsError(f'--fix {target} exists already; give a folder that is not there yet')


def _mend_coco(part: Path, root: Path, files: Sequence[CocoFile]) -> list[str]:
    broken, merged, copies = set(), [], _Copies(root, part / 'images')
    for item in files:
        images, seen, paths = [], set(), {}
        for image in item.content['images']:
            name, number = image.get('file_name'), image.get('id')
            path = item.images.get(name)
            if path is None or number in seen or check_image(Report(), path) is None:
                broken.add(name)
                continue
            seen.add(number)
            images.append(image)
            paths[name] = copies.add(path, labelled_as_stored(image, read_header(path)))
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


class _Copies:
    """Copies of images in a new folder, each under the name that it has in the data, numbered where another one has it.

    With ``masks`` two names differ by more than the suffix, as those of the masks do not have it.
    """

    def __init__(self, root: Path, folder: Path, masks: bool = False) -> None:
        self._root, self._folder, self._masks = root, folder, masks
        self._targets: dict[Path, Path] = {}
        self._taken: set[Path] = set()

    def add(self, path: Path, as_stored: bool) -> Path:
        """Copy an image, without its EXIF orientation if the labels count pixels as stored."""
        if path not in self._targets:
            self._targets[path] = self._free(path)
            self._targets[path].parent.mkdir(parents=True, exist_ok=True)
            _copy_image(path, self._targets[path], as_stored)
        return self._targets[path]

    def _free(self, path: Path) -> Path:
        plain = Path(os.path.abspath(path))  # without '..', which would lead out of the new folder
        name = plain.relative_to(self._root) if plain.is_relative_to(self._root) else Path(plain.name)
        name = Path(*name.parts[1:]) if len(name.parts) > 1 and name.parts[0] == 'images' else name
        stem, suffix, number = name.with_suffix(''), name.suffix, 2
        while self._key(name) in self._taken:
            name, number = Path(f'{stem}_{number}{suffix}'), number + 1
        self._taken.add(self._key(name))
        return self._folder / name

    def _key(self, name: Path) -> Path:
        return name.with_suffix('') if self._masks else name


def _copy_image(path: Path, target: Path, as_stored: bool) -> None:
    if not as_stored:
        shutil.copy2(path, target)
        return
    with open_image(path) as image:
        image.load()
        exif = image.getexif()
        exif.pop(0x0112, None)
        kept = exif.tobytes()  # here, as it fails on broken EXIF data
    if image.format == 'MPO':  # of cameras that store a preview as well: the photo itself is a JPEG
        image.format = 'JPEG'
    options = dict(quality='keep') if image.format == 'JPEG' else {}
    image.save(target, format=image.format, exif=kept, **options)


def _mend_masks(part: Path, root: Path, pairs: Sequence[MaskPair], labels: Labels) -> list[str]:
    from PIL import Image

    written, left_out, cleared = 0, 0, 0
    copies = _Copies(root, part / 'images', masks=True)
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
        target = copies.add(pair.image, pair.size == header.stored != header.upright)
        mask = part / 'masks' / target.relative_to(part / 'images').with_suffix('.png')
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(index).save(mask)
        written += 1
    classes = [{'name': name} for name in labels.classes]
    text = json.dumps(classes, ensure_ascii=False, indent=1) + '\n'
    (part / 'classes.json').write_text(text, encoding='utf-8')
    return [
        f'{written} pairs of image and mask, {len(classes)} classes',
        f'left out: {left_out} pairs; {cleared} strange values cleared',
    ]
