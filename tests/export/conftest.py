"""Exported files of small models, made once."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from mmlska.engine.config import load_config
from mmlska.export import Exported, export


class Photos(NamedTuple):
    folder: Path
    paths: list[Path]


@pytest.fixture(scope='session')
def photos(tmp_path_factory) -> Photos:
    """Three coloured pictures of different sizes, odd ones among them."""
    folder = tmp_path_factory.mktemp('pictures')
    rng = np.random.default_rng(3)
    for i, (height, width) in enumerate([(96, 128), (97, 61), (45, 150)]):
        image = cv2.resize(
            rng.integers(0, 255, (5, 7, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
        )
        cv2.imwrite(str(folder / f'{i}.png'), image)
    return Photos(folder, sorted(folder.iterdir()))


@pytest.fixture(scope='session')
def exported(tiny_models, photos, tmp_path_factory) -> dict[str, Exported]:
    """Every kind of ONNX file."""
    folder = tmp_path_factory.mktemp('onnx')
    parts = dict.fromkeys(('retinanet', 'upernet', 'fpn', 'mask_rcnn'), 'model') | {'backbone': 'backbone'}
    models = dict(tiny_models, backbone=tiny_models['upernet'])
    return {
        name: export(
            load_config(models[name].config),
            models[name].checkpoint,
            folder / f'{name}.onnx',
            part=part,
            photos=photos.folder,
        )
        for name, part in parts.items()
    }
