"""The photos that the rows of tables name, such as csv files with a row for each object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..image_windows import header_of
from ..images import Header
from ..text import printable
from .annotations import WRITTEN_TWICE
from .data_folder import DataFolder, SeveralPhotos
from .folder_names import split_of_name, splits_of_names
from .label_builder import LabelBuilder, LabelledPhoto
from .label_tables import filled_rows, read_csv
from .label_text import encoding_remarks, read_each, short
from .photo_pairing import not_used

_LONGEST = 200  # characters of a name in a message


@dataclass
class NamedPhotos:
    """The photos that the rows of tables name, for files that speak of many photos: each becomes one entry of the labels."""

    folder: DataFolder
    builder: LabelBuilder

    def __post_init__(self) -> None:
        self._files: dict[tuple, Path | tuple[str, str | None] | None] = {}
        self._entries: dict[Path | tuple[str, str | None], LabelledPhoto] = {}
        self._splits = set(map(self.folder.split_of, self.folder.images))  # that folders speak of
        self._headers: dict[str, Header | None] = {}
        self._told: set[tuple] = set()
        self._objects: set[tuple] = set()

    def add(
        self, name: str, table: Path, split: str | None, size: tuple[object, object] | None = None
    ) -> LabelledPhoto | None:
        """The entry of a photo; None where its row has to be left out, which is noted.

        Args:
            name: As the row has it.
            table: The file that the row is in.
            split: That which the table itself says; by default that of the photo's folder, or else of the table's.
            size: As for :meth:`LabelBuilder.photo`; of several the first counts.
        """
        photo = self._photo(name, table, split)
        if photo is None:
            return None
        entry = self._entries.get(photo)
        if entry is None:
            by_folder = self.folder.split_of(photo) if isinstance(photo, Path) else None
            split = split or by_folder or self.folder.split_of(table)
            entry = self._entries[photo] = self.builder.photo(
                photo if isinstance(photo, Path) else photo[0], split, size
            )
        elif split not in (None, entry.item.split):
            place = short(table, self.folder.root)
            self._tell(
                'photo in a second split',
                f'{printable(name)[:_LONGEST]} ({split} in {place}, kept in {entry.item.split})',
            )
            return None
        return entry

    def tables(self, paths: Iterable[Path]) -> Iterator[tuple[Path, str | None, list[tuple[str, list[str]]]]]:
        """Each table that can be read, with the split that its name speaks of, and its rows with their places.

        Those that name a split come first: the photos of others beside them are the same.

        Raises:
            ValueError: If none can be read.
        """
        tables = list(paths)
        splits = splits_of_names(tables)
        for path in (path for path in tables if splits[path] is None and split_of_name(path)):
            self.folder.note_class(path)
        ordered = sorted(tables, key=lambda path: splits[path] is None)
        for path, rows in read_each(ordered, read_csv, self.folder.root, self.builder.left_out).items():
            place = short(path, self.folder.root)
            lines = [(f'{place} line {line}', cells) for line, cells in filled_rows(rows)]
            self.builder.remarks += encoding_remarks([path], self.folder.root)
            yield path, splits[path], lines

    def header(self, entry: LabelledPhoto) -> Header | None:
        """The sizes of a photo; None where it is missing or broken, which check and training tell."""
        name = entry.entry['file_name']
        if name not in self._headers:
            try:
                self._headers[name] = header_of(entry.item.images[name])
            except (OSError, ValueError, KeyError):
                self._headers[name] = None
        return self._headers[name]

    def is_new(self, entry: LabelledPhoto, place: str, *what: object) -> bool:
        """Whether an object is written for the first time, not once more in a copy of the table; noted if not."""
        key = (entry.entry['file_name'], *what)
        if key in self._objects:
            self.builder.remarks.append((WRITTEN_TWICE, place))
            return False
        self._objects.add(key)
        return True

    def note_unused(self) -> None:
        """Note the photos that no row names."""
        used = (photo for photo in self._entries if isinstance(photo, Path))
        self.builder.remarks += not_used(self.folder, used)

    def _photo(self, name: str, table: Path, split: str | None) -> Path | tuple[str, str | None] | None:
        """Its file, that of its split where folders speak of it; the name with the split where it is missing, None where it is unclear."""
        key = name, table, split
        if key not in self._files:
            label = table.parent / split / table.name if split and split in self._splits else table
            try:
                photo = self.folder.photo(name, label)
                self._files[key] = (printable(name)[:_LONGEST], split) if photo is None else photo
            except SeveralPhotos as error:
                self._files[key] = None
                self._tell('row that fits two photos', f'{short(table, self.folder.root)}: {error}')
        return self._files[key]

    def _tell(self, kind: str, place: str) -> None:
        if (kind, place) not in self._told:
            self._told.add((kind, place))
            self.builder.left_out.append((kind, place))
