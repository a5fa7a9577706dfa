"""The report of a training on images of several bands, or of one channel."""

import base64
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from band_models import band_config
from band_sets import band_set
from error_models import DETECTOR, SEGMENTOR
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmlska.bands import picture_of, read_picture
from mmlska.engine.config import load_config
from mmlska.engine.launch import build_train_runner, prepare
from mmlska.report import record_run, report_training
from mmlska.report.pictures import pixels_of
from mmlska.report.record import batch_pictures
from mmlska.report.validation import bands_in_pictures, read_validation
from mmlska.weights import use_safe_reader

BANDS = (4, 2, 1)


def test_images_of_a_batch_are_drawn_on_the_channels_that_are_shown():
    values = np.random.default_rng(0).normal(3000, 800, (20, 30, 5)).astype(np.float32)
    image = torch.from_numpy(values.transpose(2, 0, 1))
    assert np.array_equal(pixels_of(image, bands=BANDS), picture_of(values, BANDS))
    assert np.array_equal(pixels_of(image, bands=()), picture_of(values, (1, 2, 3)))
    one = pixels_of(image[:1], bands=())
    assert np.ptp(one, axis=2).max() == 0
    assert np.ptp(one) == 255
    photo = torch.from_numpy(values.astype(np.uint8)[..., :3].transpose(2, 0, 1))
    assert np.array_equal(pixels_of(photo), values.astype(np.uint8)[..., :3])  # OpenCV's order


def test_a_batch_is_drawn_as_the_config_says():
    loader = dict(type='LoadBands', channels=5, dtype='uint8', shown=BANDS)
    dataset = dict(type='CocoDataset', pipeline=[loader])
    cfg = Config(
        dict(model=dict(data_preprocessor=dict(type='BandsPreprocessor')), test_dataloader=dict(dataset=dataset))
    )
    assert bands_in_pictures(cfg) == BANDS
    image = torch.zeros(5, 40, 40, dtype=torch.uint8)
    image[3, :, 20:] = 255
    sample = DetDataSample(metainfo=dict(img_path='a.tif'))
    sample.gt_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    (picture,) = batch_pictures(dict(inputs=[image], data_samples=[sample]), cfg, ['one'], [(0, 0, 0)])
    pixels = decoded(picture.jpeg)
    assert pixels[:, 24:].mean((0, 1)) == pytest.approx([0, 0, 255], abs=3)  # red, in OpenCV's order
    assert pixels[:, :16].max() < 5


def decoded(jpeg: str) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(base64.b64decode(jpeg), np.uint8), cv2.IMREAD_COLOR)


def trained(base: str, root: Path, folder: Path, bands=()) -> Path:
    """The work directory of a short training, with its report."""
    use_safe_reader()
    config = band_config(base, root, folder, bands)
    short = dict(max_epochs=1, val_interval=1) if base == DETECTOR else dict(max_iters=2, val_interval=2)
    names = {'experiment_name': f'banded_{folder.name}', 'visualizer.name': f'banded_{folder.name}'}
    cfg = load_config(str(config), {**{f'train_cfg.{key}': value for key, value in short.items()}, **names})
    prepare(cfg, str(config), work_dir=str(folder / 'work'), launcher='none', seed=0)
    runner = build_train_runner(cfg)
    record_run(runner)
    runner.train()
    assert report_training(runner) == folder / 'work/report.html'
    return folder / 'work'


@pytest.fixture(scope='module')
def detector(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('bands_detector')
    return trained(DETECTOR, band_set(folder / 'data', 6), folder, BANDS)


@pytest.fixture(scope='module')
def segmentor(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('bands_segmentor')
    return trained(SEGMENTOR, band_set(folder / 'data', 6, channels=1, dtype='float32', masks=True), folder)


def pictures_in(work_dir: Path, key: str) -> list[np.ndarray]:
    page = (work_dir / 'report.html').read_text(encoding='utf-8')
    section = re.search(rf'(?s)<section id="{key}">(.*?)</section>', page)[1]
    return [decoded(jpeg) for jpeg in re.findall(r'data:image/jpeg;base64,([^"]+)"', section)]


@pytest.mark.slow
@pytest.mark.parametrize('name', ['detector', 'segmentor'])
def test_every_section_is_made(name, request):
    work_dir = request.getfixturevalue(name)
    page = (work_dir / 'report.html').read_text(encoding='utf-8')
    assert 'Not made' not in page
    assert 'class="missing"' not in page
    kept = read_validation(work_dir / 'report/validation.npz')
    assert kept.bands == (BANDS if name == 'detector' else ())
    assert kept.predictions().bands == kept.bands
    for key in ('batches', 'predictions'):
        assert all(picture.shape == (96, 96, 3) and np.ptp(picture) > 200 for picture in pictures_in(work_dir, key))
        assert pictures_in(work_dir, key)


@pytest.mark.slow
def test_colours_are_those_of_the_channels_that_are_shown(detector):
    kept = read_validation(detector / 'report/validation.npz')
    for picture, shown in zip(pictures_in(detector, 'predictions')[::2], kept.shown):
        right, other = (
            np.abs(picture - read_picture(shown.path, bands=bands).astype(int)).mean() for bands in (BANDS, ())
        )
        assert right < 25  # a JPEG of noise
        assert other > 2 * right
    files = sorted((detector.parent / 'data/images').iterdir())
    for picture in pictures_in(detector, 'batches'):  # which may be flipped
        right, other = (
            min(
                np.abs(picture - turned.astype(int)).mean()
                for image in (read_picture(path, bands=bands) for path in files)
                for turned in (image, image[::-1], image[:, ::-1], image[::-1, ::-1])
            )
            for bands in (BANDS, ())
        )
        assert right < 25
        assert other > 2 * right


@pytest.mark.slow
def test_a_validation_that_an_earlier_version_kept_is_read(detector, tmp_path):
    with np.load(detector / 'report/validation.npz') as arrays:
        arrays = dict(arrays)
    about = json.loads(str(arrays['about']))
    assert about.pop('bands') == list(BANDS)
    np.savez(tmp_path / 'old.npz', **{**arrays, 'about': np.array(json.dumps(about))})
    assert read_validation(tmp_path / 'old.npz').bands == ()
