"""YOLO: ``images/``, ``labels/`` and ``data.yaml`` as Ultralytics trains on them; outlines where every object has one, else boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import yaml

from ...datasets.coco_labels import box_of, is_ignored
from .photo import PhotoToWrite, flat_names, outlines


def write_yolo(photos: Sequence[PhotoToWrite], classes: Sequence[str], out: Path) -> list[str]:
    """Write boxes, or outlines: pieces of one object are joined by lines of no width, as Ultralytics joins them."""
    objects = [[(label, a, outlines(a)) for label, a in photo.objects if not is_ignored(a)] for photo in photos]
    every = [pieces for found in objects for _, _, pieces in found]
    with_outlines = bool(every) and all(every)
    for photo, name, found in zip(photos, flat_names(photos), objects):
        split = photo.split or 'train'
        photo.copy_to(out / 'images' / split / name)
        lines = [_line(label, _joined(p) if with_outlines else _box(a), photo.size) for label, a, p in found]
        file = out / 'labels' / split / f'{PurePosixPath(name).stem}.txt'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(''.join(lines), encoding='utf-8')
    splits = {photo.split or 'train' for photo in photos}
    places = {split: f'images/{split}' for split in ('train', 'val', 'test') if split in splits}
    content = {**places, 'names': dict(enumerate(classes))}
    (out / 'data.yaml').write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding='utf-8')
    ignored = sum(len(photo.objects) for photo in photos) - len(every)
    notes = [f'{ignored} ignored objects are left out: YOLO has none'] if ignored else []
    if not with_outlines and any(every):
        notes.append('boxes alone are written: not every object has an outline, and YOLO does not mix them')
    if 'val' not in places:
        notes.append('no photo is for validation: Ultralytics needs a folder for "val" in data.yaml')
    return notes


def _line(label: int, values: list[float], size: tuple[int, int]) -> str:
    fractions = (min(max(value / size[place % 2], 0.0), 1.0) for place, value in enumerate(values))
    return f'{label} {" ".join(f"{value:.6f}" for value in fractions)}\n'


def _box(annotation: dict) -> list[float]:
    x, y, width, height = box_of(annotation)
    return [x + width / 2, y + height / 2, width, height]


def _joined(pieces: list[list[float]]) -> list[float]:
    first, *others = pieces
    joined = [*first, *first[:2]] if others else first
    for piece in others:
        joined = [*joined, *piece, *piece[:2], *first[:2]]
    return joined
