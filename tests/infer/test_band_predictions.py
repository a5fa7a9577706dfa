"""Predictions of images that are no photos of 8 bits, whole, in tiles and by window."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from band_models import band_model
from band_sets import band_set
from error_models import DETECTOR, SEGMENTOR
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from PIL import Image

from mmlska.bands import BandFile
from mmlska.images import ImageError
from mmlska.infer import Predictor, resolve

KINDS = {'five': dict(channels=5), 'grey': dict(channels=1, dtype='uint8', suffix='.png')}


@pytest.fixture(
    scope='module',
    params=[(DETECTOR, 'five'), (SEGMENTOR, 'five'), (SEGMENTOR, 'grey')],
    ids=lambda p: Path(p[0]).stem + p[1],
)
def model(request, tmp_path_factory):
    """A predictor, the folder of its images, and the pixels of one of them."""
    base, kind = request.param
    folder = tmp_path_factory.mktemp('bands')
    root = band_set(folder / 'd', count=4, masks=base == SEGMENTOR, **KINDS[kind])
    predictor = Predictor(*band_model(base, root, folder), device='cpu')
    name = f'1{KINDS[kind].get("suffix", ".tif")}'
    return predictor, root / 'images', BandFile(root / 'images' / name)[:, :], name


def by_window(monkeypatch):
    """Call small files large."""
    for name in ('mmlska.infer.sources.MAX_PIXELS', 'mmlska.infer.sources._MAX_BYTES', 'mmlska.bands.LARGE'):
        monkeypatch.setattr(name, 1000)


def facts(prediction):
    found = prediction.to_dict()
    return found['mask'] if 'mask' in found else [(i['box'], i['score'], i['label']) for i in found['instances']]


def assert_same(one, two):
    if isinstance(one, np.ndarray):
        assert np.array_equal(one, two)
        return
    assert len(one) == len(two) > 0
    for a, b in zip(one, two):
        assert a[0] == pytest.approx(b[0], abs=1e-2)
        assert a[1:] == pytest.approx(b[1:], abs=1e-4)


def test_equals_the_frameworks_own_pipeline(model):
    predictor, folder, _, name = model
    init_default_scope(predictor.cfg.default_scope)
    steps = [dict(step) for step in predictor.cfg.test_dataloader.dataset.pipeline if step.type != 'LoadAnnotations']
    steps[-1]['meta_keys'] = ('img_path', 'ori_shape', 'img_shape', 'pad_shape', 'scale_factor')
    packed = Compose(steps)(dict(img_path=str(folder / name), img_id=0))
    with torch.inference_mode():
        (sample,) = predictor.model.test_step(dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']]))
    (prediction,) = predictor(folder / name)
    if predictor.is_segmentor:
        assert np.array_equal(prediction.index_mask, sample.pred_sem_seg.data[0].numpy())
    else:
        assert torch.allclose(prediction.sample.pred_instances.scores, sample.pred_instances.scores, atol=1e-5)


def test_files_arrays_and_folders_are_the_same(model, tmp_path):
    predictor, folder, pixels, name = model
    of_folder = predictor(folder, batch_size=2)
    assert len(of_folder) == 4
    (of_file,), (of_array,), (of_floats,) = (
        predictor(folder / name),
        predictor(pixels),
        predictor(pixels.astype(np.float64)),
    )
    for other in (of_array, of_floats, of_folder[1]):
        assert_same(facts(of_file), facts(other))
    predictor.draw(of_file, tmp_path / 'a.png', 0.0)
    assert cv2.imread(str(tmp_path / 'a.png')).shape == (96, 96, 3)
    if pixels.shape[2] == 1:
        (of_plane,), (of_pillow,) = predictor(pixels[..., 0]), predictor(Image.fromarray(pixels[..., 0]))
        assert_same(facts(of_file), facts(of_plane))
        assert_same(facts(of_file), facts(of_pillow))


def test_tiles_by_window_are_those_of_the_whole_image(model, tmp_path, monkeypatch):
    predictor, folder, pixels, name = model
    (whole,) = predictor(folder / name, tile=48)
    path = tmp_path / '1.tif'
    array = pixels if pixels.shape[2] > 1 else pixels[..., 0]
    tifffile.imwrite(
        path,
        array,
        tile=(32, 32),
        photometric='minisblack',
        planarconfig='contig' if array.ndim == 3 else None,
        compression='zlib',
    )
    by_window(monkeypatch)
    sizes, getitem = [], BandFile.__getitem__

    def watched(self, window):
        part = getitem(self, window)
        sizes.append(part.shape[:2])
        return part

    monkeypatch.setattr(BandFile, '__getitem__', watched)
    (windows,) = predictor(path, tile=48)
    assert_same(facts(whole), facts(windows))
    assert isinstance(windows.image, BandFile)
    assert max(max(size) for size in sizes) == 48
    predictor.draw(windows, tmp_path / 'a.png', 0.0)
    predictor.draw(whole, tmp_path / 'b.png', 0.0)
    assert np.array_equal(cv2.imread(str(tmp_path / 'a.png')), cv2.imread(str(tmp_path / 'b.png')))


def test_what_the_model_does_not_read(model, tmp_path):
    predictor, _, pixels, _ = model
    channels = pixels.shape[2]
    with pytest.raises(
        ValueError, match=rf'does not fit; the model reads {channels} channel.*: give .* of shape \(H, W, {channels}\)'
    ):
        predictor(np.zeros((50, 60, 7), pixels.dtype))
    with pytest.raises(ValueError, match='and dtype int32 does not fit'):
        predictor(pixels.astype(np.int32))
    tifffile.imwrite(
        tmp_path / 'a.tif', np.zeros((50, 60, 4), np.uint16), photometric='minisblack', planarconfig='contig'
    )
    with pytest.raises(ImageError, match=f'a.tif has 4 channels of 16 bits, and the model reads {channels} channel'):
        predictor(tmp_path / 'a.tif')
    frames = cv2.VideoWriter(str(tmp_path / 'v.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 5, (96, 96))
    frames.write(np.full((96, 96, 3), 90, np.uint8))
    frames.release()
    if channels == 1:
        assert len(predictor(tmp_path / 'v.avi')) == 1
    else:
        with pytest.raises(
            ValueError, match='v.avi#000000 has 3 channels of 8 bits, and the model reads 5 channels of 16 bits'
        ):
            predictor(tmp_path / 'v.avi')


@pytest.mark.parametrize('grey', [False, True])
def test_large_tiff_photos_are_read_by_window_too(grey, tiny_models, tmp_path, monkeypatch):
    predictor = Predictor(*tiny_models['upernet'], device='cpu')
    photo = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    photo = np.repeat(photo[..., :1], 3, 2) if grey else photo
    tifffile.imwrite(tmp_path / 'a.tif', photo[..., 0] if grey else photo, tile=(32, 32), compression='zlib')
    (whole,) = predictor(tmp_path / 'a.tif', tile=64)
    assert np.array_equal(whole.image, photo[..., ::-1])
    by_window(monkeypatch)
    (windows,) = predictor(tmp_path / 'a.tif', tile=64)
    assert isinstance(windows.image, BandFile)
    assert np.array_equal(whole.index_mask, windows.index_mask)
    assert np.array_equal(windows.picture(999), photo[..., ::-1])


def test_arrays_of_photos_stay_as_they_were():
    with pytest.raises(ValueError, match=r'is not an image; give uint8 of shape \(H, W, 3\) in BGR order'):
        resolve(np.zeros((5, 6, 5), np.uint16))
