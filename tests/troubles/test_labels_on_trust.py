"""Labels that are not what COCO says: each is used as it is meant, or left out, and counted by its reason, by check and by training."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from own_sets import MASK_RCNN, RETINANET, ROOT, adapt, everything, simple

from mmlska.datasets.coco_labels import decoded, encode_mask
from mmlska.own_data.sources import require_source

NAN, INF = float('nan'), float('inf')


def each(**values):
    """Every annotation with other values, which may be functions of it."""

    def change(content: dict) -> None:
        for entry in content['annotations']:
            new = {key: value(entry) if callable(value) else value for key, value in values.items()}
            entry.update(new)

    return change


def first(**values):
    def change(content: dict) -> None:
        each(**values)({'annotations': content['annotations'][:1]})

    return change


def without(*keys: str):
    def change(content: dict) -> None:
        for entry in content['annotations']:
            for key in keys:
                entry.pop(key, None)

    return change


def both(*changes):
    def change(content: dict) -> None:
        for one in changes:
            one(content)

    return change


def entries(key: str, **values):
    """Every image or category with other values."""

    def change(content: dict) -> None:
        for entry in content[key]:
            entry.update({name: value(entry) if callable(value) else value for name, value in values.items()})

    return change


def made(root: Path, change) -> Path:
    """A set of four photos of 80x60 with a cat at (10, 10, 40, 30), on each second a dog at (50, 20, 20, 20) too."""
    simple(root)
    content = json.loads((root / 'all.json').read_text())
    change(content)
    (root / 'all.json').write_text(json.dumps(content))
    return root


def corners(entry: dict) -> list:
    x, y, w, h = entry['bbox']
    return [x, y, x + w, y + h]


def fractions(values: list) -> list:
    return [value / (80, 60)[i % 2] for i, value in enumerate(values)]


def points(entry: dict) -> list:
    (outline,) = entry['segmentation']
    return [list(point) for point in zip(outline[::2], outline[1::2])]


def pairs(entry: dict, start: int = 1, by_rows: bool = False) -> list[int]:
    """Start and length of each run, as Kaggle counts them."""
    x, y, w, h = entry['bbox']
    if by_rows:
        return [value for row in range(y, y + h) for value in (row * 80 + x + start, w)]
    return [value for column in range(x, x + w) for value in (column * 60 + y + start, h)]


def runs(entry: dict, by_rows: bool = False) -> list[int]:
    x, y, w, h = entry['bbox']
    inside = np.zeros((60, 80), bool)
    inside[y : y + h, x : x + w] = True
    flat = inside.ravel(order='C' if by_rows else 'F')
    edges = np.flatnonzero(np.diff(flat.astype(int))) + 1
    return np.diff([0, *edges, flat.size]).tolist()


def counted(out: str, prefix: str = '') -> Counter:
    """The numbers of each kind in lines such as 'error: 3 x KIND: PLACES'."""
    found = re.findall(rf'^{prefix}(\d+) x (.*?): ', out, re.MULTILINE)
    return Counter({kind: int(number) for number, kind in found})


SOUND = {f'{i}.png': [(0, [10, 10, 50, 40], 0), *([(1, [50, 20, 70, 40], 0)] if i % 2 else [])] for i in range(4)}
CORNERS = 'box that is no x, y, width, height, read as corners (x1, y1, x2, y2)'
NUMBERS = "mask in another form than COCO's, read all the same"
BY_VALUE = 'of another type than the ids, taken by its value'
AREA = 'computed from mask or box'
BOX_FORM = 'box in another form than a list of numbers, read as x, y, width, height'
PAIRS = 'run lengths as pairs of start and length, read'
CENTRES = 'box that is no x, y, width, height, read as centre and size (x, y, width, height)'
FRACTIONS = 'box as fractions of its image, scaled to pixels'
REPAIRED = {
    'corners beside outlines': (each(bbox=corners), {CORNERS: 6}),
    'corners beside areas': (both(without('segmentation'), each(bbox=corners)), {CORNERS: 6}),
    'corners alone': (both(without('segmentation', 'area'), each(bbox=corners)), {CORNERS: 6}),
    'centres': (each(bbox=lambda a: [a['bbox'][0] + a['bbox'][2] / 2, a['bbox'][1] + a['bbox'][3] / 2, *a['bbox'][2:]]), {CENTRES: 6}),
    'rows first': (
        each(bbox=lambda a: [a['bbox'][i] for i in (1, 0, 3, 2)]),
        {'box that is no x, y, width, height, read as rows first (y, x, height, width)': 6},
    ),
    'fractions': (both(without('segmentation'), each(bbox=lambda a: fractions(a['bbox']))), {FRACTIONS: 6}),
    'corners as fractions': (
        both(without('segmentation'), each(bbox=lambda a: fractions(corners(a)))),
        {FRACTIONS: 6, CORNERS: 6},
    ),
    'outlines as fractions': (
        each(segmentation=lambda a: [fractions(a['segmentation'][0])]),
        {'outline as fractions of its image, scaled to pixels': 6},
    ),
    'box as object': (each(bbox=lambda a: dict(zip(('x', 'y', 'width', 'height'), a['bbox']))), {BOX_FORM: 6}),
    'box as object of corners': (each(bbox=lambda a: dict(zip(('xmin', 'ymin', 'xmax', 'ymax'), corners(a)))), {BOX_FORM: 6}),
    'box of text': (each(bbox=lambda a: [str(value) for value in a['bbox']]), {BOX_FORM: 6}),
    'box as text': (each(bbox=lambda a: json.dumps(a['bbox'])), {BOX_FORM: 6}),
    'box in a list': (each(bbox=lambda a: [a['bbox']]), {BOX_FORM: 6}),
    'no box here': (first(bbox=None), {'annotation without a box of numbers, that of its mask is used': 1}),
    'points as objects': (each(segmentation=lambda a: [[dict(x=x, y=y) for x, y in points(a)]]), {NUMBERS: 6}),
    'points without a list': (each(segmentation=points), {NUMBERS: 6}),
    'outline of text': (each(segmentation=lambda a: [[str(value) for value in a['segmentation'][0]]]), {NUMBERS: 6}),
    'outline as text': (each(segmentation=lambda a: json.dumps(a['segmentation'])), {NUMBERS: 6}),
    'piece of two points': (
        first(segmentation=lambda a: [*a['segmentation'], [1, 2, 3, 4]]),
        {'piece of a mask with less than three points, left out': 1},
    ),
    'mask without a pixel': (
        first(segmentation=dict(size=[60, 80], counts=[4800])),
        {'mask without a pixel, the box is used alone': 1},
    ),
    'pairs': (each(segmentation=lambda a: dict(size=[60, 80], counts=pairs(a))), {f'{PAIRS} down the columns, from 1': 6}),
    'pairs from 0': (
        each(segmentation=lambda a: dict(size=[60, 80], counts=pairs(a, 0))),
        {f'{PAIRS} down the columns, from 0': 6},
    ),
    'pairs along rows': (
        each(segmentation=lambda a: dict(size=[60, 80], counts=pairs(a, by_rows=True))),
        {f'{PAIRS} along the rows, from 1': 6},
    ),
    'pairs as text': (
        each(segmentation=lambda a: ' '.join(map(str, pairs(a)))),
        {NUMBERS: 6, f'{PAIRS} down the columns, from 1': 6},
    ),
    'pairs without box': (
        both(each(segmentation=lambda a: dict(size=[60, 80], counts=pairs(a))), without('bbox', 'area')),
        {f'{PAIRS} down the columns, from 1': 6},
    ),
    'width first': (
        each(segmentation=lambda a: dict(size=[80, 60], counts=runs(a))),
        {'run lengths of a size with the width first, read down the columns': 6},
    ),
    'width first along rows': (
        each(segmentation=lambda a: dict(size=[80, 60], counts=runs(a, True))),
        {'run lengths of a size with the width first, read along the rows': 6},
    ),
    'runs without size': (each(segmentation=lambda a: dict(counts=runs(a))), {NUMBERS: 6}),
    'runs of 60.0': (each(segmentation=lambda a: dict(size=[60.0, 80.0], counts=[float(v) for v in runs(a)])), {NUMBERS: 6}),
    "crowd '0'": (each(iscrowd='0'), {'iscrowd in another form than 0 and 1, read as 0': 6}),
    "crowd 'false'": (each(iscrowd='false'), {'iscrowd in another form than 0 and 1, read as 0': 6}),
    'crowd false': (each(iscrowd=False), {}),
    'crowd null': (each(iscrowd=None), {}),
    'ids as text': (
        each(image_id=lambda a: str(a['image_id']), category_id=lambda a: str(a['category_id'])),
        {f'image_id {BY_VALUE}': 6, f'category_id {BY_VALUE}': 6},
    ),
    'ids as lists': (each(category_id=lambda a: [a['category_id']]), {f'category_id {BY_VALUE}': 6}),
    'ids of images as text': (entries('images', id=lambda i: str(i['id'])), {f'image_id {BY_VALUE}': 6}),
    'ids of categories as text': (
        both(entries('categories', id=lambda c: f'c{c["id"]}'), each(category_id=lambda a: f'c{a["category_id"]}')),
        {'category id that is no whole number, taken by its value': 2},
    ),
    'names as ids': (
        each(category_id=lambda a: ['cat', 'dog'][a['category_id'] - 1], image_id=lambda a: f'{a["image_id"]}.png'),
        {f'{key} that is a name, taken for the id of that name': 6 for key in ('image_id', 'category_id')},
    ),
    'ids of annotations as lists': (each(id=lambda a: [a['id']]), {'annotation id that is no whole number, numbered anew': 6}),
    'size as text': (entries('images', width='80', height='60'), {'image size written as text, read as numbers': 4}),
    'an image twice': (lambda content: content['images'].append(content['images'][0]), {'image listed twice, taken once': 1}),
    'area of 1': (each(area=1.0), {f'one area for all annotations, {AREA}': 6}),
    'area of another size': (each(area=lambda a: a['area'] * 4), {f'area far from that of mask and box, {AREA}': 6}),
    'area as share': (each(area=lambda a: a['area'] / 4800), {f'area far from that of mask and box, {AREA}': 6}),
    'area that is none': (first(area='1200'), {f'area far from that of mask and box, {AREA}': 1}),
    'area in some': (lambda content: content['annotations'][2].pop('area'), {f'annotation without area, {AREA}': 1}),
    'no area': (without('area'), {}),
}  # fmt: skip


@pytest.mark.parametrize('name', REPAIRED)
def test_what_is_meant_is_checked_and_trained_on(name, tmp_path, command):
    change, kinds = REPAIRED[name]
    root = made(tmp_path / 'd', change)
    ended = command('check', root)
    assert ended.code == 0
    assert counted(ended.out, 'warning: ') == kinds
    labels = require_source(root, 'mmdet').read()
    assert counted('\n'.join(labels.notes)) == kinds
    written = [a for image in labels.splits[''] for a in image.annotations]
    found = {
        Path(i.name).name: [(a['category_id'] - 1, corners(a), a['iscrowd']) for a in i.annotations]
        for i in labels.splits['']
    }
    assert found == SOUND
    assert sorted(a['area'] for a in written) == pytest.approx([400, 400, 1200, 1200, 1200, 1200], rel=0.06)
    for entry in written:
        if isinstance(entry.get('segmentation'), dict):
            assert decoded(entry['segmentation']).sum() == entry['bbox'][2] * entry['bbox'][3]


PAST = 1e12
DROPPED = {
    'null in an outline': (first(segmentation=[[10, 10, None, 10, 40, 40]]), {'mask of impossible numbers': 1}),
    'NaN in an outline': (first(segmentation=[[10, 10, NAN, 10, 40, 40]]), {'mask of impossible numbers': 1}),
    'infinite outline': (first(segmentation=[[10, 10, INF, 10, 40, 40]]), {'mask of impossible numbers': 1}),
    'absurd outline': (first(segmentation=[[10, 10, PAST, PAST, 40, 40]]), {'mask of impossible numbers': 1}),
    'null in points': (first(segmentation=[[dict(x=1, y=1), dict(x=None, y=9), dict(x=9, y=9)]]), {'mask of impossible numbers': 1}),
    'null in a box': (both(without('segmentation'), first(bbox=[10, None, 40, 30])), {'box of impossible numbers': 1}),
    'negative size': (both(without('segmentation'), first(bbox=[50, 40, -40, -30])), {'box of negative width or height': 1}),
    'box of another object': (first(bbox=[60, 0, 20, 9]), {'box and mask in different places': 1}),
    'mask beside the photo': (first(segmentation=[[90, 70, 99, 70, 99, 79]]), {'box and mask in different places': 1}),
    'crowd of 2': (first(iscrowd=2), {'iscrowd that is neither 0 nor 1': 1}),
    'crowd as object': (first(iscrowd={}), {'iscrowd that is neither 0 nor 1': 1}),
    'category_id as object': (first(category_id={}), {'category_id that is no id': 1}),
    'two ids': (first(category_id=[1, 2]), {'category_id that is no id': 1}),
    'unknown category': (first(category_id='cow'), {'unknown category id': 1}),
    'two classes of an id': (
        lambda content: content['categories'].append(dict(id=2, name='cow')),
        {'category id of several classes': 2},
    ),
    'two images of an id': (
        lambda content: content['images'][2].update(id=0),
        {'annotation of an image id used twice': 1, 'unknown image id': 1, 'image id used twice': 2},
    ),
    'runs that are neither': (
        first(segmentation=dict(size=[60, 80], counts=[5, 7, 3])),
        {'mask of broken run lengths': 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', DROPPED)
def test_what_no_one_knows_is_left_out_of_training_as_check_says(name, tmp_path, command):
    change, kinds = DROPPED[name]
    root = made(tmp_path / 'd', change)
    ended = command('check', root)
    assert ended.code == 1
    assert counted(ended.out, 'error: ') == kinds
    labels = require_source(root, 'mmdet').read()
    (line,) = labels.left_out_notes()
    of_annotations = {kind: number for kind, number in kinds.items() if kind != 'image id used twice'}
    assert line.startswith(f'{sum(of_annotations.values())} annotations left out: ')
    said = {kind: int(number) for number, kind in re.findall(r'(\d+) ([^,(]+)(?:,| \()', line.split(': ')[1])}
    assert said == of_annotations
    assert sum(len(image.annotations) for image in labels.splits['']) == 6 - sum(of_annotations.values())
    fixed = command('check', root, '--fix', tmp_path / 'new')
    assert all(f'{number} {kind}' in fixed.out.splitlines()[-1] for kind, number in of_annotations.items())
    assert command('check', tmp_path / 'new').code == 0


def test_a_photo_whose_objects_are_lost_is_no_background(tmp_path, command):
    root = made(tmp_path / 'd', first(segmentation=[[10, 10, None, 10, 40, 40]]))
    ended = command('check', root, '--fix', tmp_path / 'new')
    assert 'warning: 1 x image of whose annotations none can be used: 0.png' in ended.out
    assert sorted(path.name for path in (tmp_path / 'new/images').iterdir()) == ['1.png', '2.png', '3.png']
    cfg, lines = adapt(RETINANET, root, tmp_path / 'work')
    assert 'left out: 1 x image of whose annotations none can be used: images/0.png' in lines
    assert everything(cfg).keys() == {'1.png', '2.png', '3.png'}


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (
            entries('images', id=1),
            'no annotation of .* can be used: 4 unknown image id, 2 annotation of an image id used twice;',
        ),
        (
            each(category_id=lambda a: a['category_id'] - 1),
            'category_id counted from 0, where the categories begin with 1',
        ),
    ],
    ids=['one id for all images', 'categories from 0 and from 1'],
)
def test_nothing_is_trained_where_nothing_is_known(change, reason, tmp_path, command, refused):
    root = made(tmp_path / 'd', change)
    assert command('check', root).code == 1
    assert re.search(reason, refused('train', ROOT / RETINANET, '--data', root, '--work-dir', tmp_path / 'work'))
    assert not (tmp_path / 'work/data').exists()


@pytest.mark.parametrize('name', ['corners beside outlines', 'ids as text', 'pairs'])
def test_the_data_set_of_a_training_hands_out_what_is_meant(name, tmp_path):
    change, kinds = REPAIRED[name]
    cfg, lines = adapt(RETINANET, made(tmp_path / 'd', change), tmp_path / 'work')
    assert {file: sorted(found) for file, found in everything(cfg).items()} == SOUND
    assert counted('\n'.join(lines)) == kinds


def test_two_readings_that_both_fit_are_said_and_not_chosen(tmp_path, command):
    centres = each(
        bbox=lambda a: fractions([a['bbox'][0] + a['bbox'][2] / 2, a['bbox'][1] + a['bbox'][3] / 2, *a['bbox'][2:]])
    )
    ended = command('check', made(tmp_path / 'd', both(without('segmentation'), centres)))
    assert ended.code == 0
    assert 'file of boxes that may be centre and size (x, y, width, height)' in ended.out
    # Two boxes that reach too far are no reason to move all.
    beyond = (
        without('segmentation', 'area'),
        each(bbox=lambda a: [50, 40, 40, 10] if a['category_id'] == 2 else a['bbox']),
    )
    assert 'read as centre' not in command('check', made(tmp_path / 'f', both(*beyond))).out
    # One box of many that leaves its photo is no reason to read the others anew.
    ended = command('check', made(tmp_path / 'e', both(without('segmentation', 'area'), first(bbox=[60, 45, 70, 55]))))
    assert 'warning: 1 x box partly outside the image: 0.png (annotation 1)' in ended.out
    assert CORNERS not in ended.out


def config_of(root: Path) -> Path:
    """A config that trains Mask R-CNN on the file as it is."""
    path = root.parent / 'c.py'
    path.write_text(f"""
