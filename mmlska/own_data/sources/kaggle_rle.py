"""Run lengths as Kaggle's competitions have them: a csv with a row for each object and its pixels as pairs of start and length.

Pixels are counted from 1, down the columns and then from left to right; an empty cell, ``nan`` or ``-1`` means that the photo has no
object. The class stands in a column of its own, or behind the photo as in ``a.jpg_3``; ``width`` and ``height`` may be those of the photo.
A file that counts along the rows can't be told from one that counts down the columns, and would be read wrongly.

Sources: the pages "Data" and "Evaluation" of Kaggle's Airbus Ship Detection, 2018 Data Science Bowl, Severstal Steel Defect Detection,
Understanding Clouds, HuBMAP and Sartorius Cell Instance Segmentation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...text import shown
from ..annotations import AnnotationFile
from ..coco_repairs.runs import run_lengths
from ..data_folder import DataFolder
from ..folder import split_of
from ..label_builder import UNNAMED, LabelBuilder, LabelledPhoto
from ..label_tables import check_cells, column_names, columns_of, csv_start, first_column
from ..label_text import short
from ..named_photos import NamedPhotos
from .boxes_csv import CLASS_COLUMNS, NO_CLASSES, PHOTO_COLUMNS, SIZE_COLUMNS, SPLIT_COLUMNS
from .instances import InstanceSource

_JOINED_COLUMNS = ('imageidclassid', 'imagelabel', 'imageclass')  # a photo, '_' and a class
_PHOTO_COLUMNS = (*PHOTO_COLUMNS, 'id')
_CLASS_COLUMNS = (*CLASS_COLUMNS, 'celltype', 'organ')
_RUN_COLUMNS = ('encodedpixels', 'rle', 'maskrle', 'rlemask')
_VAGUE_COLUMNS = ('encoding', 'annotation', 'segmentation')  # which hold other things elsewhere
_NOTHING = ('', '-1', 'nan', 'none', 'null')


class RleSource(InstanceSource):
    """Tables of run lengths, one for all photos or one for each split; samples of submissions are none."""

    name = 'rle'

    @classmethod
    def fits(cls, folder: DataFolder) -> bool:
        return any(_layout(path) for path in folder.with_suffix('.csv'))

    @classmethod
    def find(cls, folder: DataFolder, palette: str | None = None) -> RleSource | None:
        layouts = {path: layout for path in folder.with_suffix('.csv') if (layout := _layout(path))}
        return cls(folder.root, _read(folder, layouts)) if layouts else None


@dataclass
class _Layout:
    """Which columns mean what."""

    photo: int
    runs: int
    label: int | None
    joined: bool  # the column of the photo holds the class too
    split: int | None
    size: Sequence[int]
    cells: int  # that a row has


@dataclass
class _Row:
    place: str
    photo: str
    name: str
    text: str  # the runs; none for a photo without objects
    split: str | None
    size: Sequence[str]


def _layout(path: Path) -> _Layout | None:
    """The columns of a table of run lengths; None for another table."""
    rows = [] if 'submission' in path.name.lower() else csv_start(path)
    columns = column_names(rows[0]) if rows else {}
    joined = first_column(columns, _JOINED_COLUMNS)
    photo = first_column(columns, _PHOTO_COLUMNS) if joined is None else joined
    runs = first_column(columns, _RUN_COLUMNS)
    vague = first_column(columns, _VAGUE_COLUMNS)
    if runs is None and vague is not None:
        filled = any(re.match(r'\d+ +\d+( |$)', ''.join(row[vague : vague + 1])) for row in rows[1:])
        runs = vague if filled else None
    if photo is None or runs is None:
        return None
    return _Layout(
        photo,
        runs,
        first_column(columns, _CLASS_COLUMNS),
        joined is not None,
        first_column(columns, SPLIT_COLUMNS),
        columns_of(columns, SIZE_COLUMNS),
        len(rows[0]),
    )


def _read(folder: DataFolder, layouts: dict[Path, _Layout]) -> list[AnnotationFile]:
    builder = LabelBuilder(folder.root, next(iter(layouts)) if len(layouts) == 1 else folder.root)
    photos = NamedPhotos(folder, builder)
    for path, split, lines in photos.tables(layouts):
        layout, rows = layouts[path], []
        if layout.label is None and not layout.joined:
            builder.remarks.append((NO_CLASSES, short(path, folder.root)))
        for place, cells in lines[1:]:
            with builder.faults(place):
                rows.append(_row(place, cells, layout))
        found = []
        for row in rows:
            entry = photos.add(row.photo, path, row.split or split, row.size or None)
            if entry is None or not row.text:
                continue
            with builder.faults(row.place, photo=entry):
                pairs = _pairs(row.text)
                if not row.name:
                    raise ValueError('an object without a class')
                builder.category(row.name)
                size = _size(entry, photos)
                if size and photos.is_new(entry, row.place, row.name, *pairs):
                    found.append((row, entry, pairs, size))
        from_zero = _count_from_zero([(pairs, size) for _, _, pairs, size in found])
        for row, entry, pairs, size in found:
            with builder.faults(row.place, photo=entry):
                entry.add(row.name, row.place, runs=_runs(pairs, size, from_zero))
    photos.note_unused()
    return builder.files()


def _row(place: str, cells: list[str], layout: _Layout) -> _Row:
    used = (layout.photo, layout.runs, layout.label, layout.split)
    check_cells(cells, 1 + max(column for column in used if column is not None), layout.cells)
    cells = cells + [''] * (layout.cells - len(cells))
    photo, name = cells[layout.photo], UNNAMED if layout.label is None else cells[layout.label]
    if layout.joined:
        photo, _, name = photo.rpartition('_')
    if not photo:
        raise ValueError('no name of a photo' + (' and a class with _ between them' if layout.joined else ''))
    text = '' if cells[layout.runs].lower() in _NOTHING else cells[layout.runs]
    split = split_of(Path(cells[layout.split])) if layout.split is not None else None
    return _Row(place, photo, name, text, split, [cells[column] for column in layout.size])


def _pairs(text: str) -> list[tuple[int, int]]:
    """The pairs of start and length, in their order, which do not overlap."""
    try:
        numbers = list(map(int, text.split()))
    except ValueError:
        raise ValueError(f'{shown(text)} are no whole numbers') from None
    if len(numbers) % 2:
        raise ValueError(f'{len(numbers)} numbers, which are no pairs of start and length')
    pairs = sorted(zip(numbers[::2], numbers[1::2]))
    if any(length < 1 for _, length in pairs):
        raise ValueError('a run of length 0 or less')
    if any(start + length > following for (start, length), (following, _) in zip(pairs, pairs[1:])):
        raise ValueError('runs that overlap')
    return pairs


def _size(entry: LabelledPhoto, photos: NamedPhotos) -> tuple[int, int] | None:
    """Width and height by which pixels are counted: those that the table says, or else the photo's."""
    header = photos.header(entry)
    if header is None:
        return None
    return entry.entry.get('width', header.upright[0]), entry.entry.get('height', header.upright[1])


def _count_from_zero(objects: list[tuple[list[tuple[int, int]], tuple[int, int]]]) -> bool:
    """Whether a start of 0 occurs, and all objects fit into their photos if pixels are counted from 0."""
    return any(pairs[0][0] == 0 for pairs, _ in objects) and all(
        pairs[0][0] >= 0 and sum(pairs[-1]) <= width * height for pairs, (width, height) in objects
    )


def _runs(pairs: list[tuple[int, int]], size: tuple[int, int], from_zero: bool) -> dict:
    """COCO's run lengths: how many pixels are outside, inside, outside and so on."""
    width, height = size
    if pairs[0][0] < 1:
        hint = ': all rows fit if pixels count from 0; then add 1 to each start' if from_zero else ''
        raise ValueError(f'start {pairs[0][0]}, though pixels count from 1{hint}')
    if sum(pairs[-1]) - 1 > width * height:
        raise ValueError(f'pixel {sum(pairs[-1]) - 1} of a photo with {width}x{height}')
    return run_lengths(pairs, size)
