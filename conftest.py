"""Random numbers that are the same in every run of the tests, and what pytest leaves out where packages are not installed."""

import random
from importlib.util import find_spec

import numpy as np
import pytest
import torch

# `make test-extras` runs these, where requirements/extras.txt is installed.
collect_ignore = [] if find_spec('ultralytics') else ['mmlska/yolo', 'tests_extras']
# The same for requirements/app.txt.
collect_ignore += [] if find_spec('gradio') else ['mmlska/app/page.py']


def seed() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (what OpenMMLab draws from)
    torch.manual_seed(0)


@pytest.fixture(scope='session', autouse=True)
def seeded_session() -> None:
    """For what fixtures of several tests make: random weights give the same boxes in every run."""
    seed()


@pytest.fixture(autouse=True)
def seeded() -> None:
    seed()
