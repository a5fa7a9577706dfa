"""Tiny folders of Pascal VOC's XML, and what is read of them."""

from __future__ import annotations

from pathlib import Path

from own_sets import photo

from mmlska.own_data.check import check_folder
from mmlska.own_data.sources import require_source

CAT_BOX = [10, 12, 40, 30]


def bndbox(left=10, top=12, right=50, bottom=42) -> str:
    return f'<bndbox><xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox>'


def thing(inside: str | None = None, name='<name>cat</name>') -> str:
    return f'<object>{name}<pose>Left</pose><difficult>0</difficult>{bndbox() if inside is None else inside}</object>'


def xml(path: Path, *objects: str, filename: str | None = None, size: str = '80 60', root='annotation') -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    name = f'<filename>{path.stem}.jpg</filename>' if filename is None else filename
    width, height = (size.split() + ['', ''])[:2]
    sides = f'<size><width>{width}</width><height>{height}</height><depth>3</depth></size>' if size else ''
    text = f'<?xml version="1.0"?><!-- made by hand -->\n<{root} verified="no">{name}{sides}{"".join(objects)}</{root}>'
    path.write_text(text, encoding='utf-8')


def pascal(root: Path, count=4, objects=None, **lists: str) -> Path:
    """Annotations/, JPEGImages/ and lists in ImageSets/Main."""
    for i in range(count):
        photo(root / f'JPEGImages/{i}.jpg')
        xml(root / f'Annotations/{i}.xml', *(objects or [thing()]))
    for name, lines in lists.items():
        write(root / f'ImageSets/Main/{name}.txt', lines)
    return root


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')


def read(root: Path):
    return require_source(root, 'mmdet', label_format='voc').read()


def splits(labels) -> dict[str, list[str]]:
    return {split: [Path(i.entry['file_name']).stem for i in images] for split, images in labels.splits.items()}


def annotations(labels) -> list[dict]:
    return [a for images in labels.splits.values() for image in images for a in image.annotations]


def found(root: Path) -> dict[str, list[str]]:
    return {f.kind: f.places for f in check_folder(str(root), label_format='voc').report.findings}


def one(root: Path, *objects: str, **options):
    """The labels of a folder of one photo with these objects, and a second photo."""
    for name in 'ab':
        photo(root / f'{name}.jpg')
    xml(root / 'a.xml', *objects, **options)
    xml(root / 'b.xml', thing())
    return read(root)


def of_a(labels) -> list[dict]:
    return labels.splits[''][0].annotations
