"""The palette of classes, and packed colours."""

import numpy as np
import pytest
from PIL import Image

from mmlska.colors import distinct_colors, pack_rgb, unpack_rgb


def test_the_palette_has_no_colour_twice_and_a_longer_one_begins_with_it():
    colors = distinct_colors(150)
    assert len(set(map(tuple, colors))) == 150
    assert all(type(part) is int and 0 <= part <= 255 for color in colors for part in color)
    assert distinct_colors(7) == colors[:7]


def test_neighbours_are_easy_to_tell_apart():
    colors = np.array(distinct_colors(30))
    assert np.abs(np.diff(colors, axis=0)).sum(1).min() > 150


@pytest.mark.parametrize('color', [(0, 0, 0), (1, 2, 3), (255, 255, 255), (60, 16, 152)])
def test_packed_colours_are_those_of_html(color):
    number = pack_rgb(color)
    assert f'{number:06x}' == bytes(color).hex()
    assert unpack_rgb(int(number)) == list(color)


def test_whole_images_are_packed():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    found = pack_rgb(Image.fromarray(pixels))
    assert found.shape == (5, 7)
    assert [unpack_rgb(number) for number in found.ravel().tolist()] == pixels.reshape(-1, 3).tolist()
