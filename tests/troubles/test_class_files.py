"""Files with class names as programs write them, text in other encodings, and masks in files of other kinds."""

from pathlib import Path

import numpy as np
import pytest
from own_sets import COLORS, UPERNET, adapt, mask, mask_labels, mask_set, photo, stripes
from PIL import Image

from mmlska.own_data.class_files import read_classes

NAMES = {
    '_classes.csv': 'Pixel Value, Class\n0, sky\n1, road\n2, traffic light\n',
    'classes.csv': 'Class;Pixel Value\r\nroad;1\r\nsky;0\r\n"traffic light";2\r\n\r\n',
    'classes.json': '{"0": "sky", "1": "road", "2": "traffic light"}',
    'classes.yaml': 'names:\n  0: sky\n  1: road\n  2: traffic light\n',
    'classes.txt': '0 sky\n1 road\n2 traffic light\n\n',
    'labels.txt': 'sky\nroad\ntraffic light\n',
    'obj.names': 'sky\nroad\ntraffic light\n',
    'class_names.txt': '0: sky\n1: road\n2: traffic light',
    'label_map.pbtxt': (
        "item {\n id: 2\n name: 'road'\n}\nitem { id: 1 name: 'sky' }\nitem {\n name: \"traffic light\"\n id: 3\n}\n"
    ),
}
COLORED = {
    'class_dict.csv': 'r,g,b,name\n60,16,152,sky\n226,169,41,road\n110,193,228,traffic light\n',
    'classes.csv': 'class,color\nsky,"(60, 16, 152)"\nroad,#E2A929\n"traffic light",110 193 228\n',
    'labelmap.txt': '# label:color_rgb:parts:actions\nsky:60,16,152::\nroad:226,169,41::\ntraffic light:110,193,228::\n',
    'label_colors.txt': '60 16 152\tsky\n226 169 41\troad\n110 193 228\ttraffic light\n',
    'classes.json': '[{"name": "sky", "color": [60, 16, 152]}, {"name": "road", "color": "#e2a929"}, '
    '{"name": "traffic light", "color": "110,193,228"}]',
}


def table(out: str) -> list[str]:
    """The class names in the report of a check."""
    lines = out.splitlines()
    first = next(number for number, line in enumerate(lines) if line.split()[:1] == ['class'])
    rows = [line for line in lines[first + 1 :] if line.startswith('  ')]
    return [line[2:].split('   ')[0].strip() for line in rows]


@pytest.mark.parametrize('name', NAMES)
def test_names_of_indices(name, tmp_path, command):
    first = 1 if name.endswith('.pbtxt') else 0
    root = mask_set(tmp_path, (first, first + 1, first + 2))
    (root / name).write_text(NAMES[name])
    ended = command('check', root)
    assert ended.code == 0
    assert table(ended.out) == ['sky', 'road', 'traffic light']


@pytest.mark.parametrize('name', COLORED)
def test_names_of_colours(name, tmp_path, command):
    root = mask_set(tmp_path, COLORS)
    (root / name).write_text(COLORED[name])
    ended = command('check', root)
    assert ended.code == 0
    assert sorted(table(ended.out)) == ['road', 'sky', 'traffic light']


def test_the_class_table_in_each_folder_of_roboflow(tmp_path, command, refused):
    for split in ('train', 'valid'):
        for number in range(2):
            photo(tmp_path / split / f'{split}{number}.jpg')
            mask(tmp_path / split / f'{split}{number}_mask.png', stripes([0, 1, 2]))
        (tmp_path / split / '_classes.csv').write_text(NAMES['_classes.csv'])
    assert table(command('check', tmp_path).out) == ['sky', 'road', 'traffic light']
    (tmp_path / 'valid/_classes.csv').write_text(NAMES['_classes.csv'].replace('road', 'lane'))
    assert 'train/_classes.csv and valid/_classes.csv' in refused('check', tmp_path)


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'gbk', 'cp1252'])
@pytest.mark.parametrize('kind', ['masks', 'yolo', 'yaml'])
def test_class_names_in_other_encodings(encoding, kind, tmp_path, command):
    names = ['Straße', 'Fußgänger', 'Grün'] if encoding == 'cp1252' else ['背景', '汽车', '行人']
    if kind == 'masks':
        mask_set(tmp_path)
    else:
        for number in range(3):
            photo(tmp_path / f'images/{number}.jpg', (80, 60 + number))
            (tmp_path / 'labels').mkdir(exist_ok=True)
            (tmp_path / f'labels/{number}.txt').write_text(f'{number} .5 .5 .2 .2\n')
    text = f'names: [{", ".join(names)}]\n' if kind == 'yaml' else '\r\n'.join(names) + '\r\n'
    file = 'data.yaml' if kind == 'yaml' else 'classes.txt'
    (tmp_path / file).write_bytes(text.encode(encoding))
    ended = command('check', tmp_path)
    assert ended.code == 0
    guess = dict(gbk='GBK', cp1252='Windows-1252').get(encoding)
    assert (
        f'text that is not in UTF-8, read as {guess}; if names are wrong, save it in UTF-8: {file}' in ended.out
    ) == (guess is not None)
    assert [line.split()[0] for line in ended.out.splitlines() if line[2:].startswith(tuple(names))] == names


