"""Label files and the photos that they mean: one for each photo, the nearest of several, and what fits nothing."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..text import printable
from .data_folder import DataFolder, SeveralPhotos, name_key, stem_key
from .label_text import UNREADABLE, short

#: The kind of remark on a photo of which no label file speaks.
WITHOUT_LABELS = 'photo without a label file, not used'
_SECOND = 'second label file of one photo'
_COPY = 'second label file of one photo, the same, read once'
_NO_PHOTO = 'label file without its photo'


@dataclass
class Pairing:
    """Label files with the photos that they mean, and what fits nothing: kinds of mistakes with their places."""

    photos: dict[Path, Path] = field(default_factory=dict)  # label file -> photo
    unused: list[Path] = field(default_factory=list)  # label files without one
    left_out: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[tuple[str, str]] = field(default_factory=list)


def pair(folder: DataFolder, named: Iterable[tuple[Path, Iterable[str]]], same_place: bool = False) -> Pairing:
    """Find the photos of label files, one label file for each photo.

    Args:
        named: Each label file with the names that its photo may have, the best first.
        same_place: Whether a photo of that name in another place is none; see :meth:`DataFolder.in_other_places`.
    """
    out, by_photo = Pairing(), {}
    for label, names in named:
        photo, kind, place = None, _NO_PHOTO, short(label, folder.root)
        try:
            photo = next(filter(None, (folder.photo(name, label) for name in names)), None)
        except SeveralPhotos as error:
            kind, place = 'label file that fits two photos', f'{place} ({error})'
        if photo is None and kind == _NO_PHOTO and folder.unread_photo(label.stem):
            kind = 'label file whose photo is of a kind that is not read; save it as jpg or png'
        if photo is None or same_place and folder.in_other_places(photo, label):
            out.left_out.append((kind, place))
            out.unused.append(label)
        else:
            by_photo.setdefault(photo, []).append(label)
    for photo, labels in by_photo.items():
        ranked = sorted(labels, key=partial(_claim, folder, photo), reverse=True)
        best, equal = ranked[0], _copies(ranked)
        rivals = [label for label in ranked[1:] if label not in equal]
        if rivals and _claim(folder, photo, rivals[0]) == _claim(folder, photo, best):
            place = ' and '.join(short(label, folder.root) for label in (best, rivals[0]))
            out.left_out.append(('photo with two label files, neither of which is nearer', place))
            out.unused += ranked
            continue
        out.photos[best] = photo
        out.unused += ranked[1:]
        out.left_out += [
            (_SECOND, f'{short(label, folder.root)} beside {short(best, folder.root)}') for label in rivals
        ]
        out.remarks += [(_COPY, f'{short(label, folder.root)} beside {short(best, folder.root)}') for label in equal]
    return out


def _claim(folder: DataFolder, photo: Path, label: Path) -> tuple:
    """How near a label file is to a photo, and whether it has its name."""
    return *folder.nearness(photo, label), name_key(label.stem) == name_key(photo.stem)


def _copies(labels: list[Path]) -> set[Path]:
    """Those of several label files that have the content of the first."""
    if len(labels) < 2:
        return set()
    with suppress(OSError):
        content = labels[0].read_bytes()
        return {label for label in labels[1:] if label.read_bytes() == content}
    return set()


def names_of(folder: DataFolder, label: Path, said: str, stems: Container[str]) -> list[str]:
    """What the photo of a label file may be called, the best first: as the file says, or as it is called itself.

    Copied and renamed files still say the name that they had. So the file's own name comes first where another label file has the name
    that this one says, or where a photo of its own name lies beside it.

    Args:
        said: The name that the file says.
        stems: The :func:`stem_key` of all label files.
    """
    own = name_key(label.stem)
    stale = stem_key(said) != own and (stem_key(said) in stems or (label.parent, own) in folder.by_folder_and_stem)
    return [label.stem, said] if stale else [said, label.stem]


def unlabelled(folder: DataFolder, labels: Iterable[Path], used: dict[Path, Path], suffix: str) -> Pairing:
    """What to say of the photos that no label file means, where that is not the same as a photo without objects.

    Args:
        labels: The files that were taken for label files; those among them that can't be used are named elsewhere.
        used: Label files with the photos that they mean.
        suffix: Of label files. One that has the name of such a photo and was not taken for one is broken.
    """
    known, out = set(labels), Pairing()
    by_name: dict[str, list[Path]] = {}
    for path in folder.with_suffix(suffix):
        if path not in used:
            by_name.setdefault(stem_key(path.stem), []).append(path)
    for photo in folder.photos_beside(used.values()):
        own = [path for path in by_name.get(name_key(photo.stem), ()) if not folder.in_other_places(photo, path)]
        if not own:
            out.remarks.append((WITHOUT_LABELS, short(photo, folder.root)))
        else:
            out.left_out += [(UNREADABLE, short(path, folder.root)) for path in own if path not in known]
    return out


@dataclass
class PhotoEntry:
    """What a label file with many photos says of one of them."""

    file: Path
    name: str
    content: Any
    photo: Path | None = None  # None where there is none of that name


def one_entry_each(folder: DataFolder, entries: Iterable[PhotoEntry]) -> tuple[list[PhotoEntry], list, list]:
    """Keep one entry for each photo, that of the nearest label file; entries without a photo are kept.

    Returns:
        The entries; kinds of mistakes and places of those that are left out; the same of those that say what the one kept says.
    """
    kept, left_out, repeated = [], [], []
    by_photo: dict[Path, list[PhotoEntry]] = {}
    for entry in entries:
        if entry.photo is None:
            kept.append(entry)
        else:
            by_photo.setdefault(entry.photo, []).append(entry)
    for photo, claims in by_photo.items():
        best = max(claims, key=lambda entry, photo=photo: folder.nearness(photo, entry.file))
        kept.append(best)
        for entry in (entry for entry in claims if entry is not best):
            files = (short(one.file, folder.root) for one in (entry, best))
            place = f'{printable(entry.name)} in {" beside ".join(files)}'
            if entry.content == best.content:
                repeated.append(('labels of one photo twice, the same', place))
            else:
                left_out.append(('second labels of one photo', place))
    return kept, left_out, repeated


def frame_photos(folder: DataFolder, label: Path, videos: Mapping[Path, str]) -> dict[int, list[Path]]:
    """The photos that are frames of a video: ``frame_000012.png``, ``000012.png`` or the video's name, ``_`` and the number.

    Args:
        label: The label file of the video.
        videos: All label files of videos, with the names of these videos, or empty ones. A photo is the nearest one's.

    Returns:
        By their numbers; several where they fit equally well.
    """
    beginnings = ['frame_', '', *([f'{name_key(videos[label])}_'] if videos[label] else [])]
    pattern = re.compile(f'({"|".join(map(re.escape, beginnings))})([0-9]+)')
    ranks: dict[int, tuple] = {}
    found: dict[int, list[Path]] = {}
    for path in folder.images:
        match = pattern.fullmatch(name_key(path.stem))
        if not match:
            continue
        near = folder.nearness(path, label)
        others = ((folder.nearness(path, file), name) for file, name in videos.items() if file != label)
        doubtful = folder.in_other_places(path, label) or any(
            other > near or other == near and name != videos[label] for other, name in others
        )
        if doubtful and match[1] in ('frame_', ''):
            continue
        number, rank = int(match[2]), (*near, -beginnings.index(match[1]))
        if number not in ranks or rank > ranks[number]:
            ranks[number], found[number] = rank, []
        if rank == ranks[number]:
            found[number].append(path)
    return found


def not_used(folder: DataFolder, used: Iterable[Path | None]) -> list[tuple[str, str]]:
    """What to say of the photos that no label file means: the kind of remark and the place of each."""
    known = (path for path in used if path is not None)
    return [(WITHOUT_LABELS, short(photo, folder.root)) for photo in folder.photos_beside(known)]
