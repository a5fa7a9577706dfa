"""What the writers of random labels share: numbers of objects, and files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image
from random_scenes import Scene, Thing


def cropped(thing: Thing) -> np.ndarray:
    x, y, width, height = thing.box
    return thing.mask[y : y + height, x : x + width]


def runs_of(flat: np.ndarray) -> list[int]:
    """The lengths of runs of 0 and 1 in turn, 0 first."""
    steps = [0, *(np.flatnonzero(flat[1:] != flat[:-1]) + 1), len(flat)]
    return [0] * bool(flat[0]) + [int(v) for v in np.diff(steps)]


def points_of(thing: Thing) -> list[list[float]]:
    return [[round(v, 3) for v in thing.outline[place : place + 2]] for place in range(0, len(thing.outline), 2)]


def sides_of(thing: Thing) -> list[float]:
    """Left, top, right and bottom."""
    x, y, width, height = thing.box
    return [round(v, 2) for v in (x, y, x + width, y + height)]


def classes_of(scenes: list[Scene]) -> list[str]:
    return list(dict.fromkeys(thing.name for scene in scenes for thing in scene.things))


def by_split(scenes: list[Scene]) -> dict[str, list[Scene]]:
    return {split or '': [s for s in scenes if s.split == split] for split in dict.fromkeys(s.split for s in scenes)}


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding='utf-8')


def write_text(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(f'{line}\n' for line in lines), encoding='utf-8')


def write_rows(path: Path, rows: list[list]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'w', newline='', encoding='utf-8') as file:
        csv.writer(file).writerows(rows)


def write_xml(path: Path, root: ElementTree.Element) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding='utf-8', xml_declaration=True)


def grow(parent: ElementTree.Element, content: list[tuple[str, object]]) -> ElementTree.Element:
    """Add elements with a text or with elements below."""
    for tag, value in content:
        child = ElementTree.SubElement(parent, tag)
        if isinstance(value, list):
            grow(child, value)
        else:
            child.text = str(value)
    return parent


def png(mask: np.ndarray, **options) -> bytes:
    picture, out = Image.fromarray(mask.astype(np.uint8)), io.BytesIO()
    if options:
        picture.putpalette([0, 0, 0, 255, 255, 255])
    picture.save(out, 'PNG', **options)
    return out.getvalue()
