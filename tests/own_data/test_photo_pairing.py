"""Which photo a label file means, and that no photo gets the labels of another or becomes one without objects by mistake."""

import base64
import json
import shutil

import pytest
from own_sets import UPERNET, adapt, annotation, coco, image, mask, photo, simple, stripes
from PIL import Image

from mmlska.own_data.check import check_config, check_folder
from mmlska.own_data.sources import find_source, require_source

CAT = '0 0.5 0.5 0.5 0.5\n'


def yolo(root, *names, labels='labels', images='images'):
    for name in names:
        photo(root / images / f'{name}.jpg')
        file = root / labels / f'{name}.txt'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(CAT)
    (root / 'classes.txt').write_text('cat')
    return root


def counts(root, **options):
    """The number of objects of each photo, by its name."""
    labels = require_source(root, 'mmdet', **options).read()
    return {image.name: len(image.annotations) for images in labels.splits.values() for image in images}


def test_masks_beside_photos_are_no_photos(tmp_path):
    root = yolo(tmp_path, '0', '1')
    for name in '01':
        mask(root / f'masks/{name}.png', stripes([0, 1]))
    assert counts(root, label_format='yolo') == {'images/0.jpg': 1, 'images/1.jpg': 1}


def test_a_photo_whose_label_file_fits_two_is_not_one_without_objects(tmp_path):
    root = yolo(tmp_path, '0', '1')
    shutil.copy(root / 'images/1.jpg', root / 'images/1.JPEG')
    assert counts(root) == {'images/0.jpg': 1}
    kinds = {finding.kind for finding in check_folder(str(root)).report.findings}
    assert 'label file that fits two photos' in kinds


def test_numbered_folders_keep_to_each_other(tmp_path):
    for cam in ('1', '2'):
        yolo(tmp_path, '0001', images=f'images_cam{cam}', labels=f'labels_cam{cam}')
    (tmp_path / 'labels_cam2/0001.txt').write_text(f'{CAT}0 0.5 0.5 0.2 0.2\n')
    assert counts(tmp_path) == {'images_cam1/0001.jpg': 1, 'images_cam2/0001.jpg': 2}


@pytest.mark.parametrize(('images', 'labels'), [('pics', 'boxes'), ('图片', '标签'), ('im ages', 'la bels')])
def test_two_folders_of_any_name(images, labels, tmp_path):
    root = yolo(tmp_path, '0', '1', images=images, labels=labels)
    assert counts(root) == {f'{images}/0.jpg': 1, f'{images}/1.jpg': 1}


def test_captions_beside_photos_are_no_labels(tmp_path):
    root = yolo(tmp_path, '0')
    (root / 'images/0.txt').write_text('a cat on a mat')
    assert counts(root) == {'images/0.jpg': 1}


def test_a_photo_of_which_no_line_can_be_read_is_left_out(tmp_path):
    root = yolo(tmp_path, '0', '1', '2')
    (root / 'labels/1.txt').write_text('0 40 30 40 30\n')
    (root / 'labels/2.txt').write_text('')
    assert counts(root) == {'images/0.jpg': 1, 'images/2.jpg': 0}
    places = {f.kind: f.places for f in check_folder(str(root)).report.findings}
    assert places['photo of whose objects none can be read'] == ['images/1.jpg']


def test_a_photo_of_another_kind_is_named(tmp_path):
    root = yolo(tmp_path, '0', '1')
    (root / 'images/1.jpg').rename(root / 'images/1.heic')
    kind = 'label file whose photo is of a kind that is not read; save it as jpg or png'
    assert kind in {finding.kind for finding in check_folder(str(root)).report.findings}


def _labelme(path, **more):
    shape = dict(label='cat', points=[[1, 1], [9, 1], [9, 9]], shape_type='polygon')
    content = dict(shapes=[shape], imagePath=f'{path.stem}.jpg', imageData=None, imageHeight=60, imageWidth=80)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**content, **more}))


def test_the_photo_within_a_file_and_one_of_its_name_elsewhere(tmp_path):
    photo(tmp_path / 'a/1.jpg')
    _labelme(tmp_path / 'a/1.json')
    _labelme(tmp_path / 'b/1.json', imageData=base64.b64encode((tmp_path / 'a/1.jpg').read_bytes()).decode())
    assert len(counts(tmp_path)) == 2


def test_a_photo_elsewhere_is_not_that_of_a_file_without_one(tmp_path):
    for name in ('1', '2'):
        photo(tmp_path / f'a/{name}.jpg')
    _labelme(tmp_path / 'a/2.json')
    _labelme(tmp_path / 'b/1.json')
    assert counts(tmp_path) == {'a/2.jpg': 1}


def test_long_names_of_photos_within_files_stay_apart(tmp_path):
    photo(tmp_path / 'x.jpg')
    content = base64.b64encode((tmp_path / 'x.jpg').read_bytes()).decode()
    (tmp_path / 'x.jpg').unlink()
    for first in '一二':
        _labelme(tmp_path / f'{first}{"照片" * 25}.json', imageData=content)
    labels = require_source(tmp_path, 'mmdet').read()
    files = [image.entry['file_name'] for images in labels.splits.values() for image in images]
    assert len(set(files)) == 2


def test_the_config_of_a_training_on_photos_within_files_can_be_checked(tmp_path):
    from mmengine.config import Config
    from own_sets import MASK_RCNN

    for quality, name in ((80, 'a'), (90, 'b')):
        photo(tmp_path / 'x.jpg', quality=quality)
        content = base64.b64encode((tmp_path / 'x.jpg').read_bytes()).decode()
        _labelme(tmp_path / f'd/{name}.json', imageData=content)
    cfg, _ = adapt(MASK_RCNN, tmp_path / 'd', tmp_path / 'work')
    assert check_config(Config(cfg.to_dict())).report.errors == 0


def test_a_photo_in_files_of_one_class_each_is_one_photo(tmp_path):
    import numpy as np
    from own_sets import build

    for name in 'ab':
        photo(tmp_path / f'd/{name}.jpg')
    for number, kind in enumerate(('cat', 'dog')):
        images = [image(i, f'{name}.jpg') for i, name in enumerate('ab')]
        labels = [annotation(i + 1, i, 1, (30 * number, 0, 20, 20)) for i in range(2)]
        coco(tmp_path / f'd/{kind}.json', images, labels, [(1, kind)])
    assert counts(tmp_path / 'd') == {'a.jpg': 2, 'b.jpg': 2}
    cfg, _ = adapt(UPERNET, tmp_path / 'd', tmp_path / 'work')
    built = build(cfg)
    assert len(built) == 1
    index = np.asarray(Image.open(built.get_data_info(0)['seg_map_path']))
    assert (index[5, 5], index[5, 35], index[50, 50]) == (1, 2, 0)


def test_palettes_are_for_masks(tmp_path):
    root = simple(tmp_path / 'd')
    (root / 'p.json').write_text('["a", "b"]')
    with pytest.raises(
        ValueError, match='no labels for a segmentor in .*: looked for masks; there are labels as coco; '
    ):
        require_source(root, 'mmseg', str(root / 'p.json'))
    with pytest.raises(ValueError, match='--palette is for masks; leave it out, or give --format masks'):
        find_source(root, 'mmseg', str(root / 'p.json'), 'coco')
