"""What several tests share."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_models import DEMOS, TinyModel, save_tiny

REPOSITORY = Path(__file__).resolve().parents[1]
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'chrome', 'chromium-headless-shell', 'msedge')


@pytest.fixture(scope='session')
def shared_data() -> Callable[[str], Path]:
    """Finds the folder of a set of real photos by its name; the test is skipped where it is not on this machine."""
    places = [Path(os.environ.get('MMLSKA_DATA', 'data')), REPOSITORY / 'data', REPOSITORY.parent / 'shared/data']

    def find(name: str) -> Path:
        found = next((place / name for place in places if (place / name).is_dir()), None)
        return found or pytest.skip(f'{name} is in none of {", ".join(map(str, places))}')

    return find


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


@pytest.fixture(scope='session')
def compiler() -> str:
    """The C++ compiler that torch and an installation use. Without a compiler the test is skipped."""
    name = os.environ.get('CXX', 'clang++' if sys.platform == 'darwin' else 'g++')
    return shutil.which(name) or pytest.skip(f'no C++ compiler {name}; set CXX')


@pytest.fixture(scope='module')
def browser():
    """A headless Chromium. Closed with each module: playwright's event loop would be in the way of others."""
    sync_api = pytest.importorskip('playwright.sync_api', reason='no playwright; pip install playwright')
    wanted = os.environ.get('MMLSKA_BROWSER') or next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_api.sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=wanted)
        except sync_api.Error as error:
            pytest.skip(f'no Chromium; playwright install chromium, or set MMLSKA_BROWSER: {error.message[:80]}')
        yield started
        started.close()


@pytest.fixture
def look(browser):
    """Opens a page offline; at the end nothing may have failed."""
    faults, pages = [], []

    def opened(index: Path, **options):
        context = browser.new_context(offline=True, viewport={'width': 1280, 'height': 800}, **options)
        page = context.new_page()
        page.on('pageerror', lambda error: faults.append(str(error)))
        page.on('console', lambda line: faults.append(line.text) if line.type in ('error', 'warning') else None)
        page.on('requestfailed', lambda request: faults.append(request.url))
        page.on(
            'request',
            lambda request: None if request.url.startswith(('file:', 'data:')) else faults.append(request.url),
        )
        page.goto(index.as_uri())
        pages.append(context)
        return page

    yield opened
    for context in pages:
        context.close()
    assert not faults
