"""What the tests of the analysis tools share: very small models with random weights, and a look at the pictures."""

from pathlib import Path

import cv2
import numpy as np
import torch
from test_train_test import small

from mmlska.engine.config import load_config
from mmlska.infer.model import build_model


def small_model(config: str, scenes: Path, folder: Path) -> tuple[str, str]:
    """Write the config and a checkpoint of a very small model into a folder; return their names there."""
    name = small(config, scenes, folder)
    model = build_model(load_config(str(folder / name)), seed=1)
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'small.pth')
    return name, 'small.pth'


def check_picture(path: Path, at_least: tuple[int, int], colors: int = 50) -> np.ndarray:
    """A picture of at least (width, height) pixels with drawn content: many colours, and dark text on white margins."""
    image = cv2.imread(str(path))
    assert image is not None, path
    height, width = image.shape[:2]
    assert (width, height) >= at_least
    assert height >= at_least[1]
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > colors
    assert (image.max(-1) < 60).any()
    assert (image.min(-1) == 255).mean() > 0.02
    return image
