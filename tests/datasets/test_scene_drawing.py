"""What generated scenes look like."""

import itertools

import cv2
import numpy as np
import pytest

from mmlska.datasets import scene_drawing
from mmlska.datasets.scene_drawing import DIFFICULTIES, SHAPES, TEXTURES
from mmlska.datasets.scenes import TEXTURE_MODES, make_scene, semantic_mask

OPTIONS = {'seed': 0, 'size': 96, 'num_classes': 5, 'difficulty': 'medium', 'texture': 'random'}


def draw(count=1, split='training', **changes):
    return [make_scene(index, split=split, **{**OPTIONS, **changes}) for index in range(count)]


@pytest.mark.parametrize('difficulty', DIFFICULTIES)
@pytest.mark.parametrize('texture', TEXTURE_MODES)
@pytest.mark.parametrize('size', [32, (47, 131)])
def test_masks_are_disjoint_and_boxes_tight(difficulty, texture, size):
    height, width = size if isinstance(size, tuple) else (size, size)
    for scene in draw(8, difficulty=difficulty, texture=texture, size=size, num_classes=8):
        assert scene.image.shape == (height, width, 3)
        assert scene.image.dtype == np.uint8
        assert 1 <= len(scene.instances) <= DIFFICULTIES[difficulty].objects[1]
        expected = np.ones((height, width), np.uint8)
        for item in scene.instances:
            assert item.mask.dtype == bool
            assert item.mask.sum() >= 16
            assert np.all(expected[item.mask] == 1), 'two objects own one pixel'
            expected[item.mask] = item.category + 2
            x, y, w, h = item.bbox
            box = np.zeros_like(item.mask)
            box[y : y + h, x : x + w] = True
            assert item.mask.sum() == (item.mask & box).sum()
            inside = item.mask[y : y + h, x : x + w]
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
        assert np.array_equal(semantic_mask(scene), expected)
        assert semantic_mask(scene).dtype == np.uint8


def test_later_objects_cover_earlier_ones():
    def solidity(mask):
        points = np.argwhere(mask)[:, ::-1].astype(np.int32)
        hull = cv2.fillConvexPoly(np.zeros(mask.shape, np.uint8), cv2.convexHull(points), 1)
        return mask.sum() / hull.sum()

    front, behind = [], []
    for scene in draw(20, num_classes=1, size=160):  # circles alone: whatever is not convex is covered
        *earlier, last = (solidity(item.mask) for item in scene.instances)
        front.append(last)
        behind.extend(earlier)
    assert min(front) > 0.97
    assert sum(value < 0.93 for value in behind) >= 5


def test_every_class_and_texture_occurs_equally():
    items = [item for scene in draw(150, num_classes=8, size=64) for item in scene.instances]
    for found in (
        np.bincount([item.category for item in items], minlength=len(SHAPES)),
        np.bincount([item.texture for item in items], minlength=len(TEXTURES)),
    ):
        assert len(found) == 8
        assert found.min() > 0.6 * found.mean()


def test_fewer_classes_are_the_first_shapes():
    assert {item.category for scene in draw(30, num_classes=3) for item in scene.instances} == {0, 1, 2}


def test_ring_has_its_hole():
    holes = 0
    for scene in draw(40, difficulty='easy'):
        for item in scene.instances:
            if SHAPES[item.category] == 'ring':
                x, y, w, h = item.bbox
                holes += not item.mask[y + h // 2, x + w // 2]
                assert item.mask.sum() < 0.75 * w * h
    assert holes >= 5


def test_shapes_differ_under_every_rotation():
    grid = (np.mgrid[:36, :36] - 17.5) / 12  # an extent of 24 px

    def turned(name, degrees):
        angle = np.deg2rad(degrees)
        v, u = grid
        return scene_drawing._SHAPES[name](u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle))

    for one, other in itertools.combinations(SHAPES, 2):
        still = turned(one, 0)
        overlaps = [
            (still & mask).sum() / (still | mask).sum() for mask in (turned(other, angle) for angle in range(0, 360, 5))
        ]
        assert max(overlaps) < 0.87, (one, other)


def test_texture_of_the_class():
    items = [item for scene in draw(30, texture='class', num_classes=8) for item in scene.instances]
    assert all(item.texture == item.category for item in items)


def test_conflict_takes_every_texture_but_the_own_one():
    items = [item for scene in draw(60, texture='conflict') for item in scene.instances]
    assert {(item.category, item.texture) for item in items} == set(itertools.permutations(range(5), 2))


def test_texture_modes_share_their_geometry():
    for scenes_of_one_index in zip(*(draw(5, texture=texture) for texture in TEXTURE_MODES)):
        first, *others = scenes_of_one_index
        for other in others:
            assert np.array_equal(semantic_mask(first), semantic_mask(other))
            assert not np.array_equal(first.image, other.image)


def test_background_shows_no_class_texture_in_class_and_conflict_modes():
    # Hard two-colour textures have edges, the plain noise has none: compare the steepest step without sensor noise.
    def steepest(texture):
        steps = []
        for scene in draw(12, texture=texture, difficulty='easy', size=128):
            ground = semantic_mask(scene) == 1
            step = np.abs(np.diff(scene.image.astype(int), axis=1)).max(2)
            steps.append(np.percentile(step[ground[:, 1:] & ground[:, :-1]], 99.5))
        return np.array(steps)

    assert steepest('class').max() < 17
    assert steepest('conflict').max() < 17
    assert (steepest('random') > 20).sum() >= 6


def test_difficulty_lowers_contrast():
    def contrast(difficulty):
        found = []
        for scene in draw(30, difficulty=difficulty):
            ground = scene.image[semantic_mask(scene) == 1].mean(0)
            found += [np.linalg.norm(scene.image[item.mask] - ground, axis=1).mean() for item in scene.instances]
        return np.mean(found)

    assert contrast('easy') > contrast('medium') > contrast('hard')
