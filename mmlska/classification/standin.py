"""Generated images in the folder layouts of ImageNet and its robustness sets: a stand-in to try the tools on, no benchmark."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from ..datasets.scenes import make_scene
from ..files import write_bytes
from .robustness import C_BAR, CORRUPTIONS, EXTRA_CORRUPTIONS, SETS, is_class_name

CLASSES = 5
#: Folder names as ImageNet's, one for each shape; the subset sets have the first, third and fifth.
WNIDS = tuple(f'n{9_000_000 + i:08d}' for i in range(CLASSES))
SUBSET = WNIDS[::2]
C_BAR_SEVERITIES = ('1.0', '2.0', '3.0', '4.0', '10.0')


def write_crops(root: Path, per_class: int, size: int, seed: int = 0) -> Path:
    """Write the objects of generated scenes as ``train/WNID/*.png`` and ``val/WNID/*.png`` below ``root``, which is returned.

    Args:
        per_class: Images of each of the five classes, in each split.
        size: Side of an image in pixels.
        seed: Of the scenes.
    """
    for folder, split in (('train', 'training'), ('val', 'validation')):
        _write_split(root / folder, split, WNIDS, per_class, size, seed, lambda image, _: image)
    return root


def write_standin(root: Path, per_class: int = 2, size: int = 40, seed: int = 0) -> Path:
    """Write ImageNet's validation images and the five robustness sets: imagenet, imagenet-c, -c-bar, -a, -r and -sketch.

    What is done to the images (noise that grows with the severity, outlines, inverted colours) only makes them differ; it is none of
    the published corruptions.

    Returns:
        ``root``.

    Raises:
        ValueError: If one of the six folders holds anything else, such as real images; nothing is written then.
    """
    for name in SETS:
        _refuse_others(root / name)

    def write(folder: str, wnids: tuple[str, ...], change: Callable) -> None:
        _write_split(root / folder, 'validation', wnids, per_class, size, seed, change)

    write_crops(root / 'imagenet', per_class, size, seed)
    for name in (*CORRUPTIONS, *EXTRA_CORRUPTIONS):
        for severity in range(1, 6):
            write(f'imagenet-c/{name}/{severity}', WNIDS, lambda image, rng, s=severity: _noise(image, rng, 12 * s))
    for name in C_BAR:
        for step, severity in enumerate(C_BAR_SEVERITIES, start=1):
            write(f'imagenet-c-bar/{name}/{severity}', WNIDS, lambda image, rng, s=step: _noise(image, rng, 12 * s))
    write('imagenet-a', SUBSET, lambda image, rng: _noise(image, rng, 60))
    write('imagenet-r', SUBSET, lambda image, _: 255 - image)
    write('imagenet-sketch', WNIDS, lambda image, _: np.repeat(255 - cv2.Canny(image, 60, 120)[..., None], 3, axis=2))
    return root


def _refuse_others(root: Path) -> None:
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        if os.path.realpath(folder) in seen:  # links may lead in a circle
            folders.clear()
            continue
        seen.add(os.path.realpath(folder))
        others = [name for name in folders if is_class_name(name) and name not in WNIDS]
        if Path(folder).name not in WNIDS:
            others += [name for name in files if not name.startswith('.')]
        if others:
            raise ValueError(
                f'{Path(folder, min(others))} is not of the stand-in, which would mix with it; give a root without these sets'
            )


def _noise(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    return np.clip(image + rng.normal(0, strength, image.shape), 0, 255).astype(np.uint8)


def _write_split(root: Path, split: str, wnids: tuple, per_class: int, size: int, seed: int, change: Callable) -> None:
    missing = dict.fromkeys(range(CLASSES), per_class)
    rng = np.random.default_rng(seed)
    for index in range(100 * per_class):
        if not any(missing.values()):
            return
        scene = make_scene(
            index, split=split, seed=seed, size=96, num_classes=CLASSES, difficulty='easy', texture='random'
        )
        for item in scene.instances:
            if not missing[item.category]:
                continue
            missing[item.category] -= 1
            x, y, w, h = item.bbox
            crop = cv2.resize(scene.image[y : y + h, x : x + w], (size, size), interpolation=cv2.INTER_AREA)
            if WNIDS[item.category] in wnids:
                path = root / WNIDS[item.category] / f'{missing[item.category]:04d}.png'
                pixels = cv2.cvtColor(change(crop, rng), cv2.COLOR_RGB2BGR)
                write_bytes(path, cv2.imencode('.png', pixels)[1].tobytes())
