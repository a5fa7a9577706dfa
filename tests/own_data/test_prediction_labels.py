"""Predictions as labels: what a model finds is read back as the labels of a folder."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from mmlska.infer import Predictor, write_predictions
from mmlska.own_data.predictions import LABEL_FORMATS
from mmlska.own_data.sources import require_source


@pytest.fixture(scope='module')
def predictions(tiny_models, tmp_path_factory):
    """Two photos of one name in two folders, predicted by a detector with masks, one without, and a segmentor."""
    folder, rng = tmp_path_factory.mktemp('photos'), np.random.default_rng(1)
    paths = [folder / str(i) / 'photo.png' for i in range(2)]
    for path in paths:
        path.parent.mkdir()
        cv2.imwrite(str(path), cv2.resize(rng.integers(0, 255, (5, 7, 3), dtype=np.uint8), (70, 50)))
    names = ('mask_rcnn', 'retinanet', 'upernet')
    return {name: Predictor(*tiny_models[name], device='cpu')(paths) for name in names}


@pytest.mark.parametrize('model', ['mask_rcnn', 'retinanet'])
@pytest.mark.parametrize('to', LABEL_FORMATS)
def test_predictions_are_read_back_as_labels(to, model, predictions, tmp_path):
    found = predictions[model]
    files = write_predictions(found, tmp_path / 'new', LABEL_FORMATS[to], score_thr=0.15)
    assert files
    assert all(file.is_file() for file in files)
    labels = require_source(tmp_path / 'new', 'mmdet').read()
    assert set(labels.classes) <= set(found[0].classes)  # VOC does not list those without objects
    entries = {image.name.split('/')[-1]: image for images in labels.splits.values() for image in images}
    assert sorted(entries) == ['photo.png', 'photo_2.png']
    for name, prediction in zip(sorted(entries), found):
        wanted = prediction.to_dict(0.15)['instances']
        kept = [i for i in wanted if i['box'][2] - i['box'][0] >= 1 and i['box'][3] - i['box'][1] >= 1]
        boxes = np.array([a['bbox'] for a in entries[name].annotations])
        assert 0 < len(boxes) <= len(wanted)
        if model == 'retinanet':  # masks have boxes of their own
            assert len(boxes) == len(kept)
            for instance, (x, y, right, bottom) in ((i, i['box']) for i in kept):
                near = np.abs(boxes - [x, y, right - x, bottom - y]).max(1) < 0.02
                names = {labels.classes[entries[name].annotations[i]['category_id'] - 1] for i in np.flatnonzero(near)}
                assert instance['class'] in names


def test_what_can_not_be_labels(predictions, tmp_path):
    write = LABEL_FORMATS['yolo']
    with pytest.raises(
        ValueError, match="format='yolo' holds objects and a segmentor predicts none; use 'png' or 'coco'"
    ):
        write_predictions(predictions['upernet'], tmp_path / 'new', write)
    array = [replace(predictions['retinanet'][0], name='')]
    with pytest.raises(ValueError, match="format='yolo' copies image files and an array is none; use 'coco' or 'json'"):
        write_predictions(array, tmp_path / 'new', write)
    assert not (tmp_path / 'new').exists()
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full/a.txt').touch()
    with pytest.raises(FileExistsError, match='--out .*full exists already; give a folder that is not there yet'):
        write_predictions(predictions['retinanet'], tmp_path / 'full', write)
