"""Random labelled photos as VOC, roLabelImg and CVAT have them, in XML; sources in scene_sets.py."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

from label_writing import by_split, cropped, grow, points_of, runs_of, sides_of, write_text, write_xml
from own_sets import photo
from random_scenes import MASK, POLYGON, Scene


def _voc_file(scene: Scene, path: Path) -> None:
    size = [('width', scene.size[0]), ('height', scene.size[1]), ('depth', 3)]
    head: list = [('folder', 'JPEGImages'), ('filename', scene.name), ('size', size), ('segmented', 0)]
    for thing in scene.things:
        kind = [('type', 'robndbox' if thing.turned else 'bndbox')]
        turned, sides = (
            zip(('cx', 'cy', 'w', 'h', 'angle'), thing.turned),
            zip(('xmin', 'ymin', 'xmax', 'ymax'), sides_of(thing)),
        )
        place = ('robndbox', list(turned)) if thing.turned else ('bndbox', list(sides))
        head.append(
            (
                'object',
                kind + [('name', thing.name), ('pose', 'Unspecified'), ('truncated', 0), ('difficult', 0), place],
            )
        )
    write_xml(path, grow(ElementTree.Element('annotation'), head))


def write_voc(scenes: list[Scene], root: Path) -> None:
    for scene in scenes:
        photo(root / 'JPEGImages' / scene.name, scene.size)
        _voc_file(scene, root / 'Annotations' / f'{Path(scene.name).stem}.xml')
    for split, part in by_split(scenes).items():
        if split:
            write_text(root / f'ImageSets/Main/{split}.txt', [Path(scene.name).stem for scene in part])


def write_voc_folders(scenes: list[Scene], root: Path, flat: str = 'images') -> None:
    """Photos and label files side by side, in folders that are called after the splits, as Roboflow has them."""
    for scene in scenes:
        folder = root / {'train': 'train', 'val': 'valid', None: flat}[scene.split]
        photo(folder / scene.name, scene.size)
        _voc_file(scene, folder / f'{Path(scene.name).stem}.xml')


def write_cvat(scenes: list[Scene], root: Path) -> None:
    top = grow(ElementTree.Element('annotations'), [('version', '1.1'), ('meta', [])])
    for number, scene in enumerate(scenes):
        photo(root / 'images' / (scene.split or '') / scene.name, scene.size)
        size = {'width': str(scene.size[0]), 'height': str(scene.size[1])}
        split = {'subset': scene.split} if scene.split else {}
        picture = ElementTree.SubElement(top, 'image', {'id': str(number), 'name': scene.name, **split, **size})
        for thing in scene.things:
            sides = sides_of(thing)
            if thing.turned:
                x, y, width, height, angle = thing.turned
                sides = [x - width / 2, y - height / 2, x + width / 2, y + height / 2, math.degrees(angle)]
            values = {key: f'{v:.2f}' for key, v in zip(('xtl', 'ytl', 'xbr', 'ybr', 'rotation'), sides)}
            if thing.kind == POLYGON:
                values = {'points': ';'.join(f'{x:.2f},{y:.2f}' for x, y in points_of(thing))}
            elif thing.kind == MASK:
                values = {key: str(v) for key, v in zip(('left', 'top', 'width', 'height'), thing.box)}
                values['rle'] = ', '.join(map(str, runs_of(cropped(thing).ravel())))
            tag = {POLYGON: 'polygon', MASK: 'mask'}.get(thing.kind, 'box')
            ElementTree.SubElement(picture, tag, {'label': thing.name, 'source': 'manual', 'occluded': '0', **values})
    write_xml(root / 'annotations.xml', top)
