"""One photo in several places of a set: it is one photo, on one side of the split, and what was joined is said."""

import json
import os
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from own_sets import MASK_RCNN, UPERNET, adapt, annotation, coco, image, mask, stripes
from PIL import Image

LEFT, RIGHT, LOW = (5, 5, 20, 20), (45, 10, 30, 40), (10, 35, 25, 20)


def picture(path: Path) -> None:
    """A photo of its own content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(path.stem.encode()))
    Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8)).save(path)


def pictures(root: Path, names: str) -> Path:
    for name in names:
        picture(root / f'images/{name}.png')
    return root


def labels(root: Path, name: str, boxes: dict[str, list[tuple[int, tuple]]], ids: int = 1) -> None:
    """A COCO file of these objects, (class, box) on each photo."""
    images = [image(ids + i, f'{photo}.png') for i, photo in enumerate(boxes)]
    objects = [(ids + i, *one) for i, photo in enumerate(boxes) for one in boxes[photo]]
    coco(root / name, images, [annotation(i, *one) for i, one in enumerate(objects, 1)])


def sides(root: Path, tmp_path: Path, **options) -> tuple[dict[str, dict[str, list]], str]:
    """What training reads, by split and photo: class and box; and the lines it prints."""
    cfg, lines = adapt(MASK_RCNN, root, tmp_path / 'work', **options)
    found = {}
    for split in ('train', 'val', 'test'):
        file = Path(cfg.work_dir) / f'data/{split}.json'
        if not file.is_file():
            continue
        content = json.loads(file.read_text())
        names = {entry['id']: entry['file_name'] for entry in content['images']}
        assert len(names) == len(content['images'])
        found[split] = {name: [] for name in names.values()}
        classes = {entry['id']: entry['name'] for entry in content['categories']}
        for one in content['annotations']:
            found[split][names[one['image_id']]].append((classes[one['category_id']], tuple(map(int, one['bbox']))))
    return found, '\n'.join(lines)


def everything(found: dict[str, dict[str, list]]) -> dict[str, list]:
    """All photos with their objects; a photo on two sides is a mistake."""
    every = {}
    for photos in found.values():
        for name, objects in photos.items():
            assert Path(name).name not in every, f'{name} is on two sides'
            every[Path(name).name] = sorted(objects)
    return every


def test_one_photo_under_two_ids(tmp_path, command):
    root = pictures(tmp_path / 'd', 'abcd')
    images = [image(i, f'{name}.png') for i, name in enumerate('abcda', 1)]
    images[-1]['file_name'] = './a.png'
    objects = [annotation(i, i, 1, LEFT) for i in range(1, 5)]
    objects += [annotation(5, 5, 1, LEFT), annotation(6, 5, 2, RIGHT), annotation(7, 5, 2, LEFT)]
    coco(root / 'all.json', images, objects)
    found, lines = sides(root, tmp_path)
    wanted = {f'{name}.png': [('cat', LEFT)] for name in 'bcd'}
    assert everything(found) == {**wanted, 'a.png': sorted([('cat', LEFT), ('dog', LEFT), ('dog', RIGHT)])}
    assert '1 x photo that is listed twice; its labels are joined, equal ones count once: a.png' in lines
    assert '1 x object with two classes in labels of one photo; both are kept: a.png: cat and dog' in lines
    ended = command('check', root)
    assert ended.code == 1
    assert '4 images, 6 annotations' in ended.out
    assert 'error: 1 x object with two classes in labels of one photo; both are kept: a.png: cat and dog' in ended.out
    assert 'warning: 1 x photo that is listed twice' in ended.out


def test_one_json_for_each_class(tmp_path, command):
    root = pictures(tmp_path / 'd', 'abcd')
    labels(root, 'cat.json', {name: [(1, LEFT)] for name in 'abcd'})
    # Its classes have other numbers, and its photos other ids.
    coco(root / 'dog.json', [image(70, 'b.png'), image(71, 'd.png')], [annotation(1, 70, 5, RIGHT)], ((5, 'dog'),))
    found, lines = sides(root, tmp_path)
    wanted = {f'{name}.png': [('cat', LEFT)] for name in 'acd'}
    assert everything(found) == {**wanted, 'b.png': [('cat', LEFT), ('dog', RIGHT)]}
    said = 'cat.json and dog.json (2 photos; annotations: 0 in both, 2 in cat.json alone, 1 in dog.json alone)'
    assert said in lines
    ended = command('check', root)
    assert ended.code == 0
    assert '4 images, 5 annotations, 2 classes' in ended.out
    assert said in ended.out


@pytest.mark.parametrize('name', ['all (copy).json', 'all_backup.json', 'old/all.json'])
def test_a_backup_copy_of_a_json_doubles_nothing(tmp_path, command, name):
    root = pictures(tmp_path / 'd', 'abcd')
    boxes = {photo: [(1, LEFT), (2, RIGHT)] for photo in 'abcd'}
    labels(root, 'all.json', boxes)
    labels(root, name, boxes)
    found, lines = sides(root, tmp_path)
    assert everything(found) == {f'{photo}.png': [('cat', LEFT), ('dog', RIGHT)] for photo in 'abcd'}
    assert '(4 photos; annotations: 8 in both, 0 in ' in lines
    ended = command('check', root)
    assert ended.code == 0
    assert '4 images, 8 annotations' in ended.out
    assert 'move a file that is out of date out of the folder' in ended.out


def test_an_older_copy_of_the_labels_is_joined_and_told(tmp_path):
    root = pictures(tmp_path / 'd', 'abcd')
    labels(root, 'all.json', {photo: [(1, LEFT), (2, RIGHT)] for photo in 'abcd'})
    moved = (LEFT[0] + 2, *LEFT[1:])
    labels(root, 'all_old.json', {photo: [(1, moved if photo == 'a' else LEFT)] for photo in 'abc'}, ids=31)
    found, lines = sides(root, tmp_path)
    assert everything(found) == {f'{photo}.png': [('cat', LEFT), ('dog', RIGHT)] for photo in 'abcd'}
    said = 'all.json and all_old.json (3 photos; annotations: 3 in both, 3 in all.json alone, 0 in all_old.json alone)'
    assert said in lines
    assert '1 x object that labels of one photo draw in two ways; the first counts: a.png: cat' in lines


def without_size(file: Path, number: type | None = None) -> None:
    """Take the sizes of the images out of a COCO file, or write them as another kind of number."""
    content = json.loads(file.read_text())
    for entry in content['images']:
        size = {side: entry.pop(side) for side in ('width', 'height')}
        entry.update({side: number(value) for side, value in size.items()} if number else {})
    file.write_text(json.dumps(content))


@pytest.mark.parametrize('file', ['cat.json', 'cat2.json'])
@pytest.mark.parametrize('number', [None, float])
def test_files_of_which_one_says_no_sizes_are_joined(tmp_path, command, file, number):
    root = pictures(tmp_path / 'd', 'abcd')
    labels(root, 'cat.json', {photo: [(1, LEFT)] for photo in 'abcd'})
    labels(root, 'cat2.json', {photo: [(1, LEFT), (2, RIGHT)] for photo in 'ab'}, ids=21)
    without_size(root / file, number)
    found, lines = sides(root, tmp_path)
    every = {f'{photo}.png': [('cat', LEFT), *([('dog', RIGHT)] if photo in 'ab' else [])] for photo in 'abcd'}
    assert everything(found) == every
    assert 'cat.json and cat2.json (2 photos; annotations: 2 in both' in lines
    ended = command('check', root)
    assert (ended.code, '4 images, 6 annotations' in ended.out) == (0, True), ended.out


def test_labels_of_a_turned_photo_are_not_joined_with_others_as_stored(tmp_path, refused):
    """Without a size they count the pixels of the photo upright."""
    root, exif = pictures(tmp_path / 'd', 'bcd'), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(root / 'images/a.png', exif=exif)
    for file in ('one.json', 'two.json'):
        labels(root, file, {photo: [(1, LEFT)] for photo in 'abcd'})
    without_size(root / 'two.json')
    line = refused('train', 'retinanet_van_lska_t', '--data', root, '--work-dir', tmp_path / 'work')
    assert 'a.png is labelled as it is stored, a.png turned as its EXIF data say' in line


@pytest.mark.parametrize('key', ['iscrowd', 'ignore'])
@pytest.mark.parametrize('first', [0, 1])
def test_a_crowd_and_an_object_in_one_place_are_two(tmp_path, key, first):
    root = pictures(tmp_path / 'd', 'abcd')
    for file, ignored in (('one.json', first), ('two.json', 1 - first)):
        images = [image(i, f'{name}.png') for i, name in enumerate('abcd', 1)]
        coco(root / file, images, [annotation(i, i, 1, LEFT, **{key: ignored}) for i in range(1, 5)])
    cfg, _ = adapt(MASK_RCNN, root, tmp_path / 'work')
    for split in ('train', 'val'):
        content = json.loads((Path(cfg.work_dir) / f'data/{split}.json').read_text())
        assert sorted((one['image_id'], one['iscrowd']) for one in content['annotations']) == [
            (entry['id'], crowd) for entry in content['images'] for crowd in (0, 1)
        ]


def test_masks_are_kept_where_a_copy_has_boxes_alone(tmp_path):
    root = pictures(tmp_path / 'd', 'abcd')
    labels(root, 'instances.json', {photo: [(1, LEFT)] for photo in 'abcd'})
    content = json.loads((root / 'instances.json').read_text())
    for one in content['annotations']:
        del one['segmentation']
    (root / 'boxes.json').write_text(json.dumps(content))
    cfg, _ = adapt(MASK_RCNN, root, tmp_path / 'work')
    objects = json.loads((Path(cfg.work_dir) / 'data/train.json').read_text())['annotations']
    assert [(one['iscrowd'], 'segmentation' in one) for one in objects] == [(0, True)] * len(objects)


@pytest.mark.parametrize('link', [os.symlink, os.link, shutil.copy])
def test_a_copied_photo_is_one_photo(tmp_path, command, link):
    root = pictures(tmp_path / 'd', 'abcdefgh')
    link(root / 'images/a.png', root / 'images/a (1).png')
    labels(root, 'all.json', {**{name: [(1, LEFT)] for name in 'abcdefgh'}, 'a (1)': [(1, LEFT), (2, RIGHT)]})
    found, lines = sides(root, tmp_path, val_fraction=0.4)
    assert everything(found)['a.png'] == [('cat', LEFT), ('dog', RIGHT)]
    assert len(everything(found)) == 8
    if link is shutil.copy:
        assert '1 x photo that is there as several files of the same content; taken for one' in lines
        assert ': a.png and a (1).png' in lines
    assert '8 images, 9 annotations' in command('check', root).out


def test_a_copied_photo_without_a_label_is_not_background(tmp_path):
    root = pictures(tmp_path / 'd', 'abcd')
    shutil.copy(root / 'images/a.png', root / 'images/a copy.png')
    for name in 'abcd':
        (root / f'labels/{name}.txt').parent.mkdir(exist_ok=True)
        (root / f'labels/{name}.txt').write_text('0 0.5 0.5 0.25 0.5 0.75 0.5 0.75 0.75\n')
    found, _ = sides(root, tmp_path)
    assert {name: len(objects) for name, objects in everything(found).items()} == {f'{n}.png': 1 for n in 'abcd'}


def split_set(root: Path) -> Path:
    """train/ and val/, which hold two photos in common: one as a copy of another name."""
    for split, names in dict(train='abcdef', val='ghk').items():
        for name in names:
            picture(root / split / f'{name}.png')
    shutil.copy(root / 'train/a.png', root / 'val/a.png')
    shutil.copy(root / 'train/b.png', root / 'val/x.png')
    labels(root, 'train/_annotations.coco.json', {name: [(1, LEFT)] for name in 'abcdef'})
    labels(root, 'val/_annotations.coco.json', {name: [(1, LEFT)] for name in 'aghkx'})
    return root


def test_training_leaves_out_what_validation_has(tmp_path, command):
    root = split_set(tmp_path / 'd')
    found, lines = sides(root, tmp_path)
    assert {split: sorted(Path(name).stem for name in photos) for split, photos in found.items()} == {
        'train': list('cdef'),
        'val': list('aghkx'),
    }
    assert (
        '2 of 6 training images are validation images too, by file or content, and are left out of training: a.png, b.png'
        in lines
    )
    ended = command('check', root)
    assert ended.code == 1
    assert 'error: 2 x one photo in two splits, as two files of the same content' in ended.out


def test_the_corrected_copy_has_no_photo_on_two_sides(tmp_path, command):
    root = split_set(tmp_path / 'd')
    ended = command('check', root, '--fix', tmp_path / 'new')
    assert '2 of 6 training images are validation images too' in ended.out
    assert len(list((tmp_path / 'new/images').rglob('*.png'))) == 9
    ended = command('check', tmp_path / 'new')
    assert (ended.code, '9 images, 9 annotations' in ended.out) == (0, True), ended.out


def test_two_sides_that_are_one_set_are_split_anew(tmp_path):
    root = tmp_path / 'd'
    for split in ('train', 'val'):
        for name in 'abcdef':
            picture(root / split / f'{name}.png')
        labels(root, f'{split}/_annotations.coco.json', {name: [(1, LEFT)] for name in 'abcdef'})
    found, lines = sides(root, tmp_path)
    assert 'the validation images are those of training, by file or content, and are not used' in lines
    assert {split: len(photos) for split, photos in found.items()} == {'train': 5, 'val': 1}
    assert len(everything(found)) == 6


def test_a_json_of_all_beside_one_of_validation(tmp_path):
    root = pictures(tmp_path / 'd', 'abcdef')
    labels(root, 'instances_all.json', {name: [(1, LEFT)] for name in 'abcdef'})
    labels(root, 'instances_val.json', {name: [(1, LEFT)] for name in 'ef'})
    found, lines = sides(root, tmp_path)
    assert {split: len(photos) for split, photos in found.items()} == {'train': 4, 'val': 2}
    assert len(everything(found)) == 6
    assert '2 of 6 training images are validation images too' in lines


def test_test_photos_are_neither_learned_nor_validated_with(tmp_path):
    root = tmp_path / 'd'
    for split, names in dict(train='abcd', val='ef', test='bfg').items():
        for name in names:
            picture(root / split / f'{name}.png')
        labels(root, f'{split}/_annotations.coco.json', {name: [(1, LEFT)] for name in names})
    found, lines = sides(root, tmp_path)
    assert {split: sorted(Path(name).stem for name in photos) for split, photos in found.items()} == {
        'train': list('acd'),
        'val': ['e'],
        'test': list('bfg'),
    }
    assert '1 of 4 training images are test images too' in lines
    assert '1 of 2 validation images are test images too' in lines


def test_versions_of_one_original_are_on_one_side(tmp_path):
    root = tmp_path / 'd'
    names = [f'{photo}_jpg.rf.{version}{photo * 6}' for photo in 'abcdef' for version in '123']
    for name in names:
        picture(root / f'train/{name}.png')
    labels(root, 'train/_annotations.coco.json', {name: [(1, LEFT)] for name in names})
    found, lines = sides(root, tmp_path, val_fraction=0.34)
    originals = {split: {Path(name).name[0] for name in photos} for split, photos in found.items()}
    assert {split: len(photos) for split, photos in found.items()} == {'train': 12, 'val': 6}
    assert (len(originals['train']), len(originals['val'])) == (4, 2)
    assert not originals['train'] & originals['val']
    assert 'all versions or copies of one photo are on one side, 6 have several' in lines


def test_versions_that_folders_put_on_two_sides_are_told(tmp_path):
    root = tmp_path / 'd'
    for split, names in dict(train='abcd', valid='ax').items():
        stems = [f'{name}_jpg.rf.{split}{name * 6}' for name in names]
        for stem in stems:
            picture(root / split / f'{stem}.png')
        labels(root, f'{split}/_annotations.coco.json', {stem: [(1, LEFT)] for stem in stems})
    found, lines = sides(root, tmp_path)
    assert {split: len(photos) for split, photos in found.items()} == {'train': 4, 'val': 2}
    assert '1 photo has versions (.rf.) in training and in validation or test: a_jpg' in lines


def voc(root: Path, name: str, objects: list[tuple[str, tuple]]) -> None:
    things = ''.join(
        f'<object><name>{label}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax>'
        '</bndbox></object>'
        for label, (x, y, w, h) in objects
    )
    file = root / f'Annotations/{name}.xml'
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'<annotation><filename>{name}.png</filename>{things}</annotation>')


def test_copies_of_a_photo_that_two_people_labelled(tmp_path, command):
    root = pictures(tmp_path / 'd', 'abcd')
    shutil.copy(root / 'images/a.png', root / 'images/a-2.png')
    for name in 'abcd':
        voc(root, name, [('cat', LEFT)])
    voc(root, 'a-2', [('dog', LEFT), ('cat', LOW)])
    ended = command('check', root)
    assert ended.code == 1
    assert '4 images, 6 annotations' in ended.out
    assert 'error: 1 x object with two classes in labels of one photo; both are kept: a-2.png: cat and dog' in ended.out
    ended = command('convert', root, '--to', 'coco', '--out', tmp_path / 'new')
    assert '6 objects (voc) in 4 photos' in ended.out


def masks(root: Path, names: str, folder: str = '') -> None:
    for name in names:
        picture(root / f'images/{folder}/{name}.png')
        mask(root / f'masks/{folder}/{name}.png', stripes([0, 1, 2]))


def segmentation(root: Path, tmp_path: Path, **options) -> tuple[dict[str, list[str]], str]:
    cfg, lines = adapt(UPERNET, root, tmp_path / 'work', **options)
    found = {}
    for split in ('train', 'val', 'test'):
        files = sorted((Path(cfg.work_dir) / 'data').glob(f'{split}_*.txt'))
        found[split] = sorted(name for file in files for name in file.read_text().split('\n') if name)
    return found, '\n'.join(lines)


def test_a_copied_photo_with_its_mask_is_taken_once(tmp_path, command):
    root = tmp_path / 'd'
    masks(root, 'abcde')
    for folder in ('images', 'masks'):
        shutil.copy(root / folder / 'a.png', root / folder / 'a-copy.png')
    found, lines = segmentation(root, tmp_path)
    assert sorted(found['train'] + found['val']) == list('abcde')
    assert '1 x photo that is there as several files of the same content, with the same mask; taken once' in lines
    assert '5 images, 5 masks' in command('check', root).out


def test_a_copied_photo_with_another_mask_stays_on_its_side(tmp_path, command):
    root = tmp_path / 'd'
    masks(root, 'abcdef')
    shutil.copy(root / 'images/a.png', root / 'images/z.png')
    mask(root / 'masks/z.png', stripes([2, 1, 0]))
    for fraction in (0.15, 0.3, 0.5, 0.7):
        found, lines = segmentation(root, tmp_path / str(fraction), val_fraction=fraction)
        assert len({'a', 'z'} & set(found['train'])) in (0, 2)
        assert len(found['train'] + found['val']) == 7
        assert '1 x photo that is there as several files of the same content, with masks that differ' in lines
    ended = command('check', root)
    assert (ended.code, 'error: 1 x photo that is there as several files' in ended.out) == (1, True)


def test_masks_of_photos_on_two_sides(tmp_path, command):
    root = tmp_path / 'd'
    masks(root, 'abcd', 'train')
    masks(root, 'ef', 'val')
    for folder in ('images', 'masks'):
        shutil.copy(root / folder / 'train/a.png', root / folder / 'val/z.png')
    found, lines = segmentation(root, tmp_path)
    assert (found['train'], found['val']) == (list('bcd'), list('efz'))
    assert '1 of 4 training images are validation images too' in lines
    ended = command('check', root, '--fix', tmp_path / 'new')
    assert ended.code == 1
    assert 'one photo in two splits, as two files of the same content' in ended.out
    assert '6 pairs of image and mask' in ended.out
    assert not (tmp_path / 'new/images/train/a.png').exists()
