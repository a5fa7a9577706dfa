"""tools/app.py as a visitor sees it, in a real browser."""

import re
import shutil
import socket
import subprocess
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

expect = pytest.importorskip('playwright.sync_api', reason='no playwright; pip install playwright').expect
expect.set_options(timeout=20_000)  # the parts of an answer reach the page one after another

TOOL = Path(__file__).resolve().parents[2] / 'tools/app.py'

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec('gradio') is None, reason='no Gradio; pip install -r requirements/app.txt'),
]


@pytest.fixture(scope='module')
def server(tiny_models, scenes, tmp_path_factory):
    """The page over two random models, with two examples; its address and the photos it offers."""
    folder = tmp_path_factory.mktemp('page')
    (folder / 'examples').mkdir()
    for photo in sorted((scenes / 'images/validation').iterdir()):
        shutil.copy(photo, folder / 'examples')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    models = [
        part
        for name in ('upernet', 'mask_rcnn')
        for part in ('--model', f'tiny {name}', tiny_models[name].config, tiny_models[name].checkpoint)
    ]
    options = ['--examples', folder / 'examples', '--port', port, '--max-upload-mb', 1, '--max-megapixels', 0.5]
    log = folder / 'log.txt'
    with log.open('w') as output:
        command = [sys.executable, TOOL, *models, *options, '--device', 'cpu']
        process = subprocess.Popen(list(map(str, command)), cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while f'the page is at http://127.0.0.1:{port}' not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield SimpleNamespace(url=f'http://127.0.0.1:{port}', folder=folder)
    finally:
        process.terminate()
        process.wait(timeout=20)
    assert 'Traceback' not in log.read_text()


@pytest.fixture
def page(browser, server):
    """The page as it opens; at the end nothing may have been asked of another host."""
    context = browser.new_context(viewport={'width': 1280, 'height': 800})
    opened = context.new_page()
    opened.set_default_timeout(20_000)
    asked, faults = [], []
    opened.on('request', lambda request: asked.append(request.url))
    opened.on('pageerror', lambda error: faults.append(str(error)))
    opened.goto(server.url)
    settled(opened, '#side0')
    yield opened
    context.close()
    assert len(asked) > 5
    assert [url for url in asked if not url.startswith((server.url, 'data:', 'blob:'))] == []
    assert faults == []


def eventually(page, claim):
    """Repeat a claim about the page until it holds, 20 s at most; return what it returns."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return claim()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        page.wait_for_timeout(200)


def settled(page, *places) -> None:
    """Wait until nothing is computed any more and the pictures are there."""
    for place in places:
        page.wait_for_function(
            "place => { const image = document.querySelector(place + ' .picture img'); return image?.complete && image.naturalWidth }",
            arg=place,
        )
    page.wait_for_timeout(300)


def picture(page, place: str) -> np.ndarray:
    """The picture that is shown, BGR."""
    url = page.locator(f'{place} .picture img').get_attribute('src')
    return cv2.imdecode(np.frombuffer(page.request.get(url).body(), np.uint8), cv2.IMREAD_COLOR)


def changes(page, place: str):
    """What is shown at a place, to be waited on until it is another."""
    return page.locator(f'{place} .picture img').get_attribute('src')


def wait_for_change(page, place: str, before: str) -> None:
    page.wait_for_function(
        "([place, before]) => document.querySelector(place + ' .picture img')?.getAttribute('src') !== before",
        arg=[place, before],
    )
    settled(page, place)


def upload(page, path: Path) -> None:
    page.locator('#upload input[type=file]').set_input_files(path)


def choose(page, dropdown: str, name: str) -> None:
    page.locator(f'#{dropdown} input').click()
    page.locator('ul[role=listbox] li').filter(has_text=name).click()


def write_photo(path: Path, height: int, width: int) -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 3)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return image


def test_an_upload_is_segmented_with_legend_latency_and_opacity(page, tmp_path):
    photo = write_photo(tmp_path / 'my photo.png', 90, 130)
    before = changes(page, '#side0')
    upload(page, tmp_path / 'my photo.png')
    wait_for_change(page, '#side0', before)
    photo = photo.repeat(4, axis=0).repeat(4, axis=1)  # small photos are enlarged
    assert picture(page, '#side0').shape == photo.shape
    heading = page.locator('#side0 .block.heading')
    expect(heading).to_contain_text('130 x 90 px')
    expect(heading).to_contain_text('tiny upernet')
    expect(heading).to_contain_text(re.compile(r'latency \d+ ms on CPU'))

    def legend_is_whole():
        rows = page.locator('#side0 .legend li').all_text_contents()
        shares = [float(re.search(r'([\d.]+)%', row)[1]) for row in rows if 'below' not in row]
        assert sum(shares) == pytest.approx(100, abs=1)

    eventually(page, legend_is_whole)

    # From the photo itself to nothing but the classes' colours, those of the legend.
    def apart(least: float, most: float) -> float:
        distance = np.abs(picture(page, '#side0').astype(int) - photo).mean()
        assert least <= distance <= most
        return distance

    def colours():
        swatches = page.locator('#side0 .swatch').evaluate_all(
            'all => all.map(s => getComputedStyle(s).backgroundColor)'
        )
        pixels = np.unique(picture(page, '#side0').reshape(-1, 3), axis=0)
        legend = {tuple(map(int, re.findall(r'\d+', swatch))) for swatch in swatches}
        assert {tuple(pixel[::-1].tolist()) for pixel in pixels} == legend

    field = page.locator('#opacity input[type=number]')
    distances = [np.abs(picture(page, '#side0').astype(int) - photo).mean()]  # at 0.6, as the page starts
    for opacity in ('0', '1'):
        field.fill(opacity)
        field.press('Enter')
        field.blur()
        distances.append(eventually(page, partial(apart, *((0, 1) if opacity == '0' else (distances[0] * 1.1, 255)))))
    assert distances[1] < distances[0] < distances[2]
    eventually(page, colours)


def test_two_models_side_by_side_and_the_field_of_a_click(page):
    choose(page, 'compare', 'tiny mask_rcnn')
    settled(page, '#side1')
    expect(page.locator('#side1 h2')).to_have_text('tiny mask_rcnn')
    expect(page.locator('#side1 .legend')).to_contain_text('best score')
    expect(page.locator('#field0')).to_be_hidden()
    photo = picture(page, '#side0')
    image = page.locator('#side0 .picture img')
    box = image.bounding_box()
    size = min(box['width'], box['height'])  # of the square example, in the middle of its frame
    image.click(position=dict(x=(box['width'] - size) / 2 + size / 4, y=box['height'] / 2))
    settled(page, '#field0', '#field1')
    for side in ('0', '1'):
        caption = page.locator(f'#field{side} .block.caption')
        expect(caption).to_contain_text(re.compile(r'half of the influence comes from a square of \d+ px'))
        column, row = map(int, re.search(r'point \((\d+), (\d+)\)', caption.text_content()).groups())
        assert abs(column - 24) <= 1  # of the example's 96 px
        assert abs(row - 48) <= 1
        assert picture(page, f'#field{side}').shape == photo.shape
    # Another stage, then another model: the point stays.
    before, other = changes(page, '#field0'), changes(page, '#field1')
    page.locator('#stage label').first.click()
    wait_for_change(page, '#field0', before)
    wait_for_change(page, '#field1', other)
    choose(page, 'compare', 'none')
    page.wait_for_function("!document.querySelector('#side1')?.checkVisibility()")
    expect(page.locator('#field0 .block.caption')).to_be_visible()
    expect(page.locator('#field1')).to_be_hidden()


def test_examples_and_the_score(page):
    choose(page, 'model', 'tiny mask_rcnn')
    page.wait_for_function("document.querySelector('#side0 h2').textContent === 'tiny mask_rcnn'")
    settled(page, '#side0')
    before = changes(page, '#side0')
    page.locator('#examples button').nth(1).click()
    wait_for_change(page, '#side0', before)
    expect(page.locator('#side0 .block.heading')).to_contain_text('000001.png')
    expect(page.locator('#side0 .legend')).to_contain_text('best')
    page.wait_for_timeout(500)  # the legend comes last
    before = page.locator('#side0 .legend').text_content()
    field = page.locator('#score input[type=number]')
    field.fill('0.95')
    field.press('Enter')
    field.blur()

    def objects(text: str) -> int:
        return sum(map(int, re.findall(r'(\d+), best', text)))

    def fewer():
        assert 0 < objects(page.locator('#side0 .legend').text_content()) < objects(before)

    eventually(page, fewer)


def test_what_is_no_photo_gives_one_line_and_leaves_the_page_usable(page, tmp_path):
    (tmp_path / 'notes.jpg').write_text('no photo')
    write_photo(tmp_path / 'half.png', 90, 90)
    (tmp_path / 'half.png').write_bytes((tmp_path / 'half.png').read_bytes()[:60])
    write_photo(tmp_path / 'wide.jpg', 600, 1000)
    (tmp_path / 'film.mp4').write_bytes(b'film')
    (tmp_path / 'heavy.png').write_bytes(bytes(2**20 + 1))
    alert = page.locator('[role=alert]')
    shown = changes(page, '#side0')
    for name, message in [
        ('notes.jpg', 'notes.jpg is not an image that can be read; give a photo, for example a .jpg or .png file'),
        ('wide.jpg', 'wide.jpg has 1000 x 600 = 0.6 million pixels, more than 0.5; make it smaller, or start the page'),
        ('film.mp4', 'film.mp4 is a video; give a photo here'),
        ('half.png', 'half.png is not an image that can be read'),
    ]:
        upload(page, tmp_path / name)
        expect(page.locator('#message')).to_contain_text(message)
    upload(page, tmp_path / 'heavy.png')
    alert.filter(has_text='exceed').or_(page.get_by_text('exceed the maximum allowed size of 1.0 Mb')).first.wait_for()
    assert changes(page, '#side0') == shown
    write_photo(tmp_path / 'good.png', 64, 64)
    upload(page, tmp_path / 'good.png')
    wait_for_change(page, '#side0', shown)
    expect(page.locator('#message p')).to_have_count(0)


def test_a_narrow_window_does_not_scroll_sideways(page):
    page.set_viewport_size({'width': 390, 'height': 800})
    assert page.evaluate('document.documentElement.scrollWidth') <= 390
    assert page.locator('#side0 .picture img').bounding_box()['width'] > 250


def test_the_server_refuses_what_the_browser_would_not_send(server, browser):
    request = browser.new_context().request
    heavy = dict(name='heavy.png', mimeType='image/png', buffer=bytes(2**20 + 1))
    response = request.post(f'{server.url}/gradio_api/upload', multipart=dict(files=heavy))
    assert response.status == 413