_base_ = {str(ROOT / MASK_RCNN)!r}
data_root = {f'{root}/'!r}
dataset = dict(type='CocoDataset', data_root=data_root, metainfo=dict(classes=('cat', 'dog')), ann_file='all.json',
               data_prefix=dict(img='images/'))
steps = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True), dict(type='Resize', scale=(64, 64)),
         dict(type='PackDetInputs')]
train_dataloader = dict(dataset=dict(dataset=dict(**dataset, _delete_=True, pipeline=steps)))
val_dataloader = test_dataloader = dict(dataset=dict(**dataset, _delete_=True, pipeline=steps))
model = dict(roi_head=dict(bbox_head=dict(num_classes=2), mask_head=dict(num_classes=2)))
""")
    return path


AS_IS = ['corners beside outlines', 'fractions', 'box as object', 'points as objects', 'pairs', "crowd '0'", 'crowd null', 'ids as text',
         'ids as lists', 'area of 1', 'no area', 'two images of an id', 'null in an outline', 'box of another object']  # fmt: skip


@pytest.mark.parametrize('name', ['no error', *AS_IS, 'no ids'])
def test_a_config_that_reads_the_file_as_it_is_has_errors(name, tmp_path, command):
    cases = {**REPAIRED, **DROPPED, 'no error': (lambda content: None, {}), 'no ids': (without('id'), {})}
    change, kinds = cases[name]
    ended = command('check', config_of(made(tmp_path / 'd', change)))
    if name in ('no error', 'crowd false', 'crowd null'):
        assert 'error: ' not in ended.out
        assert ended.code == 0
        return
    assert ended.code == 1
    found = counted(ended.out, 'error: ')
    if name in DROPPED:
        assert kinds.items() <= found.items()
    elif name == 'no ids':
        assert found == {'annotation without id, which mmdet needs; --data fills it in': 6}
    else:
        faults = [kind.removesuffix(', which mmdet does not repair; training by --data does') for kind in found]
        wanted = {re.split(', (?:read|taken|computed|scaled) ', kind)[0] for kind in kinds}
        assert set(faults) == (wanted or {'annotation without area'})


def test_a_large_file_of_masks_stays_what_it_is(tmp_path, command):
    """Nothing is repaired of sound labels of every kind: a thin mask, a crowd, an amodal box, an area of the box."""
    thin = np.eye(60, 80, dtype=bool)

    def change(content: dict) -> None:
        labels = content['annotations']
        labels[0].update(segmentation=encode_mask(thin), bbox=[0, 0, 60, 60], area=60)
        labels[1].update(iscrowd=1, segmentation=dict(size=[60, 80], counts=runs(labels[1])))
        labels[3].update(segmentation=[[10, 10, 50, 10, 10, 40]], area=1200)
        labels[4].update(segmentation=[[10, 10, 50, 10, 50, 40]], area=600)

    ended = command('check', made(tmp_path / 'd', change))
    assert 'error' not in ended.out.replace('0 errors', '')
    assert counted(ended.out, 'warning: ') == {}
