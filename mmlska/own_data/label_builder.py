"""Labels of any format into COCO's form, split by split, with what could not be read beside them."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ..text import printable, shown
from .annotations import AnnotationFile
from .label_text import number, short

#: What a photo's objects are, where nothing names their class.
UNNAMED = 'object'
_UNREAD = 'unread'  # the key of a photo's entry that notes objects which are not read; true if they should be
_NONE_READ = 'photo of whose objects none can be read'


@dataclass
class LabelBuilder:
    """Collects photos and their objects.

    Args:
        root: The data folder.
        source: The file or folder that the labels come from, for messages.
        classes: The class names in their order, where a format lists them; others are added as they come.
    """

    root: Path
    source: Path
    classes: Iterable[str] = ()
    left_out: list[tuple[str, str]] = field(default_factory=list)  # the kind of mistake and its place
    remarks: list[tuple[str, str]] = field(default_factory=list)  # the same, of what was read all the same

    def __post_init__(self) -> None:
        self._categories: dict[str, int] = {}
        self._files: dict[str | None, AnnotationFile] = {}
        for name in self.classes:
            self.category(name)

    def category(self, name: object) -> int:
        """The id of a class, from 1.

        Raises:
            ValueError: If the name holds half a character, which no file can hold.
        """
        text = str(name).strip() or UNNAMED
        if re.search('[\\ud800-\\udfff]', text):
            raise ValueError(f'the class name {shown(text)} holds half a character; write it anew')
        return self._categories.setdefault(text, len(self._categories) + 1)

    def photo(self, path: Path | str, split: str | None, size: tuple[object, object] | None = None) -> LabelledPhoto:
        """Add a photo.

        Args:
            path: Its file; or the name of one that is missing, which a check lists and training stops at.
            split: 'train', 'val', 'test' or None.
            size: Width and height as the labels say them, where they do; what is no positive number counts as not said.
        """
        item = self._files.get(split)
        if item is None:
            content: dict = {'images': [], 'annotations': [], 'categories': []}
            item = self._files[split] = AnnotationFile(self.source, split, content)
        name = str(path)
        if isinstance(path, Path):
            name = path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.name
        entry: dict = {'id': len(item.content['images']) + 1, 'file_name': name}
        said = _size(size)
        if said:
            entry['width'], entry['height'] = said
        item.content['images'].append(entry)
        if isinstance(path, Path):
            item.images[name] = path
        return LabelledPhoto(self, item, entry)

    @contextmanager
    def faults(
        self, place: str, kind: str = 'annotation that can not be read', photo: LabelledPhoto | None = None
    ) -> Iterator[None]:
        """Leave out what raises ValueError, TypeError, LookupError or AttributeError, as broken data do, and note why.

        Args:
            place: Where it stands, for the note.
            kind: What it is, for the note.
            photo: The photo that it is an object of. One that has no other object is left out too: it is not one without objects.
        """
        try:
            yield
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            self.leave_out(kind, f'{place}: {printable(" ".join(str(error).split()))[:160]}', photo)

    def leave_out(self, kind: str, place: str, photo: LabelledPhoto | None = None) -> None:
        """Note an object that can't be read; ``photo`` as for :meth:`faults`."""
        self.left_out.append((kind, place))
        if photo:
            photo.entry[_UNREAD] = True

    def pass_over(self, kind: str, place: str, photo: LabelledPhoto) -> None:
        """Remark an object that is sound and of no use, such as a point. A photo that has no other is not one without objects."""
        self.remarks.append((kind, place))
        photo.entry.setdefault(_UNREAD, False)

    def files(self) -> list[AnnotationFile]:
        """The labels of each split; one file without photos and classes, and with the reasons, where nothing can be used."""
        if not self._categories and not self.left_out:
            self.left_out.append(('no label file has an object', short(self.source, self.root)))
        categories = [{'id': number, 'name': name} for name, number in self._categories.items()]
        for item in self._files.values():
            self._leave_out_unread(item)
        found = [item for item in self._files.values() if item.content['images']]
        if not found:
            if not self.left_out:
                self.left_out.append(('no photo has an object that can be read', short(self.source, self.root)))
            found = [AnnotationFile(self.source, None, {'images': [], 'annotations': []})]
        for item in found:
            item.content['categories'] = categories
        found[0].left_out, found[0].remarks = self.left_out, self.remarks
        return found

    def _leave_out_unread(self, item: AnnotationFile) -> None:
        """Leave out the photos of which no object can be read, though there are some."""
        labelled = {annotation['image_id'] for annotation in item.content['annotations']}
        kept = []
        for image in item.content['images']:
            unread = image.pop(_UNREAD, None)
            if unread is not None and image['id'] not in labelled:
                entries = self.left_out if unread else self.remarks
                entries.append((_NONE_READ, printable(image['file_name'])))
                item.images.pop(image['file_name'], None)
            else:
                kept.append(image)
        item.content['images'] = kept


@dataclass
class LabelledPhoto:
    """A photo to which objects are added."""

    builder: LabelBuilder
    item: AnnotationFile
    entry: dict

    def add(
        self,
        name: object,
        place: str,
        *,
        box: Sequence[object] | None = None,
        polygons: Sequence[Sequence[object]] | None = None,
        runs: dict | None = None,
        ignore: bool = False,
    ) -> None:
        """Add an object.

        Args:
            name: Its class.
            place: Where it is said, for messages, such as 'labels/a.txt line 3'.
            box: Left, top, width and height in pixels.
            polygons: Outlines (x, y, x, y, ...) in pixels.
            runs: COCO's run lengths, with ``size`` and ``counts``.
            ignore: Neither learned nor counted: difficult ones, crowds.

        Raises:
            ValueError: If a coordinate is no finite number.
        """
        entry: dict = {}
        if polygons is not None:
            entry['segmentation'] = [[number(value) for value in polygon] for polygon in polygons]
        elif runs is not None:
            entry['segmentation'] = runs
        if box is not None:
            entry['bbox'] = [number(value) for value in box]
        annotations = self.item.content['annotations']
        self.item.places[len(annotations)] = place
        head = {'id': len(annotations) + 1, 'image_id': self.entry['id'], 'category_id': self.builder.category(name)}
        annotations.append({**head, **entry, 'iscrowd': int(ignore)})


def extract_photo(content: bytes, name: str) -> Path:
    """Write a photo that a label file holds within into a temporary folder, which goes when the program ends.

    Args:
        content: The file's bytes, of any format.
        name: What to call it, without folders.
    """
    path = Path(tempfile.mkdtemp(dir=_extracted().name)) / name
    path.write_bytes(content)
    return path


@cache
def _extracted() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix='mmlska-photos-')


def _size(size: tuple[object, object] | None) -> tuple[int, int] | None:
    try:
        width, height = (round(number(side)) for side in size or ())
    except (TypeError, ValueError):
        return None
    return (width, height) if min(width, height) > 0 else None
