"""Files that look as if they named the classes and hold something else, and numbers and commas in class names that mean nothing."""

import pytest
from own_sets import COLORS, mask_set
from test_class_files import counts, table, yolo_set

CARDS = ['10 of clubs', '2 of hearts', '3 of spades']


@pytest.mark.parametrize(
    'names',
    [
        CARDS,
        ['747 boeing', '320 airbus', '190 embraer'],
        ['10 dollar', '5 euro', '1 pound'],
        ['50 sign', '30 limit', '80 end'],
        ['0 stars', '10 miles', '2 nil'],
    ],
)  # fmt: skip
def test_numbers_before_a_blank_are_parts_of_names(names, tmp_path, command):
    (yolo_set(tmp_path / 'yolo', '0012') / 'classes.txt').write_text('\n'.join(names))
    ended = command('check', tmp_path / 'yolo')
    assert (ended.code, table(ended.out)[:3]) == (0, names)
    (mask_set(tmp_path / 'masks', (0, 1, 2)) / 'classes.txt').write_text('\n'.join(names))
    assert table(command('check', tmp_path / 'masks').out) == names


def test_numbers_before_a_blank_that_the_masks_hold(tmp_path, command):
    (mask_set(tmp_path, (0, 7, 11, 26)) / 'classes.txt').write_text('26 sky\n7 road\n11 car\n')
    assert table(command('check', tmp_path).out) == ['road', 'car', 'sky']


@pytest.mark.parametrize(
    'text',
    [
        'name,code\nbackground,B\nroad,F\ncar,C\n',
        'name,gray\nbackground,no\nroad,yes\ncar,no\n',
        'name,pixel\nbackground,99999\nroad,2000\ncar,3\n',
        'name,idx\nbackground,a1\nroad,a2\ncar,a3\n',
        'name,code,id\nbackground,900,0\nroad,901,1\ncar,902,2\n',
        'name,class_value\nbackground,low\nroad,high\ncar,high\n',
    ],
)
def test_a_column_of_something_else_in_a_class_table(text, tmp_path, command):
    (mask_set(tmp_path) / 'classes.csv').write_text(text)
    ended = command('check', tmp_path)
    assert (ended.code, table(ended.out)) == (0, ['background', 'road', 'car'])
    assert '0 errors, 0 warnings' in ended.out


@pytest.mark.parametrize(
    ('ids', 'text', 'expected'),
    [
        ('0001', 'nc: 1\nnames: [traffic light]\n', ['traffic light']),
        ('001', 'nc: 3\nnames: [traffic light, car]\n', ['traffic light', 'car']),
        ('01', 'nc: 4\nnames: [stop sign, traffic light]\n', ['stop sign', 'traffic light']),
    ],
)
def test_a_class_of_two_words_lacks_no_comma(ids, text, expected, tmp_path, command):
    (yolo_set(tmp_path, ids) / 'data.yaml').write_text(text)
    ended = command('check', tmp_path)
    assert (ended.code, table(ended.out)[: len(expected)]) == (0, expected)


def test_two_names_of_one_id_lose_none(tmp_path, refused):
    (yolo_set(tmp_path, '001') / 'data.yaml').write_text('names: {cat: 0, dog: 0}\n')
    assert 'of which two have one id; give each its own' in refused('check', tmp_path)


