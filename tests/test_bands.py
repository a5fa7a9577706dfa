"""Images of any channels and bits: what a file holds, how a model reads it, and a picture of it."""

import builtins

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from mmlska.bands import PHOTO, BandFile, BandReader, Pixels, picture_of, pixels_of, read_picture
from mmlska.images import ImageError, ImageTooLarge, read_photo

RNG = np.random.default_rng(1)
DEEP = RNG.integers(0, 65535, (40, 61, 3), dtype=np.uint16)
EIGHT = (DEEP // 256).astype(np.uint8)


def five(path, shape=(40, 61)):
    values = RNG.integers(0, 4000, (*shape, 5), dtype=np.uint16)
    tifffile.imwrite(path, values, photometric='minisblack', planarconfig='contig')
    return values


@pytest.mark.parametrize(
    ('mode', 'suffix', 'wanted'),
    [
        ('L', '.png', Pixels(1, 'uint8')),
        ('LA', '.png', Pixels(1, 'uint8')),
        ('1', '.png', Pixels(1, 'uint8')),
        ('RGB', '.png', PHOTO),
        ('RGBA', '.png', PHOTO),
        ('P', '.png', PHOTO),
        ('L', '.jpg', Pixels(1, 'uint8')),
        ('CMYK', '.jpg', PHOTO),
        ('RGB', '.webp', PHOTO),
        ('L', '.bmp', Pixels(1, 'uint8')),
        ('RGB', '.tif', PHOTO),
        ('RGBA', '.tif', PHOTO),
        ('CMYK', '.tif', PHOTO),
        ('L', '.tif', Pixels(1, 'uint8')),
    ],
)
def test_kinds_of_photos(mode, suffix, wanted, tmp_path):
    Image.fromarray(EIGHT).convert(mode).save(tmp_path / f'a{suffix}')
    assert pixels_of(tmp_path / f'a{suffix}') == wanted
    file = BandFile(tmp_path / f'a{suffix}')
    assert file.shape == (40, 61, wanted.channels)
    photo = read_photo(tmp_path / f'a{suffix}')
    assert np.array_equal(file[:, :], photo[..., ::-1] if wanted.channels == 3 else photo[..., :1])


@pytest.mark.parametrize('values', [DEEP, DEEP[..., :1]])
def test_png_of_16_bits(values, tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), values[..., ::-1] if values.shape[2] == 3 else values[..., 0])
    assert pixels_of(tmp_path / 'a.png') == Pixels(values.shape[2], 'uint16')
    assert np.array_equal(BandFile(tmp_path / 'a.png')[3:20, 5:], values[3:20, 5:])
    assert np.array_equal(np.asarray(BandFile(tmp_path / 'a.png')), values)


