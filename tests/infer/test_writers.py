"""Files of predictions."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.mask import decode

from mmlska.infer import Predictor, write_predictions


@pytest.fixture(scope='module')
def predictions(tiny_models, tmp_path_factory):
    """Two photos of one name in two folders, predicted by a detector with masks, one without, and a segmentor."""
    folder = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(1)
    paths = []
    for i in range(2):
        paths.append(folder / str(i) / 'photo.png')
        paths[-1].parent.mkdir()
        cv2.imwrite(str(paths[-1]), cv2.resize(rng.integers(0, 255, (5, 7, 3), dtype=np.uint8), (70, 50)))
    names = ('mask_rcnn', 'retinanet', 'upernet')
    return {name: Predictor(*tiny_models[name], device='cpu')(paths) for name in names}


def test_coco_opens_in_pycocotools(predictions, tmp_path):
    for name, found in predictions.items():
        (path,) = write_predictions(found, tmp_path / name, 'coco', score_thr=0.15)
        coco = COCO(str(path))
        assert sorted(coco.getImgIds()) == [1, 2]
        assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == list(found[0].classes)
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[2]))
        assert annotations
        if name == 'upernet':
            np.testing.assert_array_equal(
                sum(coco.annToMask(a) * (a['category_id'] - 1) for a in annotations), found[1].index_mask
            )
            continue
        expected = found[1].to_dict(0.15)['instances']
        assert len(annotations) == len(expected)
        x1, y1, x2, y2 = expected[0]['box']
        assert annotations[0]['bbox'] == pytest.approx([x1, y1, x2 - x1, y2 - y1])
        assert annotations[0]['score'] == expected[0]['score']
        if name == 'mask_rcnn':
            np.testing.assert_array_equal(coco.annToMask(annotations[0]), decode(expected[0]['mask']))


def test_json_keeps_names_apart(predictions, tmp_path):
    files = write_predictions(predictions['retinanet'], tmp_path, 'json', score_thr=0.0)
    assert [f.name for f in files] == ['photo.json', 'photo_2.json']
    assert json.loads(files[1].read_text()) == predictions['retinanet'][1].to_dict()
    (first, _) = write_predictions(predictions['upernet'], tmp_path / 'seg', 'json')
    segments = json.loads(first.read_text())['segments']
    mask = sum(decode(s['mask']).astype(int) * s['label'] for s in segments)
    np.testing.assert_array_equal(mask, predictions['upernet'][0].index_mask)
    assert segments[0]['class'] == predictions['upernet'][0].classes[segments[0]['label']]


def test_png(predictions, tmp_path):
    file = write_predictions(predictions['upernet'], tmp_path, 'png')[0]
    np.testing.assert_array_equal(cv2.imread(str(file), cv2.IMREAD_UNCHANGED), predictions['upernet'][0].index_mask)
    file = write_predictions(predictions['mask_rcnn'], tmp_path / 'instances', 'png', score_thr=0.15)[0]
    numbers = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    best = predictions['mask_rcnn'][0].to_dict(0.15)['instances'][0]
    np.testing.assert_array_equal(numbers == 1, decode(best['mask']) == 1)
    with pytest.raises(ValueError, match='needs masks and this detector has none'):
        write_predictions(predictions['retinanet'], tmp_path, 'png')


def test_labelme(predictions, tmp_path):
    for name, kind in (('mask_rcnn', 'polygon'), ('retinanet', 'rectangle'), ('upernet', 'polygon')):
        file = write_predictions(predictions[name], tmp_path / name, 'labelme', score_thr=0.15)[0]
        content = json.loads(file.read_text())
        assert (content['imageHeight'], content['imageWidth']) == (50, 70)
        assert not Path(content['imagePath']).is_absolute()
        assert cv2.imread(str(file.parent / content['imagePath'])).shape == (50, 70, 3)
        assert {s['shape_type'] for s in content['shapes']} == {kind}
        assert {s['label'] for s in content['shapes']} <= set(predictions[name][0].classes)
        assert all(0 <= x <= 70 and 0 <= y <= 50 for s in content['shapes'] for x, y in s['points'])


def test_labelme_finds_images_that_were_named_from_elsewhere(predictions, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('photos').mkdir()
    Path('photos/a#1.png').write_bytes(Path(predictions['retinanet'][0].name).read_bytes())
    prediction = replace(predictions['retinanet'][0], name='photos/a#1.png')
    (file,) = write_predictions([prediction], 'results/labels', 'labelme')
    assert json.loads(file.read_text())['imagePath'] == '../../photos/a#1.png'


@pytest.mark.parametrize(
    ('name', 'what'), [('clips/a.mp4#000003', r'clips/a.mp4#000003 is a frame of a video'), ('', 'an array is none')]
)
def test_labelme_needs_image_files(predictions, tmp_path, name, what):
    prediction = replace(predictions['retinanet'][0], name=name)
    with pytest.raises(ValueError, match=f"format='labelme' refers to image files and {what}; use 'coco' or 'json'"):
        write_predictions([prediction], tmp_path / 'out', 'labelme')


def test_unknown_format(tmp_path):
    with pytest.raises(ValueError, match="format='xml' is unknown; choose one of 'coco', 'json', 'png', 'labelme'"):
        write_predictions([], tmp_path, 'xml')
