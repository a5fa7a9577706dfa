"""Labels on trust in the other formats: corners in YOLO's files, objects of VOC that can't be read, turned boxes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from own_sets import photo

from mmlska.own_data.sources import require_source


def photos(root: Path, count: int = 4) -> Path:
    for i in range(count):
        photo(root / f'images/{i}.png')
    return root


def yolo(root: Path, *lines: str) -> Path:
    photos(root)
    (root / 'labels').mkdir()
    (root / 'data.yaml').write_text('names: [cat, dog]\n')
    for i in range(4):
        (root / f'labels/{i}.txt').write_text('\n'.join(lines))
    return root


def voc(root: Path, *corners: object) -> Path:
    photos(root)
    (root / 'Annotations').mkdir()
    for i in range(4):
        names = ('xmin', 'ymin', 'xmax', 'ymax')
        box = ''.join(f'<{k}>{v}</{k}>' for k, v in zip(names, corners if i == 0 else (10, 10, 50, 40)))
        text = f'<annotation><filename>{i}.png</filename><object><name>cat</name><bndbox>{box}</bndbox></object></annotation>'
        (root / f'Annotations/{i}.xml').write_text(text)
    return root


def labelme(root: Path, points: list) -> Path:
    photos(root)
    for i in range(4):
        shape = dict(label='cat', shape_type='polygon', points=points if i == 0 else [[10, 10], [50, 10], [50, 40]])
        content = dict(imagePath=f'{i}.png', imageWidth=80, imageHeight=60, shapes=[shape])
        (root / f'images/{i}.json').write_text(json.dumps(content))
    return root


def boxes(root: Path) -> list[list[float]]:
    labels = require_source(root, 'mmdet').read()
    return [
        [round(v, 2) for v in a['bbox']] for images in labels.splits.values() for i in images for a in i.annotations
    ]


def test_corners_in_the_files_of_yolo_are_read_and_said(tmp_path, command):
    root = yolo(tmp_path / 'd', '0 0.125 0.25 0.75 0.75', '1 0.5 0.5 1.0 1.0')
    ended = command('check', root)
    assert (
        'warning: 8 x box that is no centre and size (x, y, width, height), read as corners (x1, y1, x2, y2): '
        in ended.out
    )
    assert ended.code == 0
    assert boxes(root)[:2] == [[10, 15, 50, 30], [40, 30, 40, 30]]
    # As centres these are inside too, and so they are centres.
    root = yolo(tmp_path / 'e', '0 0.3 0.3 0.4 0.4')
    assert 'read as' not in command('check', root).out
    assert boxes(root)[0] == [8, 6, 32, 24]


@pytest.mark.parametrize(
    ('make', 'kind'),
    [
        (lambda root: voc(root, 'nan', 1, 5, 5), 'annotation that can not be read'),
        (lambda root: voc(root, '', 1, 5, 5), 'annotation that can not be read'),
        (lambda root: voc(root, 1e12, 1, 1e13, 5), 'box of impossible numbers'),
        (lambda root: labelme(root, [[10, None], [50, 10], [50, 40]]), 'annotation that can not be read'),
        (lambda root: labelme(root, [[10, 1e12], [50, 10], [50, 40]]), 'mask of impossible numbers'),
        (lambda root: yolo(root, '0 0.5 0.5 -0.2 0.2', '0 0.5 0.5 0.5 0.5'), 'box of negative width or height'),
    ],
    ids=['VOC NaN', 'VOC nothing', 'VOC absurd', 'LabelMe null', 'LabelMe absurd', 'YOLO negative'],
)  # fmt: skip
def test_what_can_not_be_used_is_no_background_and_counted(make, kind, tmp_path, command):
    root = make(tmp_path / 'd')
    ended = command('check', root)
    assert ended.code == 1
    assert f' x {kind}: ' in ended.out
    labels = require_source(root, 'mmdet').read()
    assert kind in '\n'.join([*labels.left_out_notes(), *labels.notes])
    assert all(image.annotations for image in labels.splits[''])
    assert sum(len(image.annotations) for image in labels.splits['']) in (3, 4)


def test_corners_in_another_order_are_put_right_and_said(tmp_path, command):
    root = voc(tmp_path / 'd', 50, 40, 10, 10)
    assert (
        'warning: 1 x box with its corners swapped; put right: Annotations/0.xml object 1' in command('check', root).out
    )
    assert boxes(root) == [[10, 10, 40, 30]] * 4


SEEN = '0.5 0.5 0.5 0.5 0.4 0.4 2 0.6 0.6 {}'


@pytest.mark.parametrize(
    'rows', [[f'0 {SEEN.format(1)}'], [f'0 {SEEN.format(0)} 0.5 0.5 2', f'1 {SEEN.format(2)} 0 0 0']]
)
def test_boxes_with_keypoints_are_boxes(rows, tmp_path, command):
    root = yolo(tmp_path / 'd', *rows)
    ended = command('check', root)
    assert ended.code == 0, ended
    assert (
        f'warning: {4 * len(rows)} x line of a box and keypoints, which are passed over: labels/0.txt line 1'
        in ended.out
    )
    assert boxes(root) == [[20, 15, 40, 30]] * 4 * len(rows)
    labels = require_source(root, 'mmdet').read()
    assert not any('segmentation' in a for images in labels.splits.values() for i in images for a in i.annotations)


def test_some_lines_have_keypoints(tmp_path, command):
    root = yolo(tmp_path / 'd', f'0 {SEEN.format(1)}', '1 0.5 0.5 0.5 0.5')
    assert 'warning: 4 x line of a box and keypoints' in command('check', root).out
    assert boxes(root) == [[20, 15, 40, 30]] * 8


@pytest.mark.parametrize(
    'row',
    [
        '0 0.1 0.1 0.9 0.1 0.9 0.9 0.5 0.7 0.1 0.9',
        '0 0 0 1 0 1 1 0 1',
        '0 0.5 0.5 0.5 0.5 0.4 0.4 0.2 0.6 0.6 0.9',
    ],
)
def test_outlines_stay_outlines(row, tmp_path, command):
    root = yolo(tmp_path / 'd', row)
    ended = command('check', root)
    assert 'keypoints' not in ended.out
    labels = require_source(root, 'mmdet').read()
    found = [a for images in labels.splits.values() for i in images for a in i.annotations]
    assert len(found) == 4
    assert all('segmentation' in a for a in found)
