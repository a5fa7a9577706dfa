"""Tests that need torchvision: run by `make test-extras` in .venv-extras."""

import os
import sys
import tempfile
from pathlib import Path

# Before Ultralytics is imported: its settings go to a folder of their own, and it neither asks the network nor installs anything.
os.environ.update(
    YOLO_CONFIG_DIR=tempfile.mkdtemp(prefix='mmlska_yolo_'),
    YOLO_AUTOINSTALL='false',
    YOLO_OFFLINE='true',
    WANDB_MODE='disabled',
)

import pytest

from mmlska.datasets.scenes import write_scenes

sys.path.append(str(Path(__file__).resolve().parents[1] / 'tests/weights'))  # published_layouts


@pytest.fixture(scope='session')
def scenes(tmp_path_factory) -> Path:
    """Four training and two validation scenes of 96 px and five classes."""
    root = tmp_path_factory.mktemp('data') / 'scenes'
    write_scenes(root, num_train=4, num_val=2, size=96, num_classes=5, difficulty='easy', texture='random', seed=0)
    return root


@pytest.fixture(scope='session')
def yolo_data(scenes, tmp_path_factory) -> Path:
    """The scenes in Ultralytics' layout: the path of data.yaml."""
    from mmlska.yolo.data import coco_to_yolo

    splits = dict(train='training', val='validation')
    return coco_to_yolo(
        {k: (scenes / f'annotations/instances_{v}.json', scenes / f'images/{v}') for k, v in splits.items()},
        tmp_path_factory.mktemp('yolo'),
    )


@pytest.fixture(scope='session')
def crops(tmp_path_factory) -> Path:
    """Crops of generated scenes in ImageNet's layout: train/CLASS and val/CLASS for five classes, three images of 40 px each."""
    from mmlska.classification.standin import write_crops

    return write_crops(tmp_path_factory.mktemp('crops'), per_class=3, size=40)
