"""What configs, or backbones alone, cost: counted in one go, and the counts as Markdown tables. ``mmlska complexity`` calls this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..engine.config import load_config
from ..results import markdown_table, run_environment, save_figure
from .backbone_cost import COLUMNS, compare_designs, compare_others
from .complexity import measure_config

#: The kernel sizes in the table of designs, where they were counted; the results file has all.
SHOWN = (7, 23, 35, 53, 119)
_SHAPES = dict(mmdet=(800, 1280), mmseg=(512, 512))


def count_configs(
    paths: Sequence[str], shape: tuple[int, int] | None = None, options: Mapping[str, object] | None = None
) -> dict[str, dict]:
    """The cost of each config by its name, on images of (height, width); by default 800x1280 for mmdet, 512x512
    for mmseg and 224x224 for classifiers.

    Raises:
        FileNotFoundError: If there is no such config.
        ValueError: If height or width are not positive.
    """
    counts = {}
    for path in paths:
        cfg = load_config(path, options)
        height, width = shape or _SHAPES.get(cfg.default_scope, (224, 224))
        counts[Path(path).stem] = measure_config(cfg, height, width)._asdict()
    return counts


def count_designs(
    archs: Sequence[str],
    k_sizes: Sequence[int],
    attentions: Sequence[str],
    shape: tuple[int, int] | None = None,
    *,
    timed: bool = False,
) -> dict:
    """The cost of backbones of every arch, kernel size and design and of those of other papers, and how it was counted.

    ``shape`` is (height, width), by default 224x224; ``timed`` adds the time of one inference.

    Raises:
        ValueError: If height or width are not positive, or there is no such arch, kernel size or design.
    """
    height, width = shape or (224, 224)
    if min(height, width) < 1:
        raise ValueError(f'image of {height}x{width} pixels; height and width must be positive')
    image = (1, 3, height, width)
    counted = (
        'multiply-adds of convolutions and matrix products; norms, activations, additions and products of maps are not'
    )
    facts = dict(input_shape=(height, width), flops=counted)
    if timed:
        facts |= dict(latency='median seconds of one image, float32', **run_environment())
    designs = compare_designs(archs, k_sizes, image, attentions=attentions, timed=timed)
    return dict(**facts, designs=designs, others=compare_others(image, timed=timed))


def image_size(shape: Sequence[int]) -> str:
    """Width and height of an image of (height, width).

    Example:
        >>> image_size((800, 1280))
        '1280x800'
    """
    return 'x'.join(map(str, reversed(shape)))


def config_table(counts: Mapping[str, Mapping]) -> str:
    """The counts of :func:`count_configs` as a Markdown table."""
    rows = []
    for name, count in counts.items():
        numbers = f'{count["parameters"] / 1e6:.2f}', f'{count["flops"] / 1e9:.1f}'
        rows.append([f'`{name}`', image_size(count['input_shape']), *numbers])
    return markdown_table(['config', 'input', 'parameters, M', 'FLOPs, G'], rows)


def design_tables(counts: Mapping) -> str:
    """The counts of :func:`count_designs` as Markdown tables: designs over some kernel sizes, then the backbones of other papers."""

    def cells(row: Mapping, names: Sequence[str]) -> list[str]:
        return [f'{row[key] / unit:.{digits}f}' for key, unit, digits in (COLUMNS[name] for name in names)]

    columns = [name for name in COLUMNS if name != 'latency, ms' or 'latency' in counts]
    rows = {(row['arch'], row['k_size'], row['attention']): row for row in counts['designs']}
    archs, k_sizes, designs = (list(dict.fromkeys(key[i] for key in rows)) for i in range(3))
    shown = [k for k in k_sizes if k in SHOWN] or k_sizes
    compared = [name for name in columns if name in ('parameters, M', 'FLOPs, G', 'latency, ms')]
    lines = [
        [f'VAN-{arch.upper()}, K = {k}', *(' / '.join(cells(rows[arch, k, d], compared)) for d in designs)]
        for arch in archs
        for k in shown
    ]
    designs_table = markdown_table([' / '.join(compared), *designs], lines)
    k_size = 23 if 23 in k_sizes else k_sizes[0]
    own = [
        dict(rows[arch, k_size, d], name=f'VAN-{arch.upper()}, {d}, K = {k_size}') for arch in archs for d in designs
    ]
    empty = [''] * (len(columns) - 1)
    lines = [
        [row['name'], *([row['missing'], *empty] if 'missing' in row else cells(row, columns))]
        for row in [*own, *counts['others']]
    ]
    return f'{designs_table}\n\n{markdown_table(["backbone", *columns], lines)}'


def draw_designs(counts: Mapping, path: str | Path) -> Path:
    """Draw the cost of the designs in the counts of :func:`count_designs` against the kernel size."""
    from .figures import design_costs  # matplotlib comes with mmdet and mmseg; counting needs neither

    title = f'Backbones with four attention designs, input {image_size(counts["input_shape"])}'
    return save_figure(design_costs(counts['designs'], title), path)
