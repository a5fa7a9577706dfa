"""The analyses as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..datasets.corruption import corrupt, image_seed
from ..results import new_figure
from .backbone_cost import COLUMNS
from .receptive_field import Contribution, ReceptiveField

SQUARE_COLORS = ('#30d158', '#40c8ff', '#c07cff', '#ff4060')


def receptive_fields(
    fields: Mapping[str, tuple[ReceptiveField, Sequence[Contribution]]], title: str, columns: int
) -> Figure:
    """Effective receptive fields by name, ``columns`` in a row, on a logarithmic scale, with the squares of their contributions."""
    rows = -(-len(fields) // columns)
    figure = new_figure(3.1 * columns + 1.1, 3.9 * rows + 0.6)
    figure.suptitle(title, fontsize=11, wrap=True)
    axes = figure.subplots(rows, columns, squeeze=False)
    shown = None
    for axis, (name, (field, squares)) in zip(axes.flat, fields.items()):
        height, width = field.heat.shape
        log = np.log10(np.maximum(field.heat / field.heat.max(), 1e-6))
        shown = axis.imshow(log, cmap='inferno', vmin=-5, vmax=0)
        row, column = field.center
        for square, color in zip(squares, SQUARE_COLORS):
            corner = column - square.side / 2, row - square.side / 2
            axis.add_patch(Rectangle(corner, square.side, square.side, fill=False, edgecolor=color, linewidth=1.1))
        axis.set_xlim(-0.5, width - 0.5)
        axis.set_ylim(height - 0.5, -0.5)
        axis.set_title(name, fontsize=10)
        sides = '   '.join(f'{square.share:.0%}: {square.side}' for square in squares)
        axis.set_xlabel(f'side in px   {sides}\ninput {width} x {height} px, {field.images} images', fontsize=8)
        axis.tick_params(labelsize=7)
    for axis in list(axes.flat)[len(fields) :]:
        axis.set_axis_off()
    shares = [square.share for square in next(iter(fields.values()))[1]]
    keys = [Rectangle((0, 0), 1, 1, fill=False, edgecolor=color, linewidth=1.5) for color in SQUARE_COLORS]
    labels = [f'{share:.0%} of the contribution' for share in shares]
    figure.legend(keys, labels, loc='outside lower center', ncols=2 * columns, fontsize=8)
    bar = figure.colorbar(shown, ax=axes, shrink=0.75)
    bar.set_label('log10 of contribution over its maximum', fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def robustness(results: dict, summary: Mapping[str, dict], severities: Sequence[int], title: str) -> Figure:
    """Each metric under each corruption: a bar for the mean, a dot for each severity, lines for clean images and mPC.

    Args:
        results: 'results' of :func:`mmlska.analysis.robustness.evaluate`.
        summary: What :func:`mmlska.analysis.robustness.summarise` made of them.
    """
    rows = max(len(entry['corruptions']) for entry in summary.values())
    figure = new_figure(4.6 * len(summary) + 2, 0.28 * rows + 2)
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(1, len(summary), squeeze=False, sharey=True)[0]
    for axis, (metric, entry) in zip(axes, summary.items()):
        names = list(entry['corruptions'])
        axis.barh(names, list(entry['corruptions'].values()), color='#9db7d5', label='mean')
        for severity in severities:
            values = [results[name][str(severity)].get(metric) or 0.0 for name in names]
            shade = str(0.75 - 0.15 * (severity - 1))
            axis.plot(values, names, 'o', color=shade, markersize=3.5, label=f'severity {severity}')
        means = f'clean {entry["clean"]:.3g}'
        axis.axvline(entry['clean'], color='#2a7a3b', label='clean images')
        if entry['mPC'] is not None:
            axis.axvline(entry['mPC'], color='#c0392b', linestyle='--', label='mPC')
            means += f', mPC {entry["mPC"]:.3g}' + ('' if entry['rPC'] is None else f', rPC {entry["rPC"]:.1%}')
        axis.set_title(means, fontsize=9)
        axis.set_xlabel(metric)
        axis.set_xlim(left=0)
        axis.tick_params(labelsize=8)
    axes[0].yaxis.set_inverted(True)
    figure.legend(*axes[0].get_legend_handles_labels(), loc='outside lower center', ncols=4, fontsize=8)
    return figure


def corrupted_samples(
    image: np.ndarray, name: str, corruptions: Sequence[str], severities: Sequence[int], seed: int
) -> Figure:
    """One image under each corruption (rows) at each severity (columns), with the noise that the test gave it.

    Args:
        image: (H, W, 3) uint8, RGB.
        name: Its file name, on which its noise depends, and on the ``seed`` of the test.
    """
    height, width = image.shape[:2]
    step = max(1, round(max(height, width) / 160))
    tiles = [[image, *(corrupt(image, c, s, image_seed(seed, name, c, s)) for s in severities)] for c in corruptions]
    mosaic = np.concatenate([np.concatenate([tile[::step, ::step] for tile in row], axis=1) for row in tiles])
    down, across = mosaic.shape[0] / len(corruptions), mosaic.shape[1] / (len(severities) + 1)
    figure = new_figure(1.7 * (len(severities) + 1) + 1.5, 1.7 * down / across * len(corruptions) + 0.6)
    axis = figure.subplots()
    axis.imshow(mosaic, aspect='equal')
    labels = ['clean', *(f'severity {s}' for s in severities)]
    axis.set_xticks((np.arange(len(labels)) + 0.5) * across, labels, fontsize=8)
    axis.set_yticks((np.arange(len(corruptions)) + 0.5) * down, corruptions, fontsize=8)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.set_title(name, fontsize=9)
    return figure


def design_costs(rows: Sequence[Mapping], title: str) -> Figure:
    """Cost against kernel size for the rows of :func:`mmlska.analysis.backbone_cost.compare_designs`: a row of panels for each arch."""
    archs = list(dict.fromkeys(row['arch'] for row in rows))
    designs = list(dict.fromkeys(row['attention'] for row in rows))
    panels = {
        label: (key, unit)
        for label, (key, unit, _) in COLUMNS.items()
        if key != 'peak_memory' and all(key in row for row in rows)
    }
    figure = new_figure(4 * len(panels), 3 * len(archs) + 0.8)
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(len(archs), len(panels), squeeze=False)
    for line, arch in zip(axes, archs):
        for axis, (label, (key, unit)) in zip(line, panels.items()):
            for design, style in zip(designs, ('o-', 's--', '^-.', 'd:')):
                chosen = [row for row in rows if (row['arch'], row['attention']) == (arch, design)]
                points = [(row['k_size'], row[key] / unit) for row in chosen]
                axis.plot(*zip(*points), style, markersize=3, linewidth=1.2, label=design)
            axis.set_xlabel('kernel size K, px', fontsize=8)
            axis.set_ylabel(label, fontsize=8)
            axis.set_title(f'VAN-{arch.upper()}', fontsize=9)
            axis.tick_params(labelsize=7)
            axis.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=7)
    return figure


def photo_maps(photo: np.ndarray, maps: Mapping[str, np.ndarray], title: str, columns: int) -> Figure:
    """Maps over the photo that they come from, which stands first in each row.

    Args:
        photo: (H, W, 3) uint8, RGB.
        maps: (h, w) by name; each is stretched over the photo and coloured from its smallest to its largest value.
        columns: Maps in a row.
    """
    height, width = photo.shape[:2]
    rows = -(-len(maps) // columns)
    figure = new_figure(2.9 * (columns + 1), (2.9 * height / width + 0.4) * rows + 0.5)
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(rows, columns + 1, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis in axes[:, 0]:
        axis.imshow(photo)
        axis.set_title(f'{width} x {height} px', fontsize=9)
    for axis, (name, values) in zip(axes[:, 1:].flat, maps.items()):
        axis.imshow(photo)
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        axis.imshow(values, cmap='jet', alpha=0.55, extent=extent, interpolation='bilinear')
        axis.set_title(f'{name}\n{values.shape[1]} x {values.shape[0]}', fontsize=8)
    return figure
