"""The generated photos that the packed set holds."""

import numpy as np

TILE = 32


def photos(split: str, label: int, count: int) -> np.ndarray:
    """Tiles (count, TILE, TILE, 3) of one colour for each class, with noise."""
    rng = np.random.default_rng([label, split == 'train'])
    colour = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [180, 180, 40]])[label]
    return (colour + rng.integers(-40, 40, (count, TILE, TILE, 3))).astype(np.uint8)
