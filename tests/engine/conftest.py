"""A small run, and what it leaves."""

from pathlib import Path

import pytest
import torch
from small_run import runner_of, weights_of, write_config


@pytest.fixture(scope='session')
def config(scenes, tmp_path_factory) -> str:
    """Path of the config of a run of six iterations."""
    return write_config(scenes, tmp_path_factory.mktemp('config'))


@pytest.fixture(scope='session')
def whole(config, tmp_path_factory) -> tuple[dict[str, torch.Tensor], Path]:
    """The weights and the work directory of an uninterrupted run."""
    folder = tmp_path_factory.mktemp('whole')
    runner = runner_of(config, folder)
    runner.train()
    return weights_of(runner), folder
