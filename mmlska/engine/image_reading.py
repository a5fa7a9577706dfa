"""How the test of a config reads its images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mmengine.config import Config

from ..bands import BandReader, check_bands, grey_reader, reads_as_stored
from .config_parts import datasets_of


def image_reading(cfg: Config) -> dict[str, str]:
    """How it reads photos: ``color_type`` and ``imdecode_backend`` where ``LoadImageFromFile`` names them."""
    loader = _loader(cfg, 'LoadImageFromFile')
    return {key: loader[key] for key in ('color_type', 'imdecode_backend') if key in loader}


def band_reader(cfg: Config) -> BandReader | None:
    """How it reads images of other channels or more bits, as ``LoadBands`` says, or grey photos; None for photos in colours.

    Raises:
        ValueError: If the settings of ``LoadBands`` do not fit together.
    """
    loader = _loader(cfg, 'LoadBands')
    if loader:
        return BandReader(**{key: value for key, value in loader.items() if key != 'type'})
    return grey_reader(image_reading(cfg).get('color_type', 'color'))


def show_bands(cfg: Config, bands: Sequence[int]) -> None:
    """Set which channels, from 1, are red, green and blue in pictures of its images; none leaves them as the config has them.

    Raises:
        ValueError: If there are no such channels, or the config reads photos.
    """
    if not bands:
        return
    reader = band_reader(cfg)
    if reader is None:
        raise ValueError(
            f'--bands {" ".join(map(str, bands))} is not needed: photos are shown in their colours; leave it out'
        )
    check_bands(bands, reader.channels)
    _loader(cfg, 'LoadBands')['shown'] = list(bands)


def picture_reading(cfg: Config) -> dict[str, Any]:
    """How pictures of its images are read, so that labels fit them: ``as_stored`` and ``bands`` of :func:`mmlska.bands.read_picture`."""
    reader = band_reader(cfg)
    if reader is not None:
        return dict(as_stored=reader.as_stored, bands=tuple(reader.shown))
    return dict(as_stored=reads_as_stored(image_reading(cfg).get('color_type', 'color')), bands=())


def _loader(cfg: Config, kind: str) -> dict[str, Any]:
    """The settings of the step of the test pipeline that reads images; {} if it is of another kind."""
    steps = (step for dataset in datasets_of(cfg, 'test') for step in dataset.get('pipeline', []))
    return next((step for step in steps if step_name(step) == kind), {})


def each_step(pipeline: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """The steps of a pipeline, those inside steps such as ``RandomChoice`` too.

    Example:
        >>> [step['type'] for step in each_step([dict(type='A', transforms=[[dict(type='B')]]), dict(type='C')])]
        ['A', 'B', 'C']
    """
    for step in pipeline:
        if isinstance(step, (list, tuple)):
            yield from each_step(step)
        else:
            yield step
            yield from each_step(step.get('transforms') or [])


def step_name(step: dict[str, Any]) -> str:
    """The name of a step of a pipeline, without its scope.

    Example:
        >>> step_name(dict(type='mmdet.Resize'))
        'Resize'
    """
    return str(step['type'] if isinstance(step['type'], str) else step['type'].__name__).rpartition('.')[2]
