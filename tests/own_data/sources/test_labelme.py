"""LabelMe files as its versions, X-AnyLabeling and people write them."""

import math
from collections import Counter

import numpy as np
import pytest
from labelme_sets import LEFT, SQUARE, huge_png, images, left_out, objects, one, pixels, png, read, shape

from mmlska.own_data.sources import require_source


def test_the_real_set_is_the_one_that_coco_has(shared_data):
    found, wanted = [], []
    for out, name, kind in ((found, 'fruits_labelme', 'labelme'), (wanted, 'fruits_nuts', 'coco')):
        labels = require_source(shared_data(name), 'mmdet', label_format=kind).read()
        for file, entry in images(labels).items():
            out += [(file, labels.classes[a['category_id'] - 1], a) for a in entry.annotations]
        assert not any('left out' in note or 'photo without' in note for note in labels.notes)
        assert not labels.left_out
    assert Counter(entry[:2] for entry in found) == Counter(entry[:2] for entry in wanted)
    assert len(found) == 165
    for file, name, annotation in wanted:
        (outline,) = annotation['segmentation']
        (same,) = (a for f, n, a in found if (f, n) == (file, name) and same_outline(a['segmentation'], outline))
        # The boxes of the COCO file are whole pixels around what was drawn.
        assert np.allclose(same['bbox'], annotation['bbox'], 0, 1)


def same_outline(segmentation, outline):
    return len(segmentation[0]) == len(outline) and np.allclose(segmentation[0], outline, 0, 0.5)


@pytest.mark.parametrize('kind', ['polygon', None, '', 'rotation', 'oriented_rectangle'])
def test_outlines(kind, tmp_path):
    turned = [[20.5, 10.25], [30, 20], [20, 30], [10, 20]]
    (found,) = objects(one(tmp_path, shape(points=turned, kind=kind, direction=0.7)))
    assert found['segmentation'] == [[20.5, 10.25, 30, 20, 20, 30, 10, 20]]
    assert found['bbox'] == [10, 10.25, 20, 19.75]


def test_version_3_has_no_kinds_and_no_groups(tmp_path):
    old = dict(label='cat', points=SQUARE, line_color=None, fill_color=None)
    (found,) = objects(one(tmp_path, old, imageHeight=None, imageWidth=None))
    assert found['bbox'] == [10, 10, 20, 30]


@pytest.mark.parametrize(
    'points',
    [[[10, 5], [40.5, 25]], [[40.5, 25], [10, 5]], [[10, 25], [40.5, 5]], [[10, 5], [40.5, 5], [40.5, 25], [10, 25]]],
)
def test_rectangles_are_boxes_without_a_mask(points, tmp_path):
    (found,) = objects(one(tmp_path, shape(points=points, kind='rectangle')))
    assert found['bbox'] == [10, 5, 30.5, 20]
    assert 'segmentation' not in found


def test_circle(tmp_path):
    (found,) = objects(one(tmp_path, shape(points=[[40, 30], [46, 38]], kind='circle')))
    assert found['bbox'] == pytest.approx([30, 20, 20, 20], abs=0.02)
    corners = np.reshape(found['segmentation'], (-1, 2))
    assert np.hypot(*(corners - [40, 30]).T) == pytest.approx(10)


@pytest.mark.parametrize('corner', [(20, 10), (72, 55), (0, 0)])
def test_mask(corner, tmp_path):
    x, y = corner
    mask = np.zeros((6, 9), bool)
    mask[1:, 2:7], mask[3, 4] = True, False
    (found,) = objects(one(tmp_path, shape(points=[[x, y], [x + 8, y + 5]], kind='mask', mask=png(mask))))
    whole = np.zeros((60 + 6, 80 + 9), bool)
    whole[y : y + 6, x : x + 9] = mask
    assert (pixels(found) == whole[:60, :80]).all()


def test_pieces_of_one_object(tmp_path):
    pieces = [
        shape() | {'group_id': 3},
        shape('dog') | {'group_id': 3},
        shape(points=LEFT) | {'group_id': 3},
        shape(points=LEFT) | {'group_id': 0},
        shape(points=[[x + 40, y] for x, y in LEFT]),
    ]
    found = objects(one(tmp_path, *pieces))
    assert [(a['category_id'], len(a['segmentation']), a['bbox']) for a in found] == [
        (1, 2, [0, 0, 30, 40]),
        (2, 1, [10, 10, 20, 30]),
        (1, 1, [0, 0, 8, 8]),
        (1, 1, [40, 0, 8, 8]),
    ]


