"""What lies in a user's folder, and which photo a name means: names in labels are often half right."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import itemgetter
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from ..images import IMAGE_SUFFIXES, is_image
from .folder import LABEL_SUFFIXES, splits_in, trainings, walk
from .folder_names import KIND_WORD, TRAIN_IS_CLASS, FolderNames, split_of_name
from .label_text import short
from .written_files import AS_PREDICTED, NOT_USED, SortedFiles, label_files, sort_files

_WORD = re.compile(r'[^\W\d_]+|\d+')
_LONGEST_NAME = 4096
_UNREAD_SUFFIXES = (
    *(
        '.gif',
        '.heic',
        '.heif',
        '.avif',
        '.jxl',
        '.jp2',
        '.j2k',
        '.ppm',
        '.pgm',
        '.pbm',
        '.pnm',
        '.tga',
        '.psd',
        '.exr',
    ),
    *('.dng', '.cr2', '.cr3', '.nef', '.arw', '.raf', '.rw2', '.orf'),
)
#: The kind of mistake of an image that no reader here takes.
NOT_READ = 'image of a kind that is not read; save it under the same name as png or jpg'
#: The kind of remark on a folder that is the work directory of a training.
TRAINING = 'work directory of a training, not read'
_QUERY = re.compile(r'(\.\w+)\?.*', re.DOTALL)  # behind the name of a file in an address
_UPLOAD = re.compile('^[0-9a-f]{8}-(?=.)')
_MANY = 8  # photos of one name


class SeveralPhotos(ValueError):
    """A name that means two photos equally well."""


@dataclass
class DataFolder:
    """A folder, resolved, with the regular files in it; nothing outside of it is ever read."""

    root: Path
    _class_files: set[Path] = field(default_factory=set, init=False, repr=False)
    _parts: list[DataFolder] = field(default_factory=list, init=False, repr=False)
    _places: dict[Path, tuple[frozenset[str], str | None]] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def sorted_files(self) -> SortedFiles:
        """All regular files in a fixed order, without hidden ones and old trainings, by who wrote them."""
        return sort_files(self.root, walk(self.root))

    @cached_property
    def files(self) -> list[Path]:
        """Those of the files that are data of the user's."""
        return self.sorted_files.data

    def with_predictions(self) -> DataFolder:
        """The folder with labels that a model predicted among its files."""
        unused, whole = set(self.sorted_files.outputs), DataFolder(self.root)
        found = self.sorted_files
        labels = label_files(found.predicted)
        data = [path for path in walk(self.root) if path not in unused]
        whole.sorted_files = SortedFiles(data, found.outputs, [], [*found.unchanged, *labels], found.masks)
        return whole

    def left_remarks(self) -> list[tuple[str, str]]:
        """What to say of the files that mmlska wrote and of old trainings: kind and place of each."""
        found = self.sorted_files
        return [
            *((NOT_USED, short(path, self.root)) for path in (*found.outputs, *found.predicted)),
            *((AS_PREDICTED, short(path, self.root)) for path in found.unchanged),
            *((TRAINING, short(path, self.root)) for path in trainings(self.root)),
        ]

    @cached_property
    def images(self) -> list[Path]:
        """Those of the files that have the suffix of an image."""
        return [path for path in self.files if is_image(path)]

    @cached_property
    def _names(self) -> FolderNames:
        labels = self.with_suffix(*LABEL_SUFFIXES)
        return FolderNames(*([path.relative_to(self.root) for path in paths] for paths in (self.images, labels)))

    def split_of(self, path: Path) -> str | None:
        """The split that the folders above a photo or its own label file speak of: 'test drive.jpg' is for no test."""
        return self._names.split_of(path.parent.relative_to(self.root)) if path.is_relative_to(self.root) else None

    def split_of_file(self, path: Path, beside: Iterable[Path] = ()) -> str | None:
        """The split that the name of a file with the labels of many photos, or else a folder above it, speaks of.

        Args:
            path: The file.
            beside: All such files: 'train.csv' beside 'bus.csv' and 'car.csv' is one of a class.
        """
        own = split_of_name(path, beside)
        if own is None and split_of_name(path):
            self.note_class(path)
        several = len(splits_in(path.stem)) > 1
        return own or (None if several else self.split_of(path))

    def note_class(self, path: Path) -> None:
        """Note that a file train with the labels of many photos is taken for one of a class."""
        self._class_files.add(path)

    def class_remarks(self) -> list[tuple[str, str]]:
        """What to say of the folders and files train that were taken for classes so far: kind and place of each."""
        found = set()
        for part in (self, *self._parts):
            found |= part._class_files | {self.root / place for place in part._names.taken_for_classes}
        return [(TRAIN_IS_CLASS, short(path, self.root)) for path in sorted(found)]

    def is_mask(self, path: Path) -> bool:
        """Whether an image is a mask that a model predicted, or looks like one; see :meth:`FolderNames.is_mask`."""
        if path in self.sorted_files.masks:
            return True
        return path.is_relative_to(self.root) and self._names.is_mask(path.relative_to(self.root))

    def photos_beside(self, known: Iterable[Path]) -> list[Path]:
        """The images that are none of these, under no other name either, but for masks."""
        seen = set(known)
        others = [path for path in self.images if path not in seen and not self.is_mask(path)]
        files = {file_id(path) for path in seen} if others else set()
        return [path for path in others if file_id(path) not in files]

    def with_suffix(self, *suffixes: str) -> Iterator[Path]:
        """Those of the files that have one of these suffixes, in upper or lower case."""
        return (path for path in self.files if path.suffix.lower() in suffixes)

    @cached_property
    def _by_stem(self) -> dict[str, list[_Photo]]:
        index: dict[str, list[_Photo]] = {}
        for path in self.images:
            photo = _Photo(path, path.relative_to(self.root), *self._place_of(path), self.is_mask(path))
            index.setdefault(name_key(path.stem), []).append(photo)
        return index

    def has_name(self, name: str) -> bool:
        """Whether there is a photo of this name, whatever its suffix and its folders."""
        return stem_key(name) in self._by_stem

    @cached_property
    def file_set(self) -> frozenset[Path]:
        """The files, to look one up."""
        return frozenset(self.files)

    @cached_property
    def by_folder_and_stem(self) -> dict[tuple[Path, str], list[Path]]:
        """The images that are no masks by their folder and the :func:`name_key` of their stem."""
        index: dict[tuple[Path, str], list[Path]] = {}
        for path in self.images:
            if not self.is_mask(path):
                index.setdefault((path.parent, name_key(path.stem)), []).append(path)
        return index

    @cached_property
    def _by_place(self) -> dict[tuple[str, frozenset[str]], list[_Photo]]:
        index: dict[tuple[str, frozenset[str]], list[_Photo]] = {}
        for stem, photos in self._by_stem.items():
            for photo in photos:
                index.setdefault((stem, photo.places), []).append(photo)
        return index

    def _place_of(self, path: Path) -> tuple[frozenset[str], str | None]:
        """The places of the folder of a file, and the split that it speaks of."""
        folder = path.parent
        if folder not in self._places:
            inside = folder.is_relative_to(self.root)
            parts = folder.relative_to(self.root).parts if inside else ()
            named = (' '.join(w for w in _WORD.findall(name_key(part)) if not KIND_WORD.fullmatch(w)) for part in parts)
            split = self.split_of(path)
            self._places[folder] = frozenset(filter(None, named)), split
        return self._places[folder]

    @cached_property
    def _unread(self) -> set[str]:
        return {name_key(path.stem) for path in self.files if is_unread(path)}

    def unread_photo(self, stem: str) -> bool:
        """Whether there is a photo of this name in a format that is not read."""
        return name_key(stem) in self._unread

    def photo(self, name: str, label: Path) -> Path | None:
        """The photo that a label file means by a name; None where there is none.

        The name may lack its suffix or have another one, differ in upper and lower case, and begin with folders of another machine; where
        no photo has it, see :func:`spellings`.
        Of several photos of that name the one counts that is named best, and then the one nearest to the label file. A photo in a
        folder of another split than the label file's does not count.

        Raises:
            SeveralPhotos: If two fit equally well.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as root:
            ...     (Path(root) / 'train').mkdir()
            ...     (Path(root) / 'train/A.JPG').touch()
            ...     DataFolder(Path(root)).photo('/home/me/a.png', Path(root) / 'labels/a.txt').name
            'A.JPG'
        """
        if not 0 < len(name) <= _LONGEST_NAME or '\0' in name:
            return None
        wanted = PurePosixPath(name.strip().replace('\\', '/'))
        if not self.has_name(name):
            wanted = PurePosixPath(next(filter(self.has_name, spellings(name)), str(wanted)))
        key, (places, split) = stem_key(str(wanted)), self._place_of(label)
        fitting = self._by_stem.get(key, [])
        if len(fitting) > _MANY and len(wanted.parts) == 1:  # as frames of many videos, each in a folder of its own
            fitting = self._by_place.get((key, places)) or fitting
        if split:
            fitting = [photo for photo in fitting if photo.split in (None, split)]
        fitting = [photo for photo in fitting if not photo.is_mask] or fitting
        if len(fitting) < 2:
            return fitting[0].path if fitting else None
        ranked = sorted(
            ((self._rank(photo, wanted, places), photo) for photo in fitting), key=itemgetter(0), reverse=True
        )
        if ranked[0][0] == ranked[1][0]:
            names = (short(photo.path, self.root) for _, photo in ranked[:2])
            raise SeveralPhotos(' or '.join(names))
        return ranked[0][1].path

    def _rank(self, photo: _Photo, wanted: PurePosixPath, places: frozenset[str]) -> tuple:
        named = [name_key(part) for part in wanted.parts]
        mine = [name_key(part) for part in photo.inside.parts]
        same = 0
        while same < min(len(named), len(mine)) and named[-1 - same] == mine[-1 - same]:
            same += 1
        near = len(photo.places & places), -len(photo.places ^ places)
        return same, *near, photo.path.name == wanted.name

    def in_other_places(self, photo: Path, label: Path) -> bool:
        """Whether each of two files lies in a folder of its own, such as a/1.jpg and b/1.txt; ``images`` and the like don't count."""
        first, second = self._place_of(photo)[0], self._place_of(label)[0]
        return bool(first - second) and bool(second - first)

    def nearness(self, photo: Path, label: Path) -> tuple[int, int]:
        """How much the folders of two files have in common, and how little they differ, but for words such as ``images``."""
        first, second = self._place_of(photo)[0], self._place_of(label)[0]
        return len(first & second), -len(first ^ second)


