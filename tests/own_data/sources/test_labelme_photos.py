"""Which photo a LabelMe file means: beside it, elsewhere, within it, broken."""

import base64
import json
import tracemalloc
import unicodedata

import numpy as np
import pytest
from labelme_sets import images, left_out, one, png, read, shape, write
from own_sets import coco, image, photo, simple
from PIL import Image

from mmlska.own_data.data_folder import DataFolder
from mmlska.own_data.repair import write_repaired
from mmlska.own_data.sources import find_source, require_source
from mmlska.own_data.sources.labelme import LabelmeSource


@pytest.mark.parametrize(
    'name',
    [
        '..\\images\\a.jpg',
        'C:\\photos\\A.JPG',
        '/home/me/a.png',
        'wrong.jpg',
        '',
        None,
        7,
        ['a.jpg'],
        'a\0.jpg',
        'x' * 5000,
    ],
)
def test_names_of_photos(name, tmp_path):
    photo(tmp_path / 'images/a.jpg')
    write(tmp_path / 'labels/a.json', shape(), imagePath=name)
    assert list(images(read(tmp_path))) == ['images/a.jpg']


def test_odd_names(tmp_path):
    names = ['照片 1.v2', unicodedata.normalize('NFC', 'Bäume'), 'x.y z']
    for side, name in enumerate(names):
        photo(tmp_path / f'{name}.JPG', (80 + side, 60))
        write(
            tmp_path / f'{unicodedata.normalize("NFD", name)}.json',
            shape('苹果'),
            imagePath='gone.jpg',
            imageWidth=80 + side,
        )
    labels = read(tmp_path)
    assert labels.classes == ['苹果']
    assert sorted(images(labels)) == sorted(f'{name}.JPG' for name in names)


def test_splits_are_those_of_the_photos_folders_or_else_of_the_label_files(tmp_path):
    for split in ('train', 'valid'):
        photo(tmp_path / split / 'a.jpg')
        write(tmp_path / split / 'a.json', shape(split))
    photo(tmp_path / 'photos/b.jpg')
    write(tmp_path / 'test labels/b.json', shape('b'))
    photo(tmp_path / 'photos/c.jpg')
    write(tmp_path / 'labels/c.json', shape('c'))
    labels = read(tmp_path)
    found = {key: [image.entry['file_name'] for image in images] for key, images in labels.splits.items()}
    assert found == {'train': ['train/a.jpg'], 'val': ['valid/a.jpg'], 'test': ['photos/b.jpg'], '': ['photos/c.jpg']}
    assert [labels.classes[a['category_id'] - 1] for a in labels.splits['val'][0].annotations] == ['valid']


def test_the_photo_within_the_file_is_taken_where_there_is_no_other(tmp_path):
    root = tmp_path / 'set'
    photo(root / 'day_1_a.jpg')
    write(root / 'day_1_a.json', shape())
    for count, folder in enumerate(('day 1', 'day/1', 'day_1'), 1):
        photo(tmp_path / 'a.png', (70 + count, 50))
        data = base64.b64encode((tmp_path / 'a.png').read_bytes()).decode()
        write(
            root / folder / 'a.json', shape(), imagePath='a.jpg', imageData=data, imageWidth=70 + count, imageHeight=50
        )
    source = require_source(root, 'mmdet', label_format='labelme')
    labels = source.read()
    sizes = {name.rpartition('/')[2]: image.entry['width'] for name, image in images(labels).items()}
    assert sizes == {'day_1_a.jpg': 80, 'day 1_a.jpg': 71, 'day_1_a (2).jpg': 72, 'day_1_a (3).jpg': 73}
    assert not left_out(root)
    write_repaired(str(tmp_path / 'fixed'), source)
    assert len(list((tmp_path / 'fixed/images').iterdir())) == 4


def test_a_photo_beside_the_file_is_preferred_to_the_one_within(tmp_path):
    assert list(images(read(one(tmp_path, shape(), imageData='broken')))) == ['a.jpg']


@pytest.mark.parametrize('data', ['%%', 'AAAA', 7, ['AAAA'], 'Ä', base64.b64encode(b'\x89PNG\r\n\x1a\n').decode()])
def test_broken_photos_within(data, tmp_path):
    one(tmp_path, shape())
    write(tmp_path / 'b.json', shape(), imageData=data)
    assert list(images(read(tmp_path))) == ['a.jpg']
    ((kind, place),) = left_out(tmp_path)
    assert kind == 'label file whose photo is missing and whose imageData is no image'
    assert place.startswith('b.json: ')