def test_pieces_with_masks_and_boxes(tmp_path):
    mask = shape(points=[[50, 50], [51, 51]], kind='mask', mask=png([[1, 1], [1, 0]]))
    box = shape(points=[[0, 0], [8, 8]], kind='rectangle')
    other = shape(points=[[20, 20], [28, 30]], kind='rectangle')
    pieces = [mask | {'group_id': 1}, shape() | {'group_id': 1}, box | {'group_id': 1}]
    pieces += [box | {'group_id': 'b'}, other | {'group_id': 'b'}]
    drawn, boxes = objects(one(tmp_path, *pieces))
    wanted = np.zeros((60, 80), bool)
    wanted[10:40, 10:30] = wanted[:8, :8] = wanted[50, 50:52] = wanted[51, 50] = True
    assert (pixels(drawn) == wanted).all()
    assert boxes['bbox'] == [0, 0, 28, 30]
    assert 'segmentation' not in boxes


@pytest.mark.parametrize(
    ('more', 'ignored'),
    [
        (dict(difficult=True), 1),
        (dict(difficult='true'), 1),
        (dict(difficult='false'), 0),
        (dict(difficult=None), 0),
        (dict(flags={'difficult': True}), 1),
        (dict(flags={'difficult': False, 'occluded': True}), 0),
        (dict(flags=None), 0),
        (dict(flags=['difficult']), 0),
    ],
)
def test_difficult_ones_are_ignored(more, ignored, tmp_path):
    (found,) = objects(one(tmp_path, shape() | more))
    assert found['iscrowd'] == ignored


@pytest.mark.parametrize(
    ('bad', 'kind'),
    [
        (shape(kind='line', points=SQUARE[:2]), 'shape without area: line'),
        (shape(kind='linestrip'), 'shape without area: linestrip'),
        (shape(kind='point', points=SQUARE[:1]), 'shape without area: point'),
        (shape(kind='points'), 'shape without area: points'),
        (shape('__ignore__'), 'shape with the label __ignore__, which is no class in LabelMe'),
        (shape('_background_'), 'shape with the label _background_, which is no class in LabelMe'),
        (shape(points=SQUARE[:2]), '2 points, an outline has at least 3'),
        (shape(points=SQUARE[:3], kind='rectangle'), '3 points instead of 2 or 4'),
        (shape(points=SQUARE[:1], kind='circle'), '1 points instead of 2'),
        (shape(points=[], kind='rectangle'), '0 points'),
        (shape(kind='spline'), "'spline' is no kind of shape"),
        (shape(kind=['polygon']), 'is no kind of shape'),
        (shape(points=None), 'no list of points'),
        (shape(points={'x': 1}), 'no list of points'),
        (shape(points=['12', '34', '56']), 'no list of points'),
        (shape(points=[[1, 2, 3]] * 4), 'no list of points'),
        (shape(points=[[math.nan, 1], [2, 3], [3, 4]]), 'nan is no number'),
        (shape(points=[[10**400, 1], [2, 3], [3, 4]]), 'is no number'),
        (shape(points=[[True, 1], [2, 3], [3, 4]]), 'is no number'),
        (shape(points=[[1e308, -1e308], [-1e308, 1e308]], kind='rectangle'), 'inf is no number'),
        (shape(points=[[1e308, -1e308], [-1e308, 1e308]], kind='circle'), 'no number'),
        (shape(label=None), 'None is no label'),
        (shape(label=' '), 'is no label'),
        (shape(label=['cat']), 'is no label'),
        (shape(label=True), 'is no label'),
        (shape() | {'group_id': [1]}, 'group_id'),
        (shape(points=[[0, 0], [1, 1]], kind='mask', mask=None), 'None is no base64'),
        (shape(points=[[0, 0], [1, 1]], kind='mask', mask='%%'), 'base64'),
        (shape(points=[[0, 0], [1, 1]], kind='mask', mask='AAAA'), 'can not be read'),
        (shape(points=[[0, 0], [1, 1]], kind='mask', mask=huge_png()), 'can not be read'),
        (shape(points=[[0, 0], [1, 1]], kind='mask', mask=png(np.ones((9, 9)))), '9x9 pixels for 2x2'),
        (shape(points=[[0, 0], [90, 1]], kind='mask', mask=png(np.ones((2, 91)))), '91x2 pixels, the photo 80x60'),
        (shape(points=[[1e300, 0], [1e300, 1]], kind='mask', mask=png([[1], [1]])), 'box of zero area'),
        (shape(points=[[200, 0], [210, 0], [210, 9]]), 'box outside the image'),
        (None, "'NoneType'"),
        ('cat', "'str'"),
        ([shape()], "'list'"),
    ],
)
def test_broken_shapes_are_left_out_and_the_others_read(bad, kind, tmp_path):
    root = one(tmp_path, bad, shape('dog'))
    labels = read(root)
    assert [labels.classes[a['category_id'] - 1] for a in images(labels)['a.jpg'].annotations] == ['dog']
    ((found, place),) = left_out(root)
    assert kind in f'{found}: {place}'
    assert place.startswith('a.json shape 1')
    assert '1 x ' in ' '.join(labels.notes) or sum(labels.left_out.values()) == 1