@pytest.mark.parametrize(
    'files',
    [
        {'labels.json': '{"cat": 100, "dog": 50, "cow": 3}'},
        {'labels.json': '{"cat": 3, "dog": 2, "cow": 1}'},
        {'labels.json': '{"cat": 0, "dog": 1}'},
        {'classes.yaml': 'epochs: 50\nseed: 1\nworkers: 2\n'},
        {'labels.json': '["cat", "dog", "cow"]', 'classes.csv': 'x,y\n1,2\n'},
        {'labels.json': '["cat", "dog", "cow"]', 'id2label.json': '{"0": "Cat", "1": "Dog", "2": "cow"}'},
        {'data.yaml': 'nc: 3\n', 'labels.json': '["cat", "dog"]'},
    ],
)
def test_files_of_vague_names_do_not_stop_yolo(files, tmp_path, command):
    yolo_set(tmp_path, '0012')
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    ended = command('check', tmp_path)
    assert (ended.code, table(ended.out)[:3]) == (0, ['class_0', 'class_1', 'class_2'])
    assert 'file that may name the classes and does not fit the class ids or another such file, not used' in ended.out
    assert 'labels without class names; put a data.yaml or classes.txt there' in ended.out


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('id2label.json', '{"0": "cat", "1": "dog", "2": "cow", "3": "pig"}'),
        ('labels.json', '["cat", "dog", "cow"]'),
        ('classes.csv', 'id,name\n2,cow\n1,dog\n0,cat\n'),
    ],
)
def test_files_of_vague_names_that_fit_the_ids_of_yolo(name, text, tmp_path, command):
    (yolo_set(tmp_path, '0012') / name).write_text(text)
    ended = command('check', tmp_path)
    assert ended.code == 0
    found = counts(ended.out)
    assert {one: found[one] for one in ('cat', 'dog', 'cow')} == dict(cat=2, dog=1, cow=1)
    assert (
        f'warning: 1 x class names from a file that may be for something else; a data.yaml or classes.txt counts before it: {name}'
        in (ended.out)
    )


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('class_weights.yaml', 'background: 1\nroad: 2\ncar: 5\n'),
        ('class_weights.json', '{"0": "1", "1": "2", "2": "4"}'),
        ('label_count.json', '{"train": 2, "val": 1, "test": 0}'),
        ('label-frequencies.csv', 'name,value\nbackground,0\nroad,1\ncar,2\n'),
        ('config.json', '{"num_classes": 3, "ignore": 255, "epochs": 1, "workers": 2}'),
        ('config.json', '{"version": 1, "width": 2, "height": 0}'),
        ('dataset.yaml', 'seed: 2\nfolds: 1\nfold: 0\n'),
        ('meta.json', '{"revision": 1, "year": 2, "month": 0}'),
        ('my_labels.json', '{"count": 5}'),
        ('my_labels.json', '{"a": 1, "b": 2, "c": 5}'),
        ('my_labels.json', '{"a": 1, "b": 2, "c": 3, "d": 4}'),
        ('train_labels.csv', 'name,label\nimg_0,0\nimg_1,1\nimg_2,2\n'),
        ('my_labels.csv', 'name,label\nimg_0,0\nimg_1,1\nimg_2,2\n'),
        ('labels.csv', 'id,label\n0,sunny\n1,rain\n2,fog\n'),
        ('data_colors.json', '{"mean": [123, 116, 103], "std": [58, 57, 57], "min": [0, 0, 0]}'),
        ('data.yaml', 'nc: 5\nnames: [a, b, c, d, e]\n'),
        ('data.yaml', 'nc: 2\nnames: [cat, dog]\n'),
    ],
)
def test_files_that_look_as_if_they_named_the_classes(name, text, tmp_path, command):
    (mask_set(tmp_path) / name).write_text(text)
    ended = command('check', tmp_path, '--format', 'masks')
    assert (ended.code, table(ended.out)) == (0, ['class_0', 'class_1', 'class_2'])
    assert f'the names are those of {name}' not in ended.out


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('config.json', '{"version": 1}'),
        ('dataset.yaml', 'seed: 42\n'),
        ('my_labels.json', '{"count": 5}'),
        ('my_labels.json', '{"left": 2, "right": 1}'),
        ('data.yaml', 'nc: 5\nnames: [a, b, c, d, e]\n'),
    ],
)
def test_files_of_settings_beside_binary_masks(name, text, tmp_path, command):
    (mask_set(tmp_path, (0, 1)) / name).write_text(text)
    ended = command('check', tmp_path, '--format', 'masks')
    assert (ended.code, table(ended.out)) == (0, ['background', 'foreground'])
    if name == 'data.yaml':
        assert 'does not fit the masks and is not used: the masks hold 0, 1, and it names 0, 1, 2, 3, 4' in ended.out


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('id2label.json', '{"0": "bg", "1": "road", "2": "car", "3": "tree", "4": "sky"}'),
        ('my_labels.csv', 'id,name\n0,bg\n1,road\n2,car\n'),
        ('data.yaml', 'names: [bg, road, car]\n'),
        ('legend.json', '{"bg": [0, 0, 0], "road": [1, 1, 1], "car": [2, 2, 2]}'),
        ('colors.csv', 'name,r,g,b\nbg,9,8,7\nroad,60,50,40\ncar,6,7,8\n'),
    ],
)
def test_a_file_of_another_name_that_names_the_classes_is_said(name, text, tmp_path, command):
    (mask_set(tmp_path) / name).write_text(text)
    ended = command('check', tmp_path, '--format', 'masks')
    assert (ended.code, table(ended.out)[:3]) == (0, ['bg', 'road', 'car'])
    assert f'classes: the names are those of {name}; if it is for something else, give --palette' in ended.out


def test_colours_of_something_else_are_not_those_of_masks(tmp_path, command):
    root = mask_set(tmp_path, COLORS)
    bare = table(command('check', root).out)
    for name, text in (
        ('plot_colors.json', '{"low": [1, 2, 3], "high": [4, 5, 6]}'),
        ('data.yaml', 'names: [a, b, c]\n'),
    ):
        (root / name).write_text(text)
        ended = command('check', root, '--format', 'masks')
        assert (ended.code, table(ended.out)) == (0, bare)
        assert f'{name} does not fit the masks and is not used: the masks hold ' in ended.out
        (root / name).unlink()
    rows = ''.join(f'{name},{r},{g},{b}\n' for name, (r, g, b) in zip(('sky', 'road', 'car'), COLORS))
    (root / 'plot_colors.csv').write_text(f'name,r,g,b\n{rows}')
    assert table(command('check', root).out) == ['sky', 'road', 'car']


@pytest.mark.parametrize('names', ['["1 of clubs", "2 of hearts"]', '["5: left", "9: right"]', '["2 a", "1 b"]'])
def test_numbers_in_names_of_a_list_are_parts_of_them(names, tmp_path, command):
    (mask_set(tmp_path, (0, 1)) / 'classes.json').write_text(names)
    assert str(table(command('check', tmp_path).out)).replace("'", '"') == names
