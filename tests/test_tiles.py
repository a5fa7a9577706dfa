"""Where tiles lie and how their results are put together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.mask import decode

from mmlska.datasets.coco_labels import encode_mask
from mmlska.tiles import Blender, checked_tiles, cut_by_tile, drop_pieces, tile_starts

sizes = dict(length=st.integers(1, 400), tile=st.integers(32, 90), third=st.floats(0, 1))


@given(**sizes)
def test_tiles_cover_the_side_and_overlap(length, tile, third):
    overlap = int(third * (tile // 3))
    starts = tile_starts(length, tile, overlap)
    assert starts[0] == 0
    assert starts[-1] + tile == length or (starts == [0] and length <= tile)
    assert all(a + tile - b >= overlap for a, b in zip(starts, starts[1:]))


def blend(logits, tile, overlap):
    """The mask that tiles cut out of one map of logits give."""
    blender = Blender(*logits.shape[1:], tile, overlap)
    for i, (y, x, y_end, x_end) in enumerate(blender.boxes()):
        blender.add(i, logits[:, y:y_end, x:x_end])
    return blender.mask


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 200), width=st.integers(1, 200), tile=st.integers(32, 70), third=st.floats(0, 1))
def test_tiles_that_agree_blend_to_the_whole(height, width, tile, third):
    """The weights add up to 1 everywhere: any hole, doubled strip or shifted tile changes a class."""
    logits = np.random.default_rng(height * 201 + width).normal(size=(3, height, width)).astype(np.float32)
    np.testing.assert_array_equal(blend(logits, tile, int(third * (tile // 3))), logits.argmax(0))


@pytest.mark.parametrize('overlap', [0, 12])
def test_tiles_that_differ_fade(overlap):
    """Against plain weighted sums over the whole image."""
    rng = np.random.default_rng(0)
    blender = Blender(100, 130, 40, overlap)
    total = np.zeros((4, 100, 130), np.float32)
    for i, (y, x, y_end, x_end) in enumerate(blender.boxes()):
        logits = rng.normal(size=(4, y_end - y, x_end - x)).astype(np.float32)
        blender.add(i, logits)
        (_, _, top, bottom, rows), (_, _, left, right, columns) = (
            blender.rows[i // len(blender.columns)],
            blender.columns[i % len(blender.columns)],
        )
        total[:, top:bottom, left:right] += (
            logits[:, top - y : bottom - y, left - x : right - x] * rows[:, None] * columns
        )
    np.testing.assert_array_equal(blender.mask, total.argmax(0))


def test_many_classes_and_a_single_one():
    logits = np.zeros((300, 50, 60), np.float32)
    logits[280] = 1
    assert blend(logits, 32, 8).min() == 280
    single = Blender(50, 60, 32, 8, threshold=0.3)
    for i, (y, x, y_end, x_end) in enumerate(single.boxes()):
        single.add(i, np.full((1, y_end - y, x_end - x), 0.31, np.float32))
    assert single.mask.min() == 1


def test_limits():
    with pytest.raises(ValueError, match='^tile=31 must be at least 32 pixels, or 0 for whole images$'):
        checked_tiles(31, 0)
    for overlap in (-1, 22):
        with pytest.raises(ValueError, match=f'^overlap={overlap} must be 0 to 21, a third of tile=64$'):
            checked_tiles(64, overlap)
    for tile in ('abc', 64.0, True, np.float32(64)):
        with pytest.raises(ValueError, match='^tile=.* must be a whole number of pixels$'):
            checked_tiles(tile)
    with pytest.raises(ValueError, match="^overlap='a' must be a whole number of pixels$"):
        checked_tiles(64, 'a')


def test_pieces_go_where_another_tile_has_the_whole():
    boxes = np.array([[80, 10, 100, 30], [80, 10, 120, 30], [80, 50, 100, 70]], np.float32)
    cut = np.array([True, False, True])
    np.testing.assert_array_equal(cut_by_tile(boxes[[0, 2]], (0, 0, 100, 100), 200, 200), [True, True])
    np.testing.assert_array_equal(cut_by_tile(boxes[[1]], (0, 60, 100, 160), 200, 200), [False])
    assert drop_pieces(boxes, np.array([1, 1, 1]), cut).tolist() == [False, True, True]
    assert drop_pieces(boxes, np.array([0, 1, 1]), cut).tolist() == [True, True, True]
    at_image_border = np.array([[0, 0, 10, 10], [150, 150, 200, 200]], np.float32)
    assert not cut_by_tile(at_image_border, (0, 0, 200, 200), 200, 200).any()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    around=st.tuples(*[st.integers(0, 3)] * 4),
)
def test_run_lengths_of_a_part(seed, shape, around):
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < rng.choice([0, 0.2, 0.5, 0.9, 1])
    whole = np.pad(mask, (around[:2], around[2:]))
    encoded = encode_mask(mask, around[0], around[2], whole.shape)
    np.testing.assert_array_equal(decode(encoded), whole)
    from pycocotools.mask import encode

    assert encoded['counts'] == encode(np.asfortranarray(whole.astype(np.uint8)))['counts'].decode()
