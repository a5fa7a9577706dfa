"""The gallery of errors: its files, and how it behaves in a real browser."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from page_checks import CONTRAST
from PIL import Image

from mmlska.analysis.errors import find_errors
from mmlska.analysis.gallery import write_gallery
from mmlska.analysis.predictions import BoxImage, MapImage, Predictions
from mmlska.colors import distinct_colors
from mmlska.datasets.scenes import SHAPES, make_scene, semantic_mask

CLASSES = SHAPES[:5]
PALETTE = tuple(map(tuple, distinct_colors(6)))
OPTIONS = dict(split='validation', seed=0, size=(96, 128), num_classes=5, difficulty='easy', texture='random')


def scene_file(folder: Path, index: int, name: str | None = None) -> tuple[str, object]:
    scene = make_scene(index, **OPTIONS)
    path = folder / (name or f'{index:06d}.png')
    path.write_bytes(cv2.imencode('.png', scene.image[..., ::-1])[1].tobytes())
    return str(path), scene


def box_predictions(folder: Path, number: int, names=()) -> Predictions:
    """In every scene the first object is missed, the second of the wrong class, and there is a box on the background."""
    images = []
    for index in range(number):
        path, scene = scene_file(folder, index, names[index] if index < len(names) else None)
        truths = np.array([[x, y, x + w, y + h] for x, y, w, h in (item.bbox for item in scene.instances)], float)
        labels = np.array([item.category for item in scene.instances])
        found, found_labels = truths[1:], labels[1:].copy()
        found_labels[:1] = (found_labels[:1] + 1) % 5
        found = np.concatenate([found, [[1, 1, 6, 6]]])
        found_labels = np.append(found_labels, index % 5)
        scores = np.linspace(0.9, 0.5, len(found))
        crowd = np.zeros(len(labels), bool)
        images.append(BoxImage(path, found, found_labels, scores, truths, labels, crowd))
    return Predictions('detection', CLASSES, PALETTE[:5], images, {})


def map_predictions(folder: Path, number: int) -> Predictions:
    """Scenes in which the left third is predicted as the last class."""
    images = []
    for index in range(number):
        path, scene = scene_file(folder, index)
        truth = semantic_mask(scene).astype(np.int16) - 1
        prediction = truth.copy()
        prediction[:, :40] = 5
        truth[:5] = 255
        images.append(MapImage(path, prediction, truth))
    return Predictions('segmentation', ('background', *CLASSES), PALETTE, images, {})


def write(folder: Path, predictions: Predictions, **options) -> Path:
    return write_gallery(folder, predictions, find_errors(predictions), title='A model', **options)


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    root = tmp_path_factory.mktemp('detector')
    return write(root / 'gallery', box_predictions(root, 70), about={'config': 'a.py'})


@pytest.fixture(scope='module')
def segmentor(tmp_path_factory):
    root = tmp_path_factory.mktemp('segmentor')
    return write(root / 'gallery', map_predictions(root, 3))


def test_gallery_needs_nothing_from_outside(detector, segmentor):
    for index in (detector, segmentor):
        page = index.read_text(encoding='utf-8')
        assert not re.search(r'https?:(?!//www\.w3\.org/2000/svg)', page)
        assert not re.search(r'<(?:script|link|img)[^>]+(?:src|href)="(?!data:,)', page)
        data = json.loads((index.parent / 'errors.json').read_text())
        assert data['generator'] == 'mmlska.analysis.gallery'
        assert sum(data['counts'].values()) > 0


def test_pictures_show_the_images_and_their_layers(segmentor, tmp_path):
    _, scene = scene_file(tmp_path, 0)
    folder = segmentor.parent / 'images'
    assert len(list(folder.iterdir())) == 12
    entries = json.loads(re.search(r'id="data">(.*?)</script>', segmentor.read_text(), re.DOTALL)[1])['images']
    entry = next(entry for entry in entries if entry['name'] == '000000.png')
    photo = cv2.imread(str(folder / entry['full']))[..., ::-1]
    assert photo.shape == scene.image.shape
    assert np.abs(photo.astype(int) - scene.image).mean() < 12  # JPEG
    labelled, wrong = (cv2.imread(str(folder / entry[name]), cv2.IMREAD_UNCHANGED) for name in ('labelled', 'wrong'))
    mask = semantic_mask(scene) - 1
    assert not labelled[:5, :, 3].any()  # not labelled there
    assert np.array_equal(labelled[5:, :, 2::-1], np.array(PALETTE)[mask[5:]])
    differs = mask != 5
    differs[:5] = differs[:, 40:] = False
    assert np.array_equal(wrong[..., 3] == 255, differs)
    assert differs.any()


def test_large_images_get_a_thumbnail_and_are_bounded(tmp_path):
    path = tmp_path / 'large.png'
    path.write_bytes(cv2.imencode('.png', np.full((700, 1400, 3), 90, np.uint8))[1].tobytes())
    none = np.zeros((0, 4))
    image = BoxImage(str(path), none, np.zeros(0, int), np.zeros(0), none, np.zeros(0, int), np.zeros(0, bool))
    index = write(tmp_path / 'gallery', Predictions('detection', CLASSES, PALETTE, [image], {}))
    shapes = {file.name: cv2.imread(str(file)).shape for file in (index.parent / 'images').iterdir()}
    assert shapes == {'00000.jpg': (640, 1280, 3), '00000_s.jpg': (160, 320, 3)}


@pytest.mark.parametrize('as_stored', [False, True])
def test_photos_are_turned_as_the_test_turned_them(tmp_path, as_stored):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(np.full((40, 70, 3), 90, np.uint8)).save(tmp_path / 'a.jpg', exif=exif)
    none = np.zeros((0, 4))
    image = BoxImage(
        str(tmp_path / 'a.jpg'), none, np.zeros(0, int), np.zeros(0), none, np.zeros(0, int), np.zeros(0, bool)
    )
    index = write(tmp_path / 'gallery', Predictions('detection', CLASSES, PALETTE, [image], {}, as_stored))
    (picture,) = (index.parent / 'images').iterdir()
    assert cv2.imread(str(picture)).shape == ((40, 70, 3) if as_stored else (70, 40, 3))


def test_only_the_costliest_are_shown(tmp_path):
    predictions = box_predictions(tmp_path, 4)
    index = write(tmp_path / 'gallery', predictions, limit=2)
    assert len(list((index.parent / 'images').iterdir())) == 2
    assert len(json.loads((index.parent / 'errors.json').read_text())['images']) == 4
    with pytest.raises(ValueError, match='limit 0 is impossible'):
        write(tmp_path / 'other', predictions, limit=0)


def test_folders_are_replaced_only_when_asked_and_ours(tmp_path):
    predictions = box_predictions(tmp_path, 1)
    index = write(tmp_path / 'gallery', predictions)
    with pytest.raises(FileExistsError, match='holds a gallery; use --overwrite'):
        write(tmp_path / 'gallery', predictions)
    write(tmp_path / 'gallery', predictions, overwrite=True)
    (index.parent / 'mine.txt').touch()
    with pytest.raises(FileExistsError, match='more than a gallery, which even --overwrite keeps'):
        write(tmp_path / 'gallery', predictions, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['000000.png', 'gallery']


def test_a_broken_image_leaves_nothing_behind(tmp_path):
    predictions = box_predictions(tmp_path, 2)
    Path(predictions.images[1].path).write_bytes(b'')
    with pytest.raises(ValueError, match='000001.png is not an image'):
        write(tmp_path / 'gallery', predictions)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['000000.png', '000001.png']


# What follows runs in a browser.


def names(page) -> list[str]:
    return page.locator('.card .name span').all_text_contents()


def test_cards_come_as_one_scrolls_and_pictures_are_lazy(look, detector):
    page = look(detector)
    assert page.locator('.card').count() == 60
    images = page.locator('.card img')
    assert set(images.evaluate_all('all => all.map(i => i.loading)')) == {'lazy'}
    page.wait_for_function("document.querySelector('.card img').naturalWidth === 128")
    assert images.evaluate_all('all => all.filter(i => !i.complete).length') > 0  # far below, not fetched yet
    page.keyboard.press('End')
    page.wait_for_function("document.querySelectorAll('.card').length === 70")
    assert page.locator('#count').text_content() == '70 of 70 images'


def test_filters_by_kind_class_file_and_confusion(look, detector):
    page = look(detector)
    data = json.loads((detector.parent / 'errors.json').read_text())
    page.get_by_role('button', name='wrong class', exact=False).first.click()
    wrong = [e for e in data['images'] if any(d['kind'] == 'wrong class' for d in e['detections'])]
    assert page.locator('#count').text_content() == f'{len(wrong)} of 70 images'
    page.locator('#class').select_option(label='star')
    star = [
        e
        for e in wrong
        for d in e['detections']
        if d['kind'] == 'wrong class' and 3 in (d['label'], e['truths'][d['truth']]['label'])
    ]
    assert 0 < len(star) < len(wrong)
    assert page.locator('#count').text_content() == f'{len(star)} of 70 images'
    assert page.locator('.chip[aria-pressed=true]').count() == 1
    page.locator('#search').fill('no such file')
    assert page.locator('.card').count() == 0
    page.locator('#reset').click()
    assert page.locator('.card').count() == 60
    page.locator('#matrix summary').click()
    row, column, count = next((0, j, n) for j, n in enumerate(data['confusion'][0]) if n and j)
    cell = page.locator(f'td button[data-pair="{row},{column}"]')
    assert cell.text_content() == str(count)
    cell.click()
    expected = [e['name'] for e in data['images'] if [row, column] in e['pairs']]
    assert names(page) == expected


def test_sorting(look, detector):
    page = look(detector)
    data = json.loads((detector.parent / 'errors.json').read_text())
    assert names(page) == [entry['name'] for entry in data['images']][:60]
    page.locator('#sort').select_option('name')
    assert names(page) == [f'{i:06d}.png' for i in range(60)]


def test_keyboard_alone_is_enough(look, detector):
    page = look(detector)
    order = names(page)
    focused = "document.activeElement.querySelector?.('.name span')?.textContent"
    page.keyboard.press('ArrowRight')
    page.keyboard.press('ArrowRight')
    assert page.evaluate(focused) == order[1]
    page.keyboard.press('ArrowDown')
    columns = page.evaluate("getComputedStyle(document.querySelector('#grid')).gridTemplateColumns.split(' ').length")
    assert columns > 2
    assert page.evaluate(focused) == order[1 + columns]
    page.keyboard.press('Enter')
    assert page.locator('#view h2').text_content().startswith(order[1 + columns])
    page.keyboard.press('ArrowRight')
    assert page.locator('#view h2').text_content().startswith(order[2 + columns])
    page.keyboard.press('Escape')
    assert not page.locator('#view').is_visible()
    # A dialog tells of its closing in an event of its own, some time after the key.
    page.wait_for_function(f'name => {focused} === name', arg=order[2 + columns])
    page.keyboard.press('/')
    page.keyboard.type('00006')
    assert page.locator('#count').text_content() == '11 of 70 images'  # 6 and 60 to 69


def test_an_image_at_large_shows_labels_and_errors(look, detector):
    page = look(detector)
    data = json.loads((detector.parent / 'errors.json').read_text())['images'][0]
    page.locator('.card').first.click()
    figures = page.locator('#view figure')
    assert figures.count() == 2
    assert figures.nth(0).locator('svg g').count() == len(data['truths'])
    assert figures.nth(1).locator('svg g').count() == len(data['detections'])
    assert figures.nth(0).locator('rect.dash').count() == sum(t['missed'] for t in data['truths'])
    first = page.locator('#view li').first
    assert first.text_content().startswith('missed: ')
    first.focus()
    assert figures.nth(0).locator('g.chosen').count() == 1
    page.locator('#show').uncheck()
    wrong = [d for d in data['detections'] if d['kind'] != 'correct']
    assert figures.nth(1).locator('svg g').count() == len(wrong)


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_text_is_readable_in_both_schemes(look, detector, scheme):
    page = look(detector, color_scheme=scheme)
    for selector in ('h1', '#about', '.chip', '#count', '.card .name', '.card .tags', 'footer', 'select'):
        assert page.evaluate(CONTRAST, selector) >= 4.5, selector
    brightness = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_GRAYSCALE)[:, :15].mean()
    assert brightness > 230 if scheme == 'light' else brightness < 40


def test_maps_show_three_figures_with_their_layers(look, segmentor):
    page = look(segmentor)
    assert page.locator('.card').count() == 3
    page.locator('.card').first.click()
    assert page.locator('#view figcaption').all_text_contents() == ['labelled', 'predicted', 'wrong pixels']
    page.wait_for_function("[...document.querySelectorAll('#view img')].every(i => i.naturalWidth === 128)")
    assert page.locator('#view img').count() == 6
    assert 'ring: IoU 14.3, poor overlap' in page.locator('#view ul').text_content()
    page.locator('#show').uncheck()
    assert page.locator('#view img').count() == 3


def test_a_narrow_screen_does_not_scroll_sideways(look, detector):
    page = look(detector)
    page.set_viewport_size({'width': 390, 'height': 800})
    assert page.evaluate('document.documentElement.scrollWidth') <= 390
    page.locator('.card').first.click()
    assert page.evaluate("document.querySelector('#view').scrollWidth") <= 390


def test_names_are_shown_and_never_run(look, tmp_path):
    name = '<img src=x onerror=document.title=1>&amp;.png'
    predictions = box_predictions(tmp_path, 1, [name])
    title = '</script><script>document.title=2</script>'
    index = write_gallery(
        tmp_path / 'gallery', predictions, find_errors(predictions), title=title, about={'<b>': '<i>'}
    )
    page = look(index)
    assert names(page) == [name]
    assert page.title() == title
    assert page.locator('h1').text_content() == title
    page.locator('.card').click()
    assert page.locator('#view h2').text_content().startswith(name)
