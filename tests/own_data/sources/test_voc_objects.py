"""Objects of Pascal VOC's XML: boxes, outlines and turned boxes of several programs, and masks in pictures."""

import math

import numpy as np
import pytest
from own_sets import SIZE, mask, photo
from PIL import Image
from pycocotools import mask as coco_mask
from voc_sets import CAT_BOX, annotations, bndbox, found, of_a, one, pascal, read, thing, write, xml

from mmlska.own_data.check import check_folder

FROM_0 = 'box from 0 in a format that counts from 1; read as it stands'


@pytest.mark.parametrize(
    ('inside', 'box', 'remark'),
    [
        (bndbox(10.25, 12.5, 50.75, 42.125), [10.25, 12.5, 40.5, 29.625], None),
        (bndbox(' 10 ', '\n12\n', '50', '42 '), CAT_BOX, None),
        (bndbox(50, 42, 10, 12), CAT_BOX, 'box with its corners swapped; put right'),
        (bndbox(10, 42, 50, 12), CAT_BOX, 'box with its corners swapped; put right'),
        (bndbox(0, 12, 50, 42), [0, 12, 50, 30], FROM_0),
        (bndbox(10, 0.0, 50, 42), [10, 0, 40, 42], FROM_0),
        (bndbox() + f'<part><name>head</name>{bndbox(1, 1, 5, 5)}</part>', CAT_BOX, None),
        ('<type>bndbox</type>' + bndbox(), CAT_BOX, None),
        ('<polygon/>' + bndbox(), CAT_BOX, None),
    ],
)
def test_boxes(tmp_path, inside, box, remark):
    labels = one(tmp_path, thing(inside))
    assert [a['bbox'] for a in of_a(labels)] == [box]
    assert 'segmentation' not in of_a(labels)[0]
    assert labels.classes == ['cat']
    assert labels.notes == ([f'1 x {remark}: a.xml object 1'] if remark else [])
    if remark:
        assert found(tmp_path)[remark] == ['a.xml object 1']


@pytest.mark.parametrize(
    ('text', 'ignored'), [('1', 1), (' 1\n', 1), ('0', 0), ('', 0), ('Unspecified', 0), ('true', 1)]
)
def test_difficult_ones_are_ignored(tmp_path, text, ignored):
    labels = one(tmp_path, thing().replace('<difficult>0<', f'<difficult>{text}<'), thing(bndbox(left=20)))
    assert [a['iscrowd'] for a in of_a(labels)] == [ignored, 0]


def test_outlines(tmp_path):
    roboflow = '<polygon><x2>50</x2><y2>12.5</y2><x1>10</x1><y1>12</y1><x3>30</x3><y3>40</y3></polygon>'
    points = ''.join(f'<pt><x>{x}</x><y>{y}</y><time>1</time></pt>' for x, y in ((5, 6), (25, 6), (25, 36.5)))
    deleted = f'<object><name>gone</name><deleted>1</deleted>{bndbox()}</object>'
    web = f'<polygon><username>me</username>{points}</polygon>'
    labels = one(tmp_path, thing(bndbox() + roboflow), thing(web), deleted, thing(roboflow + web))
    outlines = [[10, 12, 50, 12.5, 30, 40], [5, 6, 25, 6, 25, 36.5]]
    assert [a['segmentation'] for a in of_a(labels)] == [[outlines[0]], [outlines[1]], outlines]
    assert [a['bbox'] for a in of_a(labels)] == [CAT_BOX, [5, 6, 20, 30.5], [5, 6, 45, 34]]
    assert labels.classes == ['cat']
    assert labels.notes == []


def test_the_size_that_labelme_writes(tmp_path):
    size = '<imagesize><nrows>500</nrows><ncols>800</ncols></imagesize>'
    with pytest.raises(ValueError, match='a.jpg has 80x60 pixels and its labels say 800x500'):
        one(tmp_path, size, thing(), size='')
    assert found(tmp_path)['size in the labels unlike the image'] == ['a.jpg (800x500, not 80x60)']


