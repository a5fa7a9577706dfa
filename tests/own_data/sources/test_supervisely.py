"""Projects of Supervisely, of its older versions and of Dataset Ninja."""

import base64
import io
import json
import math
import zlib

import numpy as np
import pytest
from own_sets import photo, simple
from PIL import Image
from pycocotools import mask as coco_mask

from mmlska.own_data.check import check_folder
from mmlska.own_data.data_folder import DataFolder
from mmlska.own_data.sources import find_source, require_source
from mmlska.own_data.sources.labelme import LabelmeSource
from mmlska.own_data.sources.supervisely import SuperviselySource

SQUARE = [[10, 10], [30, 10], [30, 40], [10, 40]]
HOLE = [[15, 15], [25, 15], [25, 30], [15, 30]]
# A mask of 3x3 pixels as the developer portal shows it.
EXAMPLE = (
    'eJzrDPBz5+WS4mJgYOD19HAJAtLMIMwIInOeqf8BUmwBPiGuQPr///9Lb86/C2QxlgT5BTM4PLuRBuTw'
    'ebo4hlTMSa44cOHAB6DqY0yORgq8YkAZBk9XP5d1TglNANAFGzA='
)


def item(kind='polygon', exterior=SQUARE, interior=(), title='cat', **more):
    points = dict(exterior=exterior, interior=list(interior))
    return dict(classTitle=title, geometryType=kind, points=points, tags=[], description='', **more)


def bitmap(data, origin=(5, 7), title='cat', **more):
    return dict(classTitle=title, geometryType='bitmap', bitmap=dict(data=data, origin=list(origin)), tags=[], **more)


def packed(mask, mode=None, pack=zlib.compress):
    content = io.BytesIO()
    Image.fromarray(np.asarray(mask, np.uint8), mode).save(content, 'PNG')
    return base64.b64encode(pack(content.getvalue())).decode()


def write(path, *items, size=(80, 60), **more):
    said = {'width': size[0], 'height': size[1]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(description='', tags=[], size=said, objects=list(items)) | more), encoding='utf-8')


def meta(root, *classes):
    entries = [dict(title=title, shape=shape, color='#FF0000') for title, shape in classes]
    (root / 'meta.json').write_text(json.dumps(dict(classes=entries, tags=[], projectType='images')), encoding='utf-8')


def one(root, *items, **more):
    """A project with one photo."""
    photo(root / 'ds0/img/a.jpg')
    write(root / 'ds0/ann/a.jpg.json', *items, **more)
    meta(root, ('dog', 'any'), ('cat', 'polygon'), ('cow', 'bitmap'))
    return root


def read(root):
    return require_source(root, 'mmdet', label_format='supervisely').read()


def images(labels):
    return {image.entry['file_name']: image for images in labels.splits.values() for image in images}


def objects(root):
    return images(read(root))['ds0/img/a.jpg'].annotations


def left_out(root):
    findings = check_folder(str(root), label_format='supervisely').report.findings
    found = [f for f in findings if f.level == 'error' or f.kind.startswith('shape ')]
    return [(finding.kind, place) for finding in found for place in finding.places]


def pixels(annotation):
    return coco_mask.decode(annotation['segmentation']).astype(bool)


def test_outline(tmp_path):
    root = one(tmp_path, item(), item(exterior=[[1.5, 2], [9.25, 2], [9.25, 8]], title='dog'))
    labels = read(root)
    assert labels.classes == ['dog', 'cat', 'cow']
    first, second = images(labels)['ds0/img/a.jpg'].annotations
    assert (first['category_id'], first['bbox'], first['iscrowd']) == (2, [10, 10, 20, 30], 0)
    assert first['segmentation'] == [[10, 10, 30, 10, 30, 40, 10, 40]]
    assert second['segmentation'] == [[1.5, 2, 9.25, 2, 9.25, 8]]
    assert not left_out(root)


def test_holes(tmp_path):
    exterior = [[10.25, 10], [30, 10], [30, 40], [10.25, 40]]
    (found,) = objects(one(tmp_path, item(exterior=exterior, interior=[HOLE, HOLE[:2]])))
    wanted = np.zeros((60, 80), bool)
    wanted[10:40, 10:30], wanted[15:30, 15:25] = True, False
    assert (pixels(found) == wanted).all()
    assert found['bbox'] == pytest.approx([10.25, 10, 19.75, 30], abs=0.02)


