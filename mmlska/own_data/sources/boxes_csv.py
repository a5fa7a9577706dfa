"""Tables of boxes: csv files with a row for each box, whose columns a head names in any order, or known ones without a head.

With a head: a column of photos, a class, and the corners (``xmin ymin xmax ymax`` and other names), or ``x y width height``, where x and y
are the left upper corner, or one column ``bbox`` with ``[x, y, width, height]``. A photo without objects has a row with empty
coordinates. Where nine in ten coordinates of a file lie between 0 and 1 and are not all whole, they are fractions of the photo.
Without a head: ``path,x1,y1,x2,y2,class`` or ``set,path,class,x1,y1,,,x2,y2,,`` in fractions.

Sources: the tutorial of TensorFlow's object detection API, keras-retinanet's page on csv data sets, Google's page "Formatting a training
data CSV" (AutoML Vision), Open Images' page on its box files, makesense.ai's export, Kaggle's Global Wheat Detection (``bbox``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...images import is_image
from ..annotations import AnnotationFile, labelled_size
from ..data_folder import DataFolder
from ..folder import split_of
from ..label_builder import UNNAMED, LabelBuilder, LabelledPhoto
from ..label_tables import check_cells, column_names, columns_of, csv_start, first_column
from ..label_text import number, short
from ..named_photos import NamedPhotos
from .instances import InstanceSource

# Names of columns without spaces, underscores and hyphens; the first that is there counts.
PHOTO_COLUMNS = (
    *('filename', 'imagename', 'file', 'imagepath', 'imgpath', 'filepath', 'path'),
    *('image', 'img', 'photo', 'imageid', 'frame'),
)
CLASS_COLUMNS = (
    *('class', 'label', 'labelname', 'classname', 'category', 'categoryname', 'name', 'object', 'type'),
    *('classid', 'labelid', 'categoryid'),
)
SPLIT_COLUMNS = ('split', 'set', 'subset', 'fold')
SIZE_COLUMNS = (('imagewidth', 'imageheight'), ('imgwidth', 'imgheight'), ('width', 'height'))
_IGNORE_COLUMNS = ('isgroupof', 'iscrowd', 'difficult')
_CORNERS = (
    *(('xmin', 'ymin', 'xmax', 'ymax'), ('x1', 'y1', 'x2', 'y2'), ('left', 'top', 'right', 'bottom')),
    *(('xtl', 'ytl', 'xbr', 'ybr'), ('x0', 'y0', 'x1', 'y1')),
)
_SIZED = tuple(
    (*corner, *size)
    for corner in (('x', 'y'), ('left', 'top'), ('xmin', 'ymin'))
    for size in (('w', 'h'), ('width', 'height'))
)
_BOX_COLUMNS = ('bbox', 'box', 'boundingbox')
_NOTHING = ('', 'nan', 'none', 'null')
_RETINANET, _AUTOML = 6, 10  # columns; AutoML's without the set
_FARTHEST = 2  # a box may leave the photo a little; larger numbers count pixels
NO_CLASSES = f'table without a column of classes; all objects are called {UNNAMED}'


class CsvSource(InstanceSource):
    """Tables of boxes, one for all photos or one for each split."""

    name = 'csv'

    @classmethod
    def fits(cls, folder: DataFolder) -> bool:
        return any(_layout(path) for path in folder.with_suffix('.csv'))

    @classmethod
    def find(cls, folder: DataFolder, palette: str | None = None) -> CsvSource | None:
        layouts = {path: layout for path in folder.with_suffix('.csv') if (layout := _layout(path))}
        return cls(folder.root, _read(folder, layouts)) if layouts else None


@dataclass
class _Layout:
    """Which columns mean what."""

    photo: int
    box: Sequence[int]  # four, or the one with all four numbers
    label: int | None
    cells: int  # that a row has
    sized: bool = False  # the third and fourth number are width and height
    split: int | None = None
    size: Sequence[int] = ()  # of the photo
    ignore: int | None = None
    head: bool = True
    fractions: bool = False

    @property
    def needed(self) -> int:
        """How many cells hold all that is needed."""
        return 1 + max(self.photo, *self.box, *(column for column in (self.label, self.split) if column is not None))


@dataclass
class _Row:
    place: str
    photo: str
    name: str
    box: list[float] | None  # None for a photo without objects
    split: str | None
    size: Sequence[str]
    ignore: bool


def _read(folder: DataFolder, layouts: dict[Path, _Layout]) -> list[AnnotationFile]:
    builder = LabelBuilder(folder.root, next(iter(layouts)) if len(layouts) == 1 else folder.root)
    photos = NamedPhotos(folder, builder)
    for path, split, lines in photos.tables(layouts):
        layout, rows = layouts[path], []
        if layout.label is None:
            builder.remarks.append((NO_CLASSES, short(path, folder.root)))
        for place, cells in lines[1:] if layout.head else lines:
            with builder.faults(place):
                rows.append(_row(place, cells, layout))
        fractions = layout.fractions or _are_fractions([value for row in rows for value in row.box or ()])
        for row in rows:
            entry = photos.add(row.photo, path, row.split or split, row.size or None)
            with builder.faults(row.place, photo=entry):
                box = _box(row, layout.sized, fractions, builder)
                if entry and box:
                    _add(entry, row, box, fractions, photos)
    photos.note_unused()
    return builder.files()


def _add(entry: LabelledPhoto, row: _Row, box: list[float], fractions: bool, photos: NamedPhotos) -> None:
    """Add a box, given by its corners."""
    entry.builder.category(row.name)
    if fractions:
        header = photos.header(entry)
        if header is None:
            return
        size = labelled_size(entry.entry, header)
        entry.entry['width'], entry.entry['height'] = size  # fractions are those of any size
        box = [value * size[place % 2] for place, value in enumerate(box)]
    if photos.is_new(entry, row.place, row.name, *box):
        left, top, right, bottom = box
        entry.add(row.name, row.place, box=[left, top, right - left, bottom - top], ignore=row.ignore)


def _row(place: str, cells: list[str], layout: _Layout) -> _Row:
    check_cells(cells, layout.needed, layout.cells)
    cells = cells + [''] * (layout.cells - len(cells))
    photo, name = cells[layout.photo], UNNAMED if layout.label is None else cells[layout.label]
    if not photo:
        raise ValueError('no name of a photo')
    texts = [cells[column] for column in layout.box]
    if len(texts) == 1:
        texts = re.split(r'[\s,;]+', texts[0].strip(' []()'))
    box = None
    if any(text.lower() not in _NOTHING for text in texts):
        if len(texts) != 4:
            raise ValueError(f'{len(texts)} numbers instead of x, y, width and height')
        box = [number(text) for text in texts]
        if not name:
            raise ValueError('a box without a class')
    split = split_of(Path(cells[layout.split])) if layout.split is not None else None
    ignore = layout.ignore is not None and cells[layout.ignore].lower() in ('1', '1.0', 'true', 'yes')
    return _Row(place, photo, name, box, split, [cells[column] for column in layout.size], ignore)


def _box(row: _Row, sized: bool, fractions: bool, builder: LabelBuilder) -> list[float] | None:
    """The corners of a row's box, the left upper one first."""
    if row.box is None:
        return None
    x, y, right, bottom = row.box
    if sized:
        right, bottom = x + right, y + bottom
    elif x > right or y > bottom:
        kind = 'corners in the wrong order, put right; widths and heights need a head with x,y,width,height'
        builder.remarks.append((kind, row.place))
        x, right, y, bottom = *sorted((x, right)), *sorted((y, bottom))
    box = [x, y, right, bottom]
    if fractions and not 1 - _FARTHEST <= min(box) <= max(box) <= _FARTHEST:
        raise ValueError(f'{max(box, key=abs):g} is no fraction of the photo, as the others are')
    return box


