"""CVAT's XML for images and for video, through what training and the check read."""

import math
import unicodedata

import numpy as np
import pytest
from cvat_sets import BOX, LABELS, ODD, SIZE, findings, image_set, only, pixels, read, write
from own_sets import photo

from mmlska.own_data.sources import find_source


def test_classes_stand_in_the_order_of_the_file_with_those_without_objects(tmp_path):
    part = '<label><name>eye</name><parent>cow</parent></label></labels>'
    meta = f'<job>{LABELS.replace("</labels>", part)}</job>'
    root = image_set(tmp_path, BOX.replace('cat', 'new'), BOX.replace('cat', '红 狗'), meta=meta)
    assert read(root).classes == ['cat', '红 狗', 'cow', 'new']
    assert find_source(root.resolve(), 'mmdet').name == 'cvat'
    assert 'cow' in findings(root)['class without annotations']


def test_box(tmp_path):
    ((name, found),) = only(image_set(tmp_path, BOX))
    assert name == 'cat'
    assert found['bbox'] == [10, 20, 20, 24.5]
    assert 'segmentation' not in found


def test_turned_box(tmp_path):
    ((_, found),) = only(image_set(tmp_path, '<box label="cat" xtl="20" ytl="20" xbr="40" ybr="30" rotation="90"/>'))
    # Clockwise: the upper left corner goes to the upper right.
    assert np.allclose(found['segmentation'], [[35, 15, 35, 35, 25, 35, 25, 15]], atol=0.02)
    assert np.allclose(found['bbox'], [25, 15, 10, 20], atol=0.02)


def test_polygon(tmp_path):
    ((_, found),) = only(image_set(tmp_path, '<polygon label="cat" points="10.5,10;30,10.25;20,40"/>'))
    assert found['segmentation'] == [[10.5, 10, 30, 10.25, 20, 40]]


def test_ellipse(tmp_path):
    ((_, found),) = only(image_set(tmp_path, '<ellipse label="cat" cx="30" cy="30" rx="20" ry="10" rotation="90"/>'))
    assert np.allclose(found['bbox'], [20, 10, 20, 40], atol=0.02)
    assert found['area'] == pytest.approx(math.pi * 200, rel=0.01)


@pytest.mark.parametrize(('left', 'top'), [(5, 7), (78, 58), (-1, -1)])
def test_mask(left, top, tmp_path):
    mask = f'<mask label="cat" rle="1, 2, 0, 1, 1, 1" left="{left}" top="{top}" width="3" height="2"/>'
    ((_, found),) = only(image_set(tmp_path, mask))
    wanted = np.zeros((62, 82), bool)  # with a margin of a pixel, to cut off
    wanted[top + 1 : top + 3, left + 1 : left + 4] = [[0, 1, 1], [1, 0, 1]]
    assert np.array_equal(pixels(found), wanted[1:-1, 1:-1])


def test_a_mask_lies_in_a_photo_labelled_as_stored(tmp_path):
    from PIL import Image

    root = image_set(tmp_path, '<mask label="cat" rle="0,6" left="70" top="5" width="3" height="2"/>')
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(root / 'images/a.jpg', exif=exif)
    ((_, found),) = only(root)
    assert found['bbox'] == [70, 5, 3, 2]
    assert read(root).as_stored


PIECES = {
    'polygon': '<polygon label="cat" group_id="{}" points="10,10;20,10;20,20;10,20"/>',
    'other polygon': '<polygon label="cat" group_id="{}" points="30,10;40,10;40,20;30,20"/>',
    'mask': '<mask label="cat" group_id="{}" rle="0,4" left="50" top="30" width="2" height="2"/>',
    'box': '<box label="cat" group_id="{}" xtl="5" ytl="8" xbr="45" ybr="25"/>',
    'other box': '<box label="cat" group_id="{}" xtl="50" ytl="8" xbr="60" ybr="30"/>',
    'dog': '<polygon label="红 狗" group_id="{}" points="10,10;20,10;20,20;10,20"/>',
}


@pytest.mark.parametrize(
    ('kinds', 'box', 'area'),
    [
        (('polygon', 'other polygon'), [10, 10, 30, 10], 200),
        (('polygon', 'mask'), [10, 10, 42, 22], 104),
        (('mask', 'mask'), [50, 30, 2, 2], 4),
        (('polygon', 'other polygon', 'mask', 'box'), [5, 8, 47, 24], 684),
        (('box', 'other box'), [5, 8, 55, 22], 55 * 22),
    ],
)
def test_pieces_of_a_group_are_one_object(kinds, box, area, tmp_path):
    root = image_set(tmp_path, *(PIECES[kind].format(3) for kind in (*kinds, 'dog')), PIECES['polygon'].format(0))
    (name, found), (other, _), (last, _) = only(root)
    assert (name, other, last) == ('cat', '红 狗', 'cat')
    assert found['bbox'] == box
    assert found['area'] == area
    if 'polygon' in kinds and 'mask' in kinds:
        assert pixels(found)[10:20, 10:20].all()
        assert pixels(found)[30:32, 50:52].all()
    elif 'polygon' in kinds:
        assert len(found['segmentation']) == 2