def test_turned_boxes(tmp_path):
    def turned(angle, kind='<type>robndbox</type>'):
        values = zip(('cx', 'cy', 'w', 'h', 'angle'), (40, 30, 20, 10, angle))
        return f'{kind}<robndbox>{"".join(f"<{key}>{value}</{key}>" for key, value in values)}</robndbox>'

    objects = [
        turned(math.pi / 2),
        turned(0.3, ''),
        bndbox() + turned(0.3, '<type>bndbox</type>'),
        bndbox() + turned(0),
    ]
    labels = one(tmp_path, *map(thing, objects))
    outlines = [a.get('segmentation', [None])[0] for a in of_a(labels)]
    assert outlines[0] == pytest.approx([45, 20, 45, 40, 35, 40, 35, 20])
    # The upper left corner, from the centre: (-10, -5), turned clockwise as y points down.
    corner = [40 - 10 * math.cos(0.3) + 5 * math.sin(0.3), 30 - 10 * math.sin(0.3) - 5 * math.cos(0.3)]
    assert outlines[1][:2] == pytest.approx(corner)
    assert outlines[2] is None
    assert of_a(labels)[2]['bbox'] == CAT_BOX
    assert outlines[3] == [30, 25, 50, 25, 50, 35, 30, 35]
    assert labels.notes == []


BROKEN = {
    'no number': bndbox('x'),
    'nan': bndbox('nan'),
    'infinite': bndbox(right='1e999'),
    'empty side': bndbox(''),
    'no side': '<bndbox><xmin>1</xmin></bndbox>',
    'no box': '',
    'two boxes': bndbox() + bndbox(),
    'odd polygon': '<polygon><x1>1</x1><y1>1</y1><x2>5</x2></polygon>',
    'gap in a polygon': '<polygon><x1>1</x1><y1>1</y1><x3>5</x3><y3>5</y3></polygon>',
    'polygon of something': bndbox() + '<polygon><z>1</z></polygon>',
    'point without y': '<polygon><pt><x>1</x></pt></polygon>',
    'turned without angle': '<robndbox><cx>1</cx><cy>1</cy><w>1</w><h>1</h></robndbox>',
    'turned and huge': '<robndbox><cx>1e308</cx><cy>1</cy><w>1.7e308</w><h>1.7e308</h><angle>2.5</angle></robndbox>',
}


@pytest.mark.parametrize('inside', BROKEN.values(), ids=BROKEN)
def test_broken_objects_are_left_out_and_the_others_read(tmp_path, inside):
    labels = one(tmp_path, thing(inside), thing())
    assert [a['bbox'] for a in of_a(labels)] == [CAT_BOX]
    assert len(labels.notes) == 1
    assert labels.notes[0].startswith('left out: 1 x annotation that can not be read: a.xml object 1: ')
    assert found(tmp_path)['annotation that can not be read'][0].startswith('a.xml object 1: ')


@pytest.mark.parametrize(
    'inside', [bndbox(1e300, 5, 1.5e300, 9), bndbox(-1e308, 5, 1e308, 9), bndbox(5, 5, 5, 9), bndbox(200, 5, 220, 9)]
)
def test_impossible_boxes_are_left_out(tmp_path, inside):
    mask(tmp_path / 'SegmentationObject/a.png', np.ones(SIZE[::-1]))
    labels = one(tmp_path, thing(inside), thing())
    assert len(of_a(labels)) == 1
    assert sum(labels.left_out.values()) + len([n for n in labels.notes if 'annotation that can' in n]) == 1


@pytest.mark.parametrize('name', ['', '<name/>', '<name> \n</name>'])
def test_objects_without_a_name(tmp_path, name):
    labels = one(tmp_path, thing(name=name), thing(name='<name> big cat\n</name>'))
    assert labels.classes == ['big cat', 'cat']
    assert labels.notes == ['left out: 1 x object without a name: a.xml object 1']
    assert found(tmp_path)['object without a name'] == ['a.xml object 1']


