"""Colour masks become index masks; images are scaled by a random factor."""

import cv2
import numpy as np
import pytest
from mmengine.registry import TRANSFORMS, init_default_scope

from mmlska.datasets import LoadColorAnnotations, color_to_index

PALETTE = [[60, 16, 152], [132, 41, 246], [110, 193, 228]]


def test_every_colour_gets_its_index_and_others_are_ignored():
    rng = np.random.default_rng(0)
    index = rng.integers(0, 4, (37, 53))
    colors = np.array([*PALETTE, [60, 16, 153]], np.uint8)  # the last is one step from the first
    expected = np.where(index == 3, 255, index)
    assert np.array_equal(color_to_index(colors[index], PALETTE), expected)
    assert color_to_index(colors[index], PALETTE).dtype == np.uint8
    assert np.array_equal(color_to_index(colors[index], PALETTE, 99), np.where(index == 3, 99, index))


def test_a_palette_in_any_order():
    mask = np.array([[[255, 255, 255], [0, 0, 0], [0, 0, 1]]], np.uint8)
    assert color_to_index(mask, [[255, 255, 255], [0, 0, 1], [0, 0, 0]]).tolist() == [[0, 2, 1]]


@pytest.mark.parametrize(
    ('mask', 'palette', 'message'),
    [
        (np.zeros((2, 2), np.uint8), PALETTE, r'shape \(2, 2\), expected \(H, W, 3\); an index mask needs no palette'),
        (np.zeros((2, 2, 3), np.uint8), [[1, 2, 3], [1, 2, 3]], 'palette of 2 colours must have each colour once'),
        (np.zeros((2, 2, 3), np.uint8), [[i, 0, 0] for i in range(256)], 'at most 255 colours'),
    ],
)
def test_wrong_masks_and_palettes(mask, palette, message):
    with pytest.raises(ValueError, match=message):
        color_to_index(mask, palette)


@pytest.mark.parametrize('paletted', [False, True])
def test_the_transform_reads_rgb_and_palette_files(tmp_path, paletted):
    from PIL import Image

    index = np.array([[0, 1], [2, 0]])
    image = Image.fromarray(np.array(PALETTE, np.uint8)[index])
    if paletted:
        image = image.convert('P', palette=Image.Palette.ADAPTIVE)
        assert np.array_equal(np.array(image.convert('RGB')), np.array(PALETTE, np.uint8)[index])
    image.save(tmp_path / 'mask.png')
    transform = TRANSFORMS.build(dict(type='LoadColorAnnotations', palette=PALETTE))
    assert isinstance(transform, LoadColorAnnotations)
    results = transform(dict(seg_map_path=str(tmp_path / 'mask.png'), seg_fields=[]))
    assert np.array_equal(results['gt_seg_map'], index)
    assert results['seg_fields'] == ['gt_seg_map']


def test_a_broken_mask_is_named(tmp_path):
    path = tmp_path / 'broken.png'
    cv2.imwrite(str(path), np.zeros((4, 4, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match=r'^mask .*broken.png is not an image .*\); leave it out or replace it$'):
        LoadColorAnnotations(PALETTE)(dict(seg_map_path=str(path), seg_fields=[]))


def test_a_random_scale_is_one_of_the_images_own_size():
    """Beside RandomResize with the image's size, which draws the same numbers."""
    init_default_scope('mmdet')
    ours = TRANSFORMS.build(dict(type='RandomScale', ratio_range=(0.5, 2.0), keep_ratio=True))
    for height, width in ((60, 80), (64, 64), (31, 17)):
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        theirs = TRANSFORMS.build(
            dict(type='RandomResize', scale=(width, height), ratio_range=(0.5, 2.0), keep_ratio=True)
        )
        found = []
        for step in (ours, theirs):
            np.random.seed(3)  # noqa: NPY002
            found.append(step(dict(img=image, img_shape=image.shape[:2]))['img'].shape)
        assert max(abs(a - b) for a, b in zip(*found)) <= 1
        assert found[0] != image.shape
