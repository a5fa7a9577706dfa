"""Corrected copies."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from own_sets import SIZE, annotation, bad_coco, bad_masks, coco, config_of_masks, image, mask_set, photo, simple
from PIL import Image

from mmlska.engine.config import load_config
from mmlska.own_data.check import check_config, check_folder
from mmlska.own_data.contact_sheet import write_sheet
from mmlska.own_data.image_copies import copy_image
from mmlska.own_data.repair import write_repaired
from mmlska.own_data.sources import require_source


def test_one_mask_in_colours_among_index_masks(tmp_path):
    root = mask_set(tmp_path / 'd', (0, 1), count=3)
    picture = Image.open(root / 'masks/1.png').convert('RGB')
    picture.putpixel((0, 0), (0, 0, 1))
    picture.save(root / 'masks/1.png')
    checked = check_config(load_config(config_of_masks(root)))
    assert write_sheet(str(tmp_path / 'a.png'), checked.source) == 3
    write_repaired(str(tmp_path / 'new'), checked.source)
    shares = [np.mean(np.asarray(Image.open(tmp_path / f'new/masks/{i}.png')) == 1) for i in range(3)]
    assert shares == [0.5, 1 / 4800, 0.5]  # by the packed colour, as the report counts them


def test_a_repaired_copy_of_coco_files_is_sound(tmp_path):
    bad = bad_coco(tmp_path / 'bad')
    before = {path: path.read_bytes() for path in bad.rglob('*') if path.is_file()}
    checked = check_folder(str(bad))
    lines = write_repaired(str(tmp_path / 'new'), checked.source)
    assert lines[0] == 'instances_all.json: 3 images, 4 annotations'
    assert 'left out: 3 images' in lines[-1]
    assert '1 mask size unlike the image' in lines[-1]
    assert check_folder(str(tmp_path / 'new')).report.errors == 0
    assert {path: path.read_bytes() for path in bad.rglob('*') if path.is_file()} == before
    assert require_source(tmp_path / 'new', 'mmdet').read().classes == ['cat', 'dog', 'cow']
    with pytest.raises(FileExistsError, match='exists already; give a folder that is not there'):
        write_repaired(str(tmp_path / 'new'), checked.source)
    with pytest.raises(ValueError, match='lies inside the data'):
        write_repaired(str(bad / 'new'), checked.source)


def test_a_repaired_copy_turns_photos_as_they_are_labelled(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    root = tmp_path / 'd'
    for i in range(2):
        photo(root / f'images/{i}.jpg', exif=exif)
    coco(
        root / 'a.json', [image(0, '0.jpg'), image(1, '1.jpg', SIZE[::-1])], [annotation(i + 1, i, 1) for i in range(2)]
    )
    checked = check_folder(str(root))
    assert checked.report.errors == 1
    write_repaired(str(tmp_path / 'new'), checked.source)
    assert check_folder(str(tmp_path / 'new')).report.errors == 0
    assert cv2.imread(str(tmp_path / 'new/images/0.jpg')).shape == (60, 80, 3)
    assert cv2.imread(str(tmp_path / 'new/images/1.jpg')).shape == (80, 60, 3)


@pytest.mark.parametrize('name', ['7.heic', '8.gif', '9.png', '../elsewhere/9.png', '../../elsewhere/9.png'])
def test_images_that_training_refuses_are_left_out(tmp_path, name):
    """Of a kind that is not read, missing, or outside of the folder: the message of training advises the copy."""
    root = simple(tmp_path / 'd')
    photo(tmp_path / 'elsewhere/9.png')
    (root / 'images/7.heic').touch()
    (root / 'images/8.gif').touch()
    content = json.loads((root / 'all.json').read_text())
    content['images'].append(image(9, name))
    content['annotations'].append(annotation(99, 9, 1))
    (root / 'all.json').write_text(json.dumps(content))
    with pytest.raises((ValueError, FileNotFoundError)):
        require_source(root, 'mmdet').read()
    lines = write_repaired(str(tmp_path / 'new'), check_folder(str(root)).source)
    assert lines[0] == 'instances_all.json: 4 images, 6 annotations'
    assert lines[-1].startswith('left out: 1 images')
    assert check_folder(str(tmp_path / 'new')).report.errors == 0
    assert len(require_source(tmp_path / 'new', 'mmdet').read().splits['']) == 4


def test_a_copy_without_any_image_is_refused(tmp_path):
    root = tmp_path / 'd'
    coco(root / 'all.json', [image(1, '1.heic'), image(2, '2.png')], [annotation(1, 1, 1), annotation(2, 2, 1)])
    (root / '1.heic').touch()
    with pytest.raises(ValueError, match=r'no image of .*d can be copied.*: 1.heic, 2.png; put the photos'):
        write_repaired(str(tmp_path / 'new'), check_folder(str(root)).source)
    assert not (tmp_path / 'new').exists()


def test_a_copy_that_cannot_be_written_is_no_broken_image(tmp_path):
    photo(tmp_path / 'a.jpg')
    with pytest.raises(FileNotFoundError, match='no_folder'):
        copy_image(tmp_path / 'a.jpg', tmp_path / 'no_folder/a.jpg', True)
    with pytest.raises(OSError, match='No space left'):
        copy_image(tmp_path / 'a.jpg', Path('/dev/full'), True)


def test_a_repaired_copy_of_masks_is_sound(tmp_path):
    root = bad_masks(tmp_path / 'd')
    checked = check_folder(str(root))
    lines = write_repaired(str(tmp_path / 'new'), checked.source)
    assert lines[0] == '3 pairs of image and mask, 4 classes'
    report = check_folder(str(tmp_path / 'new')).report
    assert report.errors == 0
    labels = require_source(tmp_path / 'new', 'mmseg').read()
    assert labels.classes == ['a', 'b', 'c', 'd']
    assert {pair.image.name: sorted(pair.values) for pair in labels.splits['']}['1.jpg'] == [0, 255]


def test_pixels_without_a_label_are_no_strange_values(tmp_path):
    """Two names for the values 0, 1 and 2: 0 then means unlabelled."""
    root = mask_set(tmp_path / 'd')
    (root / 'classes.txt').write_text('cat\ndog\n')
    checked = check_folder(str(root))
    assert (checked.source.labels.reduce_zero, checked.report.errors) == (True, 0)
    assert '; 0 strange values cleared' in ' '.join(write_repaired(str(tmp_path / 'new'), checked.source))
