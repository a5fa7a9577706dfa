"""Curves of training runs: read from the logs that MMEngine leaves, drawn as one picture."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ..engine.run_log import read_log
from ..results import new_figure, save_figure

Curve = tuple[list[int], list[float]]
_DEFAULT = ('loss', 'lr', 'coco/bbox_mAP', 'coco/segm_mAP', 'mIoU', 'aAcc')
_HIDDEN = ('time', 'data_time', 'memory', 'iter', 'epoch', 'step')


def read_scalars(run: str | Path, folders: Collection[str] | None = None) -> dict[str, Curve]:
    """Read what a run logged.

    Args:
        run: A work directory, or a ``scalars.json`` in one; see :func:`mmlska.engine.run_log.read_log`. A resumed run is one curve.
        folders: The names of the folders with the logs to read; by default all.

    Returns:
        Steps and values by name.

    Raises:
        FileNotFoundError: If there is no log.
        ValueError: If a log is damaged before its last line, or holds no number.
    """
    values: dict[str, dict[int, float]] = {}
    for entry in read_log(run, folders):
        step = entry.get('step', entry.get('iter'))
        for name, value in entry.items():
            if name not in _HIDDEN and isinstance(value, (int, float)) and step is not None:
                values.setdefault(name, {})[step] = value
    if not values:
        raise ValueError(f'{run} has logged nothing to draw; give the work directory of a training or a test')
    return {name: (sorted(points), [points[s] for s in sorted(points)]) for name, points in values.items()}


def draw_curves(runs: dict[str, dict[str, Curve]], path: str | Path, names: list[str] | None = None) -> Path:
    """Draw curves of several runs, one panel for each name.

    Args:
        runs: What :func:`read_scalars` returned, by label.
        path: The picture, .png.
        names: The curves; None for loss, learning rate, and the main metrics in the logs, or the first six of others.

    Raises:
        ValueError: If no run has one of the names.
    """
    known = sorted({name for run in runs.values() for name in run})
    names = names or [name for name in _DEFAULT if name in known] or known[:6]
    for name in names:
        if name not in known:
            raise ValueError(f'no run has logged {name}; choose from {", ".join(known)}')
    figure = new_figure(5 * len(names), 3.6)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names):
        for label, run in runs.items():
            steps, values = run.get(name, ([], []))
            axes.plot(steps, values, marker='o' if len(steps) < 30 else '', markersize=3, linewidth=1.2, label=label)
        axes.set_title(name)
        # MMEngine counts validations in what its loop counts.
        axes.set_xlabel('iteration' if name == 'lr' or 'loss' in name else 'epoch or iteration')
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize='small')
    return save_figure(figure, path, dpi=120)
