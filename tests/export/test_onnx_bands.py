"""What the reader that stands alone makes of files, beside mmlska's own; rules and metadata of images of any channels."""

import ast
import builtins
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmlska.bands import BandReader
from mmlska.export import onnx_bands, onnx_predictor
from mmlska.export.metadata import input_rule
from mmlska.export.onnx_predictor import check_metadata
from mmlska.export.parity import photo_batch, read_photos

tifffile = pytest.importorskip('tifffile', reason='no tifffile; pip install "mmlska[bands]"')
MEANS = [900.0, 1200.0, 700.0, 2500.0, 40.0]


def stored(folder: Path) -> dict[str, tuple[Path, dict]]:
    """Files of many kinds, each with how they are read."""
    rng = np.random.default_rng(5)
    five = rng.integers(0, 60000, (20, 31, 5), np.uint16)
    floats = rng.normal(size=(20, 31, 2)).astype(np.float32)
    floats[2, 3, 0], floats[4, 5, 1], floats[6, 7] = np.nan, np.inf, -9999
    bytes_ = five.astype(np.uint8)
    separate, two = dict(planarconfig='separate', photometric='minisblack'), [(42113, 's', 0, '-9999', True)]
    tiffs = dict(
        contiguous=(five, dict(photometric='minisblack', planarconfig='contig'), None),
        big_endian=(five.transpose(2, 0, 1), dict(byteorder='>', **separate), None),
        tiled=(five.transpose(2, 0, 1), dict(tile=(16, 16), compression='deflate', **separate), None),
        predictor=(
            five,
            dict(photometric='minisblack', planarconfig='contig', compression='lzw', predictor=True),
            None,
        ),
        pages=(five.transpose(2, 0, 1), dict(photometric='minisblack'), None),
        bigtiff=(five.transpose(2, 0, 1), dict(photometric='minisblack', bigtiff=True), None),
        imagej=(five.transpose(2, 0, 1), dict(imagej=True), None),
        alpha=(five[..., :4], dict(photometric='rgb', extrasamples=['unassalpha']), (3, 'uint16')),
        infrared=(five[..., :4], dict(photometric='rgb', extrasamples=['unspecified']), (4, 'uint16')),
        bytes_of_five=(bytes_, dict(photometric='minisblack', planarconfig='contig'), (5, 'uint8')),
        floats=(floats.transpose(2, 0, 1), dict(extratags=two, **separate), (2, 'float32')),
        doubles=(floats[..., 0].astype(np.float64) * 1e300, dict(photometric='minisblack'), (1, 'float64')),
        signed=(
            np.nan_to_num(floats, posinf=9).astype(np.int16),
            dict(extratags=two, photometric='minisblack', planarconfig='contig'),
            (2, 'int16'),
        ),
        grey=(bytes_[..., 0], dict(photometric='minisblack'), (1, 'uint8')),
        white_is_0=(bytes_[..., 0], dict(photometric='miniswhite'), (1, 'uint8')),
        colours=(bytes_[..., :3], dict(photometric='rgb'), (1, 'uint8')),
        zstd=(bytes_[..., :3], dict(photometric='rgb', compression='zstd'), (3, 'uint8')),
        alpha_among=(five, dict(photometric='rgb', extrasamples=['assocalpha', 'unspecified']), (4, 'uint16')),
    )
    found = {}
    for name, (values, options, pixels) in tiffs.items():
        tifffile.imwrite(folder / f'{name}.tif', values, **options)
        found[name] = folder / f'{name}.tif', pixels or (5, 'uint16')
    pictures = dict(
        deep=(five[..., 0], 'png', (1, 'uint16')),
        deep_colours=(five[..., :3], 'png', (3, 'uint16')),
        deep_transparent=(five[..., :4], 'png', (3, 'uint16')),
        grey_photo=(bytes_[..., 0], 'jpg', (1, 'uint8')),
        photo=(bytes_[..., :3], 'jpg', (1, 'uint8')),
        bitmap=(bytes_[..., 0], 'bmp', (1, 'uint8')),
        web=(bytes_[..., :3], 'webp', (1, 'uint8')),
    )
    for name, (values, suffix, pixels) in pictures.items():
        cv2.imwrite(str(folder / f'{name}.{suffix}'), values)
        found[name] = folder / f'{name}.{suffix}', pixels
    return found


