"""What images.py says of a file is what OpenCV and Pillow make of it."""

import io
import os
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from picture_files import chunk, tiff
from PIL import Image

from mmlska.images import (
    Header,
    ImageError,
    images_below,
    is_image,
    open_image,
    read_header,
    read_photo,
)

PIXELS = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)


def save(path: Path, kind: str, mode: str = 'RGB', orientation: int | None = None, **options) -> Path:
    image = Image.fromarray(PIXELS)
    image = image.convert('I').convert('I;16') if mode == 'I;16' else image.convert(mode)
    if orientation is not None:
        options['exif'] = Image.Exif()
        options['exif'][0x0112] = orientation
    image.save(path, kind, **options)
    return path


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


@pytest.mark.parametrize('junk', [b'\0junk', b'\xff' * 7, b'\xff\xd0\xff\x01'], ids=['bytes', 'fill', 'bare markers'])
def test_bytes_between_the_segments_of_a_jpeg(tmp_path, junk):
    """libjpeg passes over them, and photos with them are about."""
    data = save(tmp_path / 'a.jpg', 'JPEG').read_bytes()
    (tmp_path / 'b.jpg').write_bytes(data[:20] + junk + data[20:])
    assert read_header(tmp_path / 'b.jpg').stored == (30, 20)
    assert np.array_equal(read_photo(tmp_path / 'b.jpg'), read_photo(tmp_path / 'a.jpg'))


def test_bitmaps_from_top_to_bottom_and_of_os2(tmp_path):
    data = save(tmp_path / 'a.bmp', 'BMP').read_bytes()
    (tmp_path / 'down.bmp').write_bytes(data[:22] + struct.pack('<i', -20) + data[26:])
    assert np.array_equal(read_photo(tmp_path / 'down.bmp'), read_photo(tmp_path / 'a.bmp')[::-1])
    assert read_header(tmp_path / 'down.bmp').stored == (30, 20)
    head = b'BM' + struct.pack('<IHHI', 26 + 1840, 0, 0, 26) + struct.pack('<IHHHH', 12, 30, 20, 1, 24)
    (tmp_path / 'os2.bmp').write_bytes(head + data[54:])
    assert np.array_equal(read_photo(tmp_path / 'os2.bmp'), read_photo(tmp_path / 'a.bmp'))


def grey(width: tuple = (4, 1, 30), height: tuple = (4, 1, 20)) -> list[tuple]:
    rest = [(258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, None), (278, 4, 1, 20), (279, 4, 1, 600)]
    return [(256, *width), (257, *height), *rest]


@pytest.mark.parametrize('big', [False, True], ids=['classic', 'big'])
@pytest.mark.parametrize('order', ['<', '>'], ids=['little', 'large'])
@pytest.mark.parametrize('kind', [1, 3, 4])
def test_tiffs_of_both_orders_and_all_types(tmp_path, order, big, kind):
    path = tmp_path / 'a.tif'
    path.write_bytes(tiff(grey((kind, 1, 30), (kind, 1, 20)), order, big))
    assert read_header(path).stored == (30, 20)
    assert read_photo(path).shape == (20, 30, 3)
    assert (read_photo(path) == 7).all()


TWO_SIZES = {
    'large first': [(256, 4, 1, 22_000), *grey()],
    'large last': [*grey()[:1], (256, 4, 1, 22_000), *grey()[1:]],
    'the same twice': [(256, 4, 1, 30), *grey()],
    'two heights': [*grey()[:2], (257, 3, 1, 9000), *grey()[2:]],
    'of two types': [(256, 3, 1, 22_000), *grey()],
    'two numbers': grey((4, 2, 30)),
    'no width': grey()[1:],
    'nothing': [],
    'behind many others': [*grey(), *[(305, 1, 1, 0)] * 5000, (256, 4, 1, 22_000)],
}


@pytest.mark.parametrize('order', ['<', '>'], ids=['little', 'large'])
@pytest.mark.parametrize('big', [False, True], ids=['classic', 'big'])
@pytest.mark.parametrize('entries', TWO_SIZES.values(), ids=TWO_SIZES)
def test_tiffs_without_one_width_and_one_height(tmp_path, entries, big, order):
    path = tmp_path / 'a.tif'
    path.write_bytes(tiff(entries, order, big))
    for read in (read_header, read_photo):
        with pytest.raises(ImageError, match=r'a.tif is not an image .*header does not give one size\); leave it out'):
            read(path)


def test_directories_of_a_tiff_that_lead_nowhere(tmp_path):
    path = tmp_path / 'a.tif'
    for place in (2, 8 + 2**40, 2**64 - 1):
        path.write_bytes(b'II+\0\x08\0\0\0' + struct.pack('<Q', place))
        with pytest.raises(ImageError, match='a.tif is not an image'):
            read_header(path)
    path.write_bytes(
        tiff(grey()).replace(bytes(4) + b'\7', struct.pack('<I', 8) + b'\7', 1)
    )  # the next page is the first
    assert read_photo(path).shape == (20, 30, 3)


def two_sizes(kind: str) -> list[bytes]:
    """Files of 30 x 20 pixels that say at a second place that they have 9000 x 9000."""
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind)
    data = file.getvalue()
    if kind == 'PNG':
        second = chunk(b'IHDR', struct.pack('>II', 9000, 9000) + data[24:29])
        return [data[:8] + second + data[8:], data[:33] + second + data[33:]]
    if kind == 'JPEG':
        at = data.index(b'\xff\xc0')
        end = at + 2 + struct.unpack('>H', data[at + 2 : at + 4])[0]
        second = data[at : at + 5] + struct.pack('>HH', 9000, 9000) + data[at + 9 : end]
        return [data[:at] + second + data[at:], data[:end] + second + data[end:]]
    canvas = b'VP8X' + struct.pack('<IB3x', 10, 0) + (8999).to_bytes(3, 'little') * 2
    return [b'RIFF' + struct.pack('<I', len(data) - 8 + len(canvas)) + b'WEBP' + canvas + data[12:]]


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'WEBP'])
def test_files_of_two_sizes(tmp_path, kind):
    for i, content in enumerate(two_sizes(kind)):
        path = tmp_path / f'{i}.image'
        path.write_bytes(content)
        for read in (read_photo, lambda path: open_image(path).__enter__().load()):
            with pytest.raises(ImageError, match=f'{i}.image '):
                read(path)
        assert read_header(path).stored == (
            (30, 20) if i else (9000, 9000)
        )  # the first one is what OpenCV makes room for


def animated(default_image: bool) -> bytes:
    file = io.BytesIO()
    frames = [Image.fromarray(255 - PIXELS), Image.fromarray(PIXELS // 2)]
    Image.fromarray(PIXELS).save(file, 'PNG', save_all=True, append_images=frames, default_image=default_image)
    return file.getvalue()


@pytest.mark.parametrize('default_image', [False, True])
def test_animated_pngs_are_named(tmp_path, default_image):
    (tmp_path / 'a.png').write_bytes(animated(default_image))
    with pytest.raises(ImageError, match='a.png is an animated PNG, which is not read; save it as a still one'):
        read_header(tmp_path / 'a.png')


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
