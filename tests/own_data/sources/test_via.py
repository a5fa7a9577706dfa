"""VGG Image Annotator's JSON and CSV, through what training and the check read."""

import csv
import json
import math

import numpy as np
import pytest
from own_sets import photo

from mmlska.own_data.check import check_folder
from mmlska.own_data.data_folder import DataFolder
from mmlska.own_data.sources import SOURCES, find_source, require_source
from mmlska.own_data.sources.via import ViaSource

RECT = {'name': 'rect', 'x': 10, 'y': 20, 'width': 30.5, 'height': 15}
PHOTO = 'photo without a label file, not used'
ANNOTATION = 'annotation that can not be read'


def region(shape=RECT, **attributes):
    return {'shape_attributes': shape, 'region_attributes': attributes or {'class': 'cat'}}


def points(name, *corners):
    return {'name': name, 'all_points_x': [x for x, _ in corners], 'all_points_y': [y for _, y in corners]}


def entries(photos):
    return {
        f'{name}123': {'filename': name, 'size': 123, 'regions': regions, 'file_attributes': {}}
        for name, regions in photos.items()
    }


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding='utf-8')


def photo_set(root, *regions, name='a.jpg'):
    photo(root / name)
    save(root / 'via_region_data.json', entries({name: list(regions)}))
    return root


def table(path, photos, delimiter=',', first='filename'):
    with path.open('w', encoding='utf-8', newline='') as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(
            [
                first,
                'file_size',
                'file_attributes',
                'region_count',
                'region_id',
                'region_shape_attributes',
                'region_attributes',
            ]
        )
        for name, regions in photos.items():
            rows = regions or [{'shape_attributes': {}, 'region_attributes': {}}]
            for number, row in enumerate(rows):
                cells = (json.dumps(row[key]) for key in ('shape_attributes', 'region_attributes'))
                writer.writerow([name, 123, '{}', len(regions), number, *cells])


def read(root):
    return require_source(root.resolve(), 'mmdet', label_format='via').read()


def objects(root):
    """Class names and boxes by photo."""
    labels = read(root)
    return {
        image.entry['file_name']: [(labels.classes[a['category_id'] - 1], a['bbox']) for a in image.annotations]
        for images in labels.splits.values()
        for image in images
    }


def only(root):
    (images,) = read(root).splits.values()
    (found,) = images
    return found.annotations


def findings(root):
    return {f.kind: f.places for f in check_folder(str(root), label_format='via').report.findings}


FORMS = {
    'export': lambda root, photos: save(root / 'via_region_data.json', entries(photos)),
    'via 1': lambda root, photos: save(
        root / 'via_region_data.json',
        entries({name: {str(i): r for i, r in enumerate(regions)} for name, regions in photos.items()}),
    ),
    'project': lambda root, photos: save(
        root / 'my project.JSON', {'_via_settings': {}, '_via_img_metadata': entries(photos), '_via_attributes': {}}
    ),
    'csv': lambda root, photos: table(root / 'via.csv', photos),
    'csv of via 1': lambda root, photos: table(root / 'via.CSV', photos, first='#filename'),
    'csv of a spreadsheet': lambda root, photos: table(root / 'via.csv', photos, ';'),
}


@pytest.mark.parametrize('form', FORMS)
def test_forms(form, tmp_path):
    photos = {
        '照片 1.2.JPG': [region(), region(points('polygon', (5, 5), (25, 6), (20, 30.5)), **{'class': 'red, dog'})],
        'b.png': [],
    }
    for name in photos:
        photo(tmp_path / name)
    FORMS[form](tmp_path, photos)
    assert objects(tmp_path) == {
        '照片 1.2.JPG': [('cat', [10, 20, 30.5, 15]), ('red, dog', [5, 5, 20, 25.5])],
        'b.png': [],
    }
    first, second = next(iter(read(tmp_path).splits.values()))[0].annotations
    assert 'segmentation' not in first
    assert second['segmentation'] == [[5, 5, 25, 6, 20, 30.5]]
    assert findings(tmp_path) == {'image without annotations': ['b.png']}
    assert find_source(tmp_path.resolve(), 'mmdet').name == 'via'


