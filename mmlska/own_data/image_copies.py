"""Copies of a data set's images in a new folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from PIL import Image
from PIL.JpegImagePlugin import get_sampling

from ..image_headers import ORIENTATION
from ..image_windows import header_of
from ..images import BROKEN, open_image

_TURN = Image.Transpose
# What turns an image as viewers do, by its orientation in EXIF data.
_TURNS = {
    2: _TURN.FLIP_LEFT_RIGHT,
    3: _TURN.ROTATE_180,
    4: _TURN.FLIP_TOP_BOTTOM,
    5: _TURN.TRANSPOSE,
    6: _TURN.ROTATE_270,
    7: _TURN.TRANSVERSE,
    8: _TURN.ROTATE_90,
}


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
        """Copy an image by :func:`copy_image`, as stored if the labels count pixels so."""
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
    """Copy an image, one that EXIF data turn without that: its pixels stay as stored, or are turned as viewers show them.

    A JPEG keeps its quantisation, by which it looks as before.
    """
    if not header_of(path).turned:
        shutil.copy2(path, target)
        return
    with open_image(path) as image:
        image.load()
        turn = _TURNS[image.getexif()[ORIENTATION]]
        kind = 'JPEG' if image.format == 'MPO' else image.format  # of cameras that store a preview as well
        options = dict(icc_profile=image.info.get('icc_profile'), exif=_without_orientation(image))
        if kind == 'JPEG' and as_stored:
            image.format = kind
            options.update(quality='keep')
        elif kind == 'JPEG':
            options.update(qtables=image.quantization)
            sampling = get_sampling(image)
            options.update(dict(subsampling=sampling) if sampling >= 0 else {})
        if not as_stored:
            image = image.transpose(turn)
    image.save(target, format=kind, **options)


def _without_orientation(image: Image.Image) -> bytes:
    """The EXIF data of an image without its orientation; none where they are broken."""
    try:
        exif = image.getexif()
        exif.pop(ORIENTATION, None)
        return exif.tobytes()
    except BROKEN:
        return b''
