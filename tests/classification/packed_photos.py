"""The generated photos that packed sets hold."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

TILE = 32
COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [180, 180, 40]])


def photos(split: str, label: int, count: int) -> np.ndarray:
    """Tiles (count, TILE, TILE, 3) of one colour for each class, with noise."""
    rng = np.random.default_rng([label, split == 'train'])
    return (COLOURS[label] + rng.integers(-40, 40, (count, TILE, TILE, 3))).astype(np.uint8)


def write_packed(
    root: Path, tiles_of: Callable[[str, int, int], np.ndarray], train: int, val: int, quality: int
) -> None:
    """Write four classes of so many training and validation photos, as sheets of two rows; above quality 100 they are lossless."""
    names = [f'n{i}' for i in range(len(COLOURS))]
    (root / 'classes.json').write_text(json.dumps([dict(wnid=n, name=f'class {n}') for n in names]))
    for split, count in (('train', train), ('val', val)):
        (root / split).mkdir()
        for label, name in enumerate(names):
            tiles = tiles_of(split, label, count)
            sheet = np.concatenate([np.concatenate(row, 1) for row in tiles.reshape(2, -1, TILE, TILE, 3)])
            cv2.imwrite(str(root / split / f'{name}.webp'), sheet[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])
