"""Numbers in class files, class files beside each other, and what values and names of masks mean together."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from own_sets import COLORS, UPERNET, adapt, mask, mask_labels, mask_set, photo, stripes
from test_class_files import counts, table, yolo_set

from mmlska.own_data.class_files import read_classes

ORDER = ['background', 'road', 'car']
# Each in an order that is not that of the numbers.
NUMBERED = {
    'classes.txt': [
        '1 road\n0 background\n2 car\n',
        'car: 2\nroad: 1\nbackground: 0\n',
        'car,2\nroad,1\nbackground,0\n',
        'road = 1\ncar = 2\nbackground = 0\n',
        'car 2\nbackground 0\nroad 1\n',
        '2. car\n0. background\n1. road\n',
        '2 - car\n0 - background\n1 - road\n',
        '# what is what\n\n2: car # moves\n0: background\n1: road\n',
        "{2: 'car', 0: 'background', 1: 'road'}\n",
        'ID\tName\n2\tcar\n0\tbackground\n1\troad\n',
        'Klasse;Wert\ncar;2\nroad;1\nbackground;0\n',
    ],
    'classes.csv': [
        'car,2\nroad,1\nbackground,0\n',
        'label,category\n2,car\n1,road\n0,background\n',
        'class,label\n2,car\n0,background\n1,road\n',
        'name,label\ncar,2\nbackground,0\nroad,1\n',
        'Category ID;Category\n2;car\n1;road\n0;background\n',
    ],
    'classes.json': [
        '[{"name": "car", "class_id": 2}, {"name": "road", "class_id": 1}, {"name": "background", "class_id": 0}]',
        '[{"class": "car", "label": 2}, {"class": "road", "label": 1}, {"class": "background", "label": 0}]',
        '[{"categoryId": 1, "title": "road"}, {"categoryId": 0, "title": "background"}, {"categoryId": 2, "title": "car"}]',
        '{"id2label": {"2": "car", "0": "background", "1": "road"}}',
        '{"2": {"name": "car"}, "0": {"name": "background"}, "1": {"name": "road"}}',
        '{"car": {"id": 2}, "background": {"id": 0}, "road": {"id": 1}}',
        '[{"name": "car", "id": 11, "trainId": 2}, {"name": "background", "id": 7, "trainId": 0}, {"name": "road", "id": 8, "trainId": 1}]',
    ],
    'classes.yaml': ['car: 2\nroad: 1\nbackground: 0\n', 'names: {2: car, 0: background, 1: road}\n'],
    'labelmap.txt': ['# label:color_rgb:parts:actions\ncar:2::\nbackground:0::\nroad:1::\n'],
}
CASES = [(name, text) for name, texts in NUMBERED.items() for text in texts]


@pytest.mark.parametrize(('name', 'text'), CASES)
def test_numbers_in_any_order_are_the_values_of_masks(name, text, tmp_path, command):
    (mask_set(tmp_path, count=2) / name).write_text(text)
    ended = command('check', tmp_path)
    assert ended.code == 0
    assert table(ended.out) == ORDER


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('classes.txt', '1 dog\n0 cat\n'),
        ('classes.txt', 'dog: 1\ncat: 0\n'),
        ('classes.txt', 'dog 1\ncat 0\n'),
        ('obj.names', 'dog=1\ncat=0\n'),
        ('classes.json', '[{"name": "dog", "class_id": 1}, {"name": "cat", "class_id": 0}]'),
        ('notes.json', '{"categories": [{"id": 1, "name": "dog"}, {"id": 0, "name": "cat"}], "info": {"year": 2024}}'),
        ('data.yaml', 'names: {dog: 1, cat: 0}\n'),
        ('data.yaml', 'names:\n  1: dog\n  0: cat\n'),
    ],
)
def test_numbers_in_any_order_are_the_ids_of_yolo(name, text, tmp_path, command):
    (yolo_set(tmp_path, '001') / name).write_text(text)
    assert counts(command('check', tmp_path).out) == dict(cat=2, dog=1)


@pytest.mark.parametrize(
    'text', ['50 cent\n1 dollar', 'type 1\ntype 2', 'A3 sheet\nA4 sheet', 'lane 2\nlane 4', '0\n1\n2']
)
def test_numbers_that_number_nothing_stay_in_the_names(text, tmp_path):
    (tmp_path / 'classes.txt').write_text(text)
    assert [one.name for one in read_classes(tmp_path / 'classes.txt')] == text.split('\n')


GAPS = {
    'classes.csv': 'id,name\n0,background\n11,car\n7,road\n',
    'classes.txt': '7 road\n11 car\n0 background\n',
    'classes.json': '{"0": "background", "7": "road", "11": "car"}',
    'labelmap.txt': '# label:color_rgb:parts:actions\nbackground:0::\nroad:07::\ncar:11::\n',
    '_classes.csv': 'Pixel Value, Class\n0, background\n7, road\n11, car\n',
}


@pytest.mark.parametrize('mode', ['L', 'RGB'])
@pytest.mark.parametrize('name', GAPS)
def test_values_with_gaps(name, mode, tmp_path, command):
    root = mask_set(tmp_path / 'data', (0, 7, 11))
    if mode == 'RGB':
        for number in range(4):
            mask(root / f'masks/{number}.png', stripes([[v] * 3 for v in (0, 7, 11)]))
    (root / name).write_text(GAPS[name])
    ended = command('check', root)
    assert (ended.code, table(ended.out)) == (0, ORDER)
    assert '0 errors, 0 warnings' in ended.out
    if name == 'classes.csv':
        assert mask_labels(adapt(UPERNET, root, tmp_path / 'work')[0]) == [0, 1, 2]


def test_values_with_gaps_in_masks_with_a_palette(tmp_path, command):
    palette = [[0, 0, 0]] * 5 + COLORS + [[9, 9, 9]] * 10
    root = mask_set(tmp_path / 'data', (5, 6, 20), mode='P', palette=palette)
    (root / 'classes.txt').write_text('20: c\n6: b\n5: a\n')
    assert 'these are not told apart; save the masks in shades of grey' not in command('check', root).out
    assert mask_labels(adapt(UPERNET, root, tmp_path / 'work')[0]) == [0, 1, 2]


def test_values_without_a_name_are_said_or_refused(tmp_path, command, refused):
    root = mask_set(tmp_path / 'data', (0, 7, 11, 26))
    (root / 'classes.txt').write_text(GAPS['classes.txt'])
    assert ' classes: 1 value of the masks without a name, unlabelled: 26' in command('check', root).out
    (root / 'classes.txt').write_text('0: background\n4: road\n')
    said = 'has classes of the values 0, 4, and the masks hold 7, 11, 26; write the values of the masks into'
    assert said in command('check', root).out
    assert said in refused('train', UPERNET, '--data', root, '--work-dir', tmp_path / 'work')
    (root / 'classes.txt').write_text('0: background\n7: road\n300: car\n')
    assert (
        'error: 1 x classes: the class file has a class of the value 300; masks are read in 8 bits'
        in command('check', root).out
    )


CITIES = 'name,id,trainId,category,color\nunlabeled,0,255,void,"0,0,0"\nego,1,255,void,"0,0,0"\n'
CITIES += 'road,7,0,flat,"128,64,128"\ncar,26,1,vehicle,"0,0,142"\n'


@pytest.mark.parametrize(
    ('values', 'expected'), [((0, 7, 26, 255), ['ego', 'road', 'car']), ((0, 1, 255), ['road', 'car'])]
)
def test_a_file_with_numbers_and_training_ids(values, expected, tmp_path, command):
    (mask_set(tmp_path, values) / 'labels.csv').write_text(CITIES)
    ended = command('check', tmp_path)
    assert (ended.code, table(ended.out)) == (0, expected)
    assert ('the masks hold the training ids of the class file' in ended.out) == (7 not in values)


@pytest.mark.parametrize('name', ['void', 'ignore', 'unlabeled', 'Border', '__ignore__'])
@pytest.mark.parametrize('file', ['classes.csv', 'classes.json'])
def test_255_is_no_label_where_its_name_says_so(file, name, tmp_path, command):
    root = mask_set(tmp_path, (0, 1, 255))
    text = (
        f'id,name\n0,bg\n1,road\n255,{name}\n' if file == 'classes.csv' else f'{{"0":"bg","1":"road","255":"{name}"}}'
    )
    (root / file).write_text(text)
    ended = command('check', root)
    assert (ended.code, table(ended.out)) == (0, ['bg', 'road'])


@pytest.mark.parametrize(
    ('values', 'name', 'text', 'expected'),
    [
        ((0, 255), 'classes.csv', 'Pixel Value, Class\n0,background\n255,road\n', ['background', 'road']),
        ((0, 128, 255), 'classes.json', '{"0": "a", "128": "b", "255": "c"}', ['a', 'b', 'c']),
        ((0, 255), 'classes.txt', 'road\n', ['background', 'road']),
        ((0, 1), 'classes.txt', 'road\n', ['background', 'road']),
        ((0, 7), 'classes.txt', 'road\n', ['background', 'road']),
        ((0, 1), 'classes.txt', '1: road\n', ['background', 'road']),
        ((0, 1), 'data.yaml', 'nc: 1\nnames: [road]\n', ['background', 'road']),
        ((0, 255), 'classes.json', '{"road": [255, 255, 255]}', ['background', 'road']),
        ((0, 1, 2), 'classes.txt', 'background,road,car\n', ORDER),
        ((0, 1, 2), 'classes.txt', "['background', 'road', 'car']\n", ORDER),
        ((0, 1, 2), 'labels.txt', '__ignore__\n_background_\nroad\ncar\n', ['_background_', 'road', 'car']),
    ],
)  # fmt: skip
def test_values_and_names(values, name, text, expected, tmp_path, command):
    root = mask_set(tmp_path / 'data', values)
    (root / name).write_text(text)
    ended = command('check', root)
    assert (ended.code, table(ended.out)) == (0, expected)
    if text == 'road\n' or 128 in values:
        assert mask_labels(adapt(UPERNET, root, tmp_path / 'work')[0]) == list(range(len(values)))
    if len(expected) == 2:
        palette = tmp_path / 'palette.json'
        palette.write_text('{"road": [255, 255, 255]}' if 255 in values else '["background", "road"]')
        if 7 not in values:
            assert table(command('check', root, '--palette', palette).out) == ['background', 'road']


RED = 'bg 0 0 0 255\nroad 255 0 0 255\n'


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('classes.json', '{"bg": [0, 0, 0, 255], "road": [255, 0, 0, 255]}'),
        ('classes.json', '{"bg": [0.0, 0.0, 0.0], "road": [255.0, 0.0, 0.0]}'),
        ('classes.json', '{"#000000": "bg", "#ff0000": "road"}'),
        ('classes.json', '{"classes": ["bg", "road"], "palette": [[0, 0, 0], [255, 0, 0]]}'),
        ('class_dict.csv', 'name,r,g,b\nbg,0.0,0.0,0.0\nroad,255.0,0.0,0.0\n'),
        ('class_dict.csv', 'id,name,r,g,b,alpha\n3417,bg,0,0,0,255\n3418,road,255,0,0,255\n'),
        ('classes.txt', 'bg: rgb(0,0,0)\nroad: rgb(255,0,0)\n'),
        ('classes.txt', 'bg rgba(0, 0, 0, 255)\nroad rgba(255, 0, 0, 255)\n'),
        ('classes.txt', RED),
        ('classes.txt', '0 0 0 0 bg\n1 255 0 0 road\n'),
        ('classes.txt', 'road #ff0000ff\nbg #000000ff\n'),
    ],
)
def test_colours_as_they_are_written(name, text, tmp_path, command):
    (mask_set(tmp_path, [[0, 0, 0], [255, 0, 0]]) / name).write_text(text)
    ended = command('check', tmp_path)
    assert ended.code == 0
    assert sorted(table(ended.out)) == ['bg', 'road']


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('id2label.json', '{"0": "background", "1": "road", "2": "car"}'),
        ('config.json', '{"model_type": "segformer", "id2label": {"0": "background", "1": "road", "2": "car"}}'),
        ('objectInfo3.csv', 'Idx,Ratio,Train,Val,Stuff,Name\n0,.1,1,1,1,background\n1,.1,1,1,1,road\n2,.1,1,1,0,car\n'),
        ('label_names.txt', 'background\nroad\ncar\n'),
        ('data.yaml', 'nc: 3\nnames: [background, road, car]\n'),
        ('my-labels.json', '["background", "road", "car"]'),
        ('obj_class_to_machine_color.json', '{"car": [2, 2, 2], "background": [0, 0, 0], "road": [1, 1, 1]}'),
        ('meta.json', '{"classes": [{"title": "background", "shape": "bitmap", "color": "#000000"}, '
         '{"title": "road", "shape": "bitmap", "color": "#010101"}, {"title": "car", "shape": "bitmap", "color": "#020202"}]}'),
    ],
)  # fmt: skip
def test_files_of_other_names_that_hold_the_classes(name, text, tmp_path, command):
    (mask_set(tmp_path) / name).write_text(text)
    ended = command('check', tmp_path)
    assert (ended.code, table(ended.out)) == (0, ORDER)


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('labels.json', '{"images": [], "annotations": [], "categories": [{"id": 0, "name": "x"}, {"id": 1, "name": "y"}]}'),
        ('labels.csv', 'image,label\na.jpg,cat\nb.jpg,dog\n'),
        ('label_stats.json', '{"mean": 0.5, "std": 0.2}'),
        ('classes_readme.txt', 'These are masks of roads, made in 2021 by hand, see the page of the project for more.\nSecond line.\n'),
        ('meta.json', '{"author": "somebody", "year": 2021}'),
        ('dataset.yaml', 'path: data\ntrain: images\n'),
        ('label_order.txt', '0.jpg\n1.jpg\n'),
    ],
)  # fmt: skip
def test_files_that_hold_no_classes(name, text, tmp_path, command):
    (mask_set(tmp_path) / name).write_text(text)
    ended = command('check', tmp_path, '--format', 'masks')
    assert (ended.code, table(ended.out)) == (0, ['class_0', 'class_1', 'class_2'])
    assert '0 errors, 0 warnings' in ended.out


def test_class_files_that_are_not_used_are_said(tmp_path, command):
    root = mask_set(tmp_path / 'data')
    (root / 'areas.json').write_text('{"0": "background", "1": "road", "2": "car"}')
    assert (
        'warning: 1 x file that may name the classes, not used; give it with --palette: areas.json'
        in command('check', root).out
    )
    assert table(command('check', root, '--palette', root / 'areas.json').out) == ORDER
    (root / 'classes.txt').write_text('a\nb\nc\n')
    for name, text in (
        ('labels.txt', 'x\ny\nz\n'),
        ('label_names.txt', 'b\na\nc\n'),
        ('id2label.json', '{"0":"a","1":"c","2":"b"}'),
    ):
        (root / name).write_text(text)
        ended = command('check', root)
        assert table(ended.out) == ['a', 'b', 'c']
        assert f'warning: 1 x class file with other classes than classes.txt, which counts: {name}' in ended.out
        (root / name).unlink()
    (root / 'labels.txt').write_text('A\nB\nC\n')
    assert '0 errors, 0 warnings' in command('check', root).out


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('label_map.json', 'class file that is not understood, not used'),
        ('class_list.csv', 'class file that is not understood, not used'),
        ('classes.xlsx', 'class file of a kind that is not read; save it as csv'),
    ],
)
def test_class_files_that_can_not_be_used_are_said(name, kind, tmp_path, command, refused):
    (mask_set(tmp_path) / name).write_text('{"0": "bg",\n' if name.endswith('json') else 'name,color\nbg,red\n')
    ended = command('check', tmp_path)
    assert (ended.code, table(ended.out)) == (0, ['class_0', 'class_1', 'class_2'])
    assert f'warning: 1 x {kind}' in ended.out
    if 'why' in ended.out:
        assert 'is not understood (' in refused('check', tmp_path, '--palette', tmp_path / name)


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('data.yaml', 'nc: 2\nnames: [cat, dog]\n'),
        ('label_list.txt', 'cat\ndog\n'),
        ('labels.json', '{"7": "cat", "9": "dog"}'),
        ('category_names.csv', 'id,name\n5,cat\n'),
    ],
)
def test_a_file_that_may_be_for_something_else_stops_no_check(name, text, tmp_path, command):
    (mask_set(tmp_path, (0, 1, 2, 3)) / name).write_text(text)
    ended = command('check', tmp_path)
    assert (ended.code, table(ended.out)) == (0, [f'class_{number}' for number in range(4)])
    assert f'warning: 1 x classes: {name} does not fit the masks and is not used: ' in ended.out


def test_of_two_class_files_the_one_with_colours_counts(tmp_path, command):
    root = mask_set(tmp_path, COLORS)
    (root / 'classes.txt').write_text('sky\nroad\ncar\n')
    assert 'are given to those of the masks in order: sky [60, 16, 152], ' in command('check', root).out
    rows = ''.join(f'{name},{r},{g},{b}\n' for name, (r, g, b) in zip(('sky', 'road', 'car'), COLORS))
    (root / 'class_dict.csv').write_text(f'name,r,g,b\n{rows}')
    ended = command('check', root)
    assert table(ended.out) == ['sky', 'road', 'car']
    assert '0 errors, 0 warnings' in ended.out


def masks_in_tiff(root: Path, values, dtypes) -> Path:
    (root / 'masks').mkdir(parents=True)
    for number, dtype in enumerate(dtypes):
        photo(root / f'images/{number}.jpg')
        tifffile.imwrite(root / f'masks/{number}.tif', np.array(values)[stripes(range(len(values)))].astype(dtype))
    return root


@pytest.mark.parametrize('dtype', ['float64', 'int64', 'float16', 'uint32'])
def test_masks_of_wide_numbers(dtype, tmp_path, command):
    root = masks_in_tiff(tmp_path / 'data', (0, 1, 2), [dtype] * 4)
    assert command('check', root).code == 0
    assert mask_labels(adapt(UPERNET, root, tmp_path / 'work')[0]) == [0, 1, 2]


@pytest.mark.parametrize(
    ('values', 'dtypes'),
    [
        ((0, 255), ['float32'] * 4),
        ((0, 255), ['float64'] * 4),
        ((0, 65535), ['uint16'] * 4),
        ((0, 256), ['uint16'] * 4),
        ((0, 255), ['uint8'] * 2 + ['uint16'] * 2),
    ],
)
def test_white_of_any_depth(values, dtypes, tmp_path, command):
    root = masks_in_tiff(tmp_path / 'data', values, dtypes)
    ended = command('check', root)
    assert (ended.code, table(ended.out)) == (0, ['background', 'foreground'])
    assert mask_labels(adapt(UPERNET, root, tmp_path / 'work')[0]) == [0, 1]


@pytest.mark.parametrize('values', [(1, 254), (254, 255), (1, 254, 255)])
def test_one_object_in_several_values(values, tmp_path, command):
    for number in range(6):
        photo(tmp_path / f'data/images/{number}.jpg')
        mask(tmp_path / f'data/masks/{number}.png', stripes([0, values[number % len(values)]]))
    ended = command('check', tmp_path / 'data')
    assert (ended.code, table(ended.out)) == (0, ['background', 'foreground'])
    cfg, lines = adapt(UPERNET, tmp_path / 'data', tmp_path / 'work')
    assert mask_labels(cfg) == [0, 1]
    assert any('one class' in line for line in lines)


@pytest.mark.parametrize('suffix', ['npy', 'npz', 'mat'])
def test_masks_in_arrays_are_named(suffix, tmp_path, refused):
    for number in range(6):
        photo(tmp_path / f'images/{number}.jpg')
        (tmp_path / 'masks').mkdir(exist_ok=True)
        (tmp_path / f'masks/{number}.{suffix}').write_bytes(b'array')
    assert f'6 files of arrays such as masks/0.{suffix} are not read; save each mask as a png' in refused(
        'check', tmp_path
    )


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('nc: 2\nnames: [cat dog]\n', 'names 1 class for 2: [\'cat dog\']; a comma is missing: write names: [cat, dog]'),
        ('names: [cat dog]\n', 'a comma is missing'),
        ('nc: 3\nnames: [cat, dog bird]\n', 'a comma is missing: write names: [cat, dog, bird]'),
        ('nc: 2\nnames: [animals]\n', "names one class, 'animals', and nc is 2; write the name of each class"),
        ("names: 'classes.txt'\n", "the names are in 'classes.txt', which is not there; write a list such as [cat, dog]"),
    ],
)  # fmt: skip
def test_names_that_data_yaml_contradicts(text, message, tmp_path, refused):
    (yolo_set(tmp_path, '0012' if 'bird' in text else '001') / 'data.yaml').write_text(text)
    assert message in refused('check', tmp_path)


def test_a_list_of_names_that_data_yaml_points_to(tmp_path, command):
    (yolo_set(tmp_path, '001') / 'data.yaml').write_text('nc: 2\nnames: cfg/animals.names\n')
    (tmp_path / 'animals.names').write_text('cat\ndog\n')
    ended = command('check', tmp_path)
    assert counts(ended.out) == dict(cat=2, dog=1)
    assert '0 errors, 0 warnings' in ended.out
