"""Lists of names that give the splits: VOC's ``ImageSets/Main/train.txt`` and its like, and ``train.txt`` beside the photos."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from .data_folder import DataFolder, name_key, stem_key
from .folder import SPLIT_WORDS
from .label_text import read_text, short

#: The kind of remark on an image that is in none of the lists for it.
NOT_LISTED = 'image that no list of splits names, not used'
_LISTS = {**SPLIT_WORDS, 'trainval': 'trainval'}
_PURPOSES = ('main', 'segmentation', 'layout', '')  # of lists, the first counts; '' lies in ImageSets itself
_FLAG = re.compile(r'(.*\S)\s+[-+]?\d+')
_FEWEST_KNOWN = 0.5  # of the names in a list that is not in ImageSets


@dataclass
class _Entry:
    folders: tuple[str, ...]
    split: str | None


@dataclass
class SplitLists:
    """What all lists of a folder say.

    Args:
        folder: The folder.
        labels: Label files, whose names are known too.
        purposes: The folders of ImageSets, of which the first that is there counts.
    """

    folder: DataFolder
    labels: Iterable[Path] = ()
    purposes: tuple[str, ...] = _PURPOSES
    left_out: list[tuple[str, str]] = field(default_factory=list)  # kinds of mistakes with their places
    remarks: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._photos: dict[str, list[Path]] = {}
        for photo in self.folder.images:
            if not self.folder.is_mask(photo):
                self._photos.setdefault(_key(photo), []).append(photo)
        self._shared: dict[tuple[Path, str], dict[tuple[str, ...], _Entry]] = {}
        self._known = {*map(_key, self.folder.images), *(stem_key(label.stem) for label in self.labels)}
        self._homes = {home: self._entries(files) for home, files in self._files().items()}
        self._homes = {home: entries for home, entries in self._homes.items() if entries}

    def split_of(self, photo: Path, label: Path | None = None) -> tuple[bool, str | None]:
        """Whether a photo is used, and its split: that of the lists for it, where there are some, else that of its folders.

        Args:
            photo: The photo.
            label: Its label file, by whose name and folder lists count for it then.
        """
        by_folder = self.folder.split_of(photo) or (self.folder.split_of(label) if label else None)
        home = next((place for place in (label or photo).parents if place in self._homes), None)
        if home is None:
            return True, by_folder
        entry = self._entry(home, photo, label)
        if entry is None and home not in self._strict and by_folder:  # the list may be of another part
            return True, by_folder
        return entry is not None, entry.split if entry else None

    def _entry(self, home: Path, photo: Path, label: Path | None) -> _Entry | None:
        for key in (*([stem_key(label.stem)] if label else []), stem_key(photo.name)):
            entries = self._homes[home].get(key, [])
            if entries and len(self._photos.get(key, ())) < 2:
                return entries[0]
            if entries:  # photos of one name in several folders
                shared = self._by_shared_folders(home, key)
                found = next((shared[end] for end in _ends(_folders(photo)) if end in shared), None)
                if found:
                    return found
        return None

    def _by_shared_folders(self, home: Path, key: str) -> dict[tuple[str, ...], _Entry]:
        """The entries of a name by the last folders that they share with its photos; those before may be of another machine."""
        if (home, key) not in self._shared:
            near = [photo for photo in self._photos[key] if photo.is_relative_to(home)] or self._photos[key]
            photos = Counter(end for photo in near for end in _ends(_folders(photo)))
            shared = self._shared[home, key] = {}
            for entry in self._homes[home][key]:
                end = next(end for end in _ends(entry.folders) if end in photos)
                # A part of its folders says enough only where it fits one photo alone.
                if end == entry.folders or photos[end] == 1:
                    shared.setdefault(end, entry)
        return self._shared[home, key]

    def _files(self) -> dict[Path, dict[str, Path]]:
        """The lists of each folder by their stem; those of ImageSets count before others."""
        root = self.folder.root
        found: dict[Path, dict[str, dict[str, Path]]] = {}
        plain: dict[Path, dict[str, Path]] = {}
        for path in self.folder.with_suffix('.txt'):
            stem = path.stem.lower()
            if stem not in _LISTS:
                continue
            parts = [part.lower() for part in path.relative_to(root).parts[:-1]]
            if 'imagesets' in parts:
                place = parts.index('imagesets')
                home = root.joinpath(*path.relative_to(root).parts[:place])
                found.setdefault(home, {}).setdefault('/'.join(parts[place + 1 :]), {}).setdefault(stem, path)
            elif self._lists_photos(path):
                home = path.parent
                while home != root and not any(photo.is_relative_to(home) for photo in self.folder.images):
                    home = home.parent
                plain.setdefault(home, {}).setdefault(stem, path)
        self._strict = set(found)
        out = {home: next((lists[p] for p in self.purposes if p in lists), {}) for home, lists in found.items()}
        return {**plain, **{home: lists for home, lists in out.items() if lists}}

    def _lists_photos(self, path: Path) -> bool:
        try:
            lines = [line for line in map(str.strip, read_text(path).splitlines()) if line]
        except (OSError, ValueError):
            return False
        known = sum(self._known_name(line)[1] for line in lines)
        return known > 0 and known >= _FEWEST_KNOWN * len(lines)

    def _known_name(self, line: str) -> tuple[str, bool]:
        """The name in a line, and whether it is known; behind it may stand a number or the name of its mask."""
        flagged = _FLAG.fullmatch(line)
        for name in (line, *([flagged[1]] if flagged else []), re.split(r'[\s,;]+', line)[0]):
            if stem_key(name) in self._known:
                return name, True
        return flagged[1] if flagged else line, False

    def _entries(self, files: dict[str, Path]) -> dict[str, list[_Entry]]:
        """The entries of lists by their keys. Those in trainval alone belong to whichever of train and val has no list, or to no split."""
        named = {stem: names for stem in _LISTS if stem in files and (names := self._listed(files[stem]))}
        listed = {_LISTS[stem] for stem in named}
        rest = {('train',): 'val', ('val',): 'train'}.get(tuple(split for split in ('train', 'val') if split in listed))
        out: dict[str, list[_Entry]] = {}
        known: dict[tuple, _Entry] = {}
        for stem, names in named.items():
            split = _LISTS[stem]
            for folders, key in dict.fromkeys(names):
                before = known.get((folders, key))
                if before is None:
                    entry = known[folders, key] = _Entry(folders, rest if split == 'trainval' else split)
                    out.setdefault(key, []).append(entry)
                elif split not in ('trainval', before.split):
                    kind = f'name in two lists of {_what(files[stem])}; it stays in {before.split}'
                    self.remarks.append((kind, f'{short(files[stem], self.folder.root)}: {key[:100]!r}'))
        return out

    def _listed(self, path: Path) -> list[tuple[tuple[str, ...], str]]:
        """The names in a list, as they are compared: folders and stem."""
        found = []
        for line in filter(None, map(str.strip, read_text(path).splitlines())):
            name, known = self._known_name(line)
            if not known:
                place = f'{short(path, self.folder.root)}: {name[:100]!r}'
                self.left_out.append(
                    (f'name in a list of {_what(path)} of which there is neither xml nor photo', place)
                    if self.labels
                    else (f'name in a list of {_what(path)} of which there is no photo', place)
                )
            parts = [part for part in PurePosixPath(name.replace('\\', '/')).parts[:-1] if part not in ('/', '.', '..')]
            found.append((tuple(map(name_key, parts)), stem_key(name)))
        return found


def _what(path: Path) -> str:
    """What lists are called in messages."""
    return 'ImageSets' if 'imagesets' in (part.lower() for part in path.parts) else 'photos'


def _folders(path: Path) -> tuple[str, ...]:
    return tuple(map(name_key, path.parent.parts))


def _ends(folders: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The last folders, from all of them to none."""
    return [folders[first:] for first in range(len(folders) + 1)]


def _key(path: Path) -> str:
    return stem_key(path.name)