def test_several_outlines(tmp_path):
    parts = [dict(exterior=SQUARE, interior=[]), dict(exterior=[[50, 10], [60, 10], [60, 20], [50, 20]])]
    plain = dict(classTitle='cat', geometryType='multipolygon', parts=parts)
    holed = json.loads(json.dumps(plain))
    holed['parts'][0]['interior'] = [HOLE]
    first, second = objects(one(tmp_path, plain, holed))
    assert [len(polygon) for polygon in first['segmentation']] == [8, 8]
    wanted = np.zeros((60, 80), bool)
    wanted[10:40, 10:30], wanted[15:30, 15:25], wanted[10:20, 50:60] = True, False, True
    assert (pixels(second) == wanted).all()
    assert first['bbox'] == second['bbox'] == [10, 10, 50, 30]


@pytest.mark.parametrize('exterior', [[[10, 5], [40, 25.5]], [[40, 25.5], [10, 5]], [[40, 5], [10, 25.5]]])
def test_rectangle(exterior, tmp_path):
    (found,) = objects(one(tmp_path, item('rectangle', exterior)))
    assert found['bbox'] == [10, 5, 30, 20.5]
    assert 'segmentation' not in found


@pytest.mark.parametrize('kind', ['example', 'grey', 'alpha'])
@pytest.mark.parametrize('origin', [(5, 7), (78, 58), (-1, 0)])
def test_bitmap(kind, origin, tmp_path):
    mask = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 1]], bool)
    clear = np.full((3, 3, 4), 255)
    clear[..., 3] = mask * 255
    data = {'example': EXAMPLE, 'grey': packed(mask), 'alpha': packed(clear)}[kind]
    x, y = origin
    (found,) = objects(one(tmp_path, bitmap(data, origin)))
    whole = np.zeros((70, 90), bool)
    whole[y + 5 : y + 8, x + 5 : x + 8] = mask
    assert (pixels(found) == whole[5:65, 5:85]).all()


@pytest.mark.parametrize('kind', ['meta', 'none'])
def test_older_exports_have_the_kind_of_shape_in_meta_or_nowhere(kind, tmp_path):
    items = [item(), bitmap(EXAMPLE, title='cow'), item(exterior=[[1, 2], [5, 8]], title='box')]
    for entry in items:
        del entry['geometryType']
    root = tmp_path
    photo(root / 'ds0/img/a.jpg')
    write(root / 'ds0/ann/a.json', *items[: 3 if kind == 'meta' else 2])  # the older name
    if kind == 'meta':
        meta(root, ('box', 'rectangle'), ('cat', 'polygon'), ('cow', 'bitmap'))
    labels = read(root)
    found = [(labels.classes[a['category_id'] - 1], a['bbox']) for a in images(labels)['ds0/img/a.jpg'].annotations]
    assert found[:2] == [('cat', [10, 10, 20, 30]), ('cow', [5, 7, 3, 3])]
    assert found[2:] == ([('box', [1, 2, 4, 6])] if kind == 'meta' else [])


def test_dataset_ninja(tmp_path):
    for height, (split, count) in enumerate((('train', 2), ('val', 1), ('test', 1)), 60):
        for number in range(count):
            photo(tmp_path / split / f'img/{number}.png', (80 + number, height))  # the same names in every split
            write(tmp_path / split / f'ann/{number}.png.json', item(title=split), size=(80 + number, height))
    meta(tmp_path, *((split, 'polygon') for split in ('train', 'val', 'test')))
    (tmp_path / 'obj_class_to_machine_color.json').write_text('{"cat": [1, 2, 3]}')
    labels = read(tmp_path)
    assert {split: [image.entry['file_name'] for image in images] for split, images in labels.splits.items()} == {
        'train': ['train/img/0.png', 'train/img/1.png'],
        'val': ['val/img/0.png'],
        'test': ['test/img/0.png'],
    }
    for split, entries in labels.splits.items():
        assert {labels.classes[a['category_id'] - 1] for image in entries for a in image.annotations} == {split}
    assert not left_out(tmp_path)


