"""Generated data sets whose images are no photos of 8 bits: several bands, 16 bits, floats, one channel."""

import json
from pathlib import Path

import cv2
import numpy as np

from mmlska.datasets.scene_bands import band_image, write_bands
from mmlska.datasets.scenes import SHAPES, make_scene, semantic_mask


def bands_of(scene, channels: int, dtype: str, seed: int = 0) -> np.ndarray:
    """A scene as (H, W, C) of 16 bits, of 8, or of floats from 0 to 1."""
    values = band_image(scene.image, semantic_mask(scene) - 1, channels, seed)
    steps = (values.astype(np.float32) - 1000) / 200
    return values if dtype == 'uint16' else steps.astype(np.uint8) if dtype == 'uint8' else (steps / 255).astype(dtype)


def write_image(path: Path, image: np.ndarray) -> None:
    """As TIFF, or as PNG where its name ends so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == '.png':
        cv2.imwrite(str(path), image[..., 0] if image.shape[2] == 1 else image[..., ::-1])
    else:
        write_bands(path, image)


def band_set(
    root: Path,
    count: int = 8,
    channels: int = 5,
    dtype: str = 'uint16',
    size: int = 96,
    num_classes: int = 3,
    masks: bool = False,
    suffix: str = '.tif',
) -> Path:
    """Images with boxes and outlines in a COCO file, or with ``masks`` beside them."""
    from pycocotools.mask import encode

    images, annotations = [], []
    for number in range(count):
        scene = make_scene(
            number, split='training', seed=0, size=size, num_classes=num_classes, difficulty='easy', texture='random'
        )
        name = f'{number}{suffix}'
        write_image(root / 'images' / name, bands_of(scene, channels, dtype, number))
        if masks:
            write_image(root / 'masks' / f'{number}.png', (semantic_mask(scene) - 1)[..., None])
        images.append(dict(id=number, file_name=name, width=size, height=size))
        for item in scene.instances:
            runs = encode(np.asfortranarray(item.mask.astype(np.uint8)))
            left, top, width, height = item.bbox
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=item.category + 1,
                    bbox=[left, top, width, height],
                    area=int(item.mask.sum()),
                    iscrowd=0,
                    segmentation=dict(size=runs['size'], counts=runs['counts'].decode()),
                )
            )
    if masks:
        (root / 'classes.txt').write_text('\n'.join(['background', *SHAPES[:num_classes]]))
    else:
        categories = [dict(id=i + 1, name=name) for i, name in enumerate(SHAPES[:num_classes])]
        (root / 'all.json').write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return root