@pytest.mark.parametrize('as_stored', [True, False])
def test_grey_photos_turn_as_their_exif_data_say(as_stored, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(EIGHT[..., 0]).save(tmp_path / 'a.jpg', exif=exif, quality=100)
    file = BandFile(tmp_path / 'a.jpg', as_stored=as_stored)
    assert file.shape == ((40, 61, 1) if as_stored else (61, 40, 1))
    wanted = EIGHT[..., :1] if as_stored else np.rot90(EIGHT[..., :1], -1)
    assert np.abs(file[:, :].astype(int) - wanted).mean() < 3


def test_a_model_gets_finite_values(tmp_path):
    values = RNG.normal(size=(8, 9, 2)).astype(np.float64)
    values[1, 2, 0], values[3, 4, 1], values[5, 6] = np.nan, np.inf, -np.inf
    tifffile.imwrite(tmp_path / 'a.tif', values, photometric='minisblack', planarconfig='contig')
    found = BandReader(2, 'float64', fill=[5, 7]).read(tmp_path / 'a.tif')
    assert found.dtype == np.float32
    assert (found[1, 2, 0], found[3, 4, 1], *found[5, 6]) == (5, 7, 5, 7)
    kept = np.isfinite(values)
    assert np.array_equal(found[kept], values[kept].astype(np.float32))


def test_grey_models_take_colours_and_no_other_kinds(tmp_path):
    Image.fromarray(EIGHT).save(tmp_path / 'a.png')
    grey = BandReader(1, 'uint8').read(tmp_path / 'a.png')
    assert np.array_equal(grey[..., 0], cv2.cvtColor(EIGHT, cv2.COLOR_RGB2GRAY))
    five(tmp_path / 'b.tif')
    wrong = 'b.tif has 5 channels of 16 bits, and the model reads {}; give images of that kind'
    for reader, reads in (
        (BandReader(1, 'uint8'), '1 channel of 8 bits'),
        (BandReader(4, 'uint16'), '4 channels of 16 bits'),
    ):
        with pytest.raises(ImageError, match=wrong.format(reads)):
            reader.read(tmp_path / 'b.tif')
    with pytest.raises(
        ImageTooLarge, match='has 61x40 pixels, more than the 0.002 million that are read at once; cut it up'
    ):
        BandReader(5, 'uint16').read(tmp_path / 'b.tif', max_pixels=2000)
    with pytest.raises(FileNotFoundError, match='none.tif does not exist'):
        BandReader(5, 'uint16').read(tmp_path / 'none.tif')


def test_settings_that_do_not_fit():
    with pytest.raises(ValueError, match='fill has 2 values for 5 channels; give one for each'):
        BandReader(5, 'uint16', fill=[1, 2])
    for bands in ([0], [6, 1, 2], [1, 2]):
        with pytest.raises(ValueError, match='cannot be shown; give one or three numbers from 1 to 5'):
            BandReader(5, 'uint16', shown=bands)


def test_pictures_show_the_bands_that_are_asked_for(tmp_path):
    ramp = np.linspace(0, 1, 50)
    planes = [np.tile(ramp * scale + 7, (20, 1)) for scale in (100, 5000, -30)]
    image = np.stack(planes, -1).astype(np.float32)
    picture = picture_of(image, (3, 1, 2))  # red is the third, which falls
    blue, green, red = (picture[10, :, i].astype(int) for i in range(3))
    assert (np.diff(red) <= 0).all()
    assert red[0] == 255
    assert red[-1] == 0
    assert (np.diff(green) >= 0).all()
    assert np.array_equal(green, blue)
    grey = picture_of(image, (2,))
    assert (grey == grey[..., :1]).all()
    tifffile.imwrite(tmp_path / 'a.tif', image, photometric='minisblack', planarconfig='contig')
    assert np.array_equal(read_picture(tmp_path / 'a.tif', bands=(3, 1, 2)), picture)
    assert read_picture(tmp_path / 'a.tif', side=25).shape == (10, 25, 3)


def test_a_picture_of_8_bits_keeps_its_values(tmp_path):
    Image.fromarray(EIGHT).save(tmp_path / 'a.png')
    assert np.array_equal(read_picture(tmp_path / 'a.png'), EIGHT[..., ::-1])
    assert np.array_equal(read_picture(tmp_path / 'a.png', bands=(2,))[..., 0], EIGHT[..., 1])
    assert np.array_equal(picture_of(EIGHT[..., :1]), np.repeat(EIGHT[..., :1], 3, 2))


def test_a_picture_without_a_number_is_black():
    assert not picture_of(np.full((4, 5, 1), np.nan, np.float32)).any()


def test_large_images_are_scaled_strip_by_strip(tmp_path, monkeypatch):
    values = five(tmp_path / 'a.tif', (300, 200))
    whole = picture_of(values, side=60)
    monkeypatch.setattr('mmlska.bands._STRIP', 200 * 5 * 40)
    most, getitem = [], BandFile.__getitem__
    monkeypatch.setattr(
        BandFile, '__getitem__', lambda self, w: most.append(w[0].stop - w[0].start) or getitem(self, w)
    )
    strips = picture_of(BandFile(tmp_path / 'a.tif'), side=60)
    assert max(most) <= 40
    assert sum(most) == 300
    assert np.abs(strips.astype(int) - whole).mean() < 2


def test_without_tifffile_photos_are_read_and_others_say_what_to_install(tmp_path, monkeypatch):
    five(tmp_path / 'five.tif')
    tifffile.imwrite(tmp_path / 'deep.tif', DEEP[..., 0])
    Image.fromarray(EIGHT).save(tmp_path / 'photo.tif')
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == 'tifffile':
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', without)
    assert pixels_of(tmp_path / 'photo.tif') == PHOTO
    assert np.array_equal(BandFile(tmp_path / 'photo.tif')[:, :], EIGHT)
    for name in ('five.tif', 'deep.tif'):
        with pytest.raises(
            ImageError,
            match=r'is not read: it is no photo of 8 bits, and tifffile is missing; pip install "mmlska\[bands\]"',
        ):
            pixels_of(tmp_path / name)
