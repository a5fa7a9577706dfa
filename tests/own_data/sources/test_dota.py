"""DOTA's turned boxes as people have them, and that they and YOLO's lines are not taken for each other."""

import unicodedata
from pathlib import Path

import pytest
from own_sets import photo

from mmlska.own_data.check import check_folder
from mmlska.own_data.data_folder import DataFolder
from mmlska.own_data.sources import find_source, require_source
from mmlska.own_data.sources.dota import DotaSource
from mmlska.own_data.sources.yolo import YoloSource

HEAD = 'imagesource:GoogleEarth\ngsd:0.146343\n'
CORNERS = '10.5 12 50 12.25 48 40 9 38'
OUTLINE = [10.5, 12, 50, 12.25, 48, 40, 9, 38]
PLANE = f'{CORNERS} plane 0\n'
YOLO = '0 0.1 0.2 0.5 0.2 0.5 0.6 0.1 0.6\n'
BROKEN = 'annotation that can not be read'


def label(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')


def dota(root: Path, text: str = HEAD + PLANE, labels='labelTxt', images='images', suffix='.png', count=2) -> Path:
    for i in range(count):
        photo(root / images / f'P{i}{suffix}')
        label(root / labels / f'P{i}.txt', text)
    return root


def read(root: Path, label_format: str | None = 'dota'):
    return require_source(root, 'mmdet', label_format=label_format).read()


def objects(labels, number: int = 0) -> list[tuple[str, list[float], int]]:
    """Class, outline and whether it is ignored, of the objects of a photo."""
    found = next(iter(labels.splits.values()))[number].annotations
    return [(labels.classes[a['category_id'] - 1], a['segmentation'][0], a['iscrowd']) for a in found]


def found(root: Path) -> dict[str, list[str]]:
    return {f.kind: f.places for f in check_folder(str(root), label_format='dota').report.findings}


@pytest.mark.parametrize(
    ('text', 'wanted'),
    [
        (HEAD + PLANE, [('plane', 0)]),
        (PLANE, [('plane', 0)]),
        ('gsd:null\n\n' + PLANE.replace('\n', '\r\n'), [('plane', 0)]),
        ('\ufeff' + HEAD + f'{CORNERS} plane\n', [('plane', 0)]),
        (HEAD + f'{CORNERS} small-vehicle 1\n{CORNERS} large-vehicle 0', [('small-vehicle', 1), ('large-vehicle', 0)]),
        (HEAD + f'{CORNERS} ship 2\n', [('ship', 1)]),
        (HEAD + f'{CORNERS.replace(" ", "  ")}\tplane\t0 \n\n', [('plane', 0)]),
        (HEAD + f'{CORNERS} ground track field 0\n', [('ground track field', 0)]),
        (HEAD + f'{CORNERS} ground track field\n', [('ground track field', 0)]),
        (HEAD + f'{CORNERS} 7 1\n{CORNERS} 8 0\n', [('7', 1), ('8', 0)]),
        (HEAD + f'{CORNERS} 7\n', [('7', 0)]),
        (HEAD + f'{CORNERS} 飞机 0\n', [('飞机', 0)]),
    ],
)
def test_lines(tmp_path, text, wanted):
    root = dota(tmp_path / 'd', text)
    labels = read(root)
    assert objects(labels) == [(name, OUTLINE, ignored) for name, ignored in wanted]
    assert next(iter(labels.splits.values()))[0].annotations[0]['bbox'] == [9, 12, 41, 28]
    assert (labels.notes, labels.left_out) == ([], {})
    kind = 'annotations to train on that are all crowds (iscrowd), difficult or ignored, of which nothing is learned'
    assert (kind in found(root)) == all(ignored for _, ignored in wanted)
    assert check_folder(str(root), label_format='dota').report.errors == (kind in found(root))


@pytest.mark.parametrize(
    'places',
    [
        {},
        {'labels': 'labelTxt-v1.0'},
        {'labels': 'labelTxt-v1.5/DOTA-v1.5_train'},
        {'labels': 'labels'},
        {'labels': 'annfiles'},
        {'labels': 'photos', 'images': 'photos'},
        {'labels': '.', 'images': '.'},
        {'suffix': '.TIF'},
        {'suffix': '.JPG', 'labels': 'images/labeltxt'},
    ],
)
def test_places(tmp_path, places):
    labels = read(dota(tmp_path / 'my 数据', **places), None)
    assert [objects(labels, number) for number in range(2)] == [[('plane', OUTLINE, 0)]] * 2
    assert labels.notes == []


def test_splits_are_those_of_the_folders(tmp_path):
    for split in ('train', 'val', 'test'):
        dota(tmp_path, images=f'{split}/images', labels=f'{split}/labelTxt')
    assert {split: len(images) for split, images in read(tmp_path).splits.items()} == {'train': 2, 'val': 2, 'test': 2}
    other = tmp_path / 'other'
    dota(other, images='images', labels='labelTxt/train')
    assert list(read(other).splits) == ['train']


@pytest.mark.parametrize('stem', ['P 1', '2024.05.01', '照片', 'UP', unicodedata.normalize('NFD', 'Ångström')])
def test_names(tmp_path, stem):
    photo(tmp_path / f'images/{stem}.PNG')
    label(tmp_path / f'labelTxt/{unicodedata.normalize("NFC", stem).lower()}.txt', HEAD + PLANE)
    assert objects(read(tmp_path)) == [('plane', OUTLINE, 0)]


@pytest.mark.parametrize(
    ('line', 'reason'),
    [
        ('10 12 50 12 48 40 9', '7 words; 8 numbers and a class are needed'),
        (CORNERS, '8 words; 8 numbers and a class are needed'),
        (CORNERS.replace('48', 'x') + ' plane 0', "'x' is no number"),
        (CORNERS.replace('48', 'nan') + ' plane 0', "'nan' is no number"),
        (CORNERS.replace('48', '1e999') + ' plane 0', "'1e999' is no number"),
        (CORNERS + ' 0.25 0', "'0.25' is no class"),
        ('gsd:0.1', "'gsd:0.1' is no number"),
    ],
)
def test_broken_lines_are_left_out_and_the_others_read(tmp_path, line, reason):
    root = dota(tmp_path / 'd')
    label(root / 'labelTxt/P0.txt', HEAD + PLANE + line + '\n' + PLANE.replace('plane', 'ship').replace('10.5', '10'))
    labels = read(root)
    assert objects(labels) == [('plane', OUTLINE, 0), ('ship', [10, *OUTLINE[1:]], 0)]
    assert labels.notes == [f'left out: 1 x {BROKEN}: labelTxt/P0.txt line 4: {reason}']
    assert found(root)[BROKEN] == [f'labelTxt/P0.txt line 4: {reason}']


@pytest.mark.parametrize(
    'corners', ['1e300 1 2e300 1 2e300 9 1e300 9', '100 100 140 100 140 120 100 120', '5 5 5 5 5 5 5 5']
)
def test_impossible_numbers_are_left_out(tmp_path, corners):
    root = dota(tmp_path / 'd', f'{PLANE}{corners} plane 0\n', count=1)
    labels = read(root)
    assert objects(labels) == [('plane', OUTLINE, 0)]
    assert sum(labels.left_out.values()) == 1
    assert check_folder(str(root)).report.errors == 1


def test_label_files_that_say_nothing_or_can_not_be_read(tmp_path):
    root = dota(tmp_path / 'd', count=6)
    label(root / 'labelTxt/P1.txt', '')
    label(root / 'labelTxt/P2.txt', HEAD)
    (root / 'labelTxt/P3.txt').write_bytes(b'\xff\x00\xfe')
    label(root / 'labelTxt/P4.txt', 'something else')
    (root / 'labelTxt/P5.txt').unlink()
    label(root / 'labelTxt/P9.txt', PLANE)
    label(root / 'README.txt', 'planes')
    labels = read(root)
    names = [Path(image.entry['file_name']).stem for image in labels.splits['']]
    assert sorted(names) == ['P0', 'P1', 'P2']
    assert [len(image.annotations) for image in labels.splits['']] == [1, 0, 0]
    places = found(root)
    assert [place.split(':')[0] for place in places['label file that can not be read']] == [
        'labelTxt/P3.txt',
        'labelTxt/P4.txt',
    ]
    assert places['photo without a label file, not used'] == ['images/P5.png']
    assert places['label file without its photo'] == ['labelTxt/P9.txt']
    assert len(labels.notes) == 3


@pytest.mark.parametrize('labels', ['labelTxt', 'labels', 'annfiles'])
def test_label_files_without_their_photos(tmp_path, labels):
    root = dota(tmp_path / 'd', labels=labels)
    (root / 'images/P1.png').unlink()
    assert read(root).notes == [f'left out: 1 x label file without its photo: {labels}/P1.txt']


def test_horizontal_boxes_beside_the_turned_ones(tmp_path):
    root = dota(tmp_path / 'd', labels='train/labelTxt-v1.0/labelTxt', images='train/images')
    label(root / 'train/labelTxt-v1.0/Train_Task2_gt/trainset_reclabelTxt/P0.txt', '9 12 50 12 50 40 9 40 plane 0\n')
    labels = read(root)
    assert objects(labels) == [('plane', OUTLINE, 0)]
    assert labels.notes[0].startswith(
        'left out: 1 x second label file of one photo: train/labelTxt-v1.0/Train_Task2_gt'
    )


@pytest.mark.parametrize(
    'text',
    [
        YOLO,
        '0 0.5 0.5 0.25 0.25\n',
        '0 0.1 0.2 0.5 0.2 0.5 0.6 0.1 0.6 0.1 0.4\n',
        '3 0 0 1 0 1 1 0 1\n',
        '3 0 0 1 0 1 1 0 1 0 1\n',
        '0 100 100 200 100 200 200 100 200\n',  # pixels in the place of fractions, which YOLO's reader tells
        '12 40 30 10 10\n',
        '0.1 0.2 0.5 0.2 0.5 0.6 0.1 0.6 plane 0\n',  # fractions
        '0 0 1 0 1 1 0 1 1 0\n',
        'a photo of a cat on a red carpet in the sun\n',
        '',
        HEAD,
    ],
)
def test_what_is_not_dota(tmp_path, text):
    root = dota(tmp_path / 'd', text, labels='labels')
    assert not DotaSource.fits(DataFolder(root))
    assert DotaSource.find(DataFolder(root)) is None
    with pytest.raises(ValueError, match='no labels for a detector in .*looked for dota'):
        read(root)


@pytest.mark.parametrize('labels', ['labelTxt', 'labels', 'images'])
@pytest.mark.parametrize(
    'text', [HEAD + PLANE, PLANE, f'{CORNERS} 7 0\n', '10 12 50 12 48 40 9 38 7 0\n', HEAD + f'{CORNERS} 7\n']
)
def test_dota_is_not_taken_for_yolo(tmp_path, labels, text):
    root = dota(tmp_path / 'd', text, labels=labels)
    assert find_source(root, 'mmdet').name == 'dota'
    assert check_folder(str(root)).source.name == 'dota'
    if '7 0' not in text or '.' in text.split()[0]:  # else YOLO's reader would take 10 for a class
        assert not YoloSource.fits(DataFolder(root))


def test_yolo_beside_dota(tmp_path):
    root = dota(tmp_path / 'd', labels='labels/train_original', images='images/train', count=3)
    for i in range(3):
        label(root / f'labels/train/P{i}.txt', '' if i == 1 else YOLO)
    source = find_source(root, 'mmdet')
    assert (source.name, list(source.also)) == ('dota', ['yolo'])
    assert [objects(source.read(), number) for number in range(3)] == [[('plane', OUTLINE, 0)]] * 3
    assert [len(read(root, name).splits['train']) for name in ('dota', 'yolo')] == [3, 3]
    assert source.read().notes == []
