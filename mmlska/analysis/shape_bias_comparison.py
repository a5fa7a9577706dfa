"""The shape bias of several models beside each other: what ``mmlska shape-bias`` calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..engine.config import load_config
from ..engine.launch import prepare
from ..results import markdown_table, write_json
from ..weights import read_checkpoint
from .shape_bias import (
    measure_shape_bias,
    read_decisions,
    shape_bias_from_decisions,
    texture_warning,
    training_textures,
    undecided_images,
)
from .shape_bias_chart import draw_shape_bias


def name_models(
    pairs: Sequence[tuple[str, str]], decisions: Sequence[str] = (), names: Sequence[str] | None = None
) -> list[str]:
    """A name for each model, none twice: those given, pairs first; by default from the files.

    Raises:
        ValueError: If there are not as many names as models, or two are the same.

    Example:
        >>> name_models([('a.py', 'work_dirs/k7/iter_9.pth')], ['human.csv'])
        ['k7/iter_9', 'human']
    """
    default = [f'{Path(checkpoint).parent.name}/{Path(checkpoint).stem}'.lstrip('/') for _, checkpoint in pairs]
    names = list(names or [*default, *(Path(path).stem for path in decisions)])
    number = len(pairs) + len(decisions)
    if len(names) != number:
        raise ValueError(f'--names has {len(names)} names for {number} models; give one each')
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f'two models are named {twice[0]!r}; tell them apart with --names')
    return names


def measure_model(
    config: str,
    checkpoint: str,
    data: str | Path,
    *,
    work_dir: str | Path,
    score_thr: float = 0.05,
    options: Mapping[str, object] | None = None,
) -> dict:
    """The shape bias of one detector or segmentor, with a warning where it means nothing.

    ``work_dir`` is for logs; the other arguments are the options of ``mmlska shape-bias``, which explains them.

    Raises:
        FileNotFoundError: If config, checkpoint or data are missing.
        ValueError: If a setting does not fit.
        WeightsError: If the checkpoint cannot be read.
    """
    textures = training_textures(read_checkpoint(checkpoint).content)
    root = Path(data).absolute()
    cfg = load_config(config, {**(options or {}), 'data_root': f'{root}/'})
    prepare(cfg, config, work_dir=str(work_dir), launcher='none', seed=0)
    result = measure_shape_bias(cfg, checkpoint, root, score_thr)
    return {'config': config, 'checkpoint': checkpoint, 'warning': texture_warning(textures), **result}


def measure_decisions(path: str, images: str | None = None) -> dict:
    """The shape bias of one classifier from its decisions, with a warning of images (a folder of them) that have none.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the file has other columns or names.
    """
    names, decisions = read_decisions(path)
    without = undecided_images(images, names) if images else []
    warning = f'{len(without)} images without a decision, such as {without[0]}' if without else None
    return {'decisions': path, 'warning': warning, **shape_bias_from_decisions(names, decisions)}


def table(results: Mapping[str, Mapping]) -> str:
    """The results as a Markdown table."""
    rows = []
    for name, result in results.items():
        low, high = (f'{100 * end:.1f}' for end in result['interval'])
        bias = '' if result['shape_bias'] is None else f'{100 * result["shape_bias"]:.1f}'
        counts = [str(result[key]) for key in ('shape', 'texture', 'other', 'none')]
        rows.append([name + (' (!)' if result['warning'] else ''), bias, f'{low} to {high}', *counts])
    header = ['model', 'shape bias, %', '95 % interval (Wilson)', 'shape', 'texture', 'another class', 'none']
    return markdown_table(header, rows)


def write_comparison(folder: Path, data: str | None, results: dict[str, dict]) -> tuple[Path, Path]:
    """Write results by the model's name into a folder, and their chart; return both paths. ``data``: the scenes, if there were any."""
    file = write_json(folder / 'shape_bias.json', {'data': data, 'models': results})
    return file, draw_shape_bias(results, folder / 'shape_bias.png')
