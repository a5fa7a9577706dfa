"""Write a corrected copy of a data set: what can be put right is, what can not is left out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .sources.source import Source


def write_repaired(target: str, source: Source) -> list[str]:
    """Write a corrected copy into a new folder; the data themselves are never changed.

    Images go to ``images/``, annotations as COCO files to ``annotations/``, masks as indices to ``masks/`` with ``classes.json``. Left
    out are images that are missing or broken or of another shape than their labels say, images that another split has too, and annotations
    that training can't use. Photos lose their EXIF orientation; their pixels are turned as it says, if labels count them so.

    Returns:
        Lines that say what was written.

    Raises:
        FileExistsError: If the folder exists and is not empty, or is a link or no folder.
        ValueError: If the folder lies inside the data, or the classes of the masks are unknown.
    """
    with new_folder(target, source.root, '--fix') as folder:
        return source.repair(folder)


@contextmanager
def new_folder(target: str, root: Path, option: str) -> Iterator[Path]:
    """A folder that is there whole at the end, or not at all.

    Raises:
        FileExistsError: If the folder exists and is not empty, or is a link or no folder.
        ValueError: If it lies inside the data, below ``root``.
    """
    check_target(target, option)
    new = Path(target).expanduser().resolve()
    if new.is_relative_to(root):
        raise ValueError(f'{option} {target} lies inside the data; give a folder elsewhere')
    there = next(folder for folder in new.parents if folder.is_dir())  # nothing is made where nothing can be written
    with tempfile.TemporaryDirectory(prefix=f'.{new.name}-', dir=there) as temporary:
        part = Path(temporary) / 'new'
        part.mkdir()
        yield part
        if new.exists():
            new.rmdir()
        new.parent.mkdir(parents=True, exist_ok=True)
        part.rename(new)


def check_target(target: str, option: str = '--fix') -> None:
    """Raise FileExistsError if a new folder can't go there: only an empty one is replaced."""
    new = Path(target).expanduser()
    if new.is_symlink() or new.exists() and not (new.is_dir() and not any(new.iterdir())):
        raise FileExistsError(f'{option} {target} exists already; give a folder that is not there yet')
