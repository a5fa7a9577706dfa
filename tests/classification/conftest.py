"""A packed set of small generated photos, and a very small network that is trained on it."""

from pathlib import Path

import pytest
from packed_photos import photos, write_packed, write_small_config
from pretraining_runs import train


@pytest.fixture(scope='session')
def packed(tmp_path_factory) -> Path:
    """Four classes with eight training and four validation photos each, as sheets of two rows; lossless, so pixels can be compared."""
    root = tmp_path_factory.mktemp('packed')
    write_packed(root, photos, train=8, val=4, quality=101)
    return root


@pytest.fixture(scope='session')
def small_config(packed, tmp_path_factory) -> Path:
    """Path of the config for them."""
    return write_small_config(tmp_path_factory.mktemp('config'), packed)


@pytest.fixture(scope='session')
def trained(small_config, tmp_path_factory) -> Path:
    """The work directory of two epochs."""
    work_dir = tmp_path_factory.mktemp('trained')
    train(small_config, work_dir)
    return work_dir
