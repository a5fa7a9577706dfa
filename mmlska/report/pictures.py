"""Pictures for the report of a training: pixels with masks as JPEG, and boxes with their names as SVG over them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from html import escape

import cv2
import numpy as np
from torch import Tensor

from ..bands import picture_of
from ..images import shrink
from ..text import printable

_QUALITIES = (88, 75, 60, 40)
_MOST_NAMES = 25  # more would cover the picture
#: Boxes of a picture that are drawn; the rest would make the page large.
MOST_BOXES = 100


@dataclass(frozen=True)
class Picture:
    """A picture and what is drawn over it.

    Attributes:
        name: Its heading.
        jpeg: The pixels, as base64 of a JPEG.
        size: Width and height of the image in the pixels that ``boxes`` count.
        boxes: (left, top, right, bottom) of each.
        labels: Class of each box.
        scores: Score of each box; none for labels.
        note: A line below the picture.
    """

    name: str
    jpeg: str
    size: tuple[int, int]
    boxes: list[list[float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    note: str = ''

    def plain(self) -> dict:
        """This as JSON can hold it; ``Picture(**plain)`` makes it again."""
        return asdict(self)


def paint(pixels: np.ndarray, index: np.ndarray, colors: Sequence[Sequence[int]], opacity: float = 0.5) -> np.ndarray:
    """Paint a map over a picture of its size.

    Args:
        pixels: (H, W, 3) uint8, BGR.
        index: (H, W) of the colour of each pixel; no paint where there is none of that number.
        colors: Red, green and blue, 0 to 255.
        opacity: Of the paint, 0 to 1.

    Example:
        >>> paint(np.zeros((1, 2, 3), np.uint8), np.array([[0, 255]]), [(200, 100, 0)])[0].tolist()
        [[0, 50, 100], [0, 0, 0]]
    """
    painted = (index >= 0) & (index < len(colors))
    table = np.array([*colors, (0, 0, 0)], float)[:, ::-1]
    over = table[np.where(painted, index, len(colors))]
    return np.where(painted[..., None], (1 - opacity) * pixels + opacity * over, pixels).astype(np.uint8)


def encode(pixels: np.ndarray, limit: int) -> str:
    """The pixels, (H, W, 3) uint8 in BGR, as base64 of a JPEG of at most ``limit`` bytes, in a lower quality or smaller if need be."""
    while True:
        for quality in _QUALITIES:
            jpeg = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
            if len(jpeg) <= limit or max(pixels.shape[:2]) <= 16:
                return base64.b64encode(jpeg).decode()
        pixels = shrink(pixels, max(pixels.shape[:2]) // 2)


def pixels_of(image: Tensor, rgb: bool = False, bands: Sequence[int] | None = None) -> np.ndarray:
    """An image of a batch as a picture.

    Args:
        image: (3, H, W) or (1, H, W) with values 0 to 255; of ``LoadBands`` (C, H, W) of any values.
        rgb: It is in that order, not in BGR.
        bands: Of ``LoadBands``: the channels, from 1, that are red, green and blue; none are the first three, or the first.

    Returns:
        (H, W, 3) uint8 in BGR order.

    Raises:
        ValueError: If there are no such channels.
    """
    values = image.detach().cpu().numpy().transpose(1, 2, 0)
    if bands is not None:
        return picture_of(values, bands)
    pixels = values.clip(0, 255).astype(np.uint8)
    if pixels.shape[2] != 3:
        pixels = np.repeat(pixels[..., :1], 3, 2)
    return np.ascontiguousarray(pixels[..., ::-1] if rgb else pixels)


def instance_map(masks: np.ndarray, side: int) -> np.ndarray:
    """The number of the first mask at each pixel, -1 for none, with a longer side of at most ``side`` pixels.

    Args:
        masks: (N, H, W), bool or 0 and 1.

    Returns:
        (h, w) int16.
    """
    index = np.full(shrink(np.zeros(masks.shape[1:], np.uint8), side).shape, -1, np.int16)
    for number in reversed(range(len(masks))):
        inside = cv2.resize(masks[number].astype(np.uint8), index.shape[::-1], interpolation=cv2.INTER_NEAREST)
        index[inside > 0] = number
    return index


def svg_of(picture: Picture, classes: Sequence[str], palette: Sequence[Sequence[int]]) -> str:
    """The picture as an inline SVG, which shows names as text and runs nothing in them."""
    width, height = picture.size
    letter = max(width, height) / 28
    parts = [
        f'<svg class="picture" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{shown_text(picture.name)}">'
        f'<image width="{width:g}" height="{height:g}" preserveAspectRatio="none" '
        f'href="data:image/jpeg;base64,{escape(picture.jpeg)}"/>'
    ]
    named = len(picture.boxes) <= _MOST_NAMES
    for number, (box, label) in enumerate(zip(picture.boxes[:MOST_BOXES], picture.labels)):
        left, top, right, bottom = box
        color = 'rgb({},{},{})'.format(*(int(c) for c in palette[label]))
        score = f' {picture.scores[number]:.2f}' if picture.scores else ''
        text = f'{shown_text(classes[label])}{score}'
        parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(right - left, 0):.1f}" height="{max(bottom - top, 0):.1f}" '
            f'stroke="{color}"><title>{text}</title></rect>'
        )
        if named:
            end = left > 0.7 * width  # text to the right of it would be cut off
            anchor = ' text-anchor="end"' if end else ''
            x, y = min(max(right if end else left, 0), width), max(top - 0.25 * letter, 0.85 * letter)
            parts.append(
                f'<text x="{x:.1f}" y="{y:.1f}" font-size="{letter:.1f}" stroke-width="{letter / 5:.1f}"'
                f'{anchor}>{text}</text>'
            )
    return ''.join([*parts, '</svg>'])


def shown_text(text: object) -> str:
    """A text from data for a page: nothing in it ends an element or an attribute."""
    return escape(printable(str(text)))