@pytest.mark.parametrize(
    ('shape', 'box', 'area'),
    [
        ({'name': 'circle', 'cx': 30, 'cy': 25, 'r': 10.5}, [19.5, 14.5, 21, 21], math.pi * 10.5**2),
        ({'name': 'ellipse', 'cx': 30, 'cy': 25, 'rx': 20, 'ry': 10}, [10, 15, 40, 20], math.pi * 200),
        (
            {'name': 'ellipse', 'cx': 30, 'cy': 25, 'rx': 20, 'ry': 10, 'theta': math.pi / 2},
            [20, 5, 20, 40],
            math.pi * 200,
        ),
        (points('polyline', (10, 10), (40, 10), (40, 30), (10, 10)), [10, 10, 30, 20], 300),
        (points('polyline', (10, 10), (40, 10), (40, 30), (12, 11)), [10, 10, 30, 20], 295),
    ],
)
def test_shapes(shape, box, area, tmp_path):
    (found,) = only(photo_set(tmp_path, region(shape)))
    assert np.allclose(found['bbox'], box, atol=0.02)
    assert found['area'] == pytest.approx(area, rel=0.02)


def test_an_ellipse_turns_clockwise(tmp_path):
    shape = {'name': 'ellipse', 'cx': 40, 'cy': 30, 'rx': 20, 'ry': 2, 'theta': math.pi / 4}
    (found,) = only(photo_set(tmp_path, region(shape)))
    outline = np.reshape(found['segmentation'][0], (-1, 2))
    assert np.allclose(outline[0], [40 + 20 / math.sqrt(2), 30 + 20 / math.sqrt(2)], atol=0.02)  # to the lower right


@pytest.mark.parametrize(
    ('shape', 'kind'),
    [
        ({'name': 'point', 'cx': 3, 'cy': 3}, 'shape without area: point'),
        (points('polyline', (10, 10), (40, 10), (40, 30)), 'shape without area: open polyline'),
    ],
)
def test_what_is_no_area_is_left_out(shape, kind, tmp_path):
    root = photo_set(tmp_path, region(), region(shape))
    assert len(only(root)) == 1
    assert findings(root)[kind] == ['via_region_data.json, a.jpg, region 2']
    assert any(f'1 x {kind}' in note for note in read(root).notes)


@pytest.mark.parametrize(
    ('regions', 'names'),
    [
        ([{'class': 'cat', 'colour': 'red'}, {'class': 'dog', 'colour': 'red'}], ['cat', 'dog']),
        ([{'colour': 'red', 'Label': 'cat'}, {'Label': 'dog'}], ['cat', 'dog']),
        ([{'name': 'cat', 'type': 'x'}], ['cat']),
        ([{'colour': 'red', 'type': 'x', 'name': 'cat'}], ['cat']),
        ([{'fruit': 'apple'}, {'fruit': 'pear'}], ['apple', 'pear']),
        ([{'a': 'x', 'fruit': 'apple'}, {'fruit': 'pear', 'b': 'y'}], ['apple', 'pear']),
        ([{'class': '', 'fruit': 'apple'}], ['apple']),
        ([{'class': {'cat': False, 'dog': True}}], ['dog']),
        ([{'class': 7}], ['7']),
        ([{'class': ' 苹果 '}], ['苹果']),
    ],
)
def test_classes(regions, names, tmp_path):
    places = [RECT | {'x': 10 + place} for place in range(len(regions))]
    root = photo_set(tmp_path, *(region(place, **attributes) for place, attributes in zip(places, regions)))
    assert [name for name, _ in objects(root)['a.jpg']] == names
    assert findings(root) == {}


@pytest.mark.parametrize(
    'attributes', [{}, {'class': ''}, {'class': {'cat': False}}, {'class': None}, None, 'cat', {'class': [1]}]
)
def test_regions_without_a_class_are_objects(attributes, tmp_path):
    bare = {'shape_attributes': RECT, 'region_attributes': attributes}
    root = photo_set(tmp_path, bare, region(RECT | {'x': 40}))
    assert [name for name, _ in objects(root)['a.jpg']] == ['object', 'cat']
    assert findings(root) == {'region without a class, read as object': ['via_region_data.json, a.jpg, region 1']}


def test_the_first_of_several_options_counts(tmp_path):
    root = photo_set(tmp_path, region(type={'no': False, 'cat': True, 'dog': True}))
    assert objects(root)['a.jpg'][0][0] == 'cat'
    assert 'region of several classes, of which the first counts' in findings(root)


