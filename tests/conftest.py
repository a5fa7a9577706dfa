"""What several tests share."""

from pathlib import Path

import pytest
from tiny_models import DEMOS, TinyModel, save_tiny

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='session')
def scenes(tmp_path_factory) -> Path:
    """Four training and two validation scenes of 96 px and five classes."""
    from mmlska.datasets.scenes import write_scenes  # here, so that tests/ops runs where there is nothing but torch

    root = tmp_path_factory.mktemp('data') / 'scenes'
    write_scenes(root, num_train=4, num_val=2, size=96, num_classes=5, difficulty='easy', texture='random', seed=0)
    return root


@pytest.fixture(scope='session')
def tiny_models(tmp_path_factory, scenes) -> dict[str, TinyModel]:
    """Config and checkpoint of a very small random model of each kind."""
    folder = tmp_path_factory.mktemp('tiny')
    return {name: save_tiny(name, folder, scenes) for name in DEMOS}