@pytest.mark.parametrize(
    'head', ['<?xml version="1.0" encoding="GB2312"?>\n', '<?xml version="1.0" encoding="utf-8"?>', '']
)
def test_voc_in_gbk(head, tmp_path, command):
    photo(tmp_path / 'a.jpg')
    box = '<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>40</xmax><ymax>30</ymax></bndbox>'
    text = f'<annotation><filename>a.jpg</filename><object><name>汽车</name>{box}</object></annotation>'
    (tmp_path / 'a.xml').write_bytes((head + text).encode('gbk'))
    ended = command('check', tmp_path)
    assert ended.code == 0
    assert '  汽车 ' in ended.out


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('classes.txt', 'cat\ndog\ncat\n', 'has the name cat twice (line 1 and line 3)'),
        ('classes.csv', 'name,r,g,b\nroad,1,2,3\n,4,5,6\n', 'line 3 has no name'),
        (
            'classes.csv',
            'name,r,g,b\nroad,1,2,300\n',
            'line 2: [1, 2, 300] is no colour of three numbers from 0 to 255',
        ),
        ('_classes.csv', 'Pixel Value, Class\nzero, cat\n', "line 2 has the number 'zero'"),
        ('classes.txt', 'road 1 2 3\nlake\n', 'has 1 colours for 2 classes, none in line 2; give all or none of them'),
        ('classes.txt', 'cat: 0\ndog: 0\n', 'has the number 0 twice (line 1 and line 2)'),
        ('classes.json', '["cat", ""]', 'entry 2 has no name'),
        ('label_map.pbtxt', "item { name: 'cat' }", 'item 1 has no id and name'),
        ('classes.txt', '\n\n', 'names no class'),
        ('classes.txt', b'\xff\xfea', 'is not understood'),
    ],
)
def test_mistakes_in_class_files_are_placed(name, text, message, tmp_path, refused):
    root = mask_set(tmp_path)
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    line = refused('check', root)
    assert message in line
    assert str(root / name) in line


def tiffs(root: Path, array: np.ndarray) -> Path:
    for number in range(4):
        photo(root / f'images/{number}.jpg')
        (root / 'masks').mkdir(exist_ok=True)
        Image.fromarray(array).save(root / f'masks/{number}.tif')
    return root


@pytest.mark.parametrize('dtype', ['float32', 'uint16', 'int32'])
def test_masks_of_whole_numbers_in_tiff(dtype, tmp_path, command):
    root = tiffs(tmp_path / 'data', stripes([0, 1, 2]).astype(dtype))
    ended = command('check', root)
    assert ended.code == 0
    assert table(ended.out) == ['class_0', 'class_1', 'class_2']
    cfg, _ = adapt(UPERNET, root, tmp_path / 'work')
    assert mask_labels(cfg) == [0, 1, 2]


@pytest.mark.parametrize(
    ('value', 'fix'),
    [
        (0.25, 'these are probabilities: save the class of each pixel'),
        (1.5, 'save the class of each pixel as uint8, 255 where there is none'),
        (np.nan, 'save the class of each pixel as uint8, 255 where there is none'),
    ],
)
def test_masks_of_fractions(value, fix, tmp_path, command):
    values = stripes([0, 1]).astype(np.float32)
    values[5, 5] = value
    ended = command('check', tiffs(tmp_path, values))
    assert ended.code == 1
    assert f'error: 4 x mask of floats that are no classes; {fix}' in ended.out
    assert f': 0.tif ({value:g}), ' in ended.out


def test_masks_of_floats_with_gaps(tmp_path, command):
    ended = command('check', tiffs(tmp_path, (stripes([0, 1, 2]) * 100).astype(np.float32)))
    assert 'masks of floats such as' in ended.out
    assert 'must hold classes 0, 1, 2, ...; save them with 8 bits' in ended.out


@pytest.mark.parametrize('colors', [COLORS, [[0, 0, 0], [100, 100, 100], [200, 200, 200]]])
def test_masks_in_jpeg(colors, tmp_path, command):
    for number in range(4):
        photo(tmp_path / f'images/{number}.jpg')
        mask(tmp_path / f'masks/{number}.jpg', stripes(colors))
    ended = command('check', tmp_path)
    assert ended.code == 1
    assert 'are JPEG files, in which classes are blurred' in ended.out
    assert 'save them as PNG' in ended.out


def yolo_set(root: Path, ids: str) -> Path:
    """A photo for each class id of the text."""
    for number, label in enumerate(ids):
        photo(root / f'images/{number}.jpg')
        (root / 'labels').mkdir(exist_ok=True)
        (root / f'labels/{number}.txt').write_text(f'{label} .5 .5 .2 .2\n')
    return root


def counts(out: str) -> dict[str, int]:
    """How many objects of each class the report of a check counts."""
    names = table(out)
    rows = (line.split() for line in out.splitlines() if line.startswith('  '))
    return {row[0]: int(row[1]) for row in rows if row and row[0] in names}


