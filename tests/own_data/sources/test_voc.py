"""Pascal VOC as people have it: lists of splits, names that are wrong, files that can not be read."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from own_sets import SIZE, mask, photo
from voc_sets import CAT_BOX, annotations, found, of_a, one, pascal, read, splits, thing, write, xml

from mmlska.own_data.check import check_folder
from mmlska.own_data.data_folder import DataFolder
from mmlska.own_data.label_text import xml_root
from mmlska.own_data.sources import find_source
from mmlska.own_data.sources.voc import VocSource


@pytest.mark.parametrize(
    ('lists', 'wanted'),
    [
        ({'train': '0\n1\n', 'val': '2\n3\n'}, {'train': '01', 'val': '23'}),
        (
            {'train': '0\n1\n', 'val': '2\n', 'test': '3', 'trainval': '0\n1\n2\n'},
            {'train': '01', 'val': '2', 'test': '3'},
        ),
        ({'train': '0  1\n1 -1\n', 'val': '2 0\r\n3  1\r\n'}, {'train': '01', 'val': '23'}),
        ({'trainval': '0\n1\n2\n', 'test': '3\n'}, {'': '012', 'test': '3'}),
        ({'train': '0\n1\n', 'trainval': '0\n1\n2\n3\n'}, {'train': '01', 'val': '23'}),
        ({'train': '0.jpg\n1.JPG\n', 'val': 'x/2.jpg\n3\n\n', 'cat_train': '3 1\n'}, {'train': '01', 'val': '23'}),
        ({'cat_train': '3 1\n'}, {'': '0123'}),
    ],
)
def test_lists_of_image_sets(tmp_path, lists, wanted):
    root = pascal(tmp_path / 'VOC2007', **lists)
    labels = read(root)
    assert splits(labels) == {split: list(names) for split, names in wanted.items()}
    assert (labels.classes, labels.notes, labels.left_out) == (['cat'], [], {})
    assert [a['bbox'] for a in annotations(labels)] == [CAT_BOX] * 4
    kinds = {f.kind for f in check_folder(str(root)).report.findings}
    assert not [
        kind for kind in kinds if not kind.startswith('one photo in two splits')
    ]  # all photos here are the same


@pytest.mark.parametrize('purposes', ['Main Segmentation', 'Segmentation Layout', 'Layout', ''])
def test_which_lists_count(tmp_path, purposes):
    root = pascal(tmp_path / 'd')
    first, *others = purposes.split() or ['']
    write(root / 'ImageSets' / first / 'train.txt', '0\n1\n')
    write(root / 'ImageSets' / first / 'val.txt', '2\n3\n')
    for other in others:
        write(root / f'ImageSets/{other}/val.txt', '0\n')
    assert splits(read(root)) == {'train': ['0', '1'], 'val': ['2', '3']}


def test_lists_that_do_not_fit(tmp_path):
    root = pascal(tmp_path / 'd', train='0\n1\nnowhere\n', val='1\n2\n')
    labels = read(root)
    assert splits(labels) == {'train': ['0', '1'], 'val': ['2']}
    missing = 'name in a list of ImageSets of which there is neither xml nor photo'
    wanted = {
        missing: ["ImageSets/Main/train.txt: 'nowhere'"],
        'xml that no list of ImageSets names': ['Annotations/3.xml'],
        'name in two lists of ImageSets; it stays in train': ["ImageSets/Main/val.txt: '1'"],
    }
    places = found(root)
    assert {kind: places[kind] for kind in wanted} == wanted
    assert len(labels.notes) == 3
    (root / 'ImageSets/Main/train.txt').write_bytes(b'\xff\x00\xfe')
    with pytest.raises(ValueError, match='train.txt is no text'):
        read(root)


def test_each_year_has_its_lists(tmp_path):
    for year in ('VOC2007', 'VOC2012'):
        root = pascal(tmp_path / 'VOCdevkit' / year, 2, train='0\n', val='1\n')
    labels = read(root.parent)
    assert {split: [i.entry['file_name'] for i in images] for split, images in labels.splits.items()} == {
        'train': ['VOC2007/JPEGImages/0.jpg', 'VOC2012/JPEGImages/0.jpg'],
        'val': ['VOC2007/JPEGImages/1.jpg', 'VOC2012/JPEGImages/1.jpg'],
    }


@pytest.mark.parametrize('labels', ['Annotations', 'by Eve', 'raw', '.'])
def test_one_folder_of_labels_with_any_name(tmp_path, labels):
    photo(tmp_path / 'raw/a.jpg')
    xml(tmp_path / labels / 'a.xml', thing())
    assert splits(read(tmp_path)) == {'': ['a']}


def test_photos_of_other_folders_are_not_meant(tmp_path):
    photo(tmp_path / 'one/a.jpg')
    photo(tmp_path / 'two/b.jpg')
    for name in ('one/b', 'two/b'):
        xml(tmp_path / f'{name}.xml', thing())
    assert splits(read(tmp_path)) == {'': ['b']}
    assert found(tmp_path)['label file without its photo'] == ['one/b.xml']


def test_photos_and_xml_side_by_side_in_folders_of_splits(tmp_path):
    for split in ('train', 'valid', 'test'):
        for i in range(2):
            photo(tmp_path / split / f'{i}.jpg')
            xml(tmp_path / split / f'{i}.xml', thing())
    assert splits(read(tmp_path)) == {'train': ['0', '1'], 'val': ['0', '1'], 'test': ['0', '1']}


@pytest.mark.parametrize(
    ('stem', 'suffix', 'filename'),
    [
        ('a', '.jpg', '<filename>a</filename>'),
        ('a', '.PNG', '<filename>a.jpg</filename>'),
        ('a', '.jpg', '<filename>A.HEIC</filename>'),
        ('a', '.jpg', '<filename>quite wrong.jpg</filename>'),
        ('a', '.jpg', '<filename>b.jpg</filename>'),  # a copy of b's file
        ('a', '.jpg', '<filename/>'),
        ('a', '.jpg', ''),
        ('a', '.jpg', '<filename>\n  C:\\photos\\a.jpg \n</filename>'),
        ('a', '.jpg', f'<filename>{"a" * 5000}</filename>'),
        ('照片 一', '.jpg', ''),
        ('2024.05.01 12.30', '.jpg', '<filename>2024.05.01 12.30</filename>'),
        (
            unicodedata.normalize('NFD', 'Ångström'),
            '.jpg',
            f'<filename>{unicodedata.normalize("NFC", "Ångström")}.jpg</filename>',
        ),
    ],
)
def test_which_photo_is_meant(tmp_path, stem, suffix, filename):
    photo(tmp_path / f'images/{stem}{suffix}')
    photo(tmp_path / 'images/b.jpg')
    xml(tmp_path / f'labels/{stem}.xml', thing(name='<name>dog</name>'), filename=filename)
    xml(tmp_path / 'labels/b.xml', thing())
    labels = read(tmp_path)
    named = {
        Path(i.entry['file_name']).name: labels.classes[i.annotations[0]['category_id'] - 1] for i in labels.splits['']
    }
    assert named == {stem + suffix: 'dog', 'b.jpg': 'cat'}
    assert labels.notes == []


@pytest.mark.parametrize('size', ['0 0', '', 'x y', '80', '-5 60'])
def test_sizes_that_are_not_said(tmp_path, size):
    labels = one(tmp_path, thing(), size=size)
    assert (labels.splits[''][0].entry['width'], labels.splits[''][0].entry['height']) == SIZE
    assert of_a(labels)[0]['bbox'] == CAT_BOX
    assert labels.notes == []


def test_a_size_unlike_the_photo_is_told(tmp_path):
    with pytest.raises(ValueError, match='a.jpg has 80x60 pixels and its labels say 800x500, like 1 of '):
        one(tmp_path, thing(), size='800 500')
    assert found(tmp_path)['size in the labels unlike the image'] == ['a.jpg (800x500, not 80x60)']


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'\x89PNG\r\n',
        b'<annotation><filename>a.jpg</filename><object><name>c',
        b'<annotation><filename>\xff\xfe</filename></annotation>',
        b'<!DOCTYPE annotation [<!ENTITY a "b">]><annotation><filename>&a;</filename></annotation>',
        b'<annotation><source/><objects><object/></objects></annotation>',  # FAIR1M
    ],
)
def test_files_that_can_not_be_read(tmp_path, content):
    for name in 'ab':
        photo(tmp_path / f'{name}.jpg')
    (tmp_path / 'a.xml').write_bytes(content)
    xml(tmp_path / 'b.xml', thing())
    labels = read(tmp_path)
    assert splits(labels) == {'': ['b']}
    assert len(labels.notes) == 1
    assert labels.notes[0].startswith('left out: 1 x label file that can not be read: a.xml')
    assert found(tmp_path)['label file that can not be read'][0].startswith('a.xml')


def test_photos_without_xml_and_xml_without_photos(tmp_path):
    root = pascal(tmp_path / 'd', 2)
    photo(root / 'JPEGImages/5.jpg')
    xml(root / 'Annotations/6.xml', thing())
    photo(root / 'JPEGImages/7.jpg')
    xml(root / 'Annotations/7.xml')
    xml(root / 'more/7.xml', thing())
    labels = read(root)
    assert splits(labels) == {'': ['0', '1', '7']}
    places = found(root)
    assert places['photo without a label file, not used'] == ['JPEGImages/5.jpg']
    assert set(places['label file without its photo']) == {'Annotations/6.xml'}
    assert places['image without annotations'] == ['JPEGImages/7.jpg']
    assert places['second label file of one photo'] == ['more/7.xml beside Annotations/7.xml']


def test_what_is_voc_and_what_is_not(tmp_path):
    xml(tmp_path / 'a.xml', root='annotations')
    write(tmp_path / 'b.xml', '<html><annotation/></html>')
    write(tmp_path / 'c.xml', '')
    (tmp_path / 'd.xml').write_bytes(b'\xff' * 9000)
    assert not VocSource.fits(DataFolder(tmp_path))
    assert VocSource.find(DataFolder(tmp_path)) is None
    (tmp_path / 'E.XML').write_text('<annotation></annotation>', encoding='utf-16')
    assert xml_root(tmp_path / 'E.XML') == 'annotation'
    assert VocSource.fits(DataFolder(tmp_path))
    with pytest.raises(ValueError, match=r'no label of .* can be used: label file that can not be read: '):
        find_source(tmp_path, 'mmdet', label_format='voc').read()


def test_a_broken_photo_is_named(tmp_path):
    root = pascal(tmp_path / 'd', 2)
    mask(root / 'SegmentationObject/0.png', np.ones(SIZE[::-1]))
    write(root / 'JPEGImages/0.jpg', 'no photo')
    assert any('0.jpg' in place for places in found(root).values() for place in places)
    with pytest.raises(ValueError, match=r'0\.jpg'):
        read(root)


def test_a_real_set(shared_data):
    root = shared_data('raccoon_voc')
    labels = read(root)
    rows = [line.split(',') for line in (root / 'data/raccoon_labels.csv').read_text().splitlines()[1:]]
    wanted = sorted((row[0], *map(float, row[4:8])) for row in rows if row)
    boxes = [(Path(i.entry['file_name']).name, a['bbox']) for i in labels.splits[''] for a in i.annotations]
    assert len(labels.splits['']) == 196  # four photos are there twice, three of them labelled anew
    assert labels.classes == ['raccoon']
    found = {(name, x, y, x + w, y + h) for name, (x, y, w, h) in boxes}
    assert (len(wanted), len(boxes), len(found - set(wanted))) == (217, 213, 0)
    assert [note[:3] for note in labels.notes] == ['4 x', '3 x']
