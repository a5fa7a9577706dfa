"""Which masks and label files belong to which photos, by their names: public layouts as they are, patterns, and what is left unused."""

from pathlib import Path

import numpy as np
import pytest
from own_sets import RETINANET, SIZE, UPERNET, adapt, everything, mask, mask_labels, mask_set, photo, stripes

from mmlska.own_data.mask_names import names_without_shared, without_objects
from mmlska.own_data.sources import require_source

CITY = 'gtFine/{split}/aachen/aachen_{n:06d}_gtFine_'
#: Where photos lie, their masks, and other pictures, with what a check says of the latter.
LAYOUTS = {
    'cityscapes': (
        'leftImg8bit/{split}/aachen/aachen_{n:06d}_leftImg8bit.png',
        f'{CITY}labelTrainIds.png',
        [*(f'{CITY}{kind}.png' for kind in ('labelIds', 'color', 'instanceIds')), CITY.replace('Fine', 'Coarse') + 'labelIds.png'],
        ['18 x mask that is not used, as _labelTrainIds counts before it', '6 x picture of single objects and not of classes'],
    ),
    'cityscapes ids': (
        'leftImg8bit/{split}/aachen/aachen_{n:06d}_leftImg8bit.png',
        f'{CITY}labelIds.png',
        [f'{CITY}color.png', f'{CITY}instanceIds.png'],
        ['6 x mask that is not used, as _labelIds counts before it'],
    ),
    'ade20k': (
        'images/{split}/ADE_{n}.jpg',
        'annotations/{split}/ADE_{n}.png',
        ['annotations_instance/{split}/ADE_{n}.png'],
        ['6 x picture of single objects and not of classes, not used: annotations_instance/train/ADE_0.png'],
    ),
    'mapillary': (
        '{split}/images/{n}.jpg',
        '{split}/v2.0/labels/{n}.png',
        ['{split}/v2.0/instances/{n}.png', '{split}/v2.0/panoptic/{n}.png'],
        ['12 x picture of single objects and not of classes'],
    ),
    'voc aug': (
        'JPEGImages/{split}_{n}.jpg',
        'SegmentationClassAug/{split}_{n}.png',
        ['SegmentationClass/{split}_{n}.png', 'SegmentationObject/{split}_{n}.png'],
        ['6 x mask that is not used, as SegmentationClassAug counts before it', '6 x picture of single objects'],
    ),
    'coco stuff': (
        '{split}2017/{n:012d}.jpg',
        'stuffthingmaps/{split}2017/{n:012d}_labelTrainIds.png',
        ['stuffthingmaps/{split}2017/{n:012d}.png'],
        ['6 x mask that is not used, as _labelTrainIds counts before it'],
    ),
}  # fmt: skip


def build(root: Path, photos: str, masks: str, others=(), count=6) -> Path:
    """Photos with masks of three classes, and other pictures of one value that none of the classes has."""
    for n in range(count):
        place = dict(n=n, split='train' if n < count - 2 else 'val')
        photo(root / photos.format(**place))
        mask(root / masks.format(**place), stripes([0, 1, 2]))
        for other in others:
            mask(root / other.format(**place), stripes([9]))
    return root


@pytest.mark.parametrize('layout', LAYOUTS)
def test_public_layouts_are_read_as_they_are(layout, tmp_path, command):
    photos, masks, others, said = LAYOUTS[layout]
    ended = command('check', build(tmp_path, photos, masks, others))
    assert ended.code == 0, ended
    assert '6 images, 6 masks, 3 classes' in ended.out
    for line in said:
        assert line in ended.out
    assert {pair.mask for pair in require_source(tmp_path, 'mmseg').pairs} == {
        tmp_path / masks.format(n=n, split='train' if n < 4 else 'val') for n in range(6)
    }


def test_a_set_that_was_converted_in_part(tmp_path, refused, command):
    photos, masks, *_ = LAYOUTS['cityscapes']
    build(tmp_path, photos, masks.replace('TrainIds', 'Ids'))
    converted = tmp_path / masks.format(n=0, split='train')
    mask(converted, stripes([0, 1, 2]))
    line = refused('check', tmp_path)
    assert (
        'masks number their classes in two ways (gtFine/train/aachen/aachen_000000_gtFine_labelTrainIds.png and' in line
    )
    converted.unlink()  # as it says
    assert command('check', tmp_path).code == 0


def test_two_folders_of_masks(tmp_path, refused, command):
    build(tmp_path / 'set', 'images/{n}.jpg', 'masks/{n}.png', ['masks_old/{n}.png'])
    assert 'move the folder of one of them out of the data folder' in refused('check', tmp_path / 'set')
    (tmp_path / 'set/masks_old').rename(tmp_path / 'masks_old')
    assert command('check', tmp_path / 'set').code == 0


def test_folders_that_only_sound_like_objects(tmp_path):
    paths = [tmp_path / f'instance_segmentation/{name}/1.png' for name in ('images', 'masks')]
    assert without_objects(paths, tmp_path) == (paths, [])
    paths = [tmp_path / 'instances/1.png']
    assert without_objects(paths, tmp_path) == (paths, [])


