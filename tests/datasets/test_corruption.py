"""Corruptions: reproducible, complete, and with clear messages."""

import numpy as np
import pytest

pytest.importorskip('imagecorruptions')

from imagecorruptions import get_corruption_names  # noqa: E402

from mmlska.datasets.corruption import (  # noqa: E402
    ALL_CORRUPTIONS,
    SEVERITIES,
    STANDARD_CORRUPTIONS,
    CorruptImage,
    corrupt,
    image_seed,
)

RANDOM = set(ALL_CORRUPTIONS) - {
    *(
        'defocus_blur',
        'zoom_blur',
        'brightness',
        'contrast',
        'pixelate',
        'jpeg_compression',
        'gaussian_blur',
        'saturate',
    )
}


@pytest.fixture(scope='module')
def image():
    rows, columns = np.mgrid[:45, :61]
    return np.stack([rows * 5, columns * 4, 255 - rows - columns], -1).astype(np.uint8)


def test_names_and_order_are_the_packages():
    assert list(ALL_CORRUPTIONS) == get_corruption_names('all')
    assert list(STANDARD_CORRUPTIONS) == get_corruption_names('common')


@pytest.mark.parametrize('corruption', ALL_CORRUPTIONS)
def test_same_seed_same_image_whatever_the_global_state(corruption, image):
    for severity in SEVERITIES:
        np.random.seed(1)  # noqa: NPY002, this is the state that must not matter
        first = corrupt(image, corruption, severity, seed=7)
        np.random.seed(2)  # noqa: NPY002
        assert np.array_equal(first, corrupt(image, corruption, severity, seed=7))
        assert first.shape == image.shape
        assert first.dtype == np.uint8
        assert not np.array_equal(first, image)
    differs = not np.array_equal(first, corrupt(image, corruption, 5, seed=8))
    assert differs == (corruption in RANDOM)


def test_global_random_state_is_left_alone(image):
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.rand()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    corrupt(image, 'gaussian_noise', 1, seed=0)
    assert np.random.rand() == expected  # noqa: NPY002


@pytest.mark.parametrize('size', [(32, 32), (33, 50), (64, 32)])
def test_smallest_images(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    for corruption in ALL_CORRUPTIONS:
        assert corrupt(image, corruption, 5, seed=0).shape == image.shape


def test_seeds_differ_by_everything_they_are_made_of():
    seeds = {
        image_seed(*arguments)
        for arguments in [
            (0, 'a', 'fog', 1),
            (1, 'a', 'fog', 1),
            (0, 'b', 'fog', 1),
            (0, 'a', 'snow', 1),
            (0, 'a', 'fog', 2),
        ]
    }
    assert len(seeds) == 5
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_transform_sees_bgr_as_rgb(image):
    results = CorruptImage('saturate', 5, seed=0)(dict(img=image[..., ::-1].copy(), img_path='some/a.png'))
    seed = image_seed(0, 'a.png', 'saturate', 5)
    assert np.array_equal(results['img'][..., ::-1], corrupt(image, 'saturate', 5, seed))
    assert results['img'].flags.c_contiguous


def test_errors_name_the_value():
    with pytest.raises(ValueError, match="corruption 'rain' is unknown; choose one of gaussian_noise"):
        CorruptImage('rain', 1)
    with pytest.raises(ValueError, match='severity 6 does not exist; choose one of 1, 2, 3, 4, 5'):
        CorruptImage('fog', 6)
    small = np.zeros((31, 40, 3), np.uint8)
    with pytest.raises(
        ValueError, match=r'a/b.png: image of 40x31 pixels is too small: corruptions need 32 on each side'
    ):
        CorruptImage('fog', 1)(dict(img=small, img_path='a/b.png'))
    with pytest.raises(ValueError, match=r'image is float32 of shape \(40, 40, 3\)'):
        corrupt(np.zeros((40, 40, 3), np.float32), 'fog', 1, 0)