@pytest.mark.parametrize(
    ('folder', 'name', 'tags', 'split'),
    [
        ('ds0', 'a', [{'name': 'val', 'value': None}, {'name': 'sunny'}], 'val'),
        ('ds0', 'a', ['Train'], 'train'),
        ('ds0', 'a', [{'name': 'train'}, {'name': 'val'}], ''),
        ('validation', 'a', [{'name': 'train'}], 'val'),
        ('ds0', 'test 1', [{'name': 'train'}], 'train'),
        ('ds0', 'test 1', [], ''),
        ('ds0', 'a', [{'name': 'test drive'}, {'name': None}, 7, None, {}], ''),
        ('ds0', 'a', None, ''),
        ('ds0', 'a', 'train', ''),
        ('ds0', 'a', {'name': 'train'}, ''),
    ],
)
def test_splits(folder, name, tags, split, tmp_path):
    photo(tmp_path / folder / f'img/{name}.jpg')
    write(tmp_path / folder / f'ann/{name}.jpg.json', item(), tags=tags)
    assert list(read(tmp_path).splits) == [split]


@pytest.mark.parametrize(
    ('bad', 'kind'),
    [
        (item('point', [[1, 2]]), 'shape without area: point'),
        (item('line'), 'shape without area: line'),
        (item('graph'), 'shape without area: graph'),
        (item('cuboid'), 'shape without area: cuboid'),
        (item('alpha_mask'), "'alpha_mask' is no kind of shape"),
        (item(exterior=SQUARE[:2]), '2 points, an outline has at least 3'),
        (item('rectangle'), '4 points, a rectangle has 2'),
        (item('rectangle', []), '0 points'),
        (item(exterior=None), 'no list of points'),
        (item(exterior=[['1', None]] * 3), 'None is no number'),
        (item(exterior=[[math.inf, 1], [2, 3], [3, 4]]), 'inf is no number'),
        (item(exterior=[[1e9, 1], [2, 3], [3, 4]]), 'mask of impossible numbers'),
        (item(exterior=[[1e9, 1], [2, 3], [3, 4]], interior=[HOLE]), 'mask of impossible numbers'),
        (item(interior=[[1, 2, 3]]), 'no list of points'),
        (item(interior=[None]), 'no list of points'),
        (item() | {'points': None}, "'NoneType'"),
        (item() | {'points': SQUARE}, 'list indices'),
        (item(title=None), 'None is no name of a class'),
        (item(title=''), 'is no name of a class'),
        (item(title=['cat']), 'is no name of a class'),
        (dict(classTitle='cat', geometryType='multipolygon'), 'parts'),
        (dict(classTitle='cat', geometryType='bitmap', bitmap=None), "'NoneType'"),
        (bitmap(None), 'None is no base64'),
        (bitmap('%'), 'base64'),
        (bitmap('AAAA'), 'can not unpack'),
        (bitmap(EXAMPLE, [1]), 'not enough values'),
        (bitmap(EXAMPLE, [1, math.nan]), 'nan is no number'),
        (bitmap(EXAMPLE, [1e300, 0]), 'box of zero area'),
        (bitmap(packed(np.ones((3, 3)), pack=lambda content: zlib.compress(content)[:-6])), 'cut off'),
        (bitmap(packed(np.ones((3, 3)), pack=lambda _: zlib.compress(b'can not be read'))), 'can not be read'),
        (bitmap(packed(np.ones((3, 3)), pack=lambda _: zlib.compress(bytes(50_000_000), 9))), 'larger than its photo'),
        (bitmap(packed(np.ones((3, 90)))), '90x3 pixels, the photo 80x60'),
        (bitmap(packed(np.zeros((3, 3)))), 'box of zero area'),
        (None, "'NoneType'"),
        ('cat', "'str'"),
    ],
)
def test_broken_objects_are_left_out_and_the_others_read(bad, kind, tmp_path):
    root = one(tmp_path, bad, item(title='dog'))
    assert [a['category_id'] for a in objects(root)] == [1]
    ((found, place),) = left_out(root)
    assert kind in f'{found}: {place}'
    assert place.startswith('ds0/ann/a.jpg.json object 1')


