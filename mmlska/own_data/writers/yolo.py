"""YOLO: ``images/``, ``labels/`` and ``data.yaml`` as Ultralytics trains on them; outlines where every object has one, else boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import yaml

from ...datasets.coco_labels import box_of
from .photo import LabelledPhoto, flat_names, is_ignored, outlines


def write_yolo(photos: Sequence[LabelledPhoto], classes: Sequence[str], out: Path) -> list[str]:
    """Write boxes, or outlines: pieces of one object are joined by lines of no width, as Ultralytics joins them."""
    kept = [annotation for photo in photos for _, annotation in photo.objects if not is_ignored(annotation)]
    with_outlines = bool(kept) and all(map(outlines, kept))
    ignored = sum(len(photo.objects) for photo in photos) - len(kept)
    for photo, name in zip(photos, flat_names(photos)):
        split = photo.split or 'train'
        photo.copy_to(out / 'images' / split / name)
        lines = [
            _line(label, _outline(annotation) if with_outlines else _box(annotation), photo.size)
            for label, annotation in photo.objects
            if not is_ignored(annotation)
        ]
        file = out / 'labels' / split / f'{PurePosixPath(name).stem}.txt'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(''.join(lines), encoding='utf-8')
    splits = {photo.split or 'train' for photo in photos}
    places = {split: f'images/{split}' for split in ('train', 'val', 'test') if split in splits}
    content = {**places, 'names': dict(enumerate(classes))}
    (out / 'data.yaml').write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding='utf-8')
    notes = [f'{ignored} ignored objects are left out: YOLO has none'] if ignored else []
    if not with_outlines and any(map(outlines, kept)):
        notes.append('boxes alone are written: not every object has an outline, and YOLO does not mix them')
    return notes


def _line(label: int, values: list[float], size: tuple[int, int]) -> str:
    fractions = (min(max(value / size[place % 2], 0.0), 1.0) for place, value in enumerate(values))
    return f'{label} {" ".join(f"{value:.6f}" for value in fractions)}\n'


def _box(annotation: dict) -> list[float]:
    x, y, width, height = box_of(annotation)
    return [x + width / 2, y + height / 2, width, height]


def _outline(annotation: dict) -> list[float]:
    first, *others = outlines(annotation)
    joined = [*first, *first[:2]] if others else first
    for piece in others:
        joined = [*joined, *piece, *piece[:2], *first[:2]]
    return joined