@dataclass(frozen=True)
class _Photo:
    path: Path
    inside: Path  # below the data folder
    places: frozenset[str]  # its folders, without those that say only what kind of files they hold
    split: str | None  # that its folders speak of
    is_mask: bool


def is_unread(path: Path) -> bool:
    """Whether a file has the suffix of an image of a kind that is not read."""
    return path.suffix.lower() in _UNREAD_SUFFIXES


def has_photo(folder: DataFolder, names: Iterable[str], label: Path) -> bool:
    """Whether a label file means a photo by one of these names, or several photos."""
    try:
        return any(folder.photo(name, label) for name in names)
    except SeveralPhotos:
        return True


def part_of(folder: DataFolder, keep: Callable[[Path], bool]) -> DataFolder:
    """A folder with only those of its files that are to be kept."""
    part = DataFolder(folder.root)
    part.sorted_files = replace(folder.sorted_files, data=[path for path in folder.files if keep(path)])
    folder._parts.append(part)
    return part


def stem_key(name: str) -> str:
    """What the names of photos are compared by, without folders and the suffix of an image; what else follows a dot stays.

    Example:
        >>> stem_key('C:/photos/A.JPG'), stem_key('2024.05.01')
        ('a', '2024.05.01')
    """
    path = PurePosixPath(name.strip().replace('\\', '/'))
    return name_key(path.stem if path.suffix.lower() in (*IMAGE_SUFFIXES, *_UNREAD_SUFFIXES) else path.name)


def spellings(name: str) -> list[str]:
    """What else a name may mean where no photo has it: a part of an address, or a name behind the number of an upload to Label Studio.

    Example:
        >>> spellings('/data/upload/1/a1b2c3d4-my%20cat.png?token=7')
        ['/data/upload/1/a1b2c3d4-my cat.png', '/data/upload/1/my cat.png']
    """
    plain = unquote(_QUERY.sub(r'\1', name.replace('\\', '/')))
    folder, slash, last = plain.rpartition('/')
    return [other for other in (plain, f'{folder}{slash}{_UPLOAD.sub("", last)}') if other != name]


def file_id(path: Path) -> tuple[int, int] | None:
    """The same for all names of a file, through links or not; None where it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def name_key(name: str) -> str:
    """A name as file systems compare it: accents composed (macOS stores them decomposed), no difference of case."""
    return unicodedata.normalize('NFC', name).casefold()
