"""What results of real, very small models can be made into."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pycocotools.mask import decode

import mmlska

DETECTORS, SEGMENTOR = ('mask_rcnn', 'retinanet'), 'upernet'


@pytest.fixture(scope='module')
def results(tiny_models, scenes):
    """One result of each model."""
    photo = scenes / 'images/validation/000000.png'
    return {name: mmlska.load(*tiny_models[name]).predict(photo) for name in (*DETECTORS, SEGMENTOR)}


@pytest.mark.parametrize('name', DETECTORS)
def test_instances_are_those_of_the_prediction(name, results):
    result = results[name]
    found = result.prediction.to_dict(0.3)['instances']
    assert len(result) == len(found) > 0
    assert result.boxes.tolist() == [each['box'] for each in found]
    assert [result.names[label] for label in result.labels.tolist()] == [each['class'] for each in found]
    assert (np.diff(result.scores) <= 0).all()
    assert result.to_dict()['instances'] == json.loads(result.to_json())['instances'] == found
    if name == 'mask_rcnn':
        np.testing.assert_array_equal(result.masks[0], decode(found[0]['mask']))
        assert result.masks.shape == (len(result), 96, 96)


def test_a_segmentation_has_a_label_map_and_areas(results):
    result = results[SEGMENTOR]
    assert result.label_map.shape == (96, 96)
    for name, pixels in result.areas.items():
        assert (result.label_map == {v: k for k, v in result.names.items()}[name]).sum() == pixels
    assert sum(result.areas.values()) == 96 * 96
    assert list(result.areas.values()) == sorted(result.areas.values(), reverse=True)
    assert {each['class'] for each in json.loads(result.to_json())['segments']} == set(result.areas)


@pytest.mark.parametrize(
    ('name', 'what', 'message'),
    [
        ('retinanet', 'masks', 'masks are not predicted by this detector; use boxes'),
        ('mask_rcnn', 'label_map', 'are what a segmentor predicts, and this is a detector; use boxes'),
        ('mask_rcnn', 'areas', 'are what a segmentor predicts'),
        *((SEGMENTOR, what, 'use label_map and areas') for what in ('boxes', 'scores', 'labels', 'masks')),
    ],
)
def test_what_does_not_apply_says_so(name, what, message, results):
    with pytest.raises(ValueError, match=message):
        getattr(results[name], what)


@pytest.mark.parametrize('name', DETECTORS)
def test_coco_results_are_what_pycocotools_evaluates(name, results, scenes):
    truth, result = COCO(scenes / 'annotations/instances_validation.json'), results[name]
    (image_id,) = (i for i, image in truth.imgs.items() if image['file_name'] == Path(result.path).name)
    found = result.to_coco(image_id)
    assert json.loads(json.dumps(found)) == found
    loaded = truth.loadRes(found)
    assert {each['image_id'] for each in loaded.anns.values()} == {image_id}
    assert [each['score'] for each in loaded.anns.values()] == pytest.approx(result.scores.tolist())
    if name == 'mask_rcnn':
        np.testing.assert_array_equal([loaded.annToMask(each) for each in loaded.anns.values()], result.masks)
    evaluation = COCOeval(truth, loaded, 'segm' if name == 'mask_rcnn' else 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert 0 <= evaluation.stats[0] <= 1


def test_labelme_names_the_picture_from_its_file(results, tmp_path):
    for name in (*DETECTORS, SEGMENTOR):
        content = results[name].to_labelme()
        assert content['imagePath'] == '000000.png'
        assert content['shapes']
        assert {shape['label'] for shape in content['shapes']} <= set(results[name].names.values())
    beside = results[SEGMENTOR].to_labelme(tmp_path)
    assert (tmp_path / beside['imagePath']).resolve() == Path(results[SEGMENTOR].path).resolve()


def test_an_array_has_no_file_for_labelme(tiny_models):
    result = mmlska.load(*tiny_models[SEGMENTOR]).predict(np.zeros((40, 50, 3), np.uint8))
    assert repr(result).startswith('Result(array, 50x40: ')
    with pytest.raises(ValueError, match='an array is none'):
        result.to_labelme()


def test_supervision_gets_the_same_instances(results):
    supervision = pytest.importorskip('supervision', reason='no supervision; pip install supervision')
    for name in (*DETECTORS, SEGMENTOR):
        result = results[name]
        found = result.to_supervision()
        assert isinstance(found, supervision.Detections)
        assert len(found) == len(result) > 0
        assert [result.names[label] for label in found.class_id] == found.data['class_name'].tolist()
        if name == SEGMENTOR:
            assert found.confidence is None
            np.testing.assert_array_equal(found.area, [result.areas[n] for n in found.data['class_name']])
        else:
            np.testing.assert_allclose(found.xyxy, result.boxes, rtol=1e-5)
            np.testing.assert_array_equal(found.confidence, result.scores)
        assert (found.mask is None) == (name == 'retinanet')


def test_supervision_is_named_where_it_is_missing(results, monkeypatch):
    monkeypatch.setitem(sys.modules, 'supervision', None)  # as Python marks what cannot be imported
    with pytest.raises(ImportError, match='needs the package supervision .*; pip install supervision$'):
        results['retinanet'].to_supervision()


def test_the_picture_is_drawn_on(results, tmp_path):
    result = results['retinanet']
    assert result.plot().shape == result.image.shape
    assert (result.plot() != result.image).any()
    with Image.open(result.save(tmp_path / 'drawn.png')) as saved:
        np.testing.assert_array_equal(np.asarray(saved.convert('RGB'))[..., ::-1], result.plot())
    assert result._repr_png_() == (tmp_path / 'drawn.png').read_bytes()
    assert result.save(tmp_path / 'new/drawn.jpg').read_bytes().startswith(b'\xff\xd8')
    with pytest.raises(ValueError, match="drawn.gif ends in '.gif'; a picture ends in .png or .jpg"):
        result.save(tmp_path / 'drawn.gif')


def test_show_writes_a_file_where_there_is_no_display(results, tmp_path, monkeypatch, capsys):
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, 'platform', 'linux')
    monkeypatch.chdir(tmp_path)
    files = [results['retinanet'].show(), results['retinanet'].show()]
    assert files == [Path('predictions/000000.png'), Path('predictions/000000_2.png')]  # the first one stays
    assert [str(file.absolute()) in line for file, line in zip(files, capsys.readouterr().out.splitlines())] == [
        True
    ] * 2


SHOW = """
import sys
import mmlska

assert mmlska.load(*sys.argv[1:3]).predict(sys.argv[3]).show() is None
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='the viewer is found otherwise')
def test_show_starts_the_viewer_of_the_computer(tiny_models, scenes, tmp_path):
    viewer = tmp_path / 'xdg-open'
    viewer.write_text(f'#!/bin/sh\ncp "$1" {tmp_path}/shown.new && mv {tmp_path}/shown.new {tmp_path}/shown\n')
    viewer.chmod(0o755)
    environment = dict(os.environ, DISPLAY=':9', PATH=f'{tmp_path}:{os.environ["PATH"]}', OMP_NUM_THREADS='1')
    photo = scenes / 'images/validation/000000.png'
    done = subprocess.run(
        [sys.executable, '-c', SHOW, *map(str, (*tiny_models['retinanet'], photo))],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'shown').read_bytes().startswith(b'\x89PNG')
