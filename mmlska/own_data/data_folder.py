"""What lies in a user's folder, and which photo a name means: names in labels are often half right."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from ..images import IMAGE_SUFFIXES, is_image
from .folder import split_of_folders, walk
from .label_text import short

#: Folders that say only what kind of files they hold.
KIND_WORD = re.compile(
    r'(jpeg)?images?|imgs?|photos?|pictures?|labels?(txt)?|labelme|anns?|annotations?|xmls?|jsons?|txts?|masks?|hbb|obb'
)
_MASK_WORD = re.compile(
    'masks?|anns?|annotations?|labels?|labelids|gt|gtfine|groundtruth|seg|segmentations?|segmentationclass'
)
#: How the name of a mask ends, behind that of its photo.
MASK_ENDS = re.compile(r'[_-]((gtFine_)?(labelIds|labelTrainIds|color)|masks?|labels?|gt|seg|segmentation|L|ann)$')
_LONGEST_NAME = 4096


class SeveralPhotos(ValueError):
    """A name that means two photos equally well."""


@dataclass
class DataFolder:
    """A folder, resolved, with the regular files in it; nothing outside of it is ever read."""

    root: Path

    @cached_property
    def files(self) -> list[Path]:
        """All regular files in a fixed order, without hidden ones and old trainings."""
        return list(walk(self.root))

    @cached_property
    def images(self) -> list[Path]:
        """Those of the files that have the suffix of an image."""
        return [path for path in self.files if is_image(path)]

    def photos_beside(self, known: Iterable[Path]) -> list[Path]:
        """The images that are none of these, but for masks."""
        seen = set(known)
        return [path for path in self.images if path not in seen and not is_mask(path.relative_to(self.root))]

    def with_suffix(self, *suffixes: str) -> Iterator[Path]:
        """Those of the files that have one of these suffixes, in upper or lower case."""
        return (path for path in self.files if path.suffix.lower() in suffixes)

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        index: dict[str, list[Path]] = {}
        for path in self.images:
            index.setdefault(name_key(path.stem), []).append(path)
        return index

    def photo(self, name: str, label: Path) -> Path | None:
        """The photo that a label file means by a name; None where there is none.

        The name may lack its suffix or have another one, differ in upper and lower case, and begin with folders of another machine.
        Of several photos of that name the one counts that is named best, and then the one nearest to the label file. A photo in a
        folder of another split than the label file's is none.

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
        splits = {None, self._split(label)}
        fitting = self._by_stem.get(stem_key(name), [])
        if len(splits) > 1:
            fitting = [path for path in fitting if self._split(path) in splits]
        if len(fitting) < 2:
            return fitting[0] if fitting else None
        ranked = sorted(fitting, key=lambda path: self._rank(path, wanted, label), reverse=True)
        if self._rank(ranked[0], wanted, label) == self._rank(ranked[1], wanted, label):
            raise SeveralPhotos(f'{short(ranked[0], self.root)} or {short(ranked[1], self.root)}')
        return ranked[0]

    def _rank(self, photo: Path, wanted: PurePosixPath, label: Path) -> tuple:
        named = [name_key(part) for part in wanted.parts]
        mine = [name_key(part) for part in photo.relative_to(self.root).parts]
        same = 0
        while same < min(len(named), len(mine)) and named[-1 - same] == mine[-1 - same]:
            same += 1
        return same, *self.nearness(photo, label), photo.name == wanted.name

    def _split(self, path: Path) -> str | None:
        """The split that the folders of a file speak of."""
        return split_of_folders(path.relative_to(self.root)) if path.is_relative_to(self.root) else None

    def in_other_places(self, photo: Path, label: Path) -> bool:
        """Whether each of two files lies in a folder of its own, such as a/1.jpg and b/1.txt; ``images`` and the like don't count."""
        first, second = (self._places(path) for path in (photo, label))
        return bool(first - second) and bool(second - first)

    def nearness(self, photo: Path, label: Path) -> tuple[int, int]:
        """How much the folders of two files have in common, and how little they differ, but for words such as ``images``."""
        first, second = (self._places(path) for path in (photo, label))
        return len(first & second), -len(first ^ second)

    def _places(self, path: Path) -> set[str]:
        if not path.is_relative_to(self.root):
            return set()
        parts = (name_key(part) for part in path.parent.relative_to(self.root).parts)
        return {part for part in parts if not any(map(KIND_WORD.fullmatch, re.findall('[a-z]+', part)))}


def has_photo(folder: DataFolder, names: Iterable[str], label: Path) -> bool:
    """Whether a label file means a photo by one of these names, or several photos."""
    try:
        return any(folder.photo(name, label) for name in names)
    except SeveralPhotos:
        return True


def part_of(folder: DataFolder, keep: Callable[[Path], bool]) -> DataFolder:
    """A folder with only those of its files that are to be kept."""
    part = DataFolder(folder.root)
    part.files = [path for path in folder.files if keep(path)]
    return part


def stem_key(name: str) -> str:
    """What the names of photos are compared by, without folders and the suffix of an image; what else follows a dot stays.

    Example:
        >>> stem_key('C:/photos/A.JPG'), stem_key('2024.05.01')
        ('a', '2024.05.01')
    """
    path = PurePosixPath(name.strip().replace('\\', '/'))
    return name_key(path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name)


def name_key(name: str) -> str:
    """A name as file systems compare it: accents composed (macOS stores them decomposed), no difference of case."""
    return unicodedata.normalize('NFC', name).casefold()


def is_mask(path: Path) -> bool:
    """Whether an image looks like a mask by its folders or by the end of its name.

    Args:
        path: Below the data folder.

    Example:
        >>> is_mask(Path('train/masks/1.png')), is_mask(Path('1_mask.png')), is_mask(Path('train/1.png'))
        (True, True, False)
    """
    words = (word for part in path.parent.parts for word in re.findall('[a-z]+', part.lower()))
    return any(map(_MASK_WORD.fullmatch, words)) or bool(MASK_ENDS.search(path.stem))