def test_not_all_photos_within_are_in_memory_at_once(tmp_path):
    data = base64.b64encode(b'x' * 1_000_000).decode()
    for count in range(12):
        photo(tmp_path / f'{count}.jpg')
        write(tmp_path / f'{count}.json', shape(), imageData=data)
    read(tmp_path)  # what it imports is not counted
    tracemalloc.start()
    try:
        assert len(images(read(tmp_path))) == 12
        assert tracemalloc.get_traced_memory()[1] < 6_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    'text',
    [
        '',
        '{"shapes": [{"label": "cat"',
        '{"shapes": {"label": "cat"}, "imagePath": "b.jpg"}',
        '{"shapes": null, "imagePath": "b.jpg"}',
        '{"imagePath": "b.jpg"}',
        '["shapes", "imagePath"]',
        '{"shapes": ' + '[' * 100_000,
        b'{"shapes": [], "imagePath": "\xb0\xa1.jpg"}',
    ],
)
def test_broken_files_are_not_photos_without_objects(text, tmp_path):
    root = one(tmp_path, shape())
    photo(root / 'b.jpg')
    (root / 'b.json').write_bytes(text if isinstance(text, bytes) else text.encode())
    labels = read(root)
    assert list(images(labels)) == ['a.jpg']
    ((kind, place),) = left_out(root)
    assert kind == 'label file that can not be read'
    assert place.startswith('b.json')
    assert any(note.startswith('left out: 1 x label file that can not be read: b.json') for note in labels.notes)
    assert not any('without a label file' in note for note in labels.notes)


def test_photos_without_objects_and_photos_without_labels(tmp_path):
    one(tmp_path, shape())
    photo(tmp_path / 'b.jpg')
    write(tmp_path / 'b.json')
    photo(tmp_path / 'c.jpg')
    write(tmp_path / 'd.json', shape())
    labels = read(tmp_path)
    assert {name: len(image.annotations) for name, image in images(labels).items()} == {'a.jpg': 1, 'b.jpg': 0}
    assert '1 x photo without a label file, not used: c.jpg' in labels.notes
    assert left_out(tmp_path) == [('label file without its photo', 'd.json')]


def test_broken_photos_stop_the_training(tmp_path):
    one(tmp_path, shape())
    (tmp_path / 'b.jpg').write_bytes(b'none')
    write(tmp_path / 'b.json', shape())
    with pytest.raises(ValueError, match='b.jpg'):
        read(tmp_path)
    assert [place for _, place in left_out(tmp_path)][0].startswith('b.jpg')


@pytest.mark.parametrize('shapes', [[], [shape(kind='point')]])
def test_sets_without_any_object_are_refused_in_one_line(shapes, tmp_path):
    with pytest.raises(ValueError, match=r'^no label of .* can be used: [^\n]*$'):
        read(one(tmp_path, *shapes))


@pytest.mark.parametrize(('width', 'height', 'as_stored'), [(80, 60, True), (60, 80, False), (None, None, False)])
def test_masks_of_photos_that_exif_data_turn(width, height, as_stored, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(tmp_path / 'a.jpg', exif=exif)
    mask = shape(points=[[50, 50], [51, 51]], kind='mask', mask=png(np.ones((2, 2))))
    write(tmp_path / 'a.json', mask, imageWidth=width, imageHeight=height)
    labels = read(tmp_path)
    (found,) = images(labels)['a.jpg'].annotations
    assert labels.as_stored is as_stored
    assert found['bbox'] == [50, 50, 2, 2]


def test_other_formats_are_not_taken_for_labelme(tmp_path):
    simple(tmp_path / 'coco')
    coco(tmp_path / 'coco/labels.json', [image(0, '0.png')], [], categories=((1, 'shapes'), (2, 'imagePath')))
    assert require_source(tmp_path / 'coco', 'mmdet').name == 'coco'
    via = {
        'a.jpg1': {'filename': 'a.jpg', 'regions': [{'shape_attributes': {'name': 'polygon'}, 'region_attributes': {}}]}
    }
    (tmp_path / 'via').mkdir()
    (tmp_path / 'via/via.json').write_text(json.dumps(via))
    (tmp_path / 'via/empty.json').touch()
    assert not LabelmeSource.fits(DataFolder(tmp_path / 'via'))
    one(tmp_path / 'labelme', shape())
    source = find_source(tmp_path / 'labelme')
    assert (source.name, list(source.also)) == ('labelme', [])
