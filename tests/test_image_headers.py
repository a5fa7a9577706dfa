"""What the header of a file says of its size is what OpenCV and Pillow make of it."""

import io
import struct

import numpy as np
import pytest
from picture_files import PIXELS, chunk, save, tiff
from PIL import Image

from mmlska.images import ImageError, open_image, read_header, read_photo


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
    next_is_first = tiff(grey()).replace(bytes(4) + b'\7', struct.pack('<I', 8) + b'\7', 1)
    path.write_bytes(next_is_first)
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
        # The first one is what OpenCV makes room for.
        assert read_header(path).stored == ((30, 20) if i else (9000, 9000))


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