NUMBERED = {
    'classes.txt': '1 cat\n2 dog\n3 bird\n',
    'obj.names': '1: cat\n2: dog\n3: bird\n',
    'names.txt': 'cat, 1\ndog, 2\nbird, 3\n',
    'classes.json': '{"1": "cat", "2": "dog", "3": "bird"}',
    'label_map.pbtxt': ''.join(
        f"item {{ id: {number} name: '{name}' }}\n" for number, name in enumerate(('cat', 'dog', 'bird'), 1)
    ),
    'data.yaml': 'names: {1: cat, 2: dog, 3: bird}\n',
}


@pytest.mark.parametrize(
    ('ids', 'expected', 'shifted'),
    [
        ('0011122', (2, 3, 2), True),
        ('1112', (0, 3, 1), True),  # both are possible: the first line is id 0, as in all lists
        ('11123', (3, 1, 1), False),
    ],
)
@pytest.mark.parametrize('name', NUMBERED)
def test_names_numbered_from_1_beside_ids_of_yolo(name, ids, expected, shifted, tmp_path, command):
    (yolo_set(tmp_path, ids) / name).write_text(NUMBERED[name])
    if name == 'data.yaml' and '0' not in ids:  # there the numbers are the ids
        expected, shifted = tuple(ids.count(number) for number in '123'), False
    ended = command('check', tmp_path)
    assert ended.code == 0
    assert counts(ended.out) == dict(zip(('cat', 'dog', 'bird'), expected))
    said = f'warning: 1 x class names are numbered from 1, class ids from 0, and are read so: {name}' in ended.out
    assert said == shifted


@pytest.mark.parametrize('text', ['1 euro\n2 euro\n', '0 Euro\n1 euro\n', 'size, 1\nsize, 2\n'])
def test_numbers_that_are_parts_of_names(text, tmp_path, command):
    (yolo_set(tmp_path, '0011') / 'classes.txt').write_text(text)
    assert table(command('check', tmp_path).out)[:2] == text.splitlines()


@pytest.mark.parametrize('main', ['data.yaml', 'classes.txt', 'obj.names'])
@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('labels.txt', '0.jpg\n1.jpg\n'),
        ('labels.txt', '0 images/0.jpg\n'),
        ('names.txt', 'Anna\nBert\n'),
        ('class_names.txt', 'sky\nroad\n'),
        ('classes.json', '{"1": "cat", "2": "dog"}'),
        ('classes.json', '{"cat": '),
        ('coco.names', 'person\nbicycle\n'),
        ('label_map.pbtxt', "item { id: 1 name: 'cat' }\nitem { id: 2 name: 'dog' }"),
    ],
)
def test_files_of_other_tools_beside_the_names_of_yolo(main, name, text, tmp_path, command):
    yolo_set(tmp_path, '001')
    (tmp_path / main).write_text('names: [cat, dog]\n' if main == 'data.yaml' else 'cat\ndog\n')
    (tmp_path / name).write_text(text)
    ended = command('check', tmp_path)
    assert ended.code == 0
    assert counts(ended.out) == dict(cat=2, dog=1)


@pytest.mark.parametrize('first', ['classes.txt', 'obj.names', 'data.yaml'])
def test_two_lists_of_one_order_agree(first, tmp_path, command, refused):
    yolo_set(tmp_path, '001')
    (tmp_path / first).write_text('names: [cat, dog]\n' if first == 'data.yaml' else 'cat\ndog\n')
    (tmp_path / '_darknet.labels').write_text('1 cat\n2 dog\n')
    assert counts(command('check', tmp_path).out) == dict(cat=2, dog=1)
    (tmp_path / '_darknet.labels').write_text('1 dog\n2 cat\n')
    assert 'name the classes differently; delete one' in refused('check', tmp_path)


def test_a_list_of_photos_alone_names_no_class(tmp_path, command):
    (yolo_set(tmp_path, '001') / 'labels.txt').write_text('0.jpg\n1.jpg\n2.jpg\n')
    ended = command('check', tmp_path)
    assert 'labels without class names; put a data.yaml or classes.txt there' in ended.out
    assert table(ended.out)[:2] == ['class_0', 'class_1']


@pytest.mark.parametrize(
    'text',
    ['class_name\nsky\nroad\n', 'id name\n0 sky\n1 road\n', 'names:\n- sky\n- road\n', 'Label Names\nsky\nroad\n'],
)
def test_a_heading_is_no_class(text, tmp_path):
    (tmp_path / 'classes.txt').write_text(text)
    assert [one.name for one in read_classes(tmp_path / 'classes.txt')] == ['sky', 'road']


@pytest.mark.parametrize('text', ['name\nroad\n', 'sky\nclass name\n', 'classes\nroad\n'])
def test_a_class_may_be_called_like_a_heading(text, tmp_path):
    (tmp_path / 'classes.txt').write_text(text)
    assert [one.name for one in read_classes(tmp_path / 'classes.txt')] == text.split('\n')[:2]
