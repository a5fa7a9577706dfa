"""Labels cut to tiles, against masks of the whole image that are cut as arrays."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mmlska.datasets.coco_labels import decoded_columns
from mmlska.datasets.label_tiles import boxes_of, clip_polygon, cut_instances, cut_mask, learned_in, shown_shares
from mmlska.tiles import tile_spans

SIZE = (90, 120)  # height and width


def grid(tile=40, overlap=10, size=SIZE):
    return [tile_spans(side, tile, overlap) for side in size]


def raster(segmentation, height, width):
    runs = segmentation
    if isinstance(segmentation, list):
        runs = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation['counts'], list):
        runs = coco_mask.frPyObjects(segmentation, height, width)
    return coco_mask.decode(runs).astype(bool)


def random_mask(rng):
    mask = np.zeros(SIZE, np.uint8)
    for _ in range(3):
        center = tuple(int(v) for v in rng.integers(0, (SIZE[1], SIZE[0])))
        axes = tuple(int(v) for v in rng.integers(1, 30, 2))
        cv2.ellipse(mask, center, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    return mask


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), compressed=st.booleans())
def test_run_lengths_are_cut_as_the_array(seed, compressed):
    rng = np.random.default_rng(seed)
    mask = random_mask(rng)
    runs = coco_mask.encode(np.asfortranarray(mask))
    runs['counts'] = runs['counts'].decode()
    if not compressed:
        flat = mask.ravel(order='F')
        edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [2]])))
        runs = dict(size=list(SIZE), counts=np.diff(np.concatenate([[0], edges])).tolist())
    first, last = sorted(rng.integers(0, SIZE[1] + 1, 2).tolist())
    assert np.array_equal(decoded_columns(runs, first, last), mask[:, first:last].astype(bool))
    rows, columns = grid()
    for y, y_end in rows.tolist():
        for x, x_end in columns.tolist():
            wanted = mask[y:y_end, x:x_end].astype(bool)
            found = cut_mask(runs, (y, x, y_end, x_end))
            if not wanted.any():
                assert found is None
                continue
            part, box = found
            assert np.array_equal(raster(part, y_end - y, x_end - x), wanted)
            assert isinstance(part['counts'], str)
            seen = np.argwhere(wanted)
            assert box == [*seen.min(0)[::-1], *(seen.max(0)[::-1] + 1)]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), corners=st.integers(3, 9))
def test_polygons_are_cut_as_the_array(seed, corners):
    """Stars and other reentrant ones, some of them beyond the image, against pycocotools' own drawing of the whole."""
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radii = rng.uniform(4, 60, corners)
    points = np.stack([60 + radii * np.cos(angles), 45 + radii * np.sin(angles)], axis=1)
    polygon = points.reshape(-1).tolist()
    whole = raster([polygon], *SIZE)
    for y, y_end in grid()[0].tolist():
        for x, x_end in grid()[1].tolist():
            found = cut_mask([polygon], (y, x, y_end, x_end))
            part = raster(found[0], y_end - y, x_end - x) if found else np.zeros((y_end - y, x_end - x), bool)
            wanted = whole[y:y_end, x:x_end]
            # Corners that the sides of the tile make are rounded to pycocotools' fifths of a pixel: only pixels on the outline differ.
            for row, column in np.argwhere(part != wanted).tolist():
                center = (column + x + 0.5, row + y + 0.5)
                assert abs(cv2.pointPolygonTest(points.astype(np.float32), center, measureDist=True)) < 1


def test_a_clipped_polygon_keeps_its_area():
    """Of a square that lies over a corner, and of a comb whose teeth end outside."""
    square = np.array([[-5, -5], [5, -5], [5, 5], [-5, 5]], float)
    assert cv2.contourArea(clip_polygon(square, 20, 20).astype(np.float32)) == 25
    comb = np.array([[2, 5], [2, -3], [4, -3], [4, 3], [6, 3], [6, -3], [8, -3], [8, 5]], float)
    assert cv2.contourArea(clip_polygon(comb, 20, 20).astype(np.float32)) == 6 * 5 - 2 * 3
    assert len(clip_polygon(square + 100, 20, 20)) == 0