def _are_fractions(values: list[float]) -> bool:
    inside = [value for value in values if -0.1 <= value <= 1.1]
    return len(inside) >= 0.9 * len(values) and any(value != int(value) for value in inside)


def _layout(path: Path) -> _Layout | None:
    """The columns of a table of boxes; None for another table."""
    rows = csv_start(path)
    return (_by_head(rows[0]) or _without_head(rows[0])) if rows else None


def _by_head(head: list[str]) -> _Layout | None:
    columns = column_names(head)
    prefixes = 'bbox', 'box', ''
    corners = columns_of(columns, ([prefix + name for name in names] for prefix in prefixes for names in _CORNERS))
    sized = columns_of(columns, ([prefix + name for name in names] for prefix in prefixes for names in _SIZED))
    box = corners or sized or columns_of(columns, ([name] for name in _BOX_COLUMNS))
    photo = first_column(columns, PHOTO_COLUMNS)
    if photo is None or not box:
        return None
    return _Layout(
        photo,
        box,
        first_column(columns, CLASS_COLUMNS),
        len(head),
        sized=not corners,
        split=first_column(columns, SPLIT_COLUMNS),
        size=columns_of(
            columns, (names for names in SIZE_COLUMNS if not {columns.get(name) for name in names} & {*box})
        ),
        ignore=first_column(columns, _IGNORE_COLUMNS),
    )


def _without_head(cells: list[str]) -> _Layout | None:
    """The columns of a known table without a head, by its first row."""
    if len(cells) == _RETINANET and is_image(Path(cells[0])) and _are_numbers(cells[1:5], cells[5]):
        return _Layout(0, range(1, 5), 5, _RETINANET, head=False)
    photo = next((place for place in (0, 1) if is_image(Path(''.join(cells[place : place + 1])))), None)
    if photo is None:
        return None
    box = [photo + place for place in (2, 3, 6, 7)]
    if box[-1] < len(cells) <= photo + _AUTOML and _are_numbers([cells[column] for column in box], cells[photo + 1]):
        split = 0 if photo else None
        return _Layout(photo, box, photo + 1, photo + _AUTOML, split=split, head=False, fractions=True)
    return None


def _are_numbers(cells: list[str], name: str) -> bool:
    """Whether cells hold a box, or together with the class nothing at all."""
    try:
        return not any((*cells, name)) or bool(name) and len([number(cell) for cell in cells]) == len(cells)
    except ValueError:
        return False