def test_files_are_read_as_mmlska_reads_them(tmp_path):
    """Alone in what it imports, the reader must not be alone in what it reads."""
    for name, (path, (count, dtype)) in stored(tmp_path).items():
        fill = np.linspace(3, 9, count).tolist()
        expected = BandReader(count, dtype, fill).read(path)
        _, actual = onnx_predictor._read(path, dict(bands=dict(count=count, dtype=dtype, fill=fill)))
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), name
        assert (actual == expected).all(), name
        assert np.isfinite(actual).all(), name
        if name == 'floats':
            assert actual[2, 3, 0] == actual[6, 7, 0] == 3
        if name == 'doubles':
            assert actual[0, 0, 0] == 3


def test_transparent_grey_and_turned_photos(tmp_path):
    from PIL import Image

    values = np.random.default_rng(2).integers(0, 255, (12, 20), np.uint8)
    grey = Image.fromarray(values)
    grey.putalpha(Image.fromarray(values[::-1].copy()))
    grey.save(tmp_path / 'alpha.png')
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(values).save(tmp_path / 'turned.jpg', exif=exif)
    for name, as_stored in (('alpha.png', False), ('turned.jpg', False), ('turned.jpg', True)):
        expected = BandReader(1, 'uint8', as_stored=as_stored).read(tmp_path / name)
        bands = dict(count=1, dtype='uint8', fill=[], as_stored=as_stored)
        _, actual = onnx_predictor._read(tmp_path / name, dict(bands=bands))
        assert (
            actual.shape == expected.shape == ((20, 12, 1) if name == 'turned.jpg' and not as_stored else (12, 20, 1))
        )
        assert (actual == expected).all()


def test_refused_tiff_files(tmp_path, monkeypatch):
    values = np.zeros((4, 9, 8), np.uint16)
    bands = dict(count=4, dtype='uint16', fill=[])
    tifffile.imwrite(tmp_path / 'turned.tif', values, photometric='minisblack', extratags=[(274, 'H', 1, 6, True)])
    with pytest.raises(
        ValueError, match='turned.tif is a TIFF file that is not read: its orientation tag is 6; save it upright, with'
    ):
        onnx_predictor._read(tmp_path / 'turned.tif', dict(bands=bands))
    tifffile.imwrite(tmp_path / 'a.tif', values, photometric='minisblack')
    monkeypatch.setattr(onnx_bands, 'MAX_BYTES', 500)
    with pytest.raises(ValueError, match='it has 8x9 pixels of 4 channels, too many to be read at once; save it again'):
        onnx_predictor._read(tmp_path / 'a.tif', dict(bands=bands))
    real = builtins.__import__

    def without(name, *args, **options):
        if name == 'tifffile':
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, '__import__', without)
    with pytest.raises(
        ValueError, match='a.tif is a TIFF file, which this model reads with tifffile; pip install tifffile'
    ):
        onnx_predictor._read(tmp_path / 'a.tif', dict(bands=bands))


def metadata(**changes) -> dict:
    bands = dict(count=5, dtype='uint16', fill=MEANS)
    rule = dict(resize=None, mean=MEANS, std=[1] * 5, channels='bands', pad_divisor=8, pad_value=0, bands=bands)
    facts = dict(kind='segmentor', model='EncoderDecoder', classes=['a', 'b'], input=rule, threshold=None)
    for key, value in changes.items():
        owner = bands if key in bands else rule
        owner[key] = value
        if value is ...:
            del owner[key]
    return facts


