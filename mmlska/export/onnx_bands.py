"""Read images of any channels and bits for ``onnx_predictor.py``, which this file is copied with; TIFF files need tifffile.

Nothing here may import torch, mmlska or anything of OpenMMLab.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

#: Channels of an image.
MAX_CHANNELS = 512
#: Bytes that the values of a TIFF file may have.
MAX_BYTES = 1 << 31

_NODATA, _ORIENTATION = 42113, 274  # tags of TIFF files, the first one GDAL's
_OVERVIEW_OR_MASK = 1 | 4  # bits of the tag NewSubfileType
_ALPHA = (1, 2)  # kinds of extra samples
_MOST_PAGES = 4096
#: None, LZW, JPEG, deflate, PackBits, LZMA and ZSTD, the ones that mmlska reads.
_COMPRESSIONS = (1, 5, 7, 8, 32946, 32773, 34925, 50000)
_CONVERTED = (3, 5, 6, 8)  # photometric interpretations of which colours are made: palette, CMYK, YCbCr, CIELAB


def from_array(array: np.ndarray, bands: dict[str, Any]) -> np.ndarray:
    """An array as the model gets it.

    Args:
        array: (H, W, C) of any real type, channels in the order of the files; of one channel also (H, W).
        bands: ``bands`` of the metadata's ``input``.

    Returns:
        (H, W, C), uint8 or float32, all values finite.

    Raises:
        ValueError: If it is no such array.
    """
    values = array[..., None] if array.ndim == 2 else array
    if values.dtype.kind not in 'uif' or values.shape[2:] != (bands['count'],) or 0 in values.shape:
        raise ValueError(
            f'array of shape {array.shape} and dtype {array.dtype} is not an image of this model; give real numbers '
            f'(H, W, {bands["count"]})'
        )
    return _finite(values, bands['fill'])


def from_file(path: str | Path, content: bytes, bands: dict[str, Any]) -> np.ndarray | None:
    """A file as the model gets it, which is what mmlska's BandReader makes of it.

    Args:
        path: The file.
        content: What is in it.
        bands: As for :func:`from_array`.

    Returns:
        As :func:`from_array`; None if OpenCV can't read it.

    Raises:
        ValueError: If it has other channels or values, or is a TIFF file that can't be read.
    """
    values, nodata, flag = None, None, cv2.IMREAD_ANYCOLOR
    if content.startswith(b'\x89PNG'):  # of which OpenCV calls grey with transparency colours
        flag = cv2.IMREAD_GRAYSCALE if content[25:26] in (b'\0', b'\4') else cv2.IMREAD_COLOR
    elif content.startswith((b'II', b'MM')):
        values, nodata, is_grey = _read_tiff(path)
        flag = cv2.IMREAD_GRAYSCALE if is_grey else cv2.IMREAD_COLOR
    if bands.get('decoded_grey'):
        values, nodata, flag = None, None, cv2.IMREAD_GRAYSCALE
    if values is None:
        as_stored = cv2.IMREAD_IGNORE_ORIENTATION if bands.get('as_stored') else 0
        depth = 0 if bands.get('decoded_grey') else cv2.IMREAD_ANYDEPTH
        values = cv2.imdecode(np.frombuffer(content, np.uint8), flag | depth | as_stored)
        if values is None:
            return None
        values = values[..., None] if values.ndim == 2 else values[..., ::-1]
    count, dtype = bands['count'], bands['dtype']
    if (count, dtype) == (1, 'uint8') and values.shape[2] == 3 and values.dtype == np.uint8:
        values = cv2.cvtColor(np.ascontiguousarray(values), cv2.COLOR_RGB2GRAY)[..., None]
    if values.shape[2] != count or values.dtype != dtype:
        found, wanted = (
            f'{n} channel{"s" if n > 1 else ""} of {kind}'
            for n, kind in ((values.shape[2], values.dtype), (count, dtype))
        )
        raise ValueError(f'{path} has {found}, and the model reads {wanted}; give images of that kind')
    return _finite(values, bands['fill'], nodata)


def _finite(values: np.ndarray, fill: Sequence[float], nodata: float | None = None) -> np.ndarray:
    missing = np.zeros(1, bool) if nodata is None else values == nodata
    if values.dtype != np.uint8 or missing.any():
        with np.errstate(over='ignore'):
            values = values.astype(np.float32)
        values = np.where(missing | ~np.isfinite(values), np.array(fill or 0, np.float32), values)
    return np.ascontiguousarray(values)


def _read_tiff(path: str | Path) -> tuple[np.ndarray | None, float | None, bool]:
    """Values (H, W, C) and the one that stands for none; of a photo of 8 bits, which OpenCV reads, whether it is grey."""
    try:
        import tifffile
    except ImportError as error:
        raise ValueError(
            f'{path} is a TIFF file, which this model reads with tifffile; pip install tifffile'
        ) from error
    try:
        _check_pages(path)
        with tifffile.TiffFile(path) as file:
            first = file.pages[0]
            pages = [page for page in file.pages if (page.shaped, page.dtype) == (first.shaped, first.dtype)]
            pages = [page for page in pages if page is first or not int(page.subfiletype) & _OVERVIEW_OR_MASK]
            separate, depth, height, width, contiguous = first.shaped
            samples = separate * contiguous
            extra = [int(kind) for kind in first.extrasamples]
            used = [i for i in range(samples) if i < samples - len(extra) or extra[i - samples] not in _ALPHA]
            used = used or list(range(samples))
            kept = len(used)
            # ImageJ may list one page of many.
            stack = file.series[0] if file.is_imagej and len(pages) == samples == 1 else first
            count = kept * len(pages) * (math.prod(stack.shape) // math.prod(first.shaped))
            if count == kept and _is_plain(first, kept):
                return None, None, kept == 1 and int(first.photometric) not in _CONVERTED
            if depth > 1:
                raise ValueError(f'it is a volume of {depth} layers in one page; save each layer as a page')
            if count > MAX_CHANNELS:
                raise ValueError(f'it has {count} channels, more than {MAX_CHANNELS}; save those that are needed')
            turned = first.tags.valueof(_ORIENTATION, 1)
            if turned != 1:
                raise ValueError(f'its orientation tag is {turned}; save it upright, with the tag 1')
            if int(first.compression) not in _COMPRESSIONS:
                raise ValueError(f'its compression is {first.compression.name}; save it with deflate')
            if height * width * count * np.dtype(first.dtype).itemsize > MAX_BYTES:
                raise ValueError(f'it has {width}x{height} pixels of {count} channels, too many to be read at once')
            nodata = _number(first.tags.valueof(_NODATA))
            if stack is not first and count > kept:
                return stack.asarray().reshape(count, height, width).transpose(1, 2, 0), nodata, False
            planes = [page.asarray(squeeze=False)[:, 0].transpose(1, 2, 0, 3) for page in pages]
            planes = [plane.reshape(height, width, samples)[..., used] for plane in planes]
            return np.concatenate(planes, axis=2), nodata, False
    except Exception as error:  # tifffile's own kinds are many
        reason = ' '.join(str(error).split())[:200]
        fix = '' if '; ' in reason else '; save it again or leave it out'
        raise ValueError(f'{path} is a TIFF file that is not read: {reason}{fix}') from error


def _check_pages(path: str | Path) -> None:
    """Raise ValueError if the pages of a TIFF file are very many, or form a circle, in which tifffile would go round."""
    with open(path, 'rb') as file:
        start = file.read(16)
        order = '<' if start[:2] == b'II' else '>'
        number, size, offset, place = ('Q', 20, 'Q', 8) if b'+' in start[2:4] else ('H', 12, 'I', 4)
        at, seen = struct.unpack_from(order + offset, start, place)[0], set()
        while at:
            if at in seen or len(seen) == _MOST_PAGES:
                raise ValueError(f'its pages form a circle, or are more than {_MOST_PAGES}')
            seen.add(at)
            file.seek(at)
            (count,) = struct.unpack(order + number, file.read(struct.calcsize(f'={number}')))
            file.seek(count * size, 1)
            (at,) = struct.unpack(order + offset, file.read(struct.calcsize(f'={offset}')))


def _is_plain(page: Any, kept: int) -> bool:
    """Whether a page is grey or in colours, of 8 bits or less, as OpenCV reads it."""
    in_colours = int(page.photometric) in _CONVERTED or kept in (1, 3)
    is_known = int(page.compression) not in (34925, 50000)  # LZMA and ZSTD, which OpenCV does not know
    return page.bitspersample <= 8 and page.dtype in (np.uint8, bool) and in_colours and is_known


def _number(text: Any) -> float | None:
    try:
        return float(str(text).strip('\0 '))
    except ValueError:
        return None
