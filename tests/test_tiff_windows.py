"""Windows of TIFF files in the forms that programs write: against the array that was written."""

import struct
from contextlib import suppress

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from mmlska.bands import BandFile, BandReader, Pixels, pixels_of
from mmlska.images import ImageError
from mmlska.tiff_windows import TiffWindows

RNG = np.random.default_rng(0)
PLANES = RNG.integers(0, 65535, (5, 131, 170), dtype=np.uint16)
IMAGE = PLANES.transpose(1, 2, 0)
EIGHT = (IMAGE // 256).astype(np.uint8)
FLOATS = IMAGE.astype(np.float32) / 7
WINDOWS = [np.s_[:, :], np.s_[37:101, 60:165], np.s_[130:131, 0:1], np.s_[0:64, 64:128], np.s_[5:5, 3:9]]

FORMS = {
    'transparency among the channels': (
        IMAGE,
        IMAGE[..., [0, 1, 2, 4]],
        dict(photometric='rgb', extrasamples=['assocalpha', 'unspecified'], compression='zlib', tile=(64, 64)),
    ),
    'transparency among planes': (
        PLANES,
        IMAGE[..., [0, 1, 2, 4]],
        dict(
            photometric='rgb', planarconfig='separate', extrasamples=['unassalpha', 'unspecified'], compression='zlib'
        ),
    ),
    'one strip a plane': (PLANES, IMAGE, dict(photometric='minisblack')),
    'planes in strips': (
        PLANES,
        IMAGE,
        dict(photometric='minisblack', planarconfig='separate', compression='zlib', rowsperstrip=17),
    ),
    'planes in tiles, big, other byte order': (
        PLANES,
        IMAGE,
        dict(
            photometric='minisblack',
            planarconfig='separate',
            compression='zlib',
            tile=(64, 128),
            bigtiff=True,
            byteorder='>',
        ),
    ),
    'channels in tiles': (
        IMAGE,
        IMAGE,
        dict(photometric='rgb', tile=(64, 48), compression='zlib', predictor=True, extrasamples=['unspecified'] * 2),
    ),
    'uncompressed channels': (IMAGE, IMAGE, dict(photometric='minisblack', planarconfig='contig', byteorder='>')),
    'lzw': (IMAGE, IMAGE, dict(photometric='minisblack', planarconfig='contig', compression='lzw', predictor=True)),
    'zstd': (IMAGE, IMAGE, dict(photometric='minisblack', planarconfig='contig', compression='zstd')),
    'imagej': (PLANES, IMAGE, dict(imagej=True, metadata={'axes': 'CYX'})),
    'floats': (
        FLOATS,
        FLOATS,
        dict(photometric='minisblack', planarconfig='contig', compression='zlib', predictor=True),
    ),
    'signed': (
        PLANES.view(np.int16),
        IMAGE.view(np.int16),
        dict(photometric='minisblack', planarconfig='separate', compression='zlib'),
    ),
    'four of 8 bits': (EIGHT[..., :4], EIGHT[..., :4], dict(photometric='rgb', extrasamples=['unspecified'])),
    'transparency of 16 bits': (
        IMAGE[..., :4],
        IMAGE[..., :3],
        dict(photometric='rgb', extrasamples=['unassalpha'], compression='zlib'),
    ),
    'one channel': (IMAGE[..., 0], IMAGE[..., :1], dict(compression='zlib', tile=(64, 64))),
    'pages of colours': (
        np.stack([EIGHT[..., :3], EIGHT[..., 2:]]),
        np.concatenate([EIGHT[..., :3], EIGHT[..., 2:]], -1),
        dict(photometric='rgb'),
    ),
}


@pytest.mark.parametrize('form', FORMS)
def test_windows_are_those_of_the_array(form, tmp_path):
    written, wanted, options = FORMS[form]
    if options.get('compression') in ('lzw', 'zstd'):
        pytest.importorskip('imagecodecs')
    tifffile.imwrite(tmp_path / 'a.tif', written, **options)
    file = BandFile(tmp_path / 'a.tif')
    assert file.shape == wanted.shape
    assert file.pixels == Pixels(wanted.shape[2], wanted.dtype.name)
    for window in WINDOWS:
        found = file[window]
        assert found.dtype == wanted.dtype
        assert np.array_equal(found, wanted[window])


@pytest.mark.parametrize('described', [True, False])
def test_pages_are_channels_and_overviews_are_not(described, tmp_path):
    with tifffile.TiffWriter(tmp_path / 'a.tif') as file:
        for plane in PLANES:
            file.write(
                plane, compression='zlib', photometric='minisblack', metadata={} if described else None, rowsperstrip=50
            )
        file.write(PLANES[0, ::2, ::2], subfiletype=1, metadata=None)
        file.write(PLANES[0], subfiletype=1, metadata=None)  # as large as the image, and still an overview
    assert np.array_equal(BandFile(tmp_path / 'a.tif')[:, :], IMAGE)


def forget_tiles(path):
    """Make a file of tiles one of which nothing is stored."""
    with tifffile.TiffFile(path, mode='r+b') as file:
        for name in ('TileOffsets', 'TileByteCounts'):
            tag = file.pages[0].tags[name]
            tag.overwrite([0] * tag.count)


def test_parts_that_are_not_stored_are_zero(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', IMAGE, tile=(32, 32), photometric='minisblack', planarconfig='contig')
    forget_tiles(tmp_path / 'a.tif')
    assert not BandFile(tmp_path / 'a.tif')[10:70, 3:90].any()


def test_a_window_reads_the_tiles_that_it_touches(tmp_path, monkeypatch):
    tifffile.imwrite(
        tmp_path / 'a.tif', IMAGE, tile=(32, 32), photometric='minisblack', planarconfig='contig', compression='zlib'
    )
    with tifffile.TiffFile(tmp_path / 'a.tif') as file:
        parts = file.pages[0].dataoffsets
    sought, seek = [], tifffile.FileHandle.seek
    monkeypatch.setattr(tifffile.FileHandle, 'seek', lambda self, at, *more: sought.append(at) or seek(self, at, *more))
    assert np.array_equal(BandFile(tmp_path / 'a.tif')[33:60, 60:70], IMAGE[33:60, 60:70])
    assert [parts.index(at) for at in sought if at in parts] == [7, 8]  # six tiles a row


def test_values_without_data_are_nan(tmp_path):
    values = FLOATS.copy()
    values[5:9, 7:11] = -9999
    tifffile.imwrite(
        tmp_path / 'a.tif',
        values,
        photometric='minisblack',
        planarconfig='contig',
        extratags=[(42113, 's', 0, '-9999', True)],
    )
    found = BandFile(tmp_path / 'a.tif')[:, :]
    assert np.isnan(found[5:9, 7:11]).all()
    assert np.isfinite(found).sum() == found.size - 16 * 5


def test_photos_stay_photos(tmp_path):
    opaque = EIGHT[..., :4].copy()
    opaque[..., 3] = 255
    tifffile.imwrite(tmp_path / 'a.tif', opaque, photometric='rgb', extrasamples=['unassalpha'])
    assert pixels_of(tmp_path / 'a.tif') == Pixels(3, 'uint8')
    assert np.array_equal(BandFile(tmp_path / 'a.tif')[:, :], opaque[..., :3])
    Image.fromarray(EIGHT[..., 0]).convert('P').save(tmp_path / 'p.tif')
    Image.fromarray(IMAGE[..., 0] > 9999).save(tmp_path / 'b.tif', compression='group4')
    assert pixels_of(tmp_path / 'p.tif') == Pixels(3, 'uint8')
    assert pixels_of(tmp_path / 'b.tif') == Pixels(1, 'uint8')
    assert set(np.unique(BandFile(tmp_path / 'b.tif')[:, :])) == {0, 255}


def test_what_is_not_read_is_said_in_a_line(tmp_path):
    tifffile.imwrite(
        tmp_path / 'turned.tif', PLANES, photometric='minisblack', metadata=None, extratags=[(274, 'H', 1, 6, True)]
    )
    with pytest.raises(ImageError, match='its orientation tag is 6; save it upright, with the tag 1'):
        pixels_of(tmp_path / 'turned.tif')
    tifffile.imwrite(tmp_path / 'complex.tif', FLOATS[..., 0].astype(np.complex64))
    with pytest.raises(ImageError, match='its values are of type complex64; save them as integers or floats'):
        pixels_of(tmp_path / 'complex.tif')
    tifffile.imwrite(tmp_path / 'many.tif', np.zeros((600, 8, 8), np.uint8), photometric='minisblack')
    with pytest.raises(ImageError, match='it has 600 channels, more than 512; save those that are needed'):
        pixels_of(tmp_path / 'many.tif')


@pytest.mark.parametrize('cut', [9, 60, 200, 5000])
def test_damage_is_an_image_error(cut, tmp_path):
    tifffile.imwrite(
        tmp_path / 'a.tif', IMAGE, tile=(32, 32), photometric='minisblack', planarconfig='contig', compression='zlib'
    )
    content = (tmp_path / 'a.tif').read_bytes()
    (tmp_path / 'a.tif').write_bytes(content[:cut])
    with pytest.raises(ImageError):
        BandFile(tmp_path / 'a.tif')[:, :]
    broken = bytearray(content)
    rng = np.random.default_rng(cut)
    for at in rng.integers(8, len(content), 400):
        broken[at] = rng.integers(256)
    (tmp_path / 'b.tif').write_bytes(broken)
    with suppress(ImageError):  # some bytes are pixels
        BandFile(tmp_path / 'b.tif')[:, :]


def test_a_compression_without_its_codec_says_what_to_install(tmp_path, monkeypatch):
    tifffile.imwrite(
        tmp_path / 'a.tif', IMAGE, tile=(32, 32), photometric='minisblack', planarconfig='contig', compression='zlib'
    )

    def missing(self):
        raise KeyError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, 'decode', property(missing))
    with pytest.raises(ImageError, match='pip install imagecodecs, or save it without compression'):
        TiffWindows(tmp_path / 'a.tif').read(0, 10, 0, 10)


def test_three_pages_of_8_bits_are_no_photo(tmp_path):
    pages = EIGHT[..., :3].transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / 'a.tif', pages, photometric='minisblack')
    kind = pixels_of(tmp_path / 'a.tif')
    assert (str(kind), kind.is_photo) == ('3 channels of 8 bits that only tifffile reads', False)
    assert np.array_equal(BandReader(3, 'uint8').read(tmp_path / 'a.tif'), EIGHT[..., :3])


