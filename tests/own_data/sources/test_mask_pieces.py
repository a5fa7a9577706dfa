"""Detectors on masks: each connected piece of a class is an object."""

import cv2
import numpy as np
import pytest
from own_sets import MASK_RCNN, SIZE, UPERNET, adapt, instances, mask, photo, simple, stripes

from mmlska.own_data.check import check_folder
from mmlska.own_data.sources import find_source, require_source


def masks(root, names='background\ncell\ndish'):
    """Two cells, which touch at a corner only within themselves, a speck and a dish."""
    for i in range(3):
        photo(root / f'images/{i}.jpg')
        pixels = np.zeros((60, 80), np.uint8)
        pixels[5:10, 5:10] = pixels[10:14, 10:14] = 1
        pixels[20:30, 50:70] = 1
        pixels[40:42, 40:43] = 1
        pixels[50:60, 0:80] = 2
        mask(root / f'masks/{i}.png', pixels)
    (root / 'classes.txt').write_text(names)
    return root


def test_pieces_are_objects(tmp_path):
    cfg, lines = adapt(MASK_RCNN, masks(tmp_path / 'd'), tmp_path / 'work', instances=True)
    assert '3 images, 2 classes (cell, dish), 9 annotations; 2 train, 1 val' in lines[0]
    assert lines[1] == (
        '3 x mask with pieces of less than 9 pixels, which are left out: '
        'masks/0.png: 1 of cell, masks/1.png: 1 of cell, masks/2.png: 1 of cell'
    )
    (found,) = instances(cfg).values()
    assert sorted(found) == [(0, [5, 5, 14, 14], 0), (0, [50, 20, 70, 30], 0), (1, [0, 50, 80, 60], 0)]
    labels = require_source(tmp_path / 'd', 'mmdet', instances=True).read()
    assert [a['area'] for a in labels.splits[''][0].annotations] == [41, 200, 800]


def test_the_same_is_checked(tmp_path):
    report = check_folder(str(masks(tmp_path / 'd', 'dust\ncell\ndish')), instances=True).report
    assert report.classes == {'dust': 3, 'cell': 6, 'dish': 3}
    assert (report.unit, report.errors) == ('annotations', 0)
    kinds = [finding.kind for finding in report.findings]
    assert 'masks without a class called background; each class is one of objects' in kinds


def test_only_masks_have_pieces(tmp_path):
    root = masks(tmp_path / 'd')
    with pytest.raises(ValueError, match='--instances takes objects from masks, for detectors; leave it out'):
        adapt(UPERNET, root, tmp_path / 'work', instances=True)
    with pytest.raises(ValueError, match='--instances takes objects from masks, for detectors; leave it out'):
        find_source(root, 'mmdet', label_format='coco', instances=True)
    with pytest.raises(
        ValueError, match='no labels for a detector in .*: looked for masks; there are labels as coco; see'
    ):
        adapt(MASK_RCNN, simple(tmp_path / 'coco'), tmp_path / 'work', instances=True)


def test_ids_of_objects_in_tiff_files_of_doubles(tmp_path):
    for i in range(6):
        photo(tmp_path / f'images/{i}.jpg')
        ids = np.zeros(SIZE[::-1])
        for number in range(3 + i % 3):
            ids[10:30, 2 + number * 15 : 12 + number * 15] = number + 1
        path = tmp_path / f'masks/{i}.tif'
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), ids)
    assert find_source(tmp_path, 'mmdet', instances=True).read().classes == ['object']


def test_binary_masks_have_a_background_without_a_word(tmp_path):
    for i in range(4):
        photo(tmp_path / f'images/{i}.jpg')
        mask(tmp_path / f'masks/{i}.png', stripes([0, 1]))
    notes = find_source(tmp_path, 'mmdet', instances=True).read().notes
    assert not any('taken for background' in note for note in notes)
