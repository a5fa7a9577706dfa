"""Files in a data folder that mmlska wrote: its pictures, tables and predictions are no data of the user's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..files import file_sha256
from ..images import is_image
from ..outputs import RECORD, Written, recorded
from .folder import LABEL_SUFFIXES

#: The kinds of remark on a file that mmlska wrote.
NOT_USED = 'file that mmlska wrote, not used'
AS_PREDICTED = 'label file as a model predicted it, used; correct those that are wrong'
_CLASS_SUFFIXES = ('.yaml', '.yml')


@dataclass
class SortedFiles:
    """The files of a folder, by who wrote them."""

    data: list[Path] = field(default_factory=list)  # the user's, and predicted labels among which a person works
    outputs: list[Path] = field(default_factory=list)  # pictures, tables, predictions that are no label files
    predicted: list[Path] = field(default_factory=list)  # other predicted labels, and the copies of their photos
    unchanged: list[Path] = field(default_factory=list)  # label files in ``data`` as a model predicted them
    masks: set[Path] = field(default_factory=set)  # all masks that a model predicted, those that were changed too


def sort_files(root: Path, files: Iterable[Path]) -> SortedFiles:
    """Find out which files of a data folder mmlska wrote and nobody changed since.

    Labels that a model predicted are data where a person corrected some of them or put others beside them.

    Args:
        root: The folder.
        files: All files below it.
    """
    out = SortedFiles(list(files))
    every = set(out.data)
    folders = {folder for parent in {path.parent for path in every} for folder in (parent, *parent.parents)}
    records = {folder: recorded(folder) for folder in sorted(folders) if folder.is_relative_to(root)}
    own: dict[Path, bool] = {}  # whether it is a label, or a copy of its photo
    for folder, names in records.items():
        labels = label_files(folder / name for name, written in names.items() if written.is_label)
        out.masks.update(path for path in labels if path in every and is_image(path))
        for path, written in _there(folder, names, every):
            if file_sha256(path) in written.digests:
                own[path] = written.is_label or own.get(path, False)
    if not own:
        return out
    by_hand = [path for path in out.data if path not in own and path.suffix.lower() in LABEL_SUFFIXES]
    photos = {path.stem for path in every if is_image(path)}
    used: set[Path] = set()
    for folder, names in records.items():
        labels = {path for path, written in _there(folder, names, every) if written.is_label}
        places = {(path.parent, path.suffix) for path in labels if path.suffix in LABEL_SUFFIXES}
        beside = any((path.parent, path.suffix) in places and path.stem in photos for path in by_hand)
        if beside or labels - own.keys():
            used |= labels & own.keys()
    files, out.data = out.data, []
    for path in files:
        kept = path in used or path not in own
        (out.data if kept else out.predicted if own[path] else out.outputs).append(path)
    out.unchanged = label_files(path for path in out.data if path in used)
    return out


def label_files(predicted: Iterable[Path]) -> list[Path]:
    """Those of predicted labels and the copies of their photos that have the labels: texts, or else masks."""
    files = [path for path in predicted if path.suffix not in _CLASS_SUFFIXES]
    return [path for path in files if path.suffix in LABEL_SUFFIXES] or files


def _there(folder: Path, names: dict[str, Written], files: set[Path]) -> list[tuple[Path, Written]]:
    """The files of a record that are in the data folder, with what it says of each."""
    return [(path, written) for name, written in names.items() if (path := folder / name) in files]


def record_of(path: Path, root: Path) -> Path:
    """The record that has a file which mmlska wrote below ``root``."""
    folders = [folder for folder in path.parents if folder.is_relative_to(root)]
    named = (folder for folder in folders if path.relative_to(folder).as_posix() in recorded(folder))
    return next(named, root) / RECORD
