"""Random labelled photos, written in each format of labels for detectors as the documentation of the format has it.

Sources: the COCO data format page; Ultralytics' pages on detection, segmentation and oriented boxes; the VOC development kit and
roLabelImg's README; DOTA's page; labelme's examples; CVAT's page on "CVAT for images 1.1"; VIA 2's page; Supervisely's page on JSON
annotations; TensorFlow's object detection CSV; Kaggle's pages on run lengths.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from label_writing import (
    by_split,
    classes_of,
    cropped,
    png,
    points_of,
    runs_of,
    sides_of,
    write_json,
    write_rows,
    write_text,
)
from own_sets import photo
from random_scenes import BOX, MASK, POLYGON, TURNED, Scene, random_scenes
from xml_sets import write_cvat, write_voc, write_voc_folders

__all__ = ['WRITERS', 'Writer', 'random_scenes']


@dataclass(frozen=True)
class Writer:
    """What writes a format, and what the format can carry."""

    write: Callable[[list[Scene], Path], None]
    reader: str
    kinds: tuple[str, ...]
    per_side: bool = False  # numbers are fractions of the photo
    empty: bool = True  # it can say of a photo that there is nothing on it
    class_name: Callable[[str], str] = str

    def __call__(self, scenes: list[Scene], root: Path) -> None:
        self.write(self.carried(scenes), root)

    def carried(self, scenes: list[Scene]) -> list[Scene]:
        """The scenes with the objects that the format can carry."""
        return [
            replace(
                scene, things=[replace(t, name=self.class_name(t.name)) for t in scene.things if t.kind in self.kinds]
            )
            for scene in scenes
        ]

    def tolerance(self, scene: Scene) -> float:
        """How far a number may be off, in pixels; masks are exact."""
        return 1e-4 * max(scene.size) if self.per_side else 0.02


def _write_coco(scenes: list[Scene], root: Path) -> None:
    names = classes_of(scenes)
    for split, part in by_split(scenes).items():
        images, entries = [], []
        for number, scene in enumerate(part, 7):
            width, height = scene.size
            photo(root / (f'{split}2017' if split else 'images') / scene.name, scene.size)
            images.append({'id': number, 'file_name': scene.name, 'width': width, 'height': height})
            for thing in scene.things:
                outline: object = [[round(v, 3) for v in thing.outline]] if thing.kind != BOX else []
                if thing.kind == MASK:
                    outline = {'size': [height, width], 'counts': runs_of(thing.mask.ravel(order='F'))}
                head = {'id': len(entries) + 1, 'image_id': number, 'category_id': 10 + names.index(thing.name)}
                area = int(thing.mask.sum()) if thing.kind == MASK else thing.box[2] * thing.box[3]
                entries.append({**head, 'bbox': thing.box, 'segmentation': outline, 'area': area, 'iscrowd': 0})
        categories = [{'id': 10 + number, 'name': name, 'supercategory': ''} for number, name in enumerate(names)]
        content = {'info': {}, 'images': images, 'annotations': entries, 'categories': categories}
        write_json(root / (f'annotations/instances_{split}2017.json' if split else 'labels.json'), content)


def _write_yolo(scenes: list[Scene], root: Path, outlines: bool = False) -> None:
    names = classes_of(scenes)
    for scene in scenes:
        folder = scene.split or ''
        photo(root / 'images' / folder / scene.name, scene.size)
        lines = []
        for thing in scene.things:
            x, y, width, height = thing.box
            values = thing.outline if outlines else [x + width / 2, y + height / 2, width, height]
            parts = [f'{v / scene.size[place % 2]:.6f}' for place, v in enumerate(values)]
            lines.append(' '.join([str(names.index(thing.name)), *parts]))
        write_text(root / 'labels' / folder / f'{Path(scene.name).stem}.txt', lines)
    splits = {split: f'images/{split}' for split in by_split(scenes) if split}
    content = {'path': '../datasets/mine', **splits, 'nc': len(names), 'names': dict(enumerate(names))}
    (root / 'data.yaml').write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding='utf-8')


def _write_dota(scenes: list[Scene], root: Path) -> None:
    for scene in scenes:
        folder = root / (scene.split or '')
        photo(folder / 'images' / scene.name, scene.size)
        lines = [' '.join([*(f'{v:.2f}' for v in thing.outline), thing.name, '0']) for thing in scene.things]
        write_text(
            folder / 'labelTxt' / f'{Path(scene.name).stem}.txt', ['imagesource:GoogleEarth', 'gsd:0.146', *lines]
        )


def _write_labelme(scenes: list[Scene], root: Path) -> None:
    for scene in scenes:
        folder, shapes = root / (scene.split or 'photos'), []
        photo(folder / scene.name, scene.size)
        for thing in scene.things:
            x, y, width, height = thing.box
            shape = {
                'label': thing.name,
                'points': points_of(thing),
                'group_id': None,
                'shape_type': 'polygon',
                'flags': {},
            }
            if thing.kind == BOX:
                shape |= {'shape_type': 'rectangle', 'points': points_of(thing)[::2]}
            elif thing.kind == MASK:
                picture = base64.b64encode(png(cropped(thing))).decode()
                points = [[x, y], [x + width - 1, y + height - 1]]
                shape |= {'shape_type': 'mask', 'points': points, 'mask': picture}
            shapes.append(shape)
        content = {'version': '5.5.0', 'flags': {}, 'shapes': shapes, 'imagePath': scene.name, 'imageData': None}
        content |= {'imageHeight': scene.size[1], 'imageWidth': scene.size[0]}
        write_json(folder / f'{Path(scene.name).stem}.json', content)


def _write_via(scenes: list[Scene], root: Path) -> None:
    for split, part in by_split(scenes).items():
        entries = {}
        for scene in part:
            regions = []
            photo(path := root / split / scene.name, scene.size)
            for thing in scene.things:
                x, y = zip(*points_of(thing))
                shape: dict = {'name': 'polygon', 'all_points_x': x, 'all_points_y': y}
                if thing.kind == BOX:
                    shape = {'name': 'rect', **dict(zip(('x', 'y', 'width', 'height'), thing.box))}
                regions.append({'shape_attributes': shape, 'region_attributes': {'class': thing.name}})
            size = path.stat().st_size
            entries[f'{scene.name}{size}'] = {
                'filename': scene.name,
                'size': size,
                'regions': regions,
                'file_attributes': {},
            }
        write_json(root / split / 'via_region_data.json', entries)


def _write_supervisely(scenes: list[Scene], root: Path) -> None:
    for scene in scenes:
        folder, objects = root / (scene.split or 'ds0'), []
        photo(folder / 'img' / scene.name, scene.size)
        for thing in scene.things:
            shape: dict = {'geometryType': 'polygon', 'points': {'exterior': points_of(thing), 'interior': []}}
            if thing.kind == BOX:
                shape = {'geometryType': 'rectangle', 'points': {'exterior': points_of(thing)[::2], 'interior': []}}
            elif thing.kind == MASK:
                picture = zlib.compress(png(cropped(thing), transparency=0))
                bitmap = {'data': base64.b64encode(picture).decode(), 'origin': thing.box[:2]}
                shape = {'geometryType': 'bitmap', 'bitmap': bitmap}
            objects.append({'id': len(objects), 'classTitle': thing.name, 'description': '', 'tags': [], **shape})
        size = {'width': scene.size[0], 'height': scene.size[1]}
        write_json(
            folder / 'ann' / f'{scene.name}.json', {'description': '', 'tags': [], 'size': size, 'objects': objects}
        )
    classes = [{'title': name, 'shape': 'any', 'color': '#1F77B4'} for name in classes_of(scenes)]
    write_json(root / 'meta.json', {'classes': classes, 'tags': [], 'projectType': 'images'})


def _write_csv(scenes: list[Scene], root: Path) -> None:
    for split, part in by_split(scenes).items():
        rows: list[list] = [['filename', 'width', 'height', 'class', 'xmin', 'ymin', 'xmax', 'ymax']]
        for scene in part:
            photo(root / (split or 'images') / scene.name, scene.size)
            rows += [[scene.name, *scene.size, thing.name, *sides_of(thing)] for thing in scene.things]
        write_rows(root / (f'{split}_labels.csv' if split else 'labels.csv'), rows)


def _write_rle(scenes: list[Scene], root: Path) -> None:
    for split, part in by_split(scenes).items():
        rows = [['ImageId', 'ClassId', 'EncodedPixels']]
        for scene in part:
            photo(root / (f'{split}_images' if split else 'images') / scene.name, scene.size)
            for thing in scene.things:
                runs = np.array(runs_of(thing.mask.ravel(order='F')))
                starts = 1 + np.cumsum(runs)[: len(runs) - 1 : 2]  # counted from 1, down the columns
                text = ' '.join(f'{start} {length}' for start, length in zip(starts, runs[1::2]))
                rows.append([scene.name, thing.name, text])
            if not scene.things:
                rows.append([scene.name, '', ''])
        write_rows(root / (f'{split}.csv' if split else 'masks.csv'), rows)


_ALL = (BOX, POLYGON, TURNED, MASK)
_OUTLINES = (POLYGON, TURNED)

#: What writes each format, by a name.
WRITERS: dict[str, Writer] = {
    'coco': Writer(_write_coco, 'coco', _ALL),
    'yolo': Writer(_write_yolo, 'yolo', (BOX,), per_side=True),
    'yolo-outlines': Writer(partial(_write_yolo, outlines=True), 'yolo', _OUTLINES, per_side=True),
    'voc': Writer(write_voc, 'voc', (BOX,)),
    'voc-folders': Writer(write_voc_folders, 'voc', (BOX,)),
    'rolabelimg': Writer(partial(write_voc_folders, flat='.'), 'voc', (BOX, TURNED)),
    'dota': Writer(_write_dota, 'dota', (TURNED,), class_name=lambda name: name.replace(' ', '-')),
    'labelme': Writer(_write_labelme, 'labelme', _ALL),
    'cvat': Writer(write_cvat, 'cvat', _ALL),
    'via': Writer(_write_via, 'via', (BOX, *_OUTLINES)),
    'supervisely': Writer(_write_supervisely, 'supervisely', _ALL),
    'csv': Writer(_write_csv, 'csv', (BOX,), empty=False),
    'rle': Writer(_write_rle, 'rle', (MASK,)),
}
