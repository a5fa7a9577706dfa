"""What may be named as input, and what is said about the rest."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmlska.infer.sources import image_size, is_one_image, read_images, resolve


def test_broken_image(tmp_path):
    (tmp_path / 'broken.png').write_bytes(b'\x89PNG\r\n\x1a\nnot a picture')
    (tmp_path / 'empty.jpg').write_bytes(b'')
    for name in ('broken.png', 'empty.jpg'):
        with pytest.raises(ValueError, match=f'{name} is not an image that OpenCV can read'):
            list(read_images(resolve(tmp_path / name)))


def test_size_by_the_header_alone(tmp_path):
    path = tmp_path / 'photo.png'
    path.write_bytes(cv2.imencode('.png', np.zeros((3, 5, 3), np.uint8))[1].tobytes()[:60])
    assert image_size(path) == (5, 3)
    path.write_bytes(b'nothing')
    assert image_size(path) is None


def test_broken_video(tmp_path):
    (tmp_path / 'clip.mp4').write_bytes(b'no video')
    with pytest.raises(ValueError, match='clip.mp4 is not a video'):
        list(read_images(resolve(tmp_path / 'clip.mp4')))


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match='has no images'):
        resolve(tmp_path)
    with pytest.raises(FileNotFoundError, match='matches no image'):
        resolve(tmp_path / '*.png')
    with pytest.raises(FileNotFoundError, match='nothing.png does not exist'):
        resolve('nothing.png')


@pytest.mark.parametrize(
    'image',
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_arrays_that_are_no_images(image):
    with pytest.raises(ValueError, match='is not an image; give uint8'):
        resolve(image)


def test_an_image_of_pillow_is_what_its_file_would_be(tmp_path):
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    colored = Image.fromarray(rng.integers(0, 255, (5, 7, 3), np.uint8))
    deep = Image.fromarray(rng.integers(0, 65535, (5, 7)).astype(np.uint16))
    for image in (colored, colored.convert('RGBA'), colored.convert('L'), colored.convert('P'), deep):
        image.save(tmp_path / 'photo.png', exif=exif)
        with Image.open(tmp_path / 'photo.png') as opened:
            (pixels,) = resolve(opened)
        ((_, read),) = read_images(resolve(tmp_path / 'photo.png'))
        np.testing.assert_array_equal(pixels, read)
        assert pixels.shape == (7, 5, 3)


@pytest.mark.parametrize('address', ['https://host/photo.jpg', 'file:///photo.jpg'])
def test_nothing_is_downloaded(address):
    for given in (address, Path(address)):
        with pytest.raises(ValueError, match='is a URL, and nothing is downloaded here; save the picture'):
            resolve(given)


def test_one_image_or_any_number(tmp_path):
    for name in ('a.png', 'clip.mp4'):
        (tmp_path / name).touch()
    array = np.zeros((4, 4, 3), np.uint8)
    for source in (tmp_path / 'a.png', str(tmp_path / 'a.png'), array, Image.fromarray(array)):
        assert is_one_image(source)
    for source in (tmp_path, tmp_path / '*.png', tmp_path / 'clip.mp4', [array], [tmp_path / 'a.png']):
        assert not is_one_image(source)


def test_other_types():
    with pytest.raises(TypeError, match='input of type int'):
        resolve(3)


def test_folder_is_sorted_and_has_images_only(tmp_path):
    for name in ('b.png', 'a.JPG', 'c.txt'):
        (tmp_path / name).touch()
    (tmp_path / 'sub.png').mkdir()
    assert [p.name for p in resolve(tmp_path)] == ['a.JPG', 'b.png']


def test_names_with_brackets_and_grey_images(tmp_path):
    """A file that exists is never a pattern; grey files become three channels, as in training."""
    path = tmp_path / 'photo[1].png'
    path.write_bytes(cv2.imencode('.png', np.full((3, 5), 7, np.uint8))[1].tobytes())
    ((name, image),) = read_images(resolve(path))
    assert name == str(path)
    assert image.shape == (3, 5, 3)
    assert (image == 7).all()