@pytest.mark.parametrize(
    ('key', 'value', 'named'),
    [
        ('count', 0, 'input.bands.count=0'),
        ('count', 513, 'input.bands.count=513'),
        ('count', 5.0, r'input.bands.count=5\.0'),
        ('count', True, 'input.bands.count=True'),
        ('count', 4, 'input.bands.fill='),
        ('count', ..., 'no input.bands.count'),
        ('dtype', 'complex64', "input.bands.dtype='complex64'"),
        ('dtype', 16, 'input.bands.dtype=16'),
        ('dtype', ..., 'no input.bands.dtype'),
        ('fill', [1, 2], 'input.bands.fill='),
        ('fill', [float('nan')] * 5, 'input.bands.fill='),
        ('fill', ..., 'no input.bands.fill'),
        ('mean', [1, 2, 3], 'input.mean='),
        ('std', [1], 'input.std='),
        ('std', [1, 1, 1, 1, 0], 'input.std='),
        ('channels', 'RGB', "input.channels='RGB'"),
        ('bands', 5, 'no input.bands.count'),
        ('bands', ..., 'no input.bands.count'),
    ],
)
def test_damaged_metadata(key, value, named):
    with pytest.raises(ValueError, match=rf'a\.onnx has {named}.* in its metadata, .* belongs there; export the model'):
        check_metadata(metadata(**{key: value}), 'a.onnx')


def test_metadata_that_fit():
    check_metadata(metadata(), 'a.onnx')
    check_metadata(metadata(fill=[]), 'a.onnx')
    photo = metadata(channels='RGB', bands=..., mean=[1, 2, 3], std=[1, 2, 3])
    check_metadata(photo, 'a.onnx')  # as of files that were written before there were bands
    photo['input']['mean'] = MEANS
    with pytest.raises(ValueError, match=r'input.mean=.*a list of 3 numbers belongs there'):
        check_metadata(photo, 'a.onnx')


def test_rules_that_cannot_be(tiny_models):
    cfg = Config.fromfile(tiny_models['upernet'].config)
    photo = input_rule(cfg)
    assert 'bands' not in photo
    cfg.test_dataloader.dataset.pipeline[0] = dict(type='LoadBands', channels=3, dtype='uint16')
    with pytest.raises(
        ValueError, match='data_preprocessor has bgr_to_rgb, but LoadBands gives RGB; set bgr_to_rgb=False'
    ):
        input_rule(cfg)
    cfg.model.data_preprocessor.update(bgr_to_rgb=False)
    assert input_rule(cfg) == dict(photo, channels='bands', bands=dict(count=3, dtype='uint16', fill=[]))
    cfg.test_dataloader.dataset.pipeline[0].update(channels=5, as_stored=True)
    with pytest.raises(ValueError, match='data_preprocessor has 3 means and 3 stds for 5 channels'):
        input_rule(cfg)
    cfg.model.data_preprocessor.update(mean=[7.0], std=[2.0])
    rule = input_rule(cfg)
    assert (rule['mean'], rule['std']) == ([7.0] * 5, [2.0] * 5)
    assert rule['bands']['as_stored'] is True


def test_images_made_from_photos(monkeypatch):
    monkeypatch.setattr('mmlska.export.parity.find_path', lambda path: None)
    rule = metadata()['input']
    rule['std'] = [m / 2 for m in MEANS]
    images, source = read_photos(None, BandReader(5, 'uint16'), rule)
    assert source == 'generated scenes made into 5 channels'
    assert {image.shape for image in images} == {(256, 256, 5)}
    scaled = (images[0] - np.float32(MEANS)) / np.float32(rule['std'])
    assert np.abs(scaled).max() < 2.001
    assert scaled.std() > 0.2
    np.testing.assert_allclose(scaled[..., 0], scaled[..., 3], atol=1e-4)
    batch = photo_batch(images, (199, 333), rule)
    assert (batch.shape, batch.dtype) == ((2, 5, 199, 333), np.float32)
    rule = dict(rule, mean=[9.0], std=[2.0], bands=dict(count=1, dtype='uint16', fill=[]))
    images, _ = read_photos(None, BandReader(1, 'uint16'), rule)
    assert photo_batch(images, (64, 48), rule).shape == (2, 1, 64, 48)


def test_many_channels_are_fewer_pixels():
    rule = dict(metadata()['input'], resize=dict(scale=[9000, 9000], scale_factor=None, keep_ratio=True))
    with pytest.raises(ValueError, match='image array becomes 9000x9000 pixels by the rule .*, more than 38.4 million'):
        onnx_predictor.prepare(np.zeros((9, 9, 5), np.float32), rule)


def test_imports_nothing_but_numpy_opencv_and_tifffile():
    names = set()
    for node in ast.walk(ast.parse(Path(onnx_bands.__file__).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module.split('.')[0])
    assert names - set(sys.stdlib_module_names) == {'cv2', 'numpy', 'tifffile'}
