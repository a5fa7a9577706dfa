"""YOLO folders as people have them: data.yaml in all its forms, outlines, mistakes in numbers, photos without labels."""

from pathlib import Path

import pytest
from own_sets import MASK_RCNN, RETINANET, adapt, annotation, coco, image, instances, photo

from mmlska.own_data.check import check_folder
from mmlska.own_data.sources import find_source, require_source
from mmlska.own_data.sources.yolo import YoloSource

SHIPS = Path(__file__).resolve().parents[4] / 'shared/data/ships_yolo'
CAT = '0 0.5 0.5 0.5 0.5'
CAT_BOX = [20, 15, 40, 30]  # of a photo of 80x60


def label(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(lines), encoding='utf-8')


def ultralytics(root: Path, yaml: str | None = 'names: [cat, dog]\n', val: str = 'val', count: int = 3) -> Path:
    """train/ and another folder of photos and labels, a cat on each photo."""
    for split in ('train', val):
        for i in range(count):
            photo(root / split / 'images' / f'{i}.jpg')
            label(root / split / 'labels' / f'{i}.txt', CAT)
    if yaml:
        (root / 'data.yaml').write_text(yaml, encoding='utf-8')
    return root


def read(root: Path):
    return require_source(root, 'mmdet').read()


def numbers(labels) -> dict[str, int]:
    return {split: len(images) for split, images in labels.splits.items()}


def all_boxes(labels) -> list[list[float]]:
    return [a['bbox'] for images in labels.splits.values() for image in images for a in image.annotations]


@pytest.mark.parametrize(
    'yaml',
    [
        'names: [cat, dog]\n',
        'names: {0: cat, 1: dog}\n',
        'names:\n  0: cat\n  1: dog\nnc: 2\n',
        'names: [cat, dog]\ntrain: train/images\nval: val/images\n',
        'names: [cat, dog]\ntrain: ../train/images\nval: ../val/images\n',  # Roboflow
        'names: [cat, dog]\npath: ../datasets/pets\ntrain: [train/images]\nval: [val/images]\n',
        'names: [cat, dog]\npath: /content/pets\ntrain: train\nval: val\n',
        'names: [cat, dog]\ntrain: C:\\pets\\train\\images\nval: C:\\pets\\val\\images\n',
        'names: [cat, dog]\ntrain: train.txt\nval: lists/val.txt\n',
        'names: [cat, dog]\ntrain: ../train/images\nvalid: ../nowhere/images\n',
    ],
)
def test_data_yaml_in_all_its_forms(tmp_path, yaml):
    root = ultralytics(tmp_path / 'd', yaml)
    if 'train.txt' in yaml:
        label(root / 'train.txt', *(f'/home/me/pets/train/images/{i}.jpg' for i in range(3)))
        label(root / 'lists/val.txt', *(f'./val/images/{i}.jpg' for i in range(3)))
    labels = read(root)
    assert labels.classes == ['cat', 'dog']
    assert numbers(labels) == {'train': 3, 'val': 3}
    assert all_boxes(labels) == [CAT_BOX] * 6
    if 'nowhere' in yaml:
        assert labels.notes == ["1 x data.yaml names a place without photos: '../nowhere/images', val/images is taken"]
    else:
        assert labels.notes == []


def test_the_folder_called_otherwise_than_in_data_yaml(tmp_path):
    root = ultralytics(tmp_path / 'd', 'names: [cat]\ntrain: ../train/images\nval: ../valid/images\n', val='validate')
    labels = read(root)
    assert numbers(labels) == {'train': 3, 'val': 3}
    assert labels.notes == ["1 x data.yaml names a place without photos: '../valid/images', validate/images is taken"]


def test_validation_on_the_training_photos_is_not_taken(tmp_path):
    root = ultralytics(tmp_path / 'd', 'names: [cat]\ntrain: train/images\nval: train/images\n')
    labels = read(root)
    assert numbers(labels) == {'train': 3}
    assert labels.notes[0].startswith(
        '3 x photo that data.yaml puts into val and another split, where it stays: train/images/0'
    )
    assert any('photo that data.yaml puts into no split, not used: val/images/0.jpg' in note for note in labels.notes)


@pytest.mark.parametrize('names', ['classes.txt', 'obj.names', 'labels/classes.txt'])
def test_names_in_a_list_and_everything_beside_each_other(tmp_path, names):
    folder = Path(names).parent
    for i in range(4):
        photo(tmp_path / 'images' / f'{i}.JPG')
        label(tmp_path / ('labels' if folder.name else 'images') / f'{i}.txt', CAT if i else '')
    label(tmp_path / names, 'cat', 'dog', '')
    labels = read(tmp_path)
    assert labels.classes == ['cat', 'dog']
    assert [len(image.annotations) for image in labels.splits['']] == [0, 1, 1, 1]


