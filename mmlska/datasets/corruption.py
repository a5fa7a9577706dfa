"""Image corruptions with explicit seeds, as a step of a data pipeline.

Corruptions: Hendrycks and Dietterich, arXiv 1903.12261, as the package imagecorruptions implements them for images of any size (Michaelis
et al., arXiv 1907.07484).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from mmengine.registry import TRANSFORMS

#: The groups of the benchmark; the first four are the standard corruptions, which alone count for its means.
CORRUPTION_GROUPS: dict[str, tuple[str, ...]] = {
    'noise': ('gaussian_noise', 'shot_noise', 'impulse_noise'),
    'blur': ('defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur'),
    'weather': ('snow', 'frost', 'fog', 'brightness'),
    'digital': ('contrast', 'elastic_transform', 'pixelate', 'jpeg_compression'),
    'extra': ('speckle_noise', 'gaussian_blur', 'spatter', 'saturate'),
}
STANDARD_CORRUPTIONS = tuple(name for group in list(CORRUPTION_GROUPS)[:4] for name in CORRUPTION_GROUPS[group])
ALL_CORRUPTIONS = STANDARD_CORRUPTIONS + CORRUPTION_GROUPS['extra']
SEVERITIES = (1, 2, 3, 4, 5)
SMALLEST = 32

# These two draw from generators of their own, skimage's and numba's; the others from numpy's global one, or not at all.
_SEEDED = ('impulse_noise', 'glass_blur')


def corrupt(image: np.ndarray, corruption: str, severity: int, seed: int) -> np.ndarray:
    """Corrupt an image; the same arguments give the same image, and no random state outside is read or changed.

    Args:
        image: (H, W, 3) uint8, RGB, 32 pixels or more on each side.
        corruption: One of ``ALL_CORRUPTIONS``.
        severity: 1 to 5.
        seed: 0 to 2**32 - 1.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ValueError: If the image is smaller or of another type, or the corruption or its severity does not exist.
        ImportError: If the package imagecorruptions is missing.
    """
    _check(corruption, severity)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f'image is {image.dtype} of shape {image.shape}; corruptions need (H, W, 3) uint8')
    if min(image.shape[:2]) < SMALLEST:
        raise ValueError(
            f'image of {image.shape[1]}x{image.shape[0]} pixels is too small: corruptions need {SMALLEST} on each side; '
            f'leave it out of the test data'
        )
    try:
        import imagecorruptions
    except ImportError as error:
        raise ImportError(
            'corruptions need the package imagecorruptions: pip install "mmlska[robustness]"', name=error.name
        ) from error
    before = np.random.get_state()  # noqa: NPY002, the package draws from the global generator
    np.random.seed(seed)  # noqa: NPY002
    try:
        options = dict(seed=seed) if corruption in _SEEDED else {}
        return imagecorruptions.corrupt(image, severity, corruption, **options)
    finally:
        np.random.set_state(before)  # noqa: NPY002


def _check(corruption: str, severity: int) -> None:
    if corruption not in ALL_CORRUPTIONS:
        raise ValueError(f'corruption {corruption!r} is unknown; choose one of {", ".join(ALL_CORRUPTIONS)}')
    if severity not in SEVERITIES:
        raise ValueError(f'severity {severity} does not exist; choose one of {", ".join(map(str, SEVERITIES))}')


def image_seed(seed: int, image: str, corruption: str, severity: int) -> int:
    """A seed of its own for each image, corruption and severity, the same on every machine and in every order.

    Example:
        >>> image_seed(0, 'a.jpg', 'fog', 3) == image_seed(0, 'a.jpg', 'fog', 3) != image_seed(0, 'b.jpg', 'fog', 3)
        True
    """
    text = f'{seed}/{corruption}/{severity}/{image}'
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], 'little')


@TRANSFORMS.register_module()
class CorruptImage:
    """Corrupt the loaded image; stands right after the step that loads it.

    Args:
        corruption: One of ``ALL_CORRUPTIONS``.
        severity: 1 to 5.
        seed: Changes every image's noise; the noise also depends on the file's name, the corruption and the severity.

    Raises:
        ValueError: If the corruption or its severity does not exist.
    """

    def __init__(self, corruption: str, severity: int, seed: int = 0) -> None:
        _check(corruption, severity)
        self.corruption, self.severity, self.seed = corruption, severity, seed

    def __call__(self, results: dict) -> dict:
        """Replace ``img``, (H, W, 3) uint8 BGR.

        Raises:
            ValueError: If the image is too small or not uint8; the message names its file.
        """
        path = results['img_path']
        seed = image_seed(self.seed, Path(path).name, self.corruption, self.severity)
        try:
            image = corrupt(results['img'][..., ::-1], self.corruption, self.severity, seed)
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from error
        results['img'] = np.ascontiguousarray(image[..., ::-1])
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.corruption!r}, severity={self.severity}, seed={self.seed})'