@pytest.mark.parametrize(
    'text',
    ['', '{"size": {}, "objects": [', '{"objects": null}', '{"objects": {}}', '{}', '[]', 'null', b'\xff\xfe\xfd'],
)
def test_broken_files_are_not_photos_without_objects(text, tmp_path):
    root = one(tmp_path, item())
    photo(root / 'ds0/img/b.jpg')
    (root / 'ds0/ann/b.jpg.json').write_bytes(text if isinstance(text, bytes) else text.encode())
    labels = read(root)
    assert list(images(labels)) == ['ds0/img/a.jpg']
    ((kind, place),) = left_out(root)
    assert kind == 'label file that can not be read'
    assert place.startswith('ds0/ann/b.jpg.json')
    assert not any('without a label file' in note for note in labels.notes)


@pytest.mark.parametrize(
    ('text', 'kind'),
    [
        ('{', 'list of classes that can not be read'),
        ('[]', 'list of classes that can not be read'),
        ('{"classes": {"cat": 1}}', 'list of classes that can not be read'),
        ('{"classes": [{"title": "cow"}, null]}', 'class that can not be read'),
        ('{"classes": [{"title": ["cow"], "shape": []}]}', 'class that can not be read'),
    ],
)
def test_a_broken_list_of_classes_is_noted(text, kind, tmp_path):
    root = one(tmp_path, item())
    (root / 'meta.json').write_text(text)
    labels = read(root)
    assert labels.classes == (['cow', 'cat'] if '"cow"}' in text else ['cat'])
    assert [found for found, _ in left_out(root)] == [kind]


def test_photos_of_other_data_sets_are_not_taken(tmp_path):
    root = one(tmp_path, item())
    write(root / 'ds1/ann/b.jpg.json', item())
    photo(root / 'ds0/img/b.jpg')
    photo(root / 'ds0/img/c.jpg')
    write(root / 'ds0/ann/c.jpg.json')
    labels = read(root)
    assert {name: len(image.annotations) for name, image in images(labels).items()} == {
        'ds0/img/a.jpg': 1,
        'ds0/img/c.jpg': 0,
    }
    assert left_out(root) == [('label file without its photo', 'ds1/ann/b.jpg.json')]
    assert '1 x photo without a label file, not used: ds0/img/b.jpg' in labels.notes


@pytest.mark.parametrize('name', ['照片 1.v2', 'a.b c', 'É'])
def test_odd_names(name, tmp_path):
    photo(tmp_path / f'数据/img/{name}.JPG')
    write(tmp_path / f'数据/ann/{name}.JPG.json', item(title='苹果'))
    labels = read(tmp_path)
    assert list(images(labels)) == [f'数据/img/{name}.JPG']
    assert labels.classes == ['苹果']


@pytest.mark.parametrize('size', [dict(width=80, height=60), None, [80, 60], dict(width='x', height=math.nan), {}])
def test_sizes(size, tmp_path):
    root = one(tmp_path, item(), bitmap(EXAMPLE), size=(80, 60))
    path = root / 'ds0/ann/a.jpg.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {'size': size}))
    assert len(objects(root)) == 2
    assert not left_out(root)


def test_a_size_unlike_that_of_the_photo_is_told(tmp_path):
    root = one(tmp_path, item(), size=(90, 60))
    assert [kind for kind, _ in left_out(root)] == ['size in the labels unlike the image']


def test_other_formats_are_not_taken_for_supervisely(tmp_path):
    root = one(tmp_path / 'project', item())
    assert find_source(root).name == 'supervisely'
    assert list(find_source(root).also) == []
    assert not LabelmeSource.fits(DataFolder(root))
    simple(tmp_path / 'coco')
    (tmp_path / 'coco/ann').mkdir()
    shape = dict(label='objects', points=SQUARE, shape_type='polygon')
    (tmp_path / 'coco/ann/a.json').write_text(json.dumps(dict(shapes=[shape], imagePath='a.jpg', imageData=None)))
    via = {'a.jpg1': {'filename': 'a.jpg', 'size': 1, 'regions': [{'shape_attributes': {'name': 'polygon'}}]}}
    (tmp_path / 'coco/ann/via.json').write_text(json.dumps(via))
    assert not SuperviselySource.fits(DataFolder(tmp_path / 'coco'))
    assert LabelmeSource.fits(DataFolder(tmp_path / 'coco'))
