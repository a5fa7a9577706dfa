"""Every command reads images as the config of the model does: grey photos, photos as they are stored."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from mmlska.analysis.feature_maps import scaled_input
from mmlska.analysis.photos import square_inputs
from mmlska.engine.config import load_config
from mmlska.engine.evaluation_options import use_tta
from mmlska.engine.image_reading import each_step
from mmlska.infer import Predictor
from mmlska.infer.model import build_model


def model_of(base, folder: Path, scenes: Path, color_type: str) -> tuple[Path, Path]:
    """Config and random checkpoint of a tiny RetinaNet or UperNet whose images are loaded with this ``color_type``."""
    cfg = load_config(str(base.config))
    cfg.test_dataloader.dataset.pipeline[0].color_type = color_type
    if color_type.startswith('grayscale'):
        cfg.model.backbone.in_channels = 1
        cfg.model.data_preprocessor.update(mean=[100.0], std=[60.0], bgr_to_rgb=False)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    net = MODELS.build(cfg.model)
    state = torch.load(base.checkpoint, weights_only=True)['state_dict']
    kept = {key: value for key, value in state.items() if value.shape == net.state_dict()[key].shape}
    net.load_state_dict(kept, strict=False)
    config, checkpoint = folder / 'reads.py', folder / 'reads.pth'
    cfg.dump(config)
    torch.save({'meta': {'dataset_meta': dict(cfg.metainfo)}, 'state_dict': net.state_dict()}, checkpoint)
    return config, checkpoint


@pytest.fixture
def turned(scenes, tmp_path) -> Path:
    """The scenes with validation photos 96 x 64 that EXIF data turn, and labels that count pixels as stored."""
    root = tmp_path / 'turned'
    shutil.copytree(scenes, root)
    file = root / 'annotations/instances_validation.json'
    content = json.loads(file.read_text())
    for image in content['images']:
        path = root / 'images/validation' / image['file_name']
        picture = Image.open(path).convert('RGB').crop((0, 0, 96, 64))
        exif = picture.getexif()
        exif[0x0112] = 6
        path.unlink()
        image['file_name'] = path.with_suffix('.jpg').name
        picture.save(path.with_suffix('.jpg'), exif=exif, quality=95)
        image['height'] = 64
    for annotation in content['annotations']:
        x, y, width, height = annotation['bbox']
        annotation['segmentation'] = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    file.write_text(json.dumps(content))
    return root


def boxes_of(annotations, images=None) -> dict[str, list]:
    """Sorted scores and boxes by the name of the photo, rounded."""
    found: dict[str, list] = {}
    for a in annotations:
        name = images[a['image_id']] if images else a['image_id']
        found.setdefault(name, []).append([round(v, 2) for v in (a['score'], *a['bbox'])])
    return {name: sorted(rows) for name, rows in found.items()}


@pytest.mark.parametrize(
    'color_type', ['grayscale', 'color_ignore_orientation', 'grayscale_ignore_orientation', 'unchanged', 'color']
)
def test_predict_finds_what_test_finds(color_type, command, tiny_models, turned, tmp_path):
    config, checkpoint = model_of(tiny_models['retinanet'], tmp_path, turned, color_type)
    data = ('--cfg-options', f'data_root={turned}/', f'test_dataloader.dataset.data_root={turned}/')
    evaluator = f'test_evaluator.ann_file={turned}/annotations/instances_validation.json'
    ended = command('test', config, checkpoint, '--out', tmp_path / 'r.json', *data, evaluator, cwd=tmp_path)
    assert ended.code == 0, ended
    (results,) = tmp_path.glob('r*bbox.json')
    labels = json.loads((turned / 'annotations/instances_validation.json').read_text())
    names = {image['id']: image['file_name'] for image in labels['images']}
    tested = boxes_of(json.loads(results.read_text()), names)

    photos = turned / 'images/validation'
    options = ('--config', config, '--checkpoint', checkpoint, '--format', 'coco', '--score-thr', '0', '--no-deploy')
    ended = command('predict', photos, '--out', tmp_path / 'p', *options, '--no-overlays')
    assert ended.code == 0, ended
    content = json.loads((tmp_path / 'p/predictions.json').read_text())
    files = {image['id']: Path(image['file_name']).name for image in content['images']}
    assert boxes_of(content['annotations'], files) == tested
    assert tested
    size = [96, 64] if color_type in ('color', 'grayscale') else [64, 96]
    assert all([image['height'], image['width']] == size for image in content['images'])


@pytest.mark.slow
@pytest.mark.parametrize('color_type', ['grayscale', 'color_ignore_orientation'])
def test_an_exported_model_reads_as_its_config_does(color_type, command, tiny_models, turned, tmp_path):
    pytest.importorskip('onnxruntime')
    from mmlska.export.onnx_predictor import OnnxPredictor

    files = model_of(tiny_models['upernet'], tmp_path, turned, color_type)
    ended = command('export', *files, '--out', tmp_path / 'm.onnx')
    assert ended.code == 0, ended
    photos = turned / 'images/validation'
    expected = Predictor(*files)(photos)
    for prediction, right in zip(OnnxPredictor(tmp_path / 'm.onnx')(photos), expected, strict=True):
        assert prediction.image.shape == right.image.shape
        assert np.array_equal(prediction.image, right.image)
        assert (prediction.index_mask == right.index_mask).mean() > 0.999


@pytest.mark.parametrize('color_type', ['grayscale', 'color_ignore_orientation'])
def test_analyses_read_as_the_config_does(color_type, command, tiny_models, turned, tmp_path):
    config, checkpoint = model_of(tiny_models['retinanet'], tmp_path, turned, color_type)
    photo = next((turned / 'images/validation').iterdir())
    ended = command(
        *('feature-maps', config, photo, '--checkpoint', checkpoint, '--size', 96, '--out', tmp_path / 'maps.png')
    )
    assert ended.code == 0, ended
    picture, _ = scaled_input(load_config(str(config)), str(photo), 96)
    assert picture.shape == ((96, 64, 1) if color_type == 'grayscale' else (64, 96, 3))
    ended = command('erf', config, '--images', photo.parent, '--num-images', 1, '--size', 64, '--out', tmp_path / 'erf')
    assert ended.code == 0, ended


def test_the_inputs_of_erf_are_as_stored(tiny_models, turned, tmp_path):
    stored, upright = (
        model_of(tiny_models['retinanet'], tmp_path, turned, color_type)
        for color_type in ('color_ignore_orientation', 'color')
    )
    photos = sorted((turned / 'images/validation').iterdir())[:1]
    model = build_model(load_config(str(stored[0])), stored[1])
    first, second = (next(square_inputs(model, photos, 64, None, as_stored)) for as_stored in (True, False))
    assert torch.allclose(first.rot90(-1, (2, 3)), second)


def test_arrays_for_a_model_of_grey_photos(tiny_models, turned, tmp_path):
    predictor = Predictor(*model_of(tiny_models['upernet'], tmp_path, turned, 'grayscale'))
    photo = next((turned / 'images/validation').iterdir())
    colours = cv2.imread(str(photo))
    grey = cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY)
    maps = [
        result.index_mask
        for image in (colours, grey, grey[..., None], Image.fromarray(grey))
        for result in predictor(image)
    ]
    assert all(np.array_equal(found, maps[0]) for found in maps)
    assert (predictor(photo)[0].index_mask == maps[0]).mean() > 0.99  # the decoder's own grey


def test_tiles_are_read_in_grey_and_as_stored(command, tiny_models, turned, tmp_path):
    for color_type, size in (('grayscale', [96, 64]), ('color_ignore_orientation', [64, 96])):
        config, checkpoint = model_of(tiny_models['upernet'], tmp_path, turned, color_type)
        options = ('--config', config, '--checkpoint', checkpoint, '--format', 'coco', '--tile', 48)
        ended = command('predict', turned / 'images/validation', '--out', tmp_path / color_type, *options)
        assert ended.code == 0, ended
        content = json.loads((tmp_path / color_type / 'predictions.json').read_text())
        assert all([image['height'], image['width']] == size for image in content['images'])
        assert content['annotations']


@pytest.mark.parametrize('color_type', ['color_ignore_orientation', 'grayscale', 'grayscale_ignore_orientation'])
def test_views_of_a_test_are_read_as_the_test_reads(color_type, command, tiny_models, turned, tmp_path):
    """``--tta`` on photos whose longer side is the width as stored, and the height as viewers show them."""
    config, checkpoint = model_of(tiny_models['retinanet'], tmp_path, turned, color_type)
    data = ('--cfg-options', f'data_root={turned}/', f'test_dataloader.dataset.data_root={turned}/')
    evaluator = f'test_evaluator.ann_file={turned}/annotations/instances_validation.json'
    out = tmp_path / 'r.json'
    ended = command('test', config, checkpoint, '--tta', '--out', out, *data, evaluator, cwd=tmp_path)
    assert ended.code == 0, ended
    (results,) = tmp_path.glob('r*bbox.json')
    boxes = np.array([found['bbox'] for found in json.loads(results.read_text())])
    right, bottom = (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    width, height = (64, 96) if color_type == 'grayscale' else (96, 64)
    assert right <= width + 0.5
    assert bottom <= height + 0.5
    assert max(right, bottom) > 70


def test_views_of_a_segmentor_are_grey_and_have_the_labels_of_the_test(command, tiny_models, scenes, tmp_path):
    config, checkpoint = model_of(tiny_models['upernet'], tmp_path, scenes, 'grayscale')
    ended = command('test', config, checkpoint, '--tta', cwd=tmp_path)
    assert ended.code == 0, ended

    cfg = load_config(str(config))
    colours = [[i, i, i] for i in range(6)]
    for step in cfg.test_dataloader.dataset.pipeline:
        if step.type == 'LoadAnnotations':
            step.clear()
            step.update(type='LoadColorAnnotations', palette=colours)
    use_tta(cfg)
    steps = list(each_step(cfg.test_dataloader.dataset.pipeline))
    assert steps[0].color_type == 'grayscale'
    assert [step.palette for step in steps if step.type == 'LoadColorAnnotations'] == [colours]
    assert 'LoadAnnotations' not in [step.type for step in steps]