@pytest.mark.parametrize('kind', ['palette', 'grey', 'colours'])
def test_masks_of_objects(tmp_path, kind):
    objects = [
        thing(bndbox(11, 11, 30, 30)),
        thing(bndbox(41, 11, 60, 40), '<name>dog</name>'),
        thing(bndbox(1, 45, 9, 55)),
    ]
    root = pascal(tmp_path / 'd', 2, objects)
    values = np.zeros(SIZE[::-1], np.uint8)
    values[10:40, 40:60], values[10:30, 10:30], values[10, 10:30] = 1, 2, 255  # in another order than the boxes
    path = root / 'SegmentationObject/0.png'
    colors = [(0, 0, 0), (128, 0, 0), (0, 128, 0)] + [(224, 224, 192)] * 253
    if kind == 'colours':
        mask(path, np.array(colors, np.uint8)[values])
    else:
        mask(path, values, 'P' if kind == 'palette' else None, colors if kind == 'palette' else None)
    mask(root / 'SegmentationClass/0.png', values)
    labels = read(root)
    first, second = (image.annotations for image in labels.splits[''])
    drawn = [coco_mask.decode(a['segmentation']) for a in first[:2]]
    assert (drawn[0] == (values == 2)).all()
    assert (drawn[1] == (values == 1)).all()
    assert [a['bbox'] for a in first] == [[11, 11, 19, 19], [41, 11, 19, 29], [1, 45, 8, 10]]
    assert not any('segmentation' in a for a in (first[2], *second))
    assert labels.notes == []
    assert check_folder(str(root)).report.errors == 0


def test_each_mask_is_used_once_and_the_rest_told(tmp_path):
    root = pascal(tmp_path / 'd', 1, [thing(bndbox(10, 10, 30, 30)), thing(bndbox(11, 10, 30, 30))])
    values = np.zeros(SIZE[::-1], np.uint8)
    values[10:30, 11:30], values[40:50, 60:70] = 1, 2
    mask(root / 'SegmentationObject/0.png', values)
    labels = read(root)
    assert ['segmentation' in a for a in annotations(labels)] == [False, True]
    assert labels.notes == ['left out: 1 x mask of no object in the xml: SegmentationObject/0.png value 2']


@pytest.mark.parametrize('kind', ['size', 'no picture', 'photo'])
def test_pictures_of_masks_that_can_not_be_used(tmp_path, kind):
    root = pascal(tmp_path / 'd', 1)
    path = root / 'SegmentationObject/0.png'
    if kind == 'size':
        mask(path, np.ones((40, 50)))
    elif kind == 'photo':
        noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
        mask(path, noise)
        Image.fromarray(noise).save(root / 'JPEGImages/0.jpg')
        xml(root / 'Annotations/0.xml', thing(), size='400 400')
    else:
        write(path, 'no picture')
    labels = read(root)
    assert [a['bbox'] for a in annotations(labels)] == [CAT_BOX]
    assert 'segmentation' not in annotations(labels)[0]
    assert len(labels.notes) == 1
    assert labels.notes[0].startswith('left out: 1 x masks of objects that can not be read: SegmentationObject/0.png: ')


def test_photos_turned_by_exif_with_masks(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(tmp_path / '0.jpg', exif=exif)
    for size in (SIZE, SIZE[::-1]):
        xml(tmp_path / '0.xml', thing(bndbox(11, 11, 30, 30)), size='{} {}'.format(*size))
        values = np.zeros(size[::-1], np.uint8)
        values[10:30, 10:30] = 1
        mask(tmp_path / 'SegmentationObject/0.png', values)
        labels = read(tmp_path)
        assert annotations(labels)[0]['segmentation']['size'] == list(size[::-1])
        assert labels.as_stored == (size == SIZE)
        assert labels.notes == []
