"""What several tests share."""

from pathlib import Path

import pytest

from mmlska.datasets.scenes import write_scenes

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='session')
def scenes(tmp_path_factory) -> Path:
    """Four training and two validation scenes of 96 px and five classes."""
    root = tmp_path_factory.mktemp('data') / 'scenes'
    write_scenes(root, num_train=4, num_val=2, size=96, num_classes=5, difficulty='easy', texture='random', seed=0)
    return root
