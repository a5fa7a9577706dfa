"""What images.py says of a file is what OpenCV and Pillow make of it."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from picture_files import PIXELS, save
from PIL import Image

from mmlska.images import (
    Header,
    ImageError,
    images_below,
    is_image,
    open_image,
    photos_in,
    read_header,
    read_photo,
    shrink,
    spread,
    square,
)

KINDS = {
    'jpeg': dict(kind='JPEG'),
    'progressive jpeg': dict(kind='JPEG', progressive=True),
    'grey jpeg': dict(kind='JPEG', mode='L'),
    'cmyk jpeg': dict(kind='JPEG', mode='CMYK'),
    'jpeg with a large profile': dict(kind='JPEG', icc_profile=bytes(300_000)),
    'png': dict(kind='PNG'),
    'palette png': dict(kind='PNG', mode='P'),
    'png with alpha': dict(kind='PNG', mode='RGBA'),
    'png in 16 bits': dict(kind='PNG', mode='I;16'),
    'png of 1 bit': dict(kind='PNG', mode='1'),
    'bmp': dict(kind='BMP'),
    'palette bmp': dict(kind='BMP', mode='P'),
    'webp': dict(kind='WEBP'),
    'lossless webp': dict(kind='WEBP', lossless=True),
    'webp with alpha': dict(kind='WEBP', mode='RGBA'),
    'moving webp': dict(kind='WEBP', save_all=True, append_images=[Image.fromarray(255 - PIXELS)]),
    'tiff': dict(kind='TIFF'),
    'tiff in 16 bits': dict(kind='TIFF', mode='I;16'),
    'lzw tiff': dict(kind='TIFF', compression='tiff_lzw'),
    'jpeg tiff': dict(kind='TIFF', compression='jpeg'),
    'big tiff': dict(kind='TIFF', big_tiff=True),
    'tiff of two pages': dict(kind='TIFF', save_all=True, append_images=[Image.new('RGB', (7, 9))]),
}


@pytest.mark.parametrize('options', KINDS.values(), ids=KINDS)
def test_good_files_are_read_as_opencv_reads_them(tmp_path, options):
    path = save(tmp_path / 'a.image', **options)
    assert np.array_equal(read_photo(path), cv2.imread(str(path)))
    assert read_header(path) == Header((30, 20), (30, 20))
    with open_image(path) as image:
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(path)))


@pytest.mark.parametrize('orientation', range(10))
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF', 'WEBP'])
def test_headers_say_what_opencv_turns(tmp_path, kind, orientation):
    path = save(tmp_path / 'a.image', kind, orientation=orientation)
    header = read_header(path)
    upright, stored = read_photo(path), read_photo(path, as_stored=True)
    # Not imread, which can't read a TIFF that it has to turn by 90 degrees.
    assert np.array_equal(upright, cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR))
    assert header.upright == upright.shape[1::-1]
    assert header.stored == stored.shape[1::-1]
    with open_image(path) as image:
        image.load()


def test_what_xmp_says_turns_nothing(tmp_path):
    path = save(tmp_path / 'a.jpg', 'JPEG', xmp=b'<x tiff:Orientation="6"/>')
    assert read_header(path).upright == (30, 20)
    assert read_photo(path).shape == (20, 30, 3)


def test_broken_exif_data_turn_nothing(tmp_path):
    for i, exif in enumerate((b'garbage', b'Exif\0\0MM\0*\xff\xff\xff\xff', b'Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\1')):
        path = save(tmp_path / f'{i}.jpg', 'JPEG', exif=exif)
        assert read_header(path) == Header((30, 20), (30, 20))
        assert read_photo(path).shape == (20, 30, 3)


def test_too_many_pixels_are_named(tmp_path):
    path = save(tmp_path / 'a.png', 'PNG')
    for read in (read_header, read_photo, lambda *args, **options: open_image(*args, **options).__enter__()):
        text = 'a.png has 30x20 pixels, more than the 0.000599 million that are read; make it small'
        with pytest.raises(ImageError, match=text):
            read(path, max_pixels=599)
    assert read_photo(path, max_pixels=600).shape == read_photo(path, max_pixels=None).shape == (20, 30, 3)


def test_a_file_of_too_many_bytes(tmp_path):
    path = save(tmp_path / 'a.png', 'PNG')
    os.truncate(path, 1 << 31)  # takes no room on the disk
    with pytest.raises(ImageError, match='a.png has more than 2147483647 bytes'):
        read_photo(path)


def test_pillows_own_limit_is_neither_asked_nor_changed(tmp_path):
    path, before = save(tmp_path / 'a.png', 'PNG'), Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = 10
    try:
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda _: read_header(path).stored, range(200))) == {(30, 20)}
        with open_image(path) as image:
            assert Image.MAX_IMAGE_PIXELS == 10
            image.load()
    finally:
        Image.MAX_IMAGE_PIXELS = before


def test_the_body_of_a_with_statement(tmp_path):
    """A damaged file is an ImageError there too, and its own is passed on."""
    path = save(tmp_path / 'a.png', 'PNG')
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ImageError, match='a.png is not a readable image: .*; leave it out'), open_image(path) as image:
        image.load()
    with pytest.raises(ImageError, match='^mine$'), open_image(path):
        raise ImageError('mine')


def test_messages_are_one_line(tmp_path):
    for name in ('a\nb.png', 'a\udcff.png', 'a\r\x1b[2Jb.png'):
        with pytest.raises(FileNotFoundError) as error:
            read_photo(tmp_path / name)
        assert str(error.value).isprintable()
        (tmp_path / name).write_bytes(b'nothing')
        with pytest.raises(ImageError) as error:
            read_photo(tmp_path / name)
        assert str(error.value).isprintable()


def test_what_is_no_file(tmp_path):
    (tmp_path / 'folder.png').mkdir()
    (tmp_path / 'gone.png').symlink_to('nothing')
    (tmp_path / 'self.png').symlink_to('self.png')
    for name in ('gone.png', 'self.png', 'x' * 5000 + '.png', 'a\0b.png', 'no/such.png'):
        for read in (read_header, read_photo):
            with pytest.raises(FileNotFoundError, match='does not exist'):
                read(tmp_path / name)
    for path in (tmp_path / 'folder.png', '/dev/zero'):
        with pytest.raises(ImageError, match='is not a regular file; give an image file'):
            read_photo(path)


def test_folders_deeper_than_pythons_stack(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):
        os.mkdir('d')
        os.chdir('d')
    (Path() / 'a.png').touch()
    monkeypatch.chdir(tmp_path)
    (found,) = images_below('.')
    assert len(found.parts) == 1201
    subprocess.run(['rm', '-r', 'd'], check=True)  # shutil and pytest are not up to it


def test_images_below(tmp_path):
    for name in ('b.PNG', 'a.jpeg', 'c.txt', 'deep/er/d.webp'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'folder.png').mkdir()
    os.mkfifo(tmp_path / 'pipe.png')
    (tmp_path / 'round').symlink_to('.')
    (tmp_path / 'link.png').symlink_to('b.PNG')
    (tmp_path / 'gone.png').symlink_to('nothing')
    found = [path.relative_to(tmp_path).as_posix() for path in images_below(tmp_path)]
    assert found == ['a.jpeg', 'b.PNG', 'deep/er/d.webp', 'link.png']
    assert images_below(tmp_path / 'nowhere') == []
    assert [is_image(Path(name)) for name in ('a.TIF', 'a.gif', 'png')] == [True, False, False]


def test_photos_in_a_folder_or_none(tmp_path):
    (tmp_path / 'notes.txt').touch()
    for folder in (tmp_path, tmp_path / 'nowhere'):
        with pytest.raises(FileNotFoundError, match=rf'no images found in {folder}; name a folder of .jpg, .jpeg, '):
            photos_in(folder)
    photo = save(tmp_path / 'a.png', 'PNG')
    assert photos_in(str(tmp_path)) == [photo]


@pytest.mark.parametrize(
    ('count', 'chosen'), [(1, [0]), (2, [0, 5]), (9, [0, 1, 2, 3, 4, 6, 7, 8, 9]), (20, [*range(10)])]
)
def test_items_evenly_spread(count, chosen):
    assert spread(range(10), count) == chosen
    assert spread([], count) == []
    with pytest.raises(ValueError, match='0 images are none; give a count of 1 or more'):
        spread(range(10), 0)


@pytest.mark.parametrize('upright', [False, True])
def test_the_middle_square_is_kept(upright):
    photo = np.zeros((32, 96, 3), np.uint8)
    photo[:, 32:64] = 7
    photo = photo.transpose(1, 0, 2) if upright else photo
    for size in (5, 32, 50):  # made smaller, as it is, made larger
        assert square(photo, size).shape == (size, size, 3)
        assert (square(photo, size)[1:-1, 1:-1] == 7).all()
    assert np.array_equal(square(photo, 32), photo[32:64] if upright else photo[:, 32:64])


def test_images_are_made_smaller_only():
    mask = np.random.default_rng(0).integers(0, 5, (60, 41), np.uint8)
    assert shrink(mask, 60) is mask
    small = shrink(mask, 20, cv2.INTER_NEAREST)
    assert small.shape == (20, 14)
    assert set(np.unique(small)) <= set(np.unique(mask))  # no values in between
    photo = np.tile(np.array([0, 200], np.uint8)[:, None, None], (20, 3000, 3))
    assert shrink(photo, 30).shape == (1, 30, 3)
    assert np.abs(shrink(photo, 30).astype(int) - 100).max() <= 1  # the mean of the pixels
