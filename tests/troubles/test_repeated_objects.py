"""An object that one label file has twice is learned once, and a box that has two classes is said, in every format."""

import json
from pathlib import Path

import pytest
from own_sets import MASK_RCNN, adapt, annotation, coco, everything, image, photo

from mmlska.datasets.coco_labels import mask_of
from mmlska.own_data import repeated_objects
from mmlska.own_data.sources import require_source

BOXES = 'configs/demo/retinanet_van_lska_t_small.py'
TWICE = 'object written twice, read once'
TWO_CLASSES = 'box that has two classes; both are learned'
PHOTOS = 4


def pictures(root: Path) -> Path:
    for i in range(PHOTOS):
        photo(root / f'{i}.png')
    return root


def as_coco(root: Path, classes: str, **more) -> None:
    images = [image(i, f'{i}.png') for i in range(PHOTOS)]
    objects = [(i, 1 + 'cd'.index(name)) for i in range(PHOTOS) for name in (classes if i == 0 else 'c')]
    coco(root / 'all.json', images, [annotation(n, i, label, **more) for n, (i, label) in enumerate(objects, 1)])


def as_yolo(root: Path, classes: str) -> None:
    for i in range(PHOTOS):
        rows = (
            f'{"cd".index(name)} 0.375 0.41{"0" * n} 0.5 0.5\n' for n, name in enumerate(classes if i == 0 else 'c')
        )
        (root / f'{i}.txt').write_text(''.join(rows))
    (root / 'classes.txt').write_text('cat\ndog\n')


def as_voc(root: Path, classes: str) -> None:
    box = '<bndbox><xmin>10</xmin><ymin>10</ymin><xmax>50</xmax><ymax>40</ymax></bndbox>'
    for i in range(PHOTOS):
        names = ('cat' if name == 'c' else 'dog' for name in (classes if i == 0 else 'c'))
        things = ''.join(f'<object><name>{name}</name>{box}</object>' for name in names)
        (root / f'{i}.xml').write_text(f'<annotation><filename>{i}.png</filename>{things}</annotation>')


def as_labelme(root: Path, classes: str) -> None:
    corners = [[10, 10], [50, 10], [50, 40], [10, 40]]
    for i in range(PHOTOS):
        names = ('cat' if name == 'c' else 'dog' for name in (classes if i == 0 else 'c'))
        shapes = [dict(label=name, shape_type='polygon', points=corners) for name in names]
        content = dict(imagePath=f'{i}.png', imageHeight=60, imageWidth=80, imageData=None, shapes=shapes)
        (root / f'{i}.json').write_text(json.dumps(content))


def as_csv(root: Path, classes: str) -> None:
    rows = ((i, name) for i in range(PHOTOS) for name in (classes if i == 0 else 'c'))
    text = ''.join(f'{i}.png,{"cat" if name == "c" else "dog"},10,10,50,40\n' for i, name in rows)
    (root / 'labels.csv').write_text(f'filename,class,xmin,ymin,xmax,ymax\n{text}')


FORMATS = (as_coco, as_yolo, as_voc, as_labelme, as_csv)


@pytest.mark.parametrize('write', FORMATS)
def test_the_same_object_twice(tmp_path, command, write):
    root = pictures(tmp_path / 'd')
    write(root, 'ccc')
    cfg, lines = adapt(BOXES, root, tmp_path / 'work')
    assert {name: len(objects) for name, objects in everything(cfg).items()} == {f'{i}.png': 1 for i in range(PHOTOS)}
    said = f'2 x {TWICE}: {"labels.csv line 3" if write is as_csv else "0.png: cat"}'
    assert said in '\n'.join(lines)
    ended = command('check', root)
    assert (ended.code, f'warning: {said}' in ended.out) == (0, True), ended
    assert f'{PHOTOS} images, {PHOTOS} annotations' in ended.out


@pytest.mark.parametrize('write', FORMATS)
def test_two_classes_of_one_box_are_both_kept(tmp_path, command, write):
    root = pictures(tmp_path / 'd')
    write(root, 'cd')
    cfg, lines = adapt(BOXES, root, tmp_path / 'work')
    assert [label for label, _, _ in everything(cfg)['0.png']] == [0, 1]
    assert f'1 x {TWO_CLASSES}: 0.png: cat and dog' in '\n'.join(lines)
    ended = command('check', root)
    assert (ended.code, f'warning: 1 x {TWO_CLASSES}: 0.png: cat and dog' in ended.out) == (0, True), ended