def test_darknet(tmp_path):
    for i in range(2):
        photo(tmp_path / 'obj_train_data' / f'{i}.png')
        label(tmp_path / 'obj_train_data' / f'{i}.txt', CAT)
    label(tmp_path / 'obj.names', 'cat')
    label(tmp_path / 'train.txt', 'data/obj_train_data/0.png', 'data/obj_train_data/1.png')
    label(tmp_path / 'obj.data', 'classes = 1', 'train = data/train.txt', 'names = data/obj.names', 'backup = backup/')
    labels = read(tmp_path)
    assert (labels.classes, numbers(labels), labels.notes) == (['cat'], {'train': 2}, [])


def test_lines_of_all_kinds(tmp_path):
    photo(tmp_path / 'images/a.b 1.jpg')
    label(
        tmp_path / 'labels/a.b 1.txt',
        '0 0.5 0.5 0.5 0.5 0.93',  # a prediction with its confidence
        '1 0.25 0.25 0.75 0.25 0.75 0.5',
        '1 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5',  # a turned box
        '0 0.5 0.5 1.1 0.5',
        '',
    )
    label(tmp_path / 'classes.txt', 'cat', 'dog')
    (entry,) = read(tmp_path).splits['']
    boxes, outlines = [a['bbox'] for a in entry.annotations], [a.get('segmentation') for a in entry.annotations]
    assert boxes == [pytest.approx(box) for box in (CAT_BOX, [20, 15, 40, 15], [8, 6, 32, 24], [0, 15, 80, 30])]
    assert outlines == [None, [[20, 15, 60, 15, 60, 30]], [pytest.approx([8, 6, 40, 6, 40, 30, 8, 30])], None]


def test_keypoints_are_passed_over(tmp_path):
    photo(tmp_path / 'images/a.jpg')
    label(tmp_path / 'labels/a.txt', '0 0.5 0.5 0.5 0.5 0.1 0.2 2 0.3 0.4 2')
    (tmp_path / 'data.yaml').write_text('names: [cat]\nkpt_shape: [2, 3]\n')
    assert all_boxes(read(tmp_path)) == [CAT_BOX]


def test_a_photo_that_exif_turns_is_labelled_as_it_is_seen(tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    photo(tmp_path / 'images/a.jpg', exif=exif)
    label(tmp_path / 'labels/a.txt', CAT)
    (tmp_path / 'data.yaml').write_text('names: [cat]\n')
    assert all_boxes(read(tmp_path)) == [[15, 20, 30, 40]]


@pytest.mark.parametrize(
    ('line', 'reason'),
    [
        ('0 40 30 40 30', '40 is no fraction of the photo; divide pixels by its width and height'),
        ('0 0.5 0.5 0.5', '3 numbers behind the class; a box has 4, an outline an even number from 6 on'),
        ('0 0.5 0.5 0.5 0.5 0.5 0.5 0.5', '7 numbers behind the class'),
        ('0 0.5 nan 0.5 0.5', "'nan' is no number"),
        ('cat 0.5 0.5 0.5 0.5', "'cat' is no number"),
        ('0.5 0.5 0.5 0.5 0.5', "class '0.5' is no whole number from 0"),
        ('-1 0.5 0.5 0.5 0.5', "class '-1' is no whole number from 0"),
    ],
)
def test_a_wrong_line_is_left_out_and_named(tmp_path, line, reason):
    root = ultralytics(tmp_path / 'd')
    label(root / 'train/labels/1.txt', CAT, line)
    labels = read(root)
    assert all_boxes(labels) == [CAT_BOX] * 6
    (note,) = labels.notes
    assert note.startswith('left out: 1 x annotation that can not be read: train/labels/1.txt line 2: ')
    assert reason in note
    (finding,) = (f for f in check_folder(str(root)).report.findings if f.kind == 'annotation that can not be read')
    assert finding.level == 'error'


def test_a_class_beyond_the_names(tmp_path):
    root = ultralytics(tmp_path / 'd')
    label(root / 'train/labels/1.txt', CAT, '7 0.5 0.5 0.5 0.5')
    labels = read(root)
    assert numbers(labels) == {'train': 2, 'val': 3}  # the photo is no background
    assert labels.notes == [
        'left out: 1 x photo with an object of a class without name: train/labels/1.txt line 2: class 7 has no name; '
        'names are given for 0 to 1'
    ]


def test_every_class_is_the_only_one_that_is_named(tmp_path):
    root = ultralytics(tmp_path / 'd', 'names: [ship]\n')
    label(root / 'val/labels/1.txt', '3 0.5 0.5 0.5 0.5')
    labels = read(root)
    assert (labels.classes, all_boxes(labels)) == (['ship'], [CAT_BOX] * 6)
    assert labels.notes == [
        '1 x class ids beside that of the one class that data.yaml names; all are taken for it: 3: ship'
    ]


def test_class_ids_from_1(tmp_path):
    root = ultralytics(tmp_path / 'd')
    for path in root.rglob('*.txt'):
        label(path, '1 0.5 0.5 0.5 0.5', '2 0.5 0.5 0.25 0.25')
    labels = read(root)
    assert labels.notes == ['1 x class ids count from 1, not from 0, and are read so: data.yaml']
    assert labels.classes == ['cat', 'dog']
    assert [labels.classes_in(image) for image in labels.splits['train']] == [{0, 1}] * 3


def test_no_names_at_all(tmp_path):
    labels = read(ultralytics(tmp_path / 'd', None))
    assert labels.classes == ['class_0']
    assert labels.notes == ['1 x labels without class names; put a data.yaml or classes.txt there: class_0']


def test_labels_without_photo_twice_and_unreadable(tmp_path):
    root = ultralytics(tmp_path / 'd')
    (root / 'train/images/2.jpg').unlink()
    label(root / 'train/labels/old/1.txt', CAT, CAT)
    (root / 'val/labels/0.txt').write_bytes(b'\xff\x00\x81')
    labels = read(root)
    assert numbers(labels) == {'train': 2, 'val': 2}
    assert all_boxes(labels) == [CAT_BOX] * 4
    kinds = {note.split(': ')[1] for note in labels.notes}
    assert kinds == {
        '1 x label file without its photo',
        '1 x second label file of one photo',
        '1 x label file that can not be read',
    }


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('data.yaml', 'names: [cat, dog\n', r'data.yaml is not valid YAML: .* line 2'),
        ('data.yaml', 'names: 5.0.x: 1\n', r'data.yaml is not valid YAML'),
        ('data.yaml', 'names: [[cat], dog]\n', r"has the names .*'cat'.*; write a list such as"),
        ('data.yaml', 'names: {a: cat}\n', r"data.yaml, names: 'a' is no number"),
        ('data.yaml', 'names: [cat]\ntrain: {a: b}\n', r'has the entry train: .*; it must name folders of photos'),
        (
            'other/data.yaml',
            'names: [dog]\n',
            r'data.yaml and \S*other/data.yaml name the classes differently; delete one',
        ),
    ],
)
def test_a_broken_data_yaml_is_refused(tmp_path, name, text, message):
    root = ultralytics(tmp_path / 'd')
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read(root)
    assert '\n' not in str(error.value)


