"""Images of other channels or more bits than photos: what a set holds, and the config that trains on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config

from ..bands import GREY, BandReader, GreyPhotoReader, Pixels, check_bands, pixels_of
from ..engine.image_reading import band_reader, show_bands, step_name
from ..engine.training_options import adapt_channels
from ..images import spread
from ..text import counted
from .config_edits import each_transform, first_dataset
from .pixel_statistics import statistics
from .report import ALPHA, ERROR, WARNING, Report, first_of

SEVERAL = 'images of several kinds'
_IMAGES = 100  # whose values the normalisation is computed from
# Steps that know photos alone, and take a value for each of three channels or change colours.
_FOR_PHOTOS = {
    'Albu',
    'AutoAugment',
    'CachedMixUp',
    'CachedMosaic',
    'CLAHE',
    'ColorJitter',
    'ColorTransform',
    'CutOut',
    'MixUp',
    'Mosaic',
    'RandAugment',
    'RandomErasing',
    'RandomGrayscale',
    'Rerange',
    'YOLOXHSVRandomAug',
}


def pixels_in(kinds: Mapping[Pixels, Sequence[str]]) -> tuple[Pixels | None, str]:
    """What a set of images is read as.

    Args:
        kinds: The names of the images of each kind.

    Returns:
        The pixels, None for photos in colours, and a note on :data:`SEVERAL` where they are read as photos.

    Raises:
        ValueError: If they can be read as one neither as they are nor as photos.
    """
    if len(kinds) == 1:
        (only,) = kinds
        return (None if only.is_photo and only != GREY else only), ''
    found = '; '.join(f'{len(names)} of {kind} ({first_of(list(names)[:1])})' for kind, names in sorted(kinds.items()))
    if all(kind.is_photo for kind in kinds):
        mostly_grey = len(kinds[GREY]) > sum(map(len, kinds.values())) / 2
        return None, f'they are read as photos in colours; {found}' if mostly_grey else ''
    if all(map(_becomes_photo, kinds)):
        return None, f'they are read as photos of 8 bits; {found}'
    raise ValueError(f'they cannot be trained on together: {found}; put each kind into a folder of its own')


def _becomes_photo(pixels: Pixels) -> bool:
    """Whether OpenCV reads such an image as a photo of 8 bits."""
    return pixels.channels in (1, 3) and pixels.dtype in ('uint8', 'uint16') and not pixels.by_tifffile


def use_pixels(
    cfg: Config, images: Mapping[str, Sequence[Path]], bands: Sequence[int] = (), as_stored: bool = False
) -> list[str]:
    """Make a config read images of other channels or more bits than photos, if these are some.

    The first convolution gets their number of channels, and its pretrained weights are adapted; images are normalised by the mean and
    the standard deviation of the training images.

    Args:
        cfg: The config, changed in place.
        images: The images of each split, 'train' among them.
        bands: Which channels, from 1, are red, green and blue in pictures; by default the first three, or the first.
        as_stored: Images are not turned as their EXIF data say.

    Returns:
        Lines to print; none for photos.

    Raises:
        FileNotFoundError: If an image is missing.
        ValueError: If the images are of kinds that do not go together, cannot be read, or there are no such bands.
    """
    kinds: dict[Pixels, list[str]] = {}
    clear = []
    for path in (path for paths in images.values() for path in paths):
        kind = pixels_of(path)
        kinds.setdefault(kind, []).append(path.name)
        if kind.alpha:
            clear.append(path.name)
    try:
        pixels, note = pixels_in(kinds)
    except ValueError as error:
        raise ValueError(f'{SEVERAL}: {error}') from error
    lines = [f'{SEVERAL}: {note}'] if note else []
    if clear:
        lines.append(f'{ALPHA}: {len(clear)} x {first_of(clear)}')
    before = band_reader(cfg)
    if pixels is None:
        if before is not None and not isinstance(before, GreyPhotoReader):
            raise ValueError(
                f'the images are photos, and the config reads {before.pixels}; give the config that it was made from'
            )
        show_bands(cfg, bands)  # refuses them, as the config reads photos
        return lines
    check_bands(bands, pixels.channels)
    # In a distributed training every process computes the same.
    reader = BandReader(pixels.channels, pixels.dtype, as_stored=as_stored)
    used = spread(images['train'], _IMAGES)
    mean, std, odd = statistics(used, reader)
    photo_steps = _use_reader(cfg, reader, mean, std, bands)
    from_what = f'the mean {_shown(mean)} and deviation {_shown(std)} of {counted(len(used), "training image")}'
    lines += [f'pixels: {pixels}; normalised by {from_what}', *odd]
    changed = _use_channels(cfg, pixels.channels)
    lines += [changed] if changed else []
    if photo_steps:
        names = ', '.join(sorted(photo_steps))
        lines.append(f'the training pipeline has {names}, made for photos: leave out what stops the training')
    return lines


def _shown(values: Sequence[float]) -> str:
    return f'[{", ".join(f"{value:.4g}" for value in values[:8])}{", ..." if len(values) > 8 else ""}]'


def _use_reader(cfg: Config, reader: BandReader, mean: list[float], std: list[float], bands: Sequence[int]) -> set[str]:
    """Make every pipeline and the preprocessor of a config read images in this way; the steps of training that know photos alone."""
    loader = dict(type='LoadBands', channels=reader.channels, dtype=reader.dtype, fill=mean)
    loader.update({key: value for key, value in (('shown', list(bands)), ('as_stored', reader.as_stored)) if value})
    distortion = dict(type='BandDistortion', mean=mean, std=std)
    for kinds, step in (
        (('LoadImageFromFile', 'LoadBands'), loader),
        (('PhotoMetricDistortion', 'BandDistortion'), distortion),
    ):
        for kind in kinds:
            each_transform(cfg, kind, lambda old, new=step: (old.clear(), old.update(new)))
    before = cfg.model.data_preprocessor
    changed = ('type', 'wraps', 'mean', 'std', 'bgr_to_rgb', 'rgb_to_bgr')
    kept = {key: value for key, value in before.items() if key not in changed}
    wraps = before.get('wraps') or (before.type if '.' in before.type else f'{cfg.default_scope}.{before.type}')
    cfg.model.data_preprocessor = dict(type='BandsPreprocessor', wraps=wraps, mean=mean, std=std, **kept)
    return _FOR_PHOTOS.intersection(step_name(step) for step in first_dataset(cfg, 'train').get('pipeline') or ())


def _use_channels(cfg: Config, channels: int) -> str:
    """Give the backbone of a config another number of input channels; a line on what that does to pretrained weights."""
    backbone = cfg.model.backbone
    if backbone.get('in_channels', 3) == channels:
        return ''
    backbone.in_channels = channels
    init = backbone.get('init_cfg')
    if not isinstance(init, dict) or init.get('type') != 'Pretrained':
        return f'in_channels={channels}'
    adapt_channels(init)
    return f'in_channels={channels}: pretrained weights are adapted in their first convolution'


def check_pixels(report: Report, cfg: Config | None = None) -> None:
    """Add to a report what is wrong with the pixels of the images that it counts.

    Args:
        report: The report.
        cfg: The config that reads them; None for a training by ``--data``, which reads what is there.
    """
    kinds, reader = report.pixels, None if cfg is None else band_reader(cfg)
    for name in report.clear:
        report.add(WARNING, ALPHA, name)
    if not kinds:
        return
    if cfg is not None:
        for kind, names in kinds.items():
            if not (_becomes_photo(kind) if reader is None else kind.fits(reader.pixels)):
                reads = 'photos' if reader is None else reader.pixels
                for name in names:
                    report.add(ERROR, f'image of {kind}, where the config reads {reads}', name)
        as_photos = reader is None
    else:
        try:
            pixels, note = pixels_in(kinds)
        except ValueError as error:
            report.add(ERROR, SEVERAL, str(error))
            return
        as_photos = pixels is None
        if note:
            report.add(WARNING, SEVERAL, note)
    if as_photos:
        for name in report.dim:
            report.add(WARNING, '16-bit image that is nearly black when read in 8 bits; stretch its values', name)