def test_shapes_without_number_or_with_group_0_stay_alone(tmp_path):
    root = image_set(
        tmp_path, *(PIECES[kind].format(group) for kind, group in (('polygon', 0), ('other polygon', 0), ('box', 4)))
    )
    assert len(only(root)) == 3


@pytest.mark.parametrize('kind', ['polyline', 'points', 'skeleton', 'cuboid', 'tag'])
def test_what_is_no_area_is_left_out(kind, tmp_path):
    root = image_set(tmp_path, BOX, f'<{kind} label="cat" points="1,1;2,2;3,9"/>')
    assert len(only(root)) == 1
    assert findings(root)[f'shape without area: {kind}'] == [f'annotations.xml, a.jpg, {kind} 2']
    assert any(f'1 x shape without area: {kind}' in note for note in read(root).notes)


@pytest.mark.parametrize(
    'shape',
    [
        '<box label="cat" xtl="1" ytl="1" xbr="9"/>',
        '<box label="cat" xtl="nan" ytl="1" xbr="9" ybr="9"/>',
        '<box label="cat" xtl="1" ytl="1" xbr="9" ybr="9" rotation="x"/>',
        '<box label="cat" xtl="-1e308" ytl="1" xbr="1e308" ybr="9"/>',
        '<box label="cat" xtl="-1e308" ytl="1" xbr="1e308" ybr="9" rotation="3"/>',
        '<box xtl="1" ytl="1" xbr="9" ybr="9"/>',
        '<polygon label="cat"/>',
        '<polygon label="cat" points="1,1;2,2"/>',
        '<polygon label="cat" points="1,1;2;3,9"/>',
        '<mask label="cat" rle="0,3" left="5" top="5" width="2" height="2"/>',
        '<mask label="cat" rle="0,-4,8" left="5" top="5" width="2" height="2"/>',
        '<mask label="cat" rle="0,1.5,2.5" left="5" top="5" width="2" height="2"/>',
        '<mask label="cat" rle="" left="5" top="5" width="2" height="2"/>',
        '<mask label="cat" rle="9e300" left="0" top="0" width="1e150" height="9e150"/>',
        '<mask label="cat" rle="0,4" left="5.5" top="5" width="2" height="2"/>',
        '<ellipse label="cat" cx="5" cy="5" rx="3"/>',
        '<blob label="cat"><box/></blob>',
    ],
)
def test_broken_shapes_are_left_out_and_named(shape, tmp_path):
    root = image_set(tmp_path, BOX, shape)
    assert len(only(root)) == 1
    (place,) = findings(root)['annotation that can not be read']
    assert place.startswith('annotations.xml, a.jpg, ')
    assert any('1 x annotation that can not be read' in note for note in read(root).notes)


@pytest.mark.parametrize('rle', ['0,3', '0,5', '5', '0,9e17', '4,-4,4'])
def test_run_lengths_have_to_fill_the_mask(rle, tmp_path):
    root = image_set(tmp_path, f'<mask label="cat" rle="{rle}" left="5" top="5" width="2" height="2"/>')
    (place,) = findings(root)['annotation that can not be read']
    assert place == 'annotations.xml, a.jpg, mask 1: its run lengths do not add up to 2x2 pixels'


@pytest.mark.parametrize('left', ['1e300', '-1e300'])
def test_a_mask_far_away_is_no_object(left, tmp_path):
    root = image_set(tmp_path, BOX, f'<mask label="cat" rle="0,4" left="{left}" top="{left}" width="2" height="2"/>')
    assert len(only(root)) == 1
    assert findings(root)['box of zero area']


@pytest.mark.parametrize(
    ('said', 'file'),
    [
        ('images/Train/b.jpg', 'images/Train/b.jpg'),
        ('b', 'images/b.JPG'),
        (r'C:\me\b.png', 'images/b.jpg'),
        ('b.c d.jpg', 'images/b.c d.jpg'),
        (ODD + '.jpg', f'images/{unicodedata.normalize("NFD", ODD)}.jpg'),
    ],
)
def test_names_of_photos(said, file, tmp_path):
    photo(tmp_path / file)
    write(tmp_path / 'annotations.xml', f'<image id="0" name="{said}" {SIZE}>{BOX}</image>')
    labels = read(tmp_path)
    assert [image.entry['file_name'] for images in labels.splits.values() for image in images] == [file]
    assert findings(tmp_path).keys() == {'class without annotations'}


