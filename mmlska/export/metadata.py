"""What the metadata of an exported file say of its config: the network, and how an image becomes its input."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config

from ..bands import BandReader, GreyPhotoReader
from ..engine.config_parts import datasets_of
from ..engine.image_reading import band_reader, picture_reading, step_name
from ..engine.model_checks import refuses_channels


def input_rule(cfg: Config) -> dict[str, Any]:
    """What the file's metadata says about its input.

    Returns:
        ``resize`` (None, or ``scale`` (width, height) or ``scale_factor``, and ``keep_ratio``), ``mean``, ``std``, ``channels`` ('RGB'
        or 'BGR', the order of photos; 'bands' for other images, in the order of the file), ``pad_divisor`` and ``pad_value`` (to the
        right and below, after normalisation). For other images also ``bands``: ``count`` of channels, ``dtype`` of the files and ``fill``
        of each channel, [] for 0; and ``decoded_grey`` if photos are decoded as grey ones. ``as_stored``, there or among these, tells that
        files are not turned as their EXIF data say.

    Raises:
        ValueError: If the test pipeline does more than that, or its settings for other images do not fit together.
    """
    dataset = next(datasets_of(cfg, 'test'), {})
    steps = [step for step in dataset.get('pipeline') or () if not step_name(step).startswith(('Load', 'Pack'))]
    preprocessor = cfg.model.data_preprocessor
    padding = (preprocessor.get('test_cfg') or {}) if cfg.default_scope == 'mmseg' else preprocessor
    if len(steps) > 1 or any(step_name(step) != 'Resize' for step in steps) or padding.get('size'):
        names = ', '.join(step_name(step) for step in steps)
        raise ValueError(
            f'the test pipeline has the steps {names}; an exported model can be given one Resize and padding'
        )
    if preprocessor.get('rgb_to_bgr'):
        raise ValueError('data_preprocessor has rgb_to_bgr; an exported model takes images in BGR order')
    reader, as_stored = band_reader(cfg), picture_reading(cfg)['as_stored']
    count = 3 if reader is None else reader.channels
    if reader is None and cfg.model.backbone.get('in_channels', count) != count and refuses_channels(cfg, count):
        raise ValueError(
            f'model.backbone.in_channels={cfg.model.backbone.in_channels}, and the test pipeline reads photos of {count} channels; '
            "for grey photos set color_type='grayscale' in LoadImageFromFile"
        )
    mean, std = list(preprocessor.get('mean') or [0.0] * count), list(preprocessor.get('std') or [1.0] * count)
    order: dict[str, Any] = dict(channels='RGB' if preprocessor.get('bgr_to_rgb') else 'BGR')
    order.update(dict(as_stored=True) if as_stored else {})
    if reader is not None:
        order = _bands(reader, preprocessor)
        # One number stands for all channels, as it does for the model.
        mean, std = (values * count if len(values) == 1 else values for values in (mean, std))
        if {len(mean), len(std)} != {count}:
            raise ValueError(
                f'data_preprocessor has {len(mean)} means and {len(std)} stds for {count} channels; give one of each for each channel'
            )
    return dict(
        resize=_resize(steps[0]) if steps else None,
        mean=mean,
        std=std,
        **order,
        pad_divisor=padding.get('size_divisor') or padding.get('pad_size_divisor') or 1,
        pad_value=preprocessor.get('pad_value', preprocessor.get('pad_val', 0)),
    )


def _bands(reader: BandReader, preprocessor: dict) -> dict[str, Any]:
    """What the rule says of images that are no photos of 8 bits."""
    if preprocessor.get('bgr_to_rgb') and reader.channels == 3:
        raise ValueError('data_preprocessor has bgr_to_rgb, but LoadBands gives RGB; set bgr_to_rgb=False')
    bands = dict(count=reader.channels, dtype=reader.dtype, fill=list(reader.fill))
    flags = dict(as_stored=reader.as_stored, decoded_grey=isinstance(reader, GreyPhotoReader))
    return dict(channels='bands', bands={**bands, **{name: True for name, is_set in flags.items() if is_set}})


def channels_of(rule: dict[str, Any]) -> int:
    """How many channels the input has by its rule."""
    return rule['bands']['count'] if 'bands' in rule else 3


def network_of(cfg: Config) -> str:
    """Detector or segmentor, backbone and head of a config in words, to tell the files of two configs apart."""
    backbone = cfg.model.backbone
    arch = backbone.get('arch', 't')
    names = [f'{key} {backbone[key]}' for key in ('attention', 'k_size') if key in backbone]
    whole = [cfg.model.type, ' '.join([backbone.type, arch if isinstance(arch, str) else 'of its own', *names])]
    heads = [cfg.model.get(key) for key in ('decode_head', 'bbox_head', 'roi_head')]
    return ', '.join([*whole, *(head.type for head in heads if isinstance(head, dict))])


def _resize(step: dict) -> dict[str, Any]:
    if step.get('interpolation', 'bilinear') != 'bilinear':
        raise ValueError(f'Resize has interpolation={step["interpolation"]!r}; an exported model can be given bilinear')
    scale, factor = step.get('scale'), step.get('scale_factor')
    if scale is not None:
        scale = [scale, scale] if isinstance(scale, int) else list(scale)
    if factor is not None:
        factor = [factor, factor] if isinstance(factor, (int, float)) else list(factor)
    return dict(scale=scale, scale_factor=factor, keep_ratio=step.get('keep_ratio', False))
