"""Analyses of models that read images of several bands, or of one channel: they take the models' own images, or refuse at once."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from band_models import band_config, band_model
from band_sets import band_set, write_image
from error_models import DETECTOR, SEGMENTOR, small_config
from mmengine.registry import MODELS

from mmlska.analysis.complexity import measure_config
from mmlska.analysis.error_gallery import write_error_gallery
from mmlska.analysis.feature_maps import maps_over_photo, scaled_input
from mmlska.analysis.photos import in_fours, model_input, square_inputs
from mmlska.analysis.predictions import predict, read_predictions
from mmlska.analysis.receptive_field_panels import measure_panels
from mmlska.analysis.robustness import evaluate
from mmlska.analysis.shape_bias import measure_shape_bias
from mmlska.bands import read_picture
from mmlska.engine.config import load_config
from mmlska.engine.image_reading import band_reader
from mmlska.engine.launch import build_test_runner, prepare
from mmlska.infer.model import build_model
from mmlska.weights import use_safe_reader


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    """Root of a set of five bands of 16 bits, config and checkpoint of a detector on it, which shows channels 4, 2, 1."""
    folder = tmp_path_factory.mktemp('detector')
    root = band_set(folder / 'data', 6)
    return root, *band_model(DETECTOR, root, folder, [4, 2, 1])


@pytest.fixture(scope='module')
def segmentor(tmp_path_factory):
    """The same of one channel of floats, for a segmentor."""
    folder = tmp_path_factory.mktemp('segmentor')
    root = band_set(folder / 'data', 6, channels=1, dtype='float32', masks=True)
    return root, *band_model(SEGMENTOR, root, folder)


def read(config, work_dir):
    cfg = load_config(str(config))
    prepare(cfg, str(config), work_dir=str(work_dir), launcher='none', seed=0)
    use_safe_reader()
    return cfg


def pictures_of(page, image):
    """What a gallery shows of an image, BGR."""
    return cv2.imread(str(page.parent / 'images' / image))


@pytest.mark.slow
def test_a_gallery_shows_the_channels_of_the_config(detector, tmp_path):
    _, config, checkpoint = detector
    cfg = read(config, tmp_path / 'work')
    found = predict(cfg, str(checkpoint))
    assert found.bands == (4, 2, 1)
    assert not found.as_stored
    page, _ = write_error_gallery(cfg, str(config), str(checkpoint), tmp_path / 'gallery')
    shown = [pictures_of(page, path.name).astype(int) for path in sorted(page.parent.glob('images/*.jpg'))]
    assert len(shown) == len(found.images) == 1
    path = found.images[0].path
    right, other = (np.abs(shown[0] - read_picture(path, bands=bands)).mean() for bands in ((4, 2, 1), ()))
    assert right < 15  # a JPEG of noise
    assert other > 2 * right


@pytest.mark.slow
def test_predictions_of_a_file_have_the_channels_too(segmentor, tmp_path):
    _, config, checkpoint = segmentor
    out = tmp_path / 'pred.pkl'
    cfg = read(config, tmp_path / 'a')
    cfg.test_dataloader.dataset.pipeline[0].shown = [1]
    build_test_runner(cfg, str(checkpoint), out=str(out)).test()
    found = read_predictions(cfg, out)
    assert found.bands == (1,)
    assert found.images[0].truth.shape == (96, 96)
    page, _ = write_error_gallery(cfg, str(config), str(out), tmp_path / 'gallery')
    grey = pictures_of(page, next(page.parent.glob('images/*.jpg')).name)
    assert np.ptp(grey, axis=2).max() == 0
    assert np.ptp(grey) > 200


@pytest.mark.parametrize(('name', 'channels'), [('detector', 5), ('segmentor', 1)])
def test_cost_counts_the_channels_of_the_images(name, channels, request, scenes, tmp_path):
    _, config, _ = request.getfixturevalue(name)
    count = measure_config(load_config(str(config)), 64, 96).parts['backbone']
    photos = small_config(DETECTOR if name == 'detector' else SEGMENTOR, scenes, tmp_path)
    known = measure_config(load_config(str(photos)), 64, 96).parts['backbone']
    weights = 7 * 7 * 8  # of a channel in the first convolution, of stride 4
    assert count['parameters'] - known['parameters'] == (channels - 3) * weights
    assert count['flops'] - known['flops'] == (channels - 3) * weights * 16 * 24


@pytest.mark.parametrize('name', ['detector', 'segmentor'])
@pytest.mark.parametrize('size', [None, 50, 160])
def test_maps_lie_over_the_images_of_the_model(name, size, request):
    root, config, checkpoint = request.getfixturevalue(name)
    cfg, path = load_config(str(config)), str(root / 'images/0.tif')
    values, picture = scaled_input(cfg, path, size)
    reader = band_reader(cfg)
    assert values.shape == (size or 96, size or 96, reader.channels)
    assert values.dtype == np.float32
    if size is None:
        assert np.array_equal(values, reader.read(path))
        assert np.array_equal(picture[..., ::-1], read_picture(path, bands=reader.shown))
    assert values.mean((0, 1)) == pytest.approx(reader.read(path).mean((0, 1)), rel=0.05)
    maps = maps_over_photo(build_model(cfg, checkpoint), values, stages=[1])
    assert sorted(maps) == ['EigenCAM, output 1', 'attention stage 1, block 1']
    assert maps['EigenCAM, output 1'].max() == 1


def test_the_network_gets_channels_in_the_order_of_the_file(detector):
    _, config, checkpoint = detector
    cfg = load_config(str(config))
    model, settings = build_model(cfg, checkpoint), cfg.model.data_preprocessor
    values = np.full((32, 32, 5), settings.mean, np.float32)
    values[..., 3] += settings.std[3]
    given = model_input(model, values)
    assert given.shape == (1, 5, 32, 32)
    torch.testing.assert_close(given.mean((0, 2, 3)), torch.tensor([0.0, 0, 0, 1, 0]), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match=r'^an image has 3 channels, and the model takes 5; give images as those of'):
        model_input(model, np.zeros((32, 32, 3), np.uint8))


def test_areas_of_many_channels_are_averaged_as_those_of_each():
    image = np.random.default_rng(0).random((33, 50, 9), np.float32)
    scaled = in_fours(lambda part: cv2.resize(part, (20, 11), interpolation=cv2.INTER_AREA), image)
    alone = [cv2.resize(image[..., i], (20, 11), interpolation=cv2.INTER_AREA) for i in range(9)]
    np.testing.assert_allclose(scaled, np.stack(alone, -1), atol=1e-6)


@pytest.mark.parametrize('name', ['detector', 'segmentor'])
def test_receptive_fields_are_of_the_images_of_the_model(name, request, tmp_path):
    root, config, _ = request.getfixturevalue(name)
    fields = measure_panels(str(config), size=64, num_images=2, report=lambda line: None)
    ((field, squares),) = fields.values()
    assert field.heat.shape == (64, 64)
    assert squares[-1].side > 8
    model, reader = build_model(load_config(str(config))), band_reader(load_config(str(config)))
    write_image(tmp_path / 'a.tif', np.zeros((40, 90, 3), np.uint16))
    with pytest.raises(ValueError, match=r'a.tif has 3 channels of 16 bits, and the model reads [15] channel'):
        next(square_inputs(model, [tmp_path / 'a.tif'], 64, reader))
    (inputs,) = square_inputs(model, [root / 'images/0.tif'], 64, reader)
    assert inputs.shape == (1, reader.channels, 64, 64)
    assert inputs.std() > 0.3  # normalised


def test_corruptions_and_scenes_are_refused_before_any_work(detector, tmp_path):
    _, config, _ = detector
    cfg = read(config, tmp_path / 'work')
    cfg.test_dataloader.dataset.data_root = 'gone'  # which nothing looks for
    with pytest.raises(
        ValueError, match=r'^the model reads 5 channels of 16 bits, and corruptions need photos of 8 bits'
    ):
        evaluate(cfg, 'none.pth', tmp_path / 'out.json', corruptions=['fog'])
    assert not (tmp_path / 'out.json').exists()
    with pytest.raises(
        ValueError, match=r'^the model reads 5 channels of 16 bits, and the scenes are photos of 8 bits'
    ):
        measure_shape_bias(cfg, 'none.pth', tmp_path / 'nowhere')


def test_a_config_of_bands_reads_its_own_validation_images(tmp_path):
    root = band_set(tmp_path / 'data', 4)
    cfg = load_config(str(band_config(DETECTOR, root, tmp_path / 'model')))
    assert band_reader(cfg).shown == ()
    values, picture = scaled_input(cfg, str(root / 'images/1.tif'))
    assert picture.shape == (96, 96, 3)
    assert np.array_equal(picture[..., ::-1], read_picture(root / 'images/1.tif'))


@pytest.mark.parametrize('channels', [3, 4])
def test_a_segmentor_that_pads_its_test_images_gets_padded_ones(channels):
    mean, std = [3.0] * channels, [2.0] * channels
    settings = dict(type='mmseg.SegDataPreProcessor', test_cfg=dict(size_divisor=32))
    if channels == 3:
        preprocessor = MODELS.build(dict(settings, mean=mean, std=std))
    else:
        settings['wraps'] = settings.pop('type')
        preprocessor = MODELS.build(dict(settings, type='BandsPreprocessor', mean=mean, std=std))
    image = np.full((20, 40, channels), 7, np.uint8)
    found = model_input(SimpleNamespace(data_preprocessor=preprocessor), image)
    assert found.shape == (1, channels, 32, 64)
    assert (found[..., :20, :40] == 2).all()
