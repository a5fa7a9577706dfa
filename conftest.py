"""Random numbers that are the same in every run of the tests, what pytest leaves out where packages are not installed, and how
several processes share the tests."""

import random
from collections import Counter
from importlib.util import find_spec

import numpy as np
import pytest
import torch

# `make test-extras` runs these, where requirements/extras.txt is installed.
collect_ignore = [] if find_spec('ultralytics') else ['mmlska/yolo', 'tests_extras']
# The same for requirements/app.txt.
collect_ignore += [] if find_spec('gradio') else ['mmlska/app/page.py', 'mmlska/app/serve.py']


def seed() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (what OpenMMLab draws from)
    torch.manual_seed(0)


@pytest.fixture(scope='session', autouse=True)
def seeded_session() -> None:
    """For what fixtures of several files make: random weights give the same boxes in every run."""
    seed()


@pytest.fixture(scope='module', autouse=True)
def seeded_module() -> None:
    """For what fixtures of a file make: the same whatever tests ran before it."""
    seed()


@pytest.fixture(autouse=True)
def seeded() -> None:
    seed()


def unit(nodeid: str) -> str:
    """What one process runs as a whole: a file, or the folder whose files share exported models, which take a minute to make."""
    file = nodeid.split('::')[0]
    return 'tests/export' if file.startswith('tests/export/') else file


def pytest_collection_modifyitems(config, items) -> None:
    """What takes long comes first, or one process would still be at it when the others have nothing left to do."""
    if not hasattr(config, 'workerinput'):
        return
    seconds = Counter()
    for item in items:
        slow = item.get_closest_marker('slow')
        seconds[unit(item.nodeid)] += (*slow.args, 10)[0] if slow else 0.1
    items.sort(key=lambda item: (-seconds[unit(item.nodeid)], unit(item.nodeid)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    if config.getoption('dist') != 'loadfile':
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByUnit(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit(nodeid)

    config.option.loadscopereorder = False  # they come sorted
    return ByUnit(config, log)