@pytest.mark.parametrize(
    'broken',
    [
        None,
        'rect',
        [],
        {},
        {'shape_attributes': None},
        {'shape_attributes': []},
        region({'name': 'rect', 'x': 1, 'y': 2, 'width': 3}),
        region({'name': 'rect', 'x': 1, 'y': 2, 'width': None, 'height': 3}),
        region({'name': 'rect', 'x': 1, 'y': 2, 'width': float('nan'), 'height': 3}),
        region({'name': 'rect', 'x': 1, 'y': 2, 'width': 10**400, 'height': 3}),
        region({'name': 'rect', 'x': True, 'y': 2, 'width': 3, 'height': 3}),
        region({'name': 'circle', 'cx': 9, 'cy': 9}),
        region({'name': 'circle', 'cx': 9, 'cy': 9, 'r': [3]}),
        region({'name': 'ellipse', 'cx': 9, 'cy': 9, 'rx': 3, 'ry': 3, 'theta': 'x'}),
        region(points('polygon', (1, 1), (9, 9))),
        region({'name': 'polygon', 'all_points_x': [1, 2, 3], 'all_points_y': [1, 2]}),
        region({'name': 'polygon', 'all_points_x': [1, 2, None], 'all_points_y': [1, 2, 9]}),
        region({'name': 'polygon', 'all_points_x': {'a': 1}, 'all_points_y': 3}),
        region({'name': ['rect']}),
        region({'name': 'blob', 'x': 1}),
    ],
)
def test_broken_regions_are_left_out_and_named(broken, tmp_path):
    root = photo_set(tmp_path, region(), broken)
    assert len(only(root)) == 1
    (place,) = findings(root)[ANNOTATION]
    assert place.startswith('via_region_data.json, a.jpg, region 2: ')


@pytest.mark.parametrize(
    'broken',
    [None, [], 'a.jpg', {'regions': []}, {'filename': 3, 'regions': []}, {'filename': 'b.jpg', 'regions': None}],
)
def test_broken_photos_are_left_out_and_named(broken, tmp_path):
    photo(tmp_path / 'b.jpg')
    root = photo_set(tmp_path, region())
    save(root / 'via_region_data.json', {**entries({'a.jpg': [region()]}), 'b': broken})
    assert list(objects(root)) == ['a.jpg']
    (place,) = findings(root)['photo that can not be read']
    assert place.startswith('via_region_data.json, photo 2: ')


def test_each_file_has_its_own_photos_and_key(tmp_path):
    for split, key, size in (('train', 'name', (80, 60)), ('val', 'kind', (70, 60))):
        photo(tmp_path / split / 'a.jpg', size)
        save(tmp_path / split / 'via_region_data.json', entries({'a.jpg': [region(**{key: split})]}))
    labels = read(tmp_path)
    assert {split: [image.entry['file_name'] for image in images] for split, images in labels.splits.items()} == {
        'train': ['train/a.jpg'],
        'val': ['val/a.jpg'],
    }
    assert labels.classes == ['train', 'val']
    assert findings(tmp_path) == {}


def test_one_photo_in_two_files(tmp_path):
    photos = {'a.jpg': [region()]}
    root = photo_set(tmp_path, region())
    table(root / 'via.csv', photos)
    assert len(only(root)) == 1
    assert findings(root) == {'labels of one photo twice, the same': ['a.jpg in via_region_data.json beside via.csv']}
    table(root / 'via.csv', {'a.jpg': [region(), region(RECT | {'x': 40})]})
    assert findings(root) == {'second labels of one photo': ['a.jpg in via_region_data.json beside via.csv']}


def test_missing_photos_stop_training_and_others_are_not_used(tmp_path):
    root = photo_set(tmp_path, region())
    (root / 'a.jpg').rename(root / 'b.jpg')
    with pytest.raises(FileNotFoundError, match='via_region_data.json names 1 of 1 images .*: a.jpg'):
        read(root)
    assert findings(root)['missing image'] == ['a.jpg']
    assert findings(root)[PHOTO] == ['b.jpg']


@pytest.mark.parametrize('name', ['C:\\me\\a.jpg', 'https://host/x/a.jpg', 'A.JPG', 'a.png'])
def test_foreign_names(name, tmp_path):
    photo(tmp_path / 'images/a.jpg')
    save(tmp_path / 'via.json', entries({name: [region()]}))
    assert list(objects(tmp_path)) == ['images/a.jpg']