def test_the_one_with_an_outline_is_kept(tmp_path):
    root = pictures(tmp_path / 'd')
    as_coco(root, 'cc')
    content = json.loads((root / 'all.json').read_text())
    del content['annotations'][0]['segmentation']
    (root / 'all.json').write_text(json.dumps(content))
    cfg, _ = adapt(MASK_RCNN, root, tmp_path / 'work')
    assert [ignored for *_, ignored in everything(cfg)['0.png']] == [0]


def test_objects_that_are_not_one_stay(tmp_path, command):
    """Of one box with other outlines; a crowd and an object; beside each other; and classes that are one by their spelling."""
    root = pictures(tmp_path / 'd')
    one, box = annotation(1, 0, 1), (10.5, 10, 40, 30)
    others = [
        annotation(2, 0, 1, segmentation=[[10, 10, 50, 10, 10, 40, 50, 40]]),
        annotation(3, 0, 1, iscrowd=1),
        annotation(4, 0, 1, box),
        annotation(5, 0, 2, box),
        annotation(6, 1, 1),
    ]
    images = [image(i, f'{i}.png') for i in range(PHOTOS)]
    coco(root / 'all.json', images, [one, *others], ((1, 'cat'), (2, 'Cat')))
    ended = command('check', root)
    assert f'{PHOTOS} images, 5 annotations' in ended.out
    assert f'1 x {TWICE}' in ended.out
    cfg, _ = adapt(MASK_RCNN, root, tmp_path / 'work')
    assert sorted(len(objects) for objects in everything(cfg).values()) == [0, 0, 1, 4]


def test_many_objects_of_one_box_are_not_compared_with_each_other(tmp_path, monkeypatch):
    count, calls = 300, []
    photo(tmp_path / '0.png')
    outlines = [[[10, 10, 50, 10, 50, 40 - i / 100, 10, 40]] for i in range(count)]
    objects = [annotation(i + 1, 0, 1 + i % 2, segmentation=outline) for i, outline in enumerate(outlines)]
    coco(tmp_path / 'all.json', [image(0, '0.png')], [*objects, annotation(count + 1, 0, 1, segmentation=outlines[0])])
    (item,) = require_source(tmp_path, 'mmdet').files
    monkeypatch.setattr(repeated_objects, 'mask_of', lambda one: calls.append(one) or mask_of(one))
    repeated_objects.count_once([item])
    assert len(item.content['annotations']) == count
    assert len(calls) == count + 1


@pytest.mark.parametrize(
    ('objects', 'kept', 'said'),
    [
        ('c- cA cA cB', ['cA', 'cB'], [TWICE, TWICE]),
        ('cA dA c- d-', ['cA', 'dA'], [TWO_CLASSES, TWICE, TWICE]),
        ('d- cA dB cB', ['cA', 'dB', 'cB'], [TWO_CLASSES, TWICE, TWO_CLASSES]),
        ('cA dB c- dA', ['cA', 'dB', 'dA'], [TWICE, TWO_CLASSES]),
    ],
)
def test_objects_with_and_without_outlines(objects, kept, said, tmp_path):
    photo(tmp_path / '0.png')
    outlines = {'A': [[10, 10, 50, 10, 50, 40]], 'B': [[10, 10, 50, 40, 10, 40]], '-': []}
    every = [
        annotation(n, 0, 1 + 'cd'.index(o[0]), segmentation=outlines[o[1]]) for n, o in enumerate(objects.split(), 1)
    ]
    coco(tmp_path / 'all.json', [image(0, '0.png')], every)
    (item,) = require_source(tmp_path, 'mmdet').files
    repeated_objects.count_once([item])
    found = [(one['category_id'], one['segmentation']) for one in item.content['annotations']]
    assert sorted(found) == sorted((1 + 'cd'.index(name[0]), outlines[name[1]]) for name in kept)
    assert [kind for kind, _ in item.remarks] == said
