"""Figures of the report of a training, as SVG in a page: text and lines take the colour of the page's text."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.curves import Curve
from ..analysis.errors import RECALLS
from ..results import new_figure
from .labels import LabelCounts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK = '#0a0b0c'  # stands for the colour of the text around the figure
_COLORS = ('#3b82d6', '#e0703a', '#2fa36b', '#b45fc9', '#d19a1c', '#d8486f', '#3aa7b5', '#8a8f3c', '#7a7fd6', '#9c6b4f')
_MOST_POINTS = 300
_PANEL = 3.5, 2.6  # inches
_PIXELS = 100  # of the page for an inch
_METRICS = ('metrics', 'box AP', 'mask AP')
_PANELS = ('loss', *_METRICS, 'learning rate', 'norm of the gradient', 'other')


def draw_run(curves: Mapping[str, Curve], step: str) -> str:
    """Draw what a run logged: losses, learning rate, and metrics that belong together in one panel each.

    Args:
        curves: What :func:`mmlska.analysis.curves.read_scalars` returned.
        step: What validations are counted in: 'epoch' or 'iteration'.

    Raises:
        ValueError: If nothing was logged that can be drawn.
    """
    panels: dict[str, dict[str, Curve]] = {}
    for name, (steps, values) in curves.items():
        # COCO's -1: there are no objects of such a size.
        points = [(s, v) for s, v in zip(steps, values) if np.isfinite(v) and not (v == -1 and '_mAP' in name)]
        if points and name != 'base_lr':
            panels.setdefault(_panel(name), {})[name] = _thinned(points)
    if not panels:
        raise ValueError('nothing was logged yet')
    from matplotlib.ticker import MaxNLocator

    with _style():
        columns = min(len(panels), 3)
        rows = -(-len(panels) // columns)
        figure = new_figure(_PANEL[0] * columns, _PANEL[1] * rows)
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis in list(axes.flat)[len(panels) :]:
            axis.set_axis_off()
        for axis, title in zip(axes.flat, sorted(panels, key=_PANELS.index)):
            lines = panels[title]
            for color, (name, (steps, values)) in zip(cycle(_COLORS), lines.items()):
                marker = 'o' if len(steps) < 30 else ''
                label = name.rsplit('/', 1)[-1].removeprefix('bbox_').removeprefix('segm_')
                axis.plot(steps, values, color=color, marker=marker, markersize=3, linewidth=1.3, label=label)
            axis.set_title(label if title == 'other' and len(lines) == 1 else title)
            if title in _METRICS:
                axis.set_ylim(0, max(1.05 * max(max(values) for _, values in lines.values()), 0.01))
            axis.set_xlabel(step if title in _METRICS else 'iteration')
            axis.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
            if len(lines) > 1:
                axis.legend(loc='upper left', bbox_to_anchor=(1, 1.02), borderpad=0)
        return svg_text(figure, 'curves')


def _panel(name: str) -> str:
    """The panel of a value by its name in the log: values that share a scale share a panel."""
    if 'loss' in name:
        return 'loss'
    if name == 'lr' or name.endswith('/lr'):
        return 'learning rate'
    for part in ('box', 'mask'):
        if f'{dict(box="bbox", mask="segm")[part]}_mAP' in name:
            return f'{part} AP'
    if name == 'grad_norm':
        return 'norm of the gradient'
    return 'metrics' if name in ('mIoU', 'aAcc', 'mAcc') or '/' in name else 'other'


def _thinned(points: Sequence[tuple[int, float]]) -> Curve:
    """A curve of at most ``_MOST_POINTS`` points, each the mean of its neighbours."""
    parts = np.array_split(np.array(points, float), min(len(points), _MOST_POINTS))
    means = [part.mean(0) for part in parts]
    return [float(step) for step, _ in means], [float(value) for _, value in means]


def draw_sizes(splits: Mapping[str, LabelCounts]) -> str:
    """Draw how large boxes are, and how much wider than high, one line for each split."""
    from matplotlib.ticker import LogLocator, NullFormatter

    with _style():
        figure = new_figure(2.4 * _PANEL[0], 1.1 * _PANEL[1])
        sizes, shapes = figure.subplots(1, 2)
        all_sizes = np.concatenate([counts.sizes for counts in splits.values()]).clip(1e-3)
        for axis, value in ((sizes, _side), (shapes, _ratio)):
            every = value(all_sizes)
            edges = np.geomspace(every.min() * 0.95, every.max() * 1.05, 30)
            for color, (split, counts) in zip(_COLORS, splits.items()):
                if len(counts.sizes):
                    share = np.full(len(counts.sizes), 100 / len(counts.sizes))
                    axis.hist(
                        value(counts.sizes.clip(1e-3)),
                        edges,
                        weights=share,
                        histtype='step',
                        color=color,
                        linewidth=1.5,
                        label=split,
                    )
            axis.set_xscale('log')
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
            axis.xaxis.set_major_formatter(lambda x, _: f'{x:g}')
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.set_ylabel('% of the boxes')
        sizes.set_xlabel('square root of the area in pixels of the file; dotted: 32 and 96')
        for limit in (32, 96):  # COCO's small, medium and large
            if sizes.get_xlim()[0] < limit < sizes.get_xlim()[1]:
                sizes.axvline(limit, color=_INK, linewidth=0.8, linestyle=':')
        shapes.set_xlabel('width / height')
        sizes.legend()
        return svg_text(figure, 'sizes')


def _side(sizes: np.ndarray) -> np.ndarray:
    return np.sqrt(sizes.prod(1))


def _ratio(sizes: np.ndarray) -> np.ndarray:
    return sizes[:, 0] / sizes[:, 1]


def draw_precision(precisions: np.ndarray, classes: Sequence[str]) -> str:
    """Draw precision against recall of :func:`mmlska.analysis.errors.precision_curves`: each class, and their mean."""
    with _style():
        figure = new_figure(6.4, 4.0)
        axis = figure.subplots()
        known = np.flatnonzero(~np.isnan(precisions[:, 0]))
        few = len(known) <= len(_COLORS)
        for place, number in enumerate(known):
            color = _COLORS[place] if few else '#8888'
            label = f'{classes[number]} {100 * precisions[number].mean():.1f}' if few else None
            axis.plot(RECALLS, precisions[number], color=color, linewidth=1.2 if few else 0.6, label=label)
        mean = precisions[known].mean(0)
        axis.plot(RECALLS, mean, color=_INK, linewidth=2.4, label=f'mean of {len(known)}: {100 * mean.mean():.1f}')
        axis.set(xlabel='recall', ylabel='precision', xlim=(0, 1), ylim=(0, 1.02))
        axis.legend(title='AP at IoU 0.5', loc='center left', bbox_to_anchor=(1.02, 0.5))
        return svg_text(figure, 'precision')


@contextmanager
def _style() -> Iterator[None]:
    from matplotlib import rc_context

    ink = dict.fromkeys(('text.color', 'axes.edgecolor', 'axes.labelcolor', 'xtick.color', 'ytick.color'), _INK)
    plain = {'text.parse_math': False, 'svg.fonttype': 'none', 'svg.hashsalt': 'mmlska', 'font.size': 9}
    looks = {'axes.grid': True, 'grid.color': '#8886', 'grid.linewidth': 0.6, 'legend.frameon': False}
    sizes = {'legend.fontsize': 8, 'axes.titlesize': 10, 'axes.spines.top': False, 'axes.spines.right': False}
    with rc_context(ink | plain | looks | sizes), warnings.catch_warnings():
        warnings.simplefilter(
            'ignore'
        )  # names of classes in letters that matplotlib's font lacks; the browser has them
        yield


def svg_text(figure: Figure, name: str) -> str:
    """A figure as an element of a page; ``name`` keeps its parts apart from those of other figures there."""
    buffer = io.StringIO()
    figure.savefig(buffer, format='svg', transparent=True)
    text = buffer.getvalue()
    text = re.sub(r'(?s)<metadata>.*?</metadata>', '', text[text.index('<svg') :])
    text = re.sub(r'(id="|url\(#|href="#)', rf'\g<1>{name}-', text).replace(_INK, 'currentColor')
    text = re.sub(r' xmlns(:xlink)?=\"[^\"]*\"', '', text)
    width = round(_PIXELS * figure.get_figwidth())  # so text of all figures is of one size
    return text.replace('<svg', f'<svg class="figure" role="img" style="max-width:{width}px"', 1)