HEAD = 'filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n'
ROW = 'a.jpg,123,"{}",1,0,"{""name"":""rect"",""x"":1,""y"":2,""width"":9,""height"":9}","{""class"":""cat""}"\n'


@pytest.mark.parametrize(
    ('rows', 'kind'),
    [
        ('a.jpg,123,"{}",2,1,"{""name"":""re","{}"\n', ANNOTATION),
        ('a.jpg,123,"{}",2,1\n', ANNOTATION),
        ('a.jpg,123,"{}",2,1,"[1]","{}"\n', ANNOTATION),
        ('a.jpg,123,"{}",2,1,nonsense,nonsense\n', ANNOTATION),
        ('a.jpg,123,"{}",2,1,' + '[' * 50_000 + ',x\n', ANNOTATION),
        (',123,"{}",1,0,"{}","{}"\n', 'photo that can not be read'),
        ('b.jpg,123,"{}",3,0,"{}","{}"\n', 'fewer regions than region_count says'),
    ],
)
def test_broken_rows_are_named(rows, kind, tmp_path):
    for name in ('a.jpg', 'b.jpg'):
        photo(tmp_path / name)
    save(tmp_path / 'via.csv', HEAD + ROW + rows)
    assert objects(tmp_path)['a.jpg'] == [('cat', [1, 2, 9, 9])]
    assert len(findings(tmp_path)[kind]) == 1


def test_long_outlines_fit_into_a_table(tmp_path):
    photo(tmp_path / 'a.jpg')
    corners = [(30 + 20 * math.cos(i / 3000), 30 + 20 * math.sin(i / 3000)) for i in range(18000)]
    limit = csv.field_size_limit()
    table(tmp_path / 'via.csv', {'a.jpg': [region(points('polygon', *corners))]})
    assert len(only(tmp_path)[0]['segmentation'][0]) == 36000
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('b.json', '{"a": {"filename": "a.jpg", "regions": [{"shape_attributes": {', 'is not valid JSON'),
        ('b.json', '{"_via_img_metadata": [1]}', 'no photos under'),
        ('b.json', '{"_via_img_metadata": null}', 'no photos under'),
        ('b.csv', HEAD + ROW + 'a.jpg,123,"{}",2,1,"{""name', 'is no valid table'),
        ('b.csv', 'a,region_shape_attributes\n', 'no column filename'),
        ('b.csv', '\n' + HEAD, 'no column filename'),
    ],
)
def test_broken_files(name, content, message, tmp_path):
    root = photo_set(tmp_path, region())
    save(root / name, content)
    assert len(only(root)) == 1
    (place,) = findings(root)['label file that can not be read']
    assert place.startswith(f'{name}: ')
    assert message in place
    (root / 'via_region_data.json').unlink()
    with pytest.raises(ValueError, match=f'{name} .*{message}|{name} has {message}') as caught:
        read(root)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name', ['empty.json', 'empty.csv'])
def test_a_file_without_photos_is_named(name, tmp_path):
    root = photo_set(tmp_path, region())
    save(root / name, HEAD if name.endswith('csv') else {'_via_img_metadata': {}})
    assert findings(root)['label file that names no photo'] == [name]


@pytest.mark.parametrize(
    'content',
    [
        {'images': [{'id': 1, 'file_name': 'a.jpg'}], 'annotations': [], 'categories': [{'id': 1, 'name': 'regions'}]},
        {'shapes': [{'label': 'x', 'points': [[1, 1], [9, 9]], 'shape_type': 'rectangle'}], 'imagePath': 'a.jpg'},
        {'objects': [{'classTitle': 'x', 'geometryType': 'rectangle'}], 'size': {'width': 80, 'height': 60}},
        {'filename': 'a.jpg', 'regions': 'x', 'file_attributes': 3},
        ['"filename"', '"regions"', '"file_attributes"'],
        '',
    ],
)
def test_files_of_others_are_not_taken(content, tmp_path):
    photo(tmp_path / 'a.jpg')
    save(tmp_path / 'a.json', content)
    assert ViaSource.find(DataFolder(tmp_path.resolve())) is None


def test_no_other_format_takes_its_files(tmp_path):
    folder = DataFolder(photo_set(tmp_path, region()).resolve())
    assert [kind.name for kind in SOURCES if kind.fits(folder)] == ['via']