@pytest.mark.parametrize(
    ('photos', 'masks', 'said'),
    [
        ('images/image_{n}.jpg', 'masks/mask_{n}.png', 'image_* and mask_*'),
        ('{split}/images/IMG{n:04d}.jpg', '{split}/masks/SEG{n:04d}.png', 'IMG* and SEG*'),
        ('image_{n}.jpg', 'mask_{n}.png', 'image_* and mask_*'),
        ('images/{n}-photo.jpg', 'masks/{n}-classes.png', '*-photo and *-classes'),
    ],
)
def test_masks_whose_names_differ_by_a_pattern(photos, masks, said, tmp_path, command):
    root = build(tmp_path / 'set', photos, masks)
    ended = command('check', root)
    assert ended.code == 0, ended
    assert '6 images, 6 masks, 3 classes' in ended.out
    assert f'names differ: {said}' in ended.out
    pairs = require_source(root, 'mmseg').pairs
    place = [dict(n=n, split='train' if n < 4 else 'val') for n in range(6)]
    assert {(pair.image, pair.mask) for pair in pairs} == {
        (root / photos.format(**at), root / masks.format(**at)) for at in place
    }
    cfg, _ = adapt(UPERNET, root, tmp_path / 'work')
    assert cfg.train_dataloader.dataset.type == 'BaseSegDataset'  # and not one data set for each pair
    assert mask_labels(cfg) == [0, 1, 2]


def test_patterns_that_make_no_pairs():
    photos = [Path(f'photo_{n}.jpg') for n in range(4)]
    assert names_without_shared(photos, [Path(f'mask_{n}.png') for n in range(1, 5)]) is None  # a mask of no photo
    assert names_without_shared(photos, [Path('mask_0.png')]) is None  # too few to be sure
    assert names_without_shared([*photos, Path('b/photo_0.jpg')], [Path(f'mask_{n}.png') for n in range(4)]) is None


def test_masks_of_no_photo_are_named(tmp_path, refused):
    for n in range(4):
        photo(tmp_path / f'images/photo_{n}.jpg')
        mask(tmp_path / f'masks/{"abcd"[n]}.png', stripes([0, 1]))
    line = refused('check', tmp_path)
    assert (
        '4 masks, such as masks/a.png, have the name of none of 4 photos, such as images/photo_0.jpg; give each' in line
    )


def test_masks_of_single_objects_are_not_read(tmp_path, refused):
    for n in range(3):
        photo(tmp_path / f'{n}/images/{n}.png')
        for number in range(2):
            mask(tmp_path / f'{n}/masks/{number}-{n}.png', stripes([0, 255]))
    assert 'if each is of one object, which is not read, join those of a photo into one label map' in refused(
        'check', tmp_path
    )


@pytest.mark.parametrize('folder', ['labels_old', 'backup', 'txt/first'])
def test_labels_beside_those_that_are_used(folder, tmp_path, command):
    for n in range(6):
        photo(tmp_path / f'images/{n}.jpg')
        places = ['labels', folder] if n < 4 else [folder]
        for place in places:
            file = tmp_path / place / f'{n}.txt'
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text('0 0.5 0.5 0.2 0.2\n')
    (tmp_path / 'classes.txt').write_text('cat\n')
    (tmp_path / 'notes.txt').write_text('0 photos are missing\n')
    ended = command('check', tmp_path)
    assert (
        '6 x label file outside of the folders called labels, not used; a photo that has no other label file is left out too'
        in ended.out
    )
    assert f'{folder}/0.txt' in ended.out
    assert '4 images, 4 annotations' in ended.out  # photos whose labels are elsewhere are not without objects


@pytest.mark.parametrize(
    'place',
    [
        *('masks_instances/{}.png', 'panoptic_masks/{}.png', 'instance_masks/{}.png', 'instances/{}.png'),
        *('gtFine/{}_gtFine_instanceIds.png', 'instances/{}_instanceIds.png', 'images/{}_instanceIds.png'),
    ],
)
def test_pictures_of_objects_alone_are_read_as_objects(place, tmp_path, command, refused):
    for i in range(6):
        photo(tmp_path / f'd/images/{i}.jpg')
        ids = np.zeros(SIZE[::-1], np.uint8)
        for number in range(3 + i % 3):
            ids[10:30, 2 + number * 15 : 12 + number * 15] = number + 1
        mask(tmp_path / 'd' / place.format(i), ids)
    cfg, lines = adapt(RETINANET, tmp_path / 'd', tmp_path / 'work', instances=True)
    assert [len(found) for _, found in sorted(everything(cfg).items())] == [3, 4, 5, 3, 4, 5]
    assert 'not used' not in '\n'.join(lines)
    line = refused('train', 'retinanet_van_lska_t', '--data', tmp_path / 'd', '--work-dir', tmp_path / 'w')
    said = f'6 pictures of single objects ({place.format(0)}, ...), which a detector reads with --instances'
    assert said in line or 'there are labels as masks, of which --instances takes the pieces' in line


@pytest.mark.parametrize('name', ['panoptic_masks', 'masks_instances'])
def test_masks_of_classes_in_a_folder_that_speaks_of_objects(name, tmp_path):
    root = mask_set(tmp_path / 'd', (0, 1, 2, 1))
    (root / 'masks').rename(root / name)
    cfg, _ = adapt(UPERNET, root, tmp_path / 'work')
    assert mask_labels(cfg) == [0, 1, 2, 1]
