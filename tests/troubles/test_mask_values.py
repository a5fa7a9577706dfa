"""Values of masks that are no classes: edges blurred by a resize, and ids of objects."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from own_sets import COLORS, MASK_RCNN, UPERNET, adapt, build, everything, photo
from PIL import Image, ImageDraw

SMALL = (120, 90)  # width, height


def shapes(seed: int, values: int) -> np.ndarray:
    """Ellipses of the values 1, 2, ... over 0."""
    rng, picture = np.random.default_rng(seed), Image.new('L', SMALL)
    for number in range(6):
        left, top = (int(rng.integers(0, side - 40)) for side in SMALL)
        across, down = (int(side) for side in rng.integers(25, 45, 2))
        ImageDraw.Draw(picture).ellipse([left, top, left + across, top + down], fill=1 + number % (values - 1))
    return np.array(picture)


def pairs(root: Path, masks) -> Path:
    """Photos and these masks."""
    for number, mask in enumerate(masks):
        photo(root / f'images/{number}.jpg', size=mask.shape[1::-1])
        (root / 'masks').mkdir(exist_ok=True)
        Image.fromarray(mask).save(root / f'masks/{number}.png')
    return root


def resized(root: Path, values, factor: float, way: int) -> Path:
    """Masks of these values or colours, which were resized."""
    classes = np.array(values, np.uint8)
    clean = [classes[shapes(seed, len(values))] for seed in range(4)]
    return pairs(root, [cv2.resize(mask, None, fx=factor, fy=factor, interpolation=way) for mask in clean])


RESIZED = {
    'white': ([0, 255], 2, cv2.INTER_LINEAR, ['background', 'foreground']),
    'white, cubic': ([0, 255], 1.5, cv2.INTER_CUBIC, ['background', 'foreground']),
    'white, ringing': ([0, 255], 3, cv2.INTER_LANCZOS4, ['background', 'foreground']),
    'white, halved': ([0, 255], 0.5, cv2.INTER_AREA, ['background', 'foreground']),
    'colours': (COLORS, 0.5, cv2.INTER_AREA, ['#3c1098', '#6ec1e4', '#e2a929']),
    'indices': ([0, 1, 5], 2, cv2.INTER_LINEAR, ['class_0', 'class_1', 'class_5']),
    'indices with a gap': ([0, 10, 20, 30], 1.5, cv2.INTER_LINEAR, ['#000000', '#0a0a0a', '#141414', '#1e1e1e']),
}
TRAINED = ('white', 'colours', 'indices')
SAID = 'masks resized with interpolation: '


@pytest.mark.parametrize('name', RESIZED)
def test_blurred_edges_are_no_classes(name, command, tmp_path):
    values, factor, way, classes = RESIZED[name]
    root = resized(tmp_path / 'd', values, factor, way)
    ended = command('check', root)
    assert ended.code == 0, ended
    assert f'4 masks, {len(classes)} classes' in ended.out
    assert f'warning: 1 x classes: {SAID}' in ended.out
    assert 'resize with nearest neighbour, or name them (--palette), as in 0.png' in ended.out
    if name not in TRAINED:
        return
    cfg, lines = adapt(UPERNET, root, tmp_path / 'work')
    assert any(line.startswith(SAID) for line in lines)
    data = build(cfg)
    assert list(data.metainfo['classes']) == classes
    learned = data[0]['data_samples'].gt_sem_seg.data.numpy()
    assert set(np.unique(learned)) <= {*range(len(classes)), 255}
    assert 0 < (learned == 255).mean() < 0.2


def test_a_corrected_copy_has_no_blurred_edges(command, tmp_path):
    root = resized(tmp_path / 'd', [0, 255], 2, cv2.INTER_LINEAR)
    assert command('check', root, '--fix', tmp_path / 'fixed').code == 0
    ended = command('check', tmp_path / 'fixed')
    assert '2 classes' in ended.out
    assert 'interpolation' not in ended.out


def test_names_decide(command, tmp_path):
    root = resized(tmp_path / 'd', [0, 4, 8], 2, cv2.INTER_LINEAR)
    (root / 'classes.json').write_text(json.dumps(list('abcdefghi')))
    ended = command('check', root)
    assert '9 classes' in ended.out
    assert 'and are classes, as they have names' in ended.out
    (root / 'classes.json').write_text(json.dumps({'a': [0, 0, 0], 'b': [4, 4, 4], 'c': [8, 8, 8]}))
    assert '3 classes' in command('check', root).out
    white = resized(tmp_path / 'white', [0, 255], 2, cv2.INTER_LINEAR)
    (white / 'classes.json').write_text(json.dumps(['ground', 'roof']))
    ended = command('check', white)
    assert ended.code == 0, ended
    assert '2 classes' in ended.out


def lines_between(seed: int, line: int) -> np.ndarray:
    """A road and a pavement with a kerb between them, two pixels wide, and a pole."""
    rng, mask = np.random.default_rng(seed), np.zeros(SMALL[::-1], np.uint8)
    edge = int(rng.integers(40, 60))
    mask[edge:], mask[edge : edge + 2, : SMALL[0] * 2 // 3], mask[20:edge, 30:32] = 4, line, 5
    return mask


@pytest.mark.parametrize(
    'masks',
    [
        [shapes(seed, 6) for seed in range(4)],
        [np.array(COLORS, np.uint8)[shapes(seed, 3)] for seed in range(4)],
        [lines_between(seed, 2) for seed in range(4)],
        [lines_between(seed, 1 + seed % 3) for seed in range(6)],
    ],
    ids=['indices', 'colours', 'a thin class', 'thin classes'],
)
def test_classes_stay_classes(masks, command, tmp_path):
    root = pairs(tmp_path / 'd', masks)
    ended = command('check', root)
    colours = {tuple(np.atleast_1d(v)) for mask in masks for v in mask.reshape(-1, *mask.shape[2:])}
    top = max(int(mask.max()) for mask in masks) + 1
    assert f'{len(masks)} masks, {len(colours) if masks[0].ndim > 2 else top} classes' in ended.out
    assert 'interpolation' not in ended.out
    assert 'ids of objects' not in ended.out


def objects(count: int, first: int = 1) -> np.ndarray:
    """Squares, each of a value of its own."""
    mask = np.zeros((120, 160), np.uint16)
    for number in range(count):
        top, left = number // 5 * 30, number % 5 * 30
        mask[top + 2 : top + 24, left + 2 : left + 28] = first + number
    return mask


COUNTS = [3, 8, 5, 12]


def id_masks(kind: str) -> list[np.ndarray]:
    """Masks of objects by their ids."""
    colors = np.random.default_rng(0).permutation(1 << 24)[:50]
    colors = np.stack([colors >> 16, colors >> 8 & 255, colors & 255], -1).astype(np.uint8)
    colors[0] = 0
    firsts = [1 + sum(COUNTS[:number]) for number in range(len(COUNTS))]
    return {
        'from 1 in each': [objects(count).astype(np.uint8) for count in COUNTS],
        'from 1 in 16 bits': [objects(count) for count in COUNTS],
        'through all masks': [objects(count, first).astype(np.uint8) for count, first in zip(COUNTS, firsts)],
        'above 255': [objects(count, 100 * first) for count, first in zip(COUNTS, firsts)],
        'colours': [colors[objects(count, first)] for count, first in zip(COUNTS, firsts)],
    }[kind]


KINDS = ['from 1 in each', 'from 1 in 16 bits', 'through all masks', 'above 255', 'colours']


@pytest.mark.parametrize('kind', KINDS)
def test_ids_of_objects(kind, command, tmp_path):
    root = pairs(tmp_path / 'd', id_masks(kind))
    ended = command('check', root)
    level = 'error' if kind == 'above 255' else 'warning'
    said = 'each value is one piece in its mask, like ids of objects: --instances reads them as objects'
    assert f'{level}: 1 x classes: {said}' in ended.out
    assert 'a classes.json names true ones' in ended.out

    ended = command('check', root, '--instances')
    assert ended.code == 0, ended
    assert f'4 images, {sum(COUNTS)} annotations, 1 classes' in ended.out
    assert 'each value is one piece in its mask and is read as one object' in ended.out
    if kind not in ('from 1 in each', 'above 255'):
        return
    cfg, _ = adapt(MASK_RCNN, root, tmp_path / 'work', instances=True)
    found = everything(cfg)
    assert [len(found[f'{number}.jpg']) for number in range(4)] == COUNTS
    assert sorted(found['0.jpg'])[:2] == [(0, [2, 2, 28, 24], 0), (0, [32, 2, 58, 24], 0)]


def test_ids_that_have_names_are_classes(command, tmp_path):
    root = pairs(tmp_path / 'd', id_masks('from 1 in each'))
    (root / 'classes.json').write_text(json.dumps([f'tooth {number}' for number in range(13)]))
    assert 'ids of objects' not in command('check', root).out
    assert '13 classes' in command('check', root, '--instances').out


def test_zero_is_the_background_of_objects(command, tmp_path):
    root = pairs(tmp_path / 'd', [shapes(seed, 3) for seed in range(3)])
    out = command('check', root, '--instances').out
    assert '2 classes' in out
    assert 'class_0' not in out
    assert 'warning: 1 x masks: 0 in the masks is taken for background, not for objects' in out
