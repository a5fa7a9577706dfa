"""Labels written in other formats, for annotation tools: what is read back is what was written."""

import json
from pathlib import Path

import numpy as np
import pytest
from own_sets import annotation, coco, image, mask, photo, simple, stripes
from PIL import Image
from pycocotools import mask as coco_mask

from mmlska.own_data.check import check_folder
from mmlska.own_data.convert import convert_labels
from mmlska.own_data.sources import require_source
from mmlska.own_data.writers import WRITERS

FRUITS = Path(__file__).resolve().parents[3] / 'shared/data/fruits_nuts'
DETECTION = [name for name in WRITERS if name != 'masks']


def scene(root: Path) -> Path:
    """Two splits; outlines, a box alone, a piece of two parts, run lengths and a crowd; names that differ by the folder alone."""
    runs = np.zeros((60, 80), np.uint8)
    runs[5:20, 50:70] = 1
    runs[10:12, 55:60] = 0
    encoded = coco_mask.encode(np.asfortranarray(runs))
    encoded['counts'] = encoded['counts'].decode()
    for quality, split in ((80, 'train'), (90, 'val')):  # no photo is in both
        photo(root / split / 'a/写真 1.JPG', quality=quality)
        photo(root / split / 'b/写真 1.JPG', quality=quality + 5)
        parts = [[2, 2, 20, 2, 20, 12, 2, 12], [30, 30, 50.5, 30, 50.5, 45.25]]
        labels = [
            annotation(1, 1, 1, (10, 10, 40, 30)),
            annotation(2, 1, 2, (2, 2, 48.5, 43.25), segmentation=parts),
            annotation(3, 2, 1, (50, 5, 20, 15), segmentation=encoded),
            annotation(4, 2, 2, (1.5, 40.25, 30, 12)),
        ]
        images = [image(1, f'{split}/a/写真 1.JPG'), image(2, f'{split}/b/写真 1.JPG')]
        coco(root / f'{split}.json', images, labels, [(1, 'black cat'), (2, '犬'), (3, 'cow')])
    return root


def objects(root: Path) -> dict[str, list[tuple]]:
    """Sorted class, rounded box and whether it is ignored, of the objects of each split."""
    labels = require_source(root, 'mmdet').read()
    return {
        split: sorted(
            (labels.classes[a['category_id'] - 1], [round(v, 1) for v in a['bbox']], a['iscrowd'])
            for image in images
            for a in image.annotations
        )
        for split, images in labels.splits.items()
    }


def near(one: dict, two: dict, pixels: float) -> bool:
    """Whether each object of one has another in two, of its class, with corners no further away."""
    assert one.keys() == two.keys()
    for split in one:
        left = list(two[split])
        assert len(left) == len(one[split])
        for name, (x, y, w, h), ignored in one[split]:

            def distance(other: tuple) -> float:
                (a, b, c, d), same = other[1], (other[0], other[2]) == (name, ignored)  # noqa: B023
                return max(abs(x - a), abs(y - b), abs(x + w - a - c), abs(y + h - b - d)) if same else 1e9  # noqa: B023

            best = min(left, key=distance)
            assert distance(best) <= pixels
            left.remove(best)
    return True


@pytest.mark.parametrize('to', DETECTION)
def test_a_round_trip_keeps_boxes_classes_and_splits(tmp_path, to):
    root = scene(tmp_path / 'd')
    lines = convert_labels(str(root), to, str(tmp_path / 'new'))
    assert lines == [f'8 objects (coco) in 2 photos train, 2 photos val: {tmp_path / "new"} ({to})']
    assert check_folder(str(tmp_path / 'new')).report.errors == 0
    assert require_source(tmp_path / 'new', 'mmdet').name == to
    assert near(objects(root), objects(tmp_path / 'new'), 0.11)


@pytest.mark.parametrize('to', DETECTION)
def test_outlines_cover_the_same_pixels(tmp_path, to):
    root = scene(tmp_path / 'd')
    convert_labels(str(root), to, str(tmp_path / 'new'))

    def areas(folder: Path) -> list[int]:
        out = []
        for images in require_source(folder, 'mmdet').read().splits.values():
            for entry in images:
                for a in entry.annotations:
                    mask = a['segmentation']
                    outlines = isinstance(mask, list)
                    out.append(
                        int(coco_mask.area(coco_mask.merge(coco_mask.frPyObjects(mask, 60, 80)) if outlines else mask))
                    )
        return sorted(out)

    hole = 0 if to in ('coco', 'voc') else 10  # outlines have no holes
    # In VOC's pictures small objects lie over large ones.
    slack = 200 if to == 'voc' else 8
    assert np.abs(np.subtract(areas(root), areas(tmp_path / 'new'))).max() <= hole + slack


def test_labels_without_an_object_are_not_converted(tmp_path):
    photo(tmp_path / 'd/a.jpg')
    coco(tmp_path / 'd/a.json', [image(1, 'a.jpg')], [])
    with pytest.raises(ValueError, match='the labels of .* have no object that can be used; mmlska check .* says why'):
        convert_labels(str(tmp_path / 'd'), 'yolo', str(tmp_path / 'new'))
    assert not (tmp_path / 'new').exists()


def test_a_class_called_background_that_is_not_the_first(tmp_path):
    photo(tmp_path / 'd/a.jpg')
    labels = [annotation(1, 1, 1, (0, 0, 9, 9)), annotation(2, 1, 2, (20, 0, 9, 9))]
    coco(tmp_path / 'd/a.json', [image(1, 'a.jpg')], labels, [(1, 'cat'), (2, 'background')])
    convert_labels(str(tmp_path / 'd'), 'masks', str(tmp_path / 'new'))
    assert require_source(tmp_path / 'new', 'mmseg').read().classes == ['background', 'cat']
    index = np.asarray(Image.open(tmp_path / 'new/masks/a.png'))
    assert (index[0, 0], index[0, 25], index[50, 50]) == (1, 0, 0)