def test_an_outline_that_crosses_itself_keeps_its_pixels():
    bow = [[0, 0, 80, 80, 80, 0, 0, 80]]
    whole = raster(bow, *SIZE)
    for y, y_end in grid()[0].tolist():
        for x, x_end in grid()[1].tolist():
            found = cut_mask(bow, (y, x, y_end, x_end))
            part = raster(found[0], y_end - y, x_end - x) if found else np.zeros((y_end - y, x_end - x), bool)
            assert (part != whole[y:y_end, x:x_end]).sum() <= 0.02 * part.size


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), tile=st.integers(32, 80), size=st.tuples(st.integers(20, 200), st.integers(20, 200)))
def test_every_object_is_learned_where_most_of_it_is_shown(seed, tile, size):
    rng = np.random.default_rng(seed)
    height, width = size
    low = rng.uniform(0, [width - 3, height - 3], (20, 2))
    boxes = np.concatenate([low, np.minimum(low + rng.uniform(2, 150, (20, 2)), [width, height])], axis=1)
    rows, columns = grid(tile, tile // 8, size)
    learned = learned_in(*shown_shares(boxes, rows, columns))
    for box, tiles in zip(boxes, learned):
        x1, y1, x2, y2 = box
        shares = np.array(
            [
                [
                    max(min(x2, x_end) - max(x1, x), 0) * max(min(y2, y_end) - max(y1, y), 0) / ((x2 - x1) * (y2 - y1))
                    for x, x_end in columns
                ]
                for y, y_end in rows
            ]
        )
        assert tiles[shares >= 0.5 + 1e-9].all()
        assert shares[tiles].max() == pytest.approx(shares.max())
        # Where no tile shows half of it, one does, with what it shows.
        assert tiles.sum() == 1 if shares.max() < 0.5 - 1e-9 else tiles.sum() >= 1
        assert not tiles[(shares < 0.5 - 1e-9) & (shares < shares.max() - 1e-9)].any()


def instances(*boxes, **more):
    return [dict(bbox=list(map(float, box)), bbox_label=i, ignore_flag=0, **more) for i, box in enumerate(boxes)]


def test_boxes_are_cut_shifted_and_ignored():
    rows, columns = grid(40, 8, (40, 104))  # columns 0-40, 32-72, 64-104
    found = instances((30, 5, 50, 15), (2, 2, 12, 12), (70, 0, 76, 40))
    first, second, third = (cut_instances(found, (40, 104), rows, columns, (0, i)) for i in range(3))
    assert [(i['bbox'], i['ignore_flag'], i['bbox_label']) for i in first] == [
        ([30.0, 5.0, 40.0, 15.0], 0, 0),  # half of it is shown
        ([2.0, 2.0, 12.0, 12.0], 0, 1),
    ]
    assert [(i['bbox'], i['ignore_flag']) for i in second] == [
        ([0.0, 5.0, 18.0, 15.0], 0),
        ([38.0, 0.0, 40.0, 40.0], 1),
    ]
    assert [(i['bbox'], i['ignore_flag']) for i in third] == [([6.0, 0.0, 12.0, 40.0], 0)]
    assert found == instances((30, 5, 50, 15), (2, 2, 12, 12), (70, 0, 76, 40)), 'the input is left as it is'


def test_what_is_ignored_stays_so_and_slivers_are_left_out():
    rows, columns = grid(40, 8, (40, 104))
    crowd = [dict(instances((10, 10, 20, 20))[0], ignore_flag=1)]
    assert cut_instances(crowd, (40, 104), rows, columns, (0, 0))[0]['ignore_flag'] == 1
    sliver = instances((39.5, 0, 70, 30))
    assert cut_instances(sliver, (40, 104), rows, columns, (0, 0)) == []
    beyond = instances((-10, -10, 20, 20))
    assert cut_instances(beyond, (40, 104), rows, columns, (0, 0))[0]['bbox'] == [0.0, 0.0, 20.0, 20.0]
    assert boxes_of([], 4, 4).shape == (0, 4)


def test_the_box_of_a_cut_object_is_that_of_its_mask():
    """A slope from the top left to the bottom right shows its upper part alone in the left tile."""
    rows, columns = grid(40, 8, (40, 72))
    slope = [[0, 0, 4, 0, 64, 36, 60, 36]]
    (cut,) = cut_instances(instances((0, 0, 64, 36), mask=slope), (40, 72), rows, columns, (0, 0))
    assert cut['bbox'] == pytest.approx([0, 0, 40, 24])
    # The box reaches into this tile, the object does not.
    corner = [[44, 0, 60, 0, 60, 30, 34, 30, 34, 28, 44, 28]]
    boxed = instances((34, 0, 60, 30), mask=corner)
    (piece,) = cut_instances(boxed, (40, 72), rows, columns, (0, 0))
    assert piece['bbox'] == pytest.approx([34, 28, 40, 30])
    rows, columns = grid(32, 0, (64, 72))
    assert [i['ignore_flag'] for i in cut_instances(boxed, (64, 72), rows, columns, (0, 1))] == [0]
    away = instances((10, 0, 60, 30), mask=[[40, 0, 60, 0, 60, 30, 40, 30]])
    assert cut_instances(away, (64, 72), rows, columns, (0, 0)) == []


def test_a_deadly_mask_is_refused():
    rows, columns = grid(40, 8, (40, 72))
    bad = instances((0, 0, 9, 9), mask=dict(size=[40, 72], counts=[5, 5]))
    with pytest.raises(ValueError, match='broken run lengths'):
        cut_instances(bad, (40, 72), rows, columns, (0, 0))