def test_other_text_files_are_no_labels(tmp_path):
    photo(tmp_path / 'images/a.jpg')
    label(tmp_path / 'images/a.txt', 'a photo of a cat')  # a caption
    label(tmp_path / 'README.txt', '0 1 2 3 4')
    assert find_source(tmp_path, 'mmdet') is None


def test_the_format_that_is_asked_for(tmp_path):
    root = ultralytics(tmp_path / 'd')

    for i in (1, 2):
        coco(root / f'train/{i}.json', [image(1, f'{i}.jpg')], [annotation(1, 1, 1)], [(1, 'cow')])
    source = find_source(root, 'mmdet')
    assert (source.name, source.also) == ('coco', ['yolo'])
    assert isinstance(find_source(root, 'mmdet', label_format='yolo'), YoloSource)
    _, lines = adapt(RETINANET, root, tmp_path / 'work')
    assert 'there are labels in another format too: --format yolo reads those' in lines
    cfg, lines = adapt(RETINANET, root, tmp_path / 'work2', label_format='yolo')
    assert lines[0].endswith('format yolo')
    assert instances(cfg)['1.jpg'] == [(0, [20, 15, 60, 45], 0)]
    with pytest.raises(ValueError, match="--format 'voc2' is unknown for a detector; use one of coco, .*yolo"):
        find_source(root, 'mmdet', label_format='voc2')


def test_boxes_among_outlines_of_other_splits_do_not_train_masks(tmp_path):
    root = ultralytics(tmp_path / 'd')
    label(root / 'val/labels/0.txt', '1 0.25 0.25 0.75 0.25 0.75 0.5')
    with pytest.raises(ValueError, match='the 3 annotations to train on in .* have boxes without masks'):
        adapt(MASK_RCNN, root, tmp_path / 'work')


@pytest.mark.skipif(not SHIPS.is_dir(), reason='the data set ships_yolo is not there')
def test_ships(tmp_path):
    labels = read(SHIPS)
    assert labels.classes == ['Ships']
    assert numbers(labels) == {'train': 402, 'val': 99, 'test': 63}  # three of 405 are there twice
    assert "1 x data.yaml names a place without photos: '../valid/images', validate/images is taken" in labels.notes
    assert sum(not image.annotations for image in labels.splits['train']) == 88  # without a label file
    assert len(all_boxes(labels)) == 665