def test_parts_that_are_not_stored_have_no_data_where_the_file_names_such_a_value(tmp_path):
    tags = [(42113, 's', 0, '-5', True)]
    tifffile.imwrite(tmp_path / 'a.tif', IMAGE[..., 0].astype(np.int16), tile=(32, 32), extratags=tags)
    forget_tiles(tmp_path / 'a.tif')
    assert np.isnan(BandFile(tmp_path / 'a.tif')[10:70, 3:90]).all()


def test_a_circle_of_pages_and_a_flood_of_them_end_at_once(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', PLANES, photometric='minisblack', metadata=None)
    content = bytearray((tmp_path / 'a.tif').read_bytes())
    with tifffile.TiffFile(tmp_path / 'a.tif') as file:
        first, last = file.pages[0].offset, file.pages[-1].offset
    count = struct.unpack_from('<H', content, last)[0]
    struct.pack_into('<I', content, last + 2 + 12 * count, first)
    (tmp_path / 'circle.tif').write_bytes(content)
    with pytest.raises(
        ImageError, match='circle.tif is a TIFF file that is cut off or damaged .its pages form a circle.; leave it out'
    ):
        pixels_of(tmp_path / 'circle.tif')
    with tifffile.TiffWriter(tmp_path / 'flood.tif') as file:
        for _ in range(4097):
            file.write(np.zeros((2, 2), np.uint16), metadata=None)
    with pytest.raises(ImageError, match='it has more than 4096 pages'):
        pixels_of(tmp_path / 'flood.tif')


def test_a_part_with_more_pixels_than_its_place_is_not_decoded(tmp_path):
    imagecodecs = pytest.importorskip('imagecodecs')
    options = dict(photometric='minisblack', tile=(32, 32), compression='jpeg')
    tifffile.imwrite(tmp_path / 'a.tif', np.repeat(EIGHT[None, ..., 0], 2, 0), **options)
    bomb = imagecodecs.jpeg_encode(np.zeros((900, 900), np.uint8))
    with tifffile.TiffFile(tmp_path / 'a.tif', mode='r+b') as file:
        page = file.pages[0]
        at = file.filehandle.seek(0, 2)
        file.filehandle.write(bomb)
        page.tags['TileOffsets'].overwrite([at] * len(page.dataoffsets))
        page.tags['TileByteCounts'].overwrite([len(bomb)] * len(page.dataoffsets))
    with pytest.raises(ImageError, match='a part has more pixels than its place'):
        BandFile(tmp_path / 'a.tif')[:40, :40]
    tifffile.imwrite(
        tmp_path / 'b.tif', IMAGE, planarconfig='contig', photometric='minisblack', tile=(32, 32), compression='jpegxl'
    )
    with pytest.raises(ImageError, match='its compression is JPEGXL.*; save it with one of none, LZW, JPEG, deflate'):
        BandFile(tmp_path / 'b.tif')[:40, :40]


def test_a_large_piece_is_not_decoded_again_and_again(tmp_path, monkeypatch):
    tifffile.imwrite(
        tmp_path / 'a.tif', IMAGE, planarconfig='contig', photometric='minisblack', compression='zlib', rowsperstrip=131
    )
    monkeypatch.setattr('mmlska.tiff_windows._LARGEST_PART', 1000)
    assert np.array_equal(BandFile(tmp_path / 'a.tif')[:, :], IMAGE)
    with pytest.raises(
        ImageError, match='170x131 pixels of it are compressed in one piece; save it in tiles of 512 pixels'
    ):
        BandFile(tmp_path / 'a.tif')[:50, :50]


def test_values_of_8_bits_are_floats_in_every_window_of_a_file_with_a_value_for_none(tmp_path):
    values = EIGHT[..., :4].copy()
    values[:30] = 7
    values[30:] = values[30:].clip(8)
    tags = [(42113, 's', 0, '7', True)]
    tifffile.imwrite(
        tmp_path / 'a.tif', values, photometric='minisblack', planarconfig='contig', tile=(16, 16), extratags=tags
    )
    file = BandFile(tmp_path / 'a.tif')
    assert np.isnan(file[:30, :]).all()
    assert file[40:50, :].dtype == np.float32
    assert np.array_equal(file[40:50, :], values[40:50])


def test_a_value_for_none_that_the_type_does_not_have_is_passed_over(tmp_path):
    tags = [(42113, 's', 0, '-9999', True)]
    tifffile.imwrite(tmp_path / 'a.tif', IMAGE, photometric='minisblack', planarconfig='contig', extratags=tags)
    assert np.array_equal(BandFile(tmp_path / 'a.tif')[:, :], IMAGE)


def test_palettes_of_few_bits_are_photos(tmp_path):
    picture = Image.fromarray(EIGHT[..., 0] // 32).convert('P')
    picture.save(tmp_path / 'a.tif', bits=4)
    assert pixels_of(tmp_path / 'a.tif') == Pixels(3, 'uint8')


@pytest.mark.parametrize('kind', ['rgb', 'grey', 'jpeg', 'nodata', 'turned', 'white is zero', 'palette'])
def test_large_photos_are_the_same_by_window(kind, tmp_path, monkeypatch):
    photo = cv2.resize(EIGHT[::8, ::8, :3], (170, 131), interpolation=cv2.INTER_CUBIC)
    options = dict(tile=(32, 32), photometric='rgb', metadata=None)
    if kind in ('grey', 'white is zero'):
        photo = photo[..., 0]
        options['photometric'] = 'minisblack' if kind == 'grey' else 'miniswhite'
    if kind == 'jpeg':
        pytest.importorskip('imagecodecs')
        options |= dict(compression='jpeg', photometric='ycbcr', subsampling=(1, 1))
    if kind == 'nodata':
        options['extratags'] = [(42113, 's', 0, str(photo[40, 40, 0]), True)]
    if kind == 'turned':
        options['extratags'] = [(274, 'H', 1, 6, True)]
    if kind == 'palette':
        Image.fromarray(photo[..., 0]).convert('P').save(tmp_path / 'a.tif')
    else:
        tifffile.imwrite(tmp_path / 'a.tif', photo, **options)
    small = BandFile(tmp_path / 'a.tif')
    wanted = small[:, :]
    monkeypatch.setattr('mmlska.bands.LARGE', 1000)
    large = BandFile(tmp_path / 'a.tif')
    assert (small.by_window, large.by_window) == (False, kind not in ('turned', 'white is zero', 'palette'))
    assert large.shape == wanted.shape
    assert np.abs(large[10:90, 20:90].astype(int) - wanted[10:90, 20:90]).max() <= (2 if kind == 'jpeg' else 0)
    assert large[10:90, 20:90].dtype == np.uint8


@pytest.mark.parametrize('compression', ['zstd', 'lzma'])
def test_photos_of_a_compression_that_opencv_does_not_know(compression, tmp_path):
    pytest.importorskip('imagecodecs')
    tifffile.imwrite(tmp_path / 'a.tif', EIGHT[..., :3], photometric='rgb', compression=compression)
    assert not pixels_of(tmp_path / 'a.tif').is_photo
    assert np.array_equal(BandReader(3, 'uint8').read(tmp_path / 'a.tif'), EIGHT[..., :3])


def test_gdals_value_for_none_of_floats_says_nothing_in_the_log(tmp_path, capfd):
    values = FLOATS.copy()
    values[3:5] = np.finfo(np.float32).min
    tags = [(42113, 's', 0, '-3.4028234663852886e+38', True)]
    tifffile.imwrite(tmp_path / 'a.tif', values, photometric='minisblack', planarconfig='contig', extratags=tags)
    assert np.isnan(BandFile(tmp_path / 'a.tif')[:, :]).sum() == 2 * 170 * 5
    assert capfd.readouterr() == ('', '')