def test_files_of_coco(tmp_path):
    convert_labels(str(scene(tmp_path / 'd')), 'coco', str(tmp_path / 'new'))
    content = json.loads((tmp_path / 'new/val.json').read_text())
    assert [entry['file_name'] for entry in content['images']] == ['val/a/写真 1.JPG', 'val/b/写真 1.JPG']
    assert all((tmp_path / 'new' / entry['file_name']).is_file() for entry in content['images'])
    assert [entry['name'] for entry in content['categories']] == ['black cat', '犬', 'cow']
    convert_labels(str(simple(tmp_path / 'one')), 'coco', str(tmp_path / 'new one'))
    assert sorted(path.name for path in (tmp_path / 'new one').iterdir()) == ['all.json', 'images']


def test_yolo_mixes_no_boxes_with_outlines(tmp_path):
    root = tmp_path / 'd'
    photo(root / 'a.jpg')
    bare, crowd = annotation(2, 1, 1, (1, 1, 9, 9), segmentation=[]), annotation(3, 1, 1, iscrowd=1)
    coco(root / 'a.json', [image(1, 'a.jpg')], [annotation(1, 1, 2), bare, crowd])
    lines = convert_labels(str(root), 'yolo', str(tmp_path / 'new'))
    assert lines[1:] == [
        '1 ignored objects are left out: YOLO has none',
        'boxes alone are written: not every object has an outline, and YOLO does not mix them',
        'no photo is for validation: Ultralytics needs a folder for "val" in data.yaml',
    ]
    text = (tmp_path / 'new/labels/train/a.txt').read_text()
    assert text == '1 0.375000 0.416667 0.500000 0.500000\n0 0.068750 0.091667 0.112500 0.150000\n'


def test_label_maps(tmp_path):
    lines = convert_labels(str(scene(tmp_path / 'd')), 'masks', str(tmp_path / 'new'))
    assert lines == [f'8 objects (coco) in 2 photos train, 2 photos val: {tmp_path / "new"} (masks)']
    labels = require_source(tmp_path / 'new', 'mmseg').read()
    assert labels.classes == ['background', 'black cat', '犬', 'cow']
    index = np.asarray(Image.open(tmp_path / 'new/masks/train/写真 1_2.png'))
    assert (index[5:20, 50:70] == 1).sum() == 290  # the hole is none
    assert index[11, 56] == 0


@pytest.mark.parametrize('to', ['voc', 'labelme'])
def test_ignored_objects_stay_ignored(tmp_path, to):
    root = tmp_path / 'd'
    photo(root / 'a.jpg')
    coco(root / 'a.json', [image(1, 'a.jpg')], [annotation(1, 1, 2), annotation(2, 1, 1, (1, 1, 9, 9), iscrowd=1)])
    convert_labels(str(root), to, str(tmp_path / 'new'))
    assert near(objects(root), objects(tmp_path / 'new'), 0.1)


def test_photos_that_exif_turns_keep_their_boxes(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(tmp_path / 'd/a.jpg', exif=exif)
    coco(tmp_path / 'd/a.json', [image(1, 'a.jpg')], [annotation(1, 1, 1)])  # 80x60, as it is stored
    convert_labels(str(tmp_path / 'd'), 'yolo', str(tmp_path / 'new'))
    with Image.open(tmp_path / 'new/images/train/a.jpg') as picture:
        assert (picture.size, picture.getexif().get(0x0112)) == ((80, 60), None)
    assert near({'train': objects(tmp_path / 'd')['']}, objects(tmp_path / 'new'), 0.1)


def test_pieces_of_masks(tmp_path):
    photo(tmp_path / 'd/images/a.jpg')
    mask(tmp_path / 'd/masks/a.png', stripes([0, 1, 2]))
    with pytest.raises(ValueError, match='holds masks of classes; add --instances to take their pieces for objects'):
        convert_labels(str(tmp_path / 'd'), 'coco', str(tmp_path / 'new'))
    lines = convert_labels(str(tmp_path / 'd'), 'coco', str(tmp_path / 'new'), instances=True)
    assert lines[0].startswith('2 objects (masks) in 1 photo: ')


def test_what_is_wrong_is_said_and_nothing_is_written(tmp_path):
    root = simple(tmp_path / 'd')
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full/x').touch()
    for to, out, kind, message in (
        ('tfrecord', 'new', ValueError, "--to 'tfrecord' is unknown; use one of coco, yolo, voc, labelme, cvat, masks"),
        ('yolo', 'full', FileExistsError, '--out .*full exists already; give a folder that is not there yet'),
        ('yolo', 'd/new', ValueError, '--out .*new lies inside the data; give a folder elsewhere'),
    ):
        with pytest.raises(kind, match=message):
            convert_labels(str(root), to, str(tmp_path / out))
    with pytest.raises(FileNotFoundError, match='nowhere is not a folder'):
        convert_labels(str(tmp_path / 'nowhere'), 'yolo', str(tmp_path / 'new'))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['d', 'full']


@pytest.mark.skipif(not FRUITS.is_dir(), reason='the data set fruits_nuts is not there')
@pytest.mark.parametrize('to', DETECTION)
def test_fruits(tmp_path, to):
    convert_labels(str(FRUITS), to, str(tmp_path / 'new'))
    old, new = objects(FRUITS), objects(tmp_path / 'new')
    assert near({'': old['']}, {'': next(iter(new.values()))}, 1.1)
