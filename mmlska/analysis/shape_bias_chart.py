"""The chart of :mod:`mmlska.analysis.shape_bias`."""

from __future__ import annotations

from pathlib import Path

from ..results import new_figure, save_figure

# Told apart by form too, and by colour with every kind of colour vision (Okabe and Ito).
_COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000', '#8A6D00')
_MARKERS = 'osD^vP*X'


def draw_shape_bias(results: dict[str, dict], path: str | Path) -> Path:
    """Draw the shape bias of several models, over all objects and for each class, with its intervals.

    Args:
        results: What :func:`mmlska.analysis.shape_bias.tally` returned for each model, by its name. One with a ``warning`` is drawn pale.
        path: The PNG file.

    Raises:
        ValueError: If there are no results.
    """
    if not results:
        raise ValueError('no results to draw; give at least one model')
    classes = list(dict.fromkeys(name for result in results.values() for name in result['per_class']))
    rows = ['all objects', *classes]
    step = 0.8 / len(results)
    figure = new_figure(9, 1.6 + len(rows) * max(0.45, 0.2 * len(results)))
    axes = figure.add_subplot()
    for number, (name, result) in enumerate(results.items()):
        style = dict(color=_COLORS[number % len(_COLORS)], marker=_MARKERS[number % len(_MARKERS)])
        style['alpha'] = 0.35 if result.get('warning') else 1.0
        axes.plot([], [], label=name + (' (!)' if result.get('warning') else ''), linestyle='', markersize=7, **style)
        for row, share in enumerate([result, *(result['per_class'].get(c) for c in classes)]):
            if share is None or share['shape_bias'] is None:
                continue
            low, high = share['interval']
            y = row + (number - (len(results) - 1) / 2) * step
            axes.plot([100 * low, 100 * high], [y, y], color=style['color'], alpha=style['alpha'], linewidth=1.6)
            axes.plot(100 * share['shape_bias'], y, markersize=7 if row else 9, **style)
    axes.axhline(0.5, color='0.75', linewidth=0.8)
    axes.axvline(50, color='0.6', linewidth=0.8, linestyle='--')
    axes.set_yticks(range(len(rows)), [rows[0], *(f'shape of {name}' for name in classes)])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(-2, 102)
    axes.set_xticks(range(0, 101, 10))
    axes.grid(axis='x', color='0.92')
    axes.set_axisbelow(True)
    axes.set_xlabel('decisions that follow the shape rather than the texture, %  (lines: Wilson intervals of 95 %)')
    axes.text(0, 1.01, '← texture', transform=axes.transAxes, ha='left', va='bottom', color='0.35')
    axes.text(1, 1.01, 'shape →', transform=axes.transAxes, ha='right', va='bottom', color='0.35')
    for side in ('top', 'right'):
        axes.spines[side].set_visible(False)
    figure.legend(loc='outside upper center', ncols=min(len(results), 4), frameon=False)
    return save_figure(figure, path, dpi=120)
