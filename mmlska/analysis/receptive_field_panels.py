"""Effective receptive fields of several designs, kernels and checkpoints side by side: what ``mmlska erf`` calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from ..engine.config import find_path, load_config
from ..engine.image_reading import band_reader, picture_reading
from ..files import write_atomically
from ..images import photos_in, spread
from ..infer.model import build_model
from ..results import save_figure, write_json
from .figures import receptive_fields
from .photos import dataset_photos, square_inputs
from .receptive_field import SHARES, Contribution, ReceptiveField, contributions, effective_receptive_field

Fields = dict[str, tuple[ReceptiveField, tuple[Contribution, ...]]]


def measure_panels(
    config: str,
    *,
    k_sizes: Sequence[int] | None = None,
    attentions: Sequence[str] | None = None,
    checkpoints: Sequence[str] = (),
    stage: int | None = None,
    size: int = 512,
    images: str | None = None,
    num_images: int = 16,
    seed: int = 0,
    options: Mapping[str, object] | None = None,
    report: Callable[[str], None] = print,
) -> Fields:
    """Average the effective receptive field of each panel over photos: with random weights, then with those of the checkpoints.

    Arguments are the options of ``mmlska erf``, which explains them; ``report`` is called with one line for each field.

    Returns:
        Field and contributions by the name of panel and weights.

    Raises:
        FileNotFoundError: If config, checkpoint or photos are missing.
        ValueError: If a setting is out of range, or there are not as many checkpoints as panels.
    """
    if stage is not None and stage < 1:
        raise ValueError(f'--stage {stage} does not exist; stages count from 1')
    if size < 32:
        raise ValueError(f'--size {size} is too small; give 32 pixels or more')
    base = dict(options or {})
    panels = {Path(config).stem: base}
    if k_sizes or attentions:
        backbone = load_config(config, base).model.backbone
        attentions = attentions or [backbone.get('attention', 'lska')]
        panels = {
            f'{name}, K = {k}': {**base, 'model.backbone.attention': name, 'model.backbone.k_size': k}
            for name, k in product(attentions, k_sizes or [backbone.get('k_size', 23)])
        }
    if checkpoints and len(checkpoints) != len(panels):
        raise ValueError(f'--checkpoints names {len(checkpoints)} files for {len(panels)} panels: {", ".join(panels)}')
    photos = spread(
        photos_in(find_path(images) or images) if images else dataset_photos(load_config(config, options), 'val'),
        num_images,
    )
    cfg = load_config(config, options)
    reader, as_stored = band_reader(cfg), picture_reading(cfg)['as_stored']
    weights = {'random': [None] * len(panels), **({'trained': checkpoints} if checkpoints else {})}
    fields = {}
    for source, files in weights.items():
        for (name, settings), file in zip(panels.items(), files):
            model = build_model(load_config(config, settings), file, seed)
            inputs = square_inputs(model, photos, size, reader, as_stored)
            field = effective_receptive_field(model.backbone, inputs, stage=-1 if stage is None else stage - 1)
            squares = contributions(field.heat, field.center)
            fields[f'{name}, {source}'] = field, squares
            report(f'{name}, {source}: ' + ', '.join(f'{c.share:.0%} in {c.side} px' for c in squares))
    return fields


def write_panels(folder: Path, config: str, fields: Fields, *, stage: int | None, size: int, columns: int) -> Path:
    """Write what :func:`measure_panels` returned into a folder: erf.png (its path is returned), erf.json and erf.npz."""
    title = f'Effective receptive field\n{Path(config).stem}, {"last stage" if stage is None else f"stage {stage}"}'
    picture = save_figure(receptive_fields(fields, title, columns), folder / 'erf.png')
    result = dict(
        config=config,
        stage=stage or 'last',
        input_size=size,
        definition='sum over colours of |d(sum of ReLU of the middle feature)/d(pixel)|, mean over the images; side of the '
        'smallest square centred on the feature that holds the share; area_ratio is its area over that of the input',
        shares=list(SHARES),
        fields={
            name: dict(images=field.images, center=field.center, contributions=[c._asdict() for c in squares])
            for name, (field, squares) in fields.items()
        },
    )
    write_json(folder / 'erf.json', result)
    maps = {name: field.heat.astype(np.float32) for name, (field, _) in fields.items()}

    def save(name: str) -> None:
        with open(name, 'wb') as file:  # savez would add .npz to the temporary name
            np.savez_compressed(file, **maps)

    write_atomically(folder / 'erf.npz', save)
    return picture