def test_subsets_and_folders_give_the_split(tmp_path):
    names = {'1': 'Train', '2': 'Validation', '3': 'default', 'val/4': 'default', '5': ''}
    body = ''
    for name, subset in names.items():
        photo(tmp_path / f'images/{name}.jpg')
        body += f'<image id="0" name="{name}.jpg" subset="{subset}" {SIZE}>{BOX}</image>'
    write(tmp_path / 'annotations.xml', body, f'<project>{LABELS}</project>')
    splits = {k: [i.entry['file_name'][7:] for i in v] for k, v in read(tmp_path).splits.items()}
    assert splits == {'train': ['1.jpg'], 'val': ['2.jpg', 'val/4.jpg'], '': ['3.jpg', '5.jpg']}


def test_each_task_has_its_own_photos(tmp_path):
    for task, subset in (('one', 'Test'), ('two', 'Train')):
        photo(tmp_path / task / 'images/a.jpg')
        body = f'<image name="a.jpg" {SIZE}>{BOX.replace("cat", task)}</image>'
        write(tmp_path / task / 'annotations.xml', body, f'<task><subset>{subset}</subset></task>')
    labels = read(tmp_path)
    assert labels.classes == ['one', 'two']
    assert labels.splits['test'][0].entry['file_name'] == 'one/images/a.jpg'
    assert labels.splits['train'][0].entry['file_name'] == 'two/images/a.jpg'
    assert labels.splits['train'][0].annotations[0]['category_id'] == 2


def test_labels_of_the_nearest_file_count(tmp_path):
    root = image_set(tmp_path / 'd/two', BOX).parent
    write(root / 'one.xml', f'<image name="a.jpg" {SIZE}>{BOX}{BOX}</image>')
    assert len(only(root)) == 1
    assert findings(root)['second labels of one photo'] == ['a.jpg in one.xml beside two/annotations.xml']


def test_missing_photos_stop_training(tmp_path):
    root = image_set(tmp_path, BOX)
    (root / 'images/a.jpg').rename(root / 'images/b.jpg')
    with pytest.raises(FileNotFoundError, match='annotations.xml names 1 of 1 images .*: a.jpg'):
        read(root)
    assert findings(root)['missing image'] == ['a.jpg']
    assert findings(root)['photo without a label file, not used'] == ['images/b.jpg']


def test_broken_photos_are_named(tmp_path):
    root = image_set(tmp_path, BOX)
    (root / 'images/a.jpg').write_bytes(b'no photo')
    assert findings(root)['image that can not be decoded'] == ['a.jpg']


def test_names_of_two_photos_and_of_none(tmp_path):
    root = image_set(tmp_path, BOX, name='b.jpg')
    for name in ('x/a.jpg', 'y/a.jpg'):
        photo(root / name)
    body = ''.join(f'<image{name} {SIZE}>{BOX}</image>' for name in (' name="a.jpg"', '', ' name="b.jpg"'))
    write(root / 'annotations.xml', body)
    assert len(only(root)) == 1
    assert len(findings(root)['image entry that fits no photo, or two']) == 2


@pytest.mark.parametrize('content', ['<annotations><meta><task>', '<!DOCTYPE a><annotations><meta/></annotations>'])
def test_broken_files(content, tmp_path):
    root = image_set(tmp_path, BOX)
    (root / 'broken.xml').write_text(content)
    assert len(only(root)) == 1
    (place,) = findings(root)['label file that can not be read']
    assert place.startswith('broken.xml: ')
    (root / 'annotations.xml').unlink()
    with pytest.raises(ValueError, match='broken.xml is not valid XML'):
        read(root)


def test_files_of_others_are_not_taken(tmp_path):
    photo(tmp_path / 'a.jpg')
    (tmp_path / 'a.xml').write_text(
        '<annotation><filename>a.jpg</filename><object><name>x</name></object></annotation>'
    )
    (tmp_path / 'b.xml').write_text('<x><annotations><image/></annotations></x>')
    (tmp_path / 'c.xml').write_text('')
    with pytest.raises(ValueError, match='no labels for a detector'):
        read(tmp_path)


def test_a_file_without_photos_is_named(tmp_path):
    root = image_set(tmp_path, BOX)
    write(root / 'empty.xml', '')
    assert findings(root)['label file that names no photo'] == ['empty.xml']


# Video.
