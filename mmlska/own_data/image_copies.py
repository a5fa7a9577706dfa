"""Copies of a data set's images in a new folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..images import open_image


class ImageCopies:
    """Copies of images below ``root`` in a new folder, each under the name that it has there, numbered where another one has it.

    Where they are ``paired``, two names have to differ by more than the suffix, as those of their labels do not have it.
    """

    def __init__(self, root: Path, folder: Path, paired: bool = False) -> None:
        self.folder = folder
        self._root, self._paired = root, paired
        self._targets: dict[Path, Path] = {}
        self._taken: set[Path] = set()

    def add(self, path: Path, as_stored: bool) -> Path:
        """Copy an image, without its EXIF orientation if the labels count pixels as stored."""
        if path not in self._targets:
            self._targets[path] = self._free(path)
            self._targets[path].parent.mkdir(parents=True, exist_ok=True)
            copy_image(path, self._targets[path], as_stored)
        return self._targets[path]

    def _free(self, path: Path) -> Path:
        plain = Path(os.path.abspath(path))  # without '..', which would lead out of the new folder
        name = plain.relative_to(self._root) if plain.is_relative_to(self._root) else Path(plain.name)
        name = Path(*name.parts[1:]) if len(name.parts) > 1 and name.parts[0] == 'images' else name
        stem, suffix, number = name.with_suffix(''), name.suffix, 2
        while self._key(name) in self._taken:
            name, number = Path(f'{stem}_{number}{suffix}'), number + 1
        self._taken.add(self._key(name))
        return self.folder / name

    def _key(self, name: Path) -> Path:
        return name.with_suffix('') if self._paired else name


def copy_image(path: Path, target: Path, as_stored: bool) -> None:
    if not as_stored:
        shutil.copy2(path, target)
        return
    with open_image(path) as image:
        image.load()
        exif = image.getexif()
        exif.pop(0x0112, None)
        kept = exif.tobytes()  # here, as it fails on broken EXIF data
    if image.format == 'MPO':  # of cameras that store a preview as well: the photo itself is a JPEG
        image.format = 'JPEG'
    options = dict(quality='keep') if image.format == 'JPEG' else {}
    image.save(target, format=image.format, exif=kept, **options)
