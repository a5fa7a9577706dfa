"""Names of photos, folders and files that were read too eagerly, and what of a folder is not used."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from own_sets import annotation, coco, image, mask, photo, simple, stripes
from PIL import Image

from mmlska.own_data.sources import require_source
from mmlska.own_data.split import split_images

NAMES = ('bus_1', 'bus_2', 'car_1', 'train_1', 'train_2', 'val_1', 'test drive', 'training-room', 'mask_001', 'gt_3')


def xml(path: Path, name: str = 'cat') -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    box = '<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>40</xmax><ymax>30</ymax></bndbox>'
    path.write_text(
        f'<annotation><filename>{path.stem}.jpg</filename><object><name>{name}</name>{box}</object></annotation>'
    )


def parts(root: Path, scope: str = 'mmdet') -> dict[str, set[str]]:
    """The names of the photos that a training on a folder puts into each part."""
    labels = require_source(root, scope).read()
    found, _ = split_images(labels, 0.25)
    return {
        split: {labels.path_of(one).relative_to(root).as_posix() for one in images} for split, images in found.items()
    }


def used(root: Path, scope: str = 'mmdet') -> set[str]:
    return set().union(*parts(root, scope).values())


def with_labels(root: Path, kind: str, name: str) -> None:
    """A photo with its own label file."""
    if kind == 'voc':
        photo(root / f'{name}.jpg')
        xml(root / f'{name}.xml')
    elif kind == 'yolo':
        photo(root / f'images/{name}.jpg')
        (root / 'labels').mkdir(exist_ok=True)
        (root / f'labels/{name}.txt').write_text('0 .5 .5 .2 .2\n')
    elif kind == 'coco':
        photo(root / f'{name}.jpg')
        coco(root / f'{name}.json', [image(0, f'{name}.jpg')], [annotation(1, 0, 1)])
    elif kind == 'labelme':
        photo(root / f'{name}.jpg')
        shape = dict(label='cat', points=[[1, 1], [30, 30]], shape_type='rectangle')
        content = dict(shapes=[shape], imagePath=f'{name}.jpg', imageData=None, imageHeight=60, imageWidth=80)
        (root / f'{name}.json').write_text(json.dumps(content))
    elif kind == 'masks':
        photo(root / f'images/{name}.jpg')
        mask(root / f'masks/{name}.png', stripes([0, 1, 2]))
    else:
        photo(root / f'{name}.jpg')
        mask(root / f'{name}_mask.png', stripes([0, 1, 2]))


@pytest.mark.parametrize('kind', ['voc', 'yolo', 'labelme', 'coco', 'masks', 'masks beside'])
def test_names_of_photos_give_no_split(kind, tmp_path):
    for name in NAMES:
        with_labels(tmp_path, kind, name)
    found = parts(tmp_path, 'mmseg' if 'masks' in kind else 'mmdet')
    assert {split: len(photos) for split, photos in found.items()} == {'train': 8, 'val': 2}


@pytest.mark.parametrize('kind', ['voc', 'yolo'])
def test_a_class_called_train_beside_others(kind, tmp_path):
    for name in ('bus', 'car', 'train'):
        for number in range(3):
            folder = tmp_path / name if kind == 'voc' else tmp_path
            with_labels(folder, kind, f'{name}{number}')
            if kind == 'yolo':
                for place, end in (('images', 'jpg'), ('labels', 'txt')):
                    (tmp_path / place / name).mkdir(exist_ok=True)
                    file = f'{name}{number}.{end}'
                    (tmp_path / place / file).rename(tmp_path / place / name / file)
    assert len(used(tmp_path)) == 9


def test_a_coco_file_of_the_class_train(tmp_path):
    for name in ('bus', 'car', 'train'):
        photo(tmp_path / f'images/{name}.jpg')
        photo(tmp_path / f'images/{name}2.jpg')
        images = [image(0, f'{name}.jpg'), image(1, f'{name}2.jpg')]
        coco(tmp_path / f'{name}.json', images, [annotation(1, 0, 1)], [(1, name)])
    assert len(used(tmp_path)) == 6


def test_a_split_beside_other_folders_stays_one(tmp_path):
    for name in ('north', 'south', 'test'):
        for number in range(2):
            with_labels(tmp_path / name, 'voc', f'{name}{number}')
    assert parts(tmp_path)['test'] == {'test/test0.jpg', 'test/test1.jpg'}


@pytest.mark.parametrize(
    'above', ['segmentation_data', 'my_masks_dataset', 'annotation_project', 'gt', 'a/labels_v2/b']
)
@pytest.mark.parametrize('layout', ['masks', 'masks beside', 'voc'])
def test_a_folder_around_all_photos_makes_no_masks(above, layout, tmp_path, command):
    for number in range(3):
        with_labels(tmp_path / above, layout, str(number))
    if layout == 'voc':
        photo(tmp_path / above / 'lonely.jpg')
    assert len(used(tmp_path, 'mmdet' if layout == 'voc' else 'mmseg')) == 3
    ended = command('check', tmp_path)
    assert '3 images, 3 ' in ended.out
    assert ('photo without a label file, not used' in ended.out) == (layout == 'voc')


def test_folders_of_the_classes_with_mask_and_without_mask(tmp_path, command):
    for name in ('with_mask', 'without_mask'):
        with_labels(tmp_path / name, 'voc', name)
        photo(tmp_path / name / f'{name}_lonely.jpg')
    ended = command('check', tmp_path)
    assert 'warning: 2 x photo without a label file, not used: with_mask/with_mask_lonely.jpg' in ended.out


def test_photos_that_are_called_like_masks(tmp_path):
    for name in ('woman', 'woman_mask', 'man-mask', 'dog_label', 'a_gt'):
        with_labels(tmp_path, 'masks', name)
    assert len(used(tmp_path, 'mmseg')) == 5


def test_a_folder_around_all_splits_is_none(tmp_path):
    for name in ('train', 'val', 'more'):
        with_labels(tmp_path / 'test_project' / name, 'voc', name)
        with_labels(tmp_path / 'test_project' / name, 'voc', f'{name}2')
    assert {split: len(photos) for split, photos in parts(tmp_path).items()} == {'train': 2, 'val': 2}


def test_keypoints_have_boxes(tmp_path, command):
    (simple(tmp_path) / 'all.json').rename(tmp_path / 'person_keypoints_default.json')
    ended = command('check', tmp_path)
    assert ended.code == 0
    assert '4 images, 6 annotations, 2 classes' in ended.out


def test_of_the_files_of_one_split_of_coco_the_instances_count(tmp_path, command):
    root = simple(tmp_path)
    (root / 'all.json').rename(root / 'instances_train2017.json')
    content = json.loads((root / 'instances_train2017.json').read_text())
    shutil.copy(root / 'instances_train2017.json', root / 'person_keypoints_train2017.json')
    captions = dict(content, annotations=[dict(id=1, image_id=0, caption='a cat')])
    (root / 'captions_val2017.json').write_text(json.dumps(captions))
    (root / 'image_info_test2017.json').write_text(json.dumps(dict(images=content['images'])))
    ended = command('check', root)
    assert '4 images, 6 annotations, 2 classes' in ended.out
    rest = 'captions_val2017.json, image_info_test2017.json'
    assert f'warning: 2 x json file without the images and objects of a COCO file, not used: {rest}' in ended.out
    which = 'json file of the images of instances_train2017.json, which counts, not used'
    assert f'warning: 1 x {which}: person_keypoints_train2017.json' in ended.out


@pytest.mark.parametrize(
    ('train', 'val'),
    [
        ('ImageSets/Segmentation/train.txt', 'ImageSets/Segmentation/val.txt'),
        ('VOC2012/ImageSets/Main/train.txt', 'VOC2012/ImageSets/Main/val.txt'),
        ('splits/train.txt', 'splits/valid.txt'),
        ('train.txt', 'val.txt'),
    ],
)
@pytest.mark.parametrize('kind', ['masks', 'voc', 'yolo'])
def test_lists_of_names_give_the_splits(train, val, kind, tmp_path, command):
    base = tmp_path / ('VOC2012' if train.startswith('VOC') else '')
    for number in range(6):
        with_labels(base, kind, str(number))
    (tmp_path / train).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / train).write_bytes(b'0.jpg\r\n1.jpg\r\n2.jpg\r\n77.jpg\r\n')
    (tmp_path / val).write_text('3\n4\n')
    found = parts(tmp_path, 'mmseg' if kind == 'masks' else 'mmdet')
    names = {split: sorted(Path(name).stem for name in photos) for split, photos in found.items()}
    assert names == {'train': ['0', '1', '2'], 'val': ['3', '4']}
    ended = command('check', tmp_path)
    assert "train.txt: '77" in ended.out
    assert any('no list of' in line and '1 x ' in line and '5.' in line for line in ended.out.splitlines())


def test_lists_with_photo_and_mask_in_a_line(tmp_path):
    for number in range(4):
        with_labels(tmp_path, 'masks', str(number))
    lines = [f'images/{number}.jpg masks/{number}.png\n' for number in range(4)]
    (tmp_path / 'train.txt').write_text(''.join(lines[:3]))
    (tmp_path / 'val.txt').write_text(lines[3])
    assert parts(tmp_path, 'mmseg')['val'] == {'images/3.jpg'}


def test_photos_in_no_list_keep_the_split_of_their_folder(tmp_path):
    for number in range(4):
        with_labels(tmp_path, 'voc', str(number))
    with_labels(tmp_path / 'test', 'voc', '4')
    (tmp_path / 'train.txt').write_text('0\n1\n2\n3\n')
    assert parts(tmp_path)['test'] == {'test/4.jpg'}
    assert len(used(tmp_path)) == 5


def pictures(folder: Path, kind: str, suffix: str, count: int = 3) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8)).save(folder / f'{number}{suffix}', kind)


@pytest.mark.parametrize('suffix', ['.jfif', '.JFIF', '.jpe'])
def test_jpeg_files_of_other_endings_are_read(suffix, tmp_path, command):
    pictures(tmp_path / 'images', 'JPEG', suffix)
    coco(tmp_path / 'a.json', [image(i, f'{i}{suffix}') for i in range(3)], [annotation(i + 1, i, 1) for i in range(3)])
    assert command('check', tmp_path).code == 0
    assert len(used(tmp_path)) == 3


@pytest.mark.parametrize(('kind', 'suffix'), [('GIF', '.gif'), ('JPEG2000', '.jp2'), ('PPM', '.ppm')])
@pytest.mark.parametrize('labels', ['coco', 'csv'])
def test_images_that_are_not_read_are_not_called_missing(kind, suffix, labels, tmp_path, command):
    pictures(tmp_path / 'images', kind, suffix)
    if labels == 'coco':
        images = [image(i, f'{i}{suffix}') for i in range(3)]
        coco(tmp_path / 'a.json', images, [annotation(i + 1, i, 1) for i in range(3)])
    else:
        rows = [f'{i}{suffix},cat,1,1,20,20\n' for i in range(3)]
        (tmp_path / 'a.csv').write_text('filename,class,xmin,ymin,xmax,ymax\n' + ''.join(rows))
    ended = command('check', tmp_path)
    what = 'image of a kind that is not read; save it under the same name as png or jpg'
    assert f'error: 3 x {what}: 0{suffix}, 1{suffix}, 2{suffix}' in ended.out
    with pytest.raises(
        ValueError, match=r'names 3 of 3 images of a kind that is not read: .* save them under the same'
    ):
        require_source(tmp_path, 'mmdet').read()
    for path in (tmp_path / 'images').iterdir():  # as it says
        Image.open(path).save(path.with_suffix('.png'))
    assert command('check', tmp_path).code == 0
    assert used(tmp_path) == {f'images/{i}.png' for i in range(3)}


def test_what_is_not_used_is_said_with_its_number(tmp_path, command):
    for number in range(4):
        photo(tmp_path / f'images/{number}.jpg')
        mask(tmp_path / f'masks/{number + 1}.png', stripes([0, 1, 2]))
    ended = command('check', tmp_path)
    assert 'warning: 1 x image without a mask: 0.jpg' in ended.out
    assert 'warning: 1 x mask without its image, not used: masks/4.png' in ended.out


def test_images_of_no_split_beside_training_are_named(tmp_path, command):
    for number in range(4):
        photo(tmp_path / f'images/{number}.jpg', (80, 60 + number))
    for name, numbers in (('train', (0, 1)), ('extra', (2, 3))):
        images = [image(i, f'{i}.jpg', (80, 60 + i)) for i in numbers]
        coco(tmp_path / f'{name}.json', images, [annotation(i + 1, i, 1) for i in numbers])
    ended = command('check', tmp_path)
    assert 'warning: 2 x image of no split, beside others for training, not used: 2.jpg, 3.jpg' in ended.out


@pytest.mark.parametrize(
    ('names', 'sizes'),
    [
        (('train', 'dev', 'eval'), dict(train=2, val=4)),
        (('training', 'testing', 'extra'), dict(train=2, test=2)),
        (('train', 'query', 'gallery'), dict(train=2)),
        (('train', 'dev', 'query'), dict(train=2, val=2)),
        (('train', 'test-dev', 'test-challenge'), dict(train=2, test=4)),
        (('trainset', 'testset', 'other'), dict(train=2, test=2)),
        (('train', 'unlabeled', 'held-out'), dict(train=2)),
        (('train', 'predictions', 'extra_images'), dict(train=2)),
    ],
)
@pytest.mark.parametrize('kind', ['coco', 'yolo', 'voc', 'masks'])
def test_parts_of_other_names_are_no_classes(names, sizes, kind, tmp_path):
    for name in names:
        if kind == 'coco':
            files = [f'{name}{number}.jpg' for number in range(2)]
            for file in files:
                photo(tmp_path / 'images' / file)
            images = [image(number, file) for number, file in enumerate(files)]
            coco(tmp_path / f'{name}.json', images, [annotation(1, 0, 1)])
            continue
        for number in range(2):
            with_labels(tmp_path / name, kind, f'{name}{number}')
    found = parts(tmp_path, 'mmseg' if kind == 'masks' else 'mmdet')
    if 'test' not in sizes and 'val' not in sizes:  # one photo is held out for validation
        assert {Path(one).name.rstrip('01.jpg') for photos in found.values() for one in photos} == {names[0]}
    else:
        found = {split: len(photos) for split, photos in found.items()}
        assert {split: found.get(split) for split in sizes if split != 'train'} == {
            split: size for split, size in sizes.items() if split != 'train'
        }
        assert sum(found.values()) == sum(sizes.values())


@pytest.mark.parametrize('kind', ['coco', 'csv', 'yolo', 'voc', 'masks'])
def test_a_class_called_train_is_said(kind, tmp_path, command):
    for name in ('bus', 'car', 'train'):
        for number in range(2):
            if kind in ('coco', 'csv'):
                photo(tmp_path / f'images/{name}{number}.jpg')
            else:
                with_labels(tmp_path / name, kind, f'{name}{number}')
        if kind == 'coco':
            images = [image(number, f'{name}{number}.jpg') for number in range(2)]
            coco(tmp_path / f'{name}.json', images, [annotation(1, 0, 1)], [(1, name)])
        elif kind == 'csv':
            rows = [f'{name}{number}.jpg,{name},1,1,20,20\n' for number in range(2)]
            (tmp_path / f'{name}.csv').write_text('filename,class,xmin,ymin,xmax,ymax\n' + ''.join(rows))
    what = (
        'train is taken for a class as those beside it; if it has the photos to train on, call another one val or test'
    )
    place = {'coco': 'train.json', 'csv': 'train.csv'}.get(kind, 'train')
    ended = command('check', tmp_path)
    assert f'warning: 1 x {what}: {place}' in ended.out
    (tmp_path / 'car').rename(tmp_path / 'val') if (tmp_path / 'car').is_dir() else None
    for suffix in ('json', 'csv'):
        if (tmp_path / f'car.{suffix}').exists():
            (tmp_path / f'car.{suffix}').rename(tmp_path / f'val.{suffix}')
    assert what not in command('check', tmp_path).out  # as it says


@pytest.mark.parametrize('above', ['/home/me/set/', '../data/set/', '', 'C:\\sets\\', 'https://there.org/x/'])
@pytest.mark.parametrize('kind', ['masks', 'voc', 'yolo'])
def test_lists_with_paths_of_another_machine(above, kind, tmp_path):
    within = 'images/' if kind in ('masks', 'yolo') else ''
    for folder in 'ab':
        for number in range(4):
            with_labels(tmp_path / folder, kind, str(number))
    lists = {'train': 'a0 a1 b0 b2', 'val': 'a2 b1'}  # neither a3 nor b3
    for split, names in lists.items():
        text = ''.join(f'{above}{name[0]}/{within}{name[1]}.jpg\n' for name in names.split())
        (tmp_path / f'{split}.txt').write_text(text)
    found = parts(tmp_path, 'mmseg' if kind == 'masks' else 'mmdet')
    listed = {split: {f'{name[0]}/{within}{name[1]}.jpg' for name in names.split()} for split, names in lists.items()}
    assert found == listed


def test_a_listed_path_that_may_be_of_two_photos_is_of_none(tmp_path):
    for folder in 'ab':
        for number in range(3):
            with_labels(tmp_path / folder, 'yolo', str(number))
    names = [f'/home/me/{folder}/images/{number}.jpg\n' for folder in 'ab' for number in (0, 1)]
    (tmp_path / 'train.txt').write_text(''.join([*names, '/home/me/c/images/2.jpg\n']))
    assert used(tmp_path) == {f'{folder}/images/{number}.jpg' for folder in 'ab' for number in (0, 1)}


@pytest.mark.parametrize('name', ['dev.txt', 'testing.txt', 'evaluation.txt'])
def test_lists_of_other_names_give_the_splits(name, tmp_path):
    for number in range(4):
        with_labels(tmp_path, 'yolo', str(number))
    (tmp_path / 'training.txt').write_text('0\n1\n')
    (tmp_path / name).write_text('2\n3\n')
    held_out = 'test' if name.startswith('test') else 'val'
    assert parts(tmp_path)[held_out] >= {'images/2.jpg', 'images/3.jpg'}


@pytest.mark.parametrize('folder', ['', 'ImageSets/Main'])
def test_two_lists_of_one_split_both_count(folder, tmp_path):
    for number in range(6):
        with_labels(tmp_path, 'voc', str(number))
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name, numbers in (('train', '01'), ('dev', '23'), ('eval', '45')):
        (tmp_path / folder / f'{name}.txt').write_text('\n'.join(numbers))
    assert parts(tmp_path) == {'train': {'0.jpg', '1.jpg'}, 'val': {f'{number}.jpg' for number in '2345'}}


@pytest.mark.parametrize('there', ['png', 'bmp'])
@pytest.mark.parametrize('order', [1, -1])
def test_labels_of_a_missing_photo_go_to_no_other(there, order, tmp_path, command):
    for name in (f'1.{there}', '2.jpg'):
        photo(tmp_path / name)
    images = [image(1, f'1.{there}'), image(3, '1.jpg'), image(2, '2.jpg')][::order]
    coco(tmp_path / 'a.json', images, [annotation(1, 1, 1), annotation(2, 2, 1), annotation(3, 3, 2)])
    ended = command('check', tmp_path)
    assert ended.code == 1
    assert 'error: 1 x missing image: 1.jpg' in ended.out
    assert 'another ending' not in ended.out


def test_two_missing_photos_do_not_share_a_third(tmp_path, command):
    photo(tmp_path / '1.png')
    photo(tmp_path / '2.png')
    images = [image(1, '1.jpg'), image(2, '1.bmp'), image(3, '2.jpg')]
    coco(tmp_path / 'a.json', images, [annotation(number, number, 1) for number in (1, 2, 3)])
    ended = command('check', tmp_path)
    assert 'error: 2 x missing image: 1.jpg, 1.bmp' in ended.out
    assert 'photo with another ending than the annotation file says: 2.png for 2.jpg' in ended.out
