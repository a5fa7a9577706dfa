"""Tables and charts of benchmark results."""

from __future__ import annotations

import math
from pathlib import Path

from ..designs import DESIGNS
from ..results import markdown_table, new_figure, save_figure
from .measure import ratio
from .mmcv_operators import MMCV_OPS

_COLORS = {
    'published-channels-last': '#9aa5b1',
    'published-compiled': '#e0a458',
    'onnxruntime': '#6a994e',
    'mmlska-unfolded': '#89c2d9',
    'mmlska': '#2a6f97',
}


def table(results: dict) -> str:
    """The Markdown table of one results file: a row for each case, ratios against `published` in the same run.

    Rows are by type, pass, operator and kernel; a column that is empty in all of them is left out. `copy` is empty where the bandwidth of
    the record's own run was not kept.
    """
    records = sorted(results['records'], key=_place)
    names = [name for name in _COLORS if any(name in record['contenders'] for record in records)]
    rows = [_cells(record, names) for record in records]
    header = [column for column in rows[0] if any(row[column] for row in rows)] if rows else []
    return markdown_table(header, [[row[column] for column in header] for row in rows])


def _cells(record: dict, names: list[str]) -> dict[str, str]:
    """The columns of a case's row, in their order: a new one is one more entry here."""
    contenders = record['contenders']
    on_gpu = 'eager' in contenders['published']  # where operators take microseconds
    form = '.3f' if on_gpu else '.2f'

    def milliseconds(name: str, key: str = 'median') -> str:
        return _number(contenders.get(name, {}).get(key), form)

    def eager(name: str) -> str:
        return milliseconds(name, 'eager') if on_gpu and name in contenders else ''

    saved = ratio(record, 'published', 'mmlska', 'saved_bytes')
    return {
        'case': label(record),
        'dtype': record['dtype'],
        'pass': record['pass'],
        'published, ms': milliseconds('published'),
        **{f'{name}, x': _number(ratio(record, name), '.2f') if name in contenders else '' for name in names},
        'mmlska, ms': milliseconds('mmlska'),
        'published eager, ms': eager('published'),
        'mmlska eager, ms': eager('mmlska'),
        'dense, ms': format(record['dense_ms'], '.2f') if 'dense_ms' in record else '',
        'saved': f'{saved:.2f}x' if saved else '',
        'copy': _copy_share(record),
    }


def _place(record: dict) -> tuple:
    """Where a case stands among the others; cases that are alike but for the stage keep their order."""
    ops = (*DESIGNS, 'depthwise_gelu', 'mlp', *MMCV_OPS)
    op = ops.index(record['op']) if record['op'] in ops else 0
    return record['dtype'] != 'float32', record['dtype'], record['pass'], op, record.get('k_size') or 0


def label(record: dict) -> str:
    """Name a case: operator, kernel, input.

    Example:
        >>> label({'op': 'lska', 'k_size': 23, 'input': [1, 32, 128, 128]})
        'lska K=23, 1x32x128x128'
    """
    name = record.get('config') or (f'VAN-{record["arch"].upper()}' if 'arch' in record else record['op'])
    if record.get('arch') and record['attention'] != 'lska':
        name += f' {record["attention"]}'
    kernel = f' K={record["k_size"]}' if record.get('k_size') else ''
    return f'{name}{kernel}, {"x".join(map(str, record["input"]))}'


def _copy_share(record: dict) -> str:
    """Part of the machine's copy bandwidth that one read and one write of the map in the time of an operator's forward pass come to."""
    median, bandwidth = record['contenders'].get('mmlska', {}).get('median'), record.get('copy_bytes_per_second')
    if record['op'] in ('backbone', 'model', *MMCV_OPS) or record['pass'] != 'forward' or not (median and bandwidth):
        return ''
    traffic = 2 * math.prod(record['input']) * (4 if record['dtype'] == 'float32' else 2)
    return f'{traffic / (median / 1e3) / bandwidth:.0%}'


def _number(value: float | None, form: str) -> str:
    return 'failed' if value is None else format(value, form)


def draw_chart(results: dict, path: Path) -> None:
    """Draw the speed-up over `published` of every case as bars, one panel for each pass, in the order of the table.

    Args:
        results: A results file's content.
        path: The PNG to write.
    """
    records = sorted(results['records'], key=_place)
    passes = list(dict.fromkeys(record['pass'] for record in records))
    rows = max(sum(record['pass'] == p for record in records) for p in passes)
    figure = new_figure(7.5 * len(passes), 1.2 + 0.42 * rows)
    axes = figure.subplots(1, len(passes), squeeze=False)[0]
    for axis, which in zip(axes, passes):
        chosen = [record for record in records if record['pass'] == which]
        names = [name for name in _COLORS if any(name in record['contenders'] for record in chosen)]
        height = 0.8 / len(names)
        for i, name in enumerate(names):
            shown = [(j, ratio(record, name)) for j, record in enumerate(chosen) if name in record['contenders']]
            places = [j + (i - (len(names) - 1) / 2) * height for j, _ in shown]
            bars = axis.barh(places, [value or 0.0 for _, value in shown], height, color=_COLORS[name], label=name)
            axis.bar_label(bars, [f'{v:.1f}' if v else 'failed' for _, v in shown], fontsize=7, padding=2)
        axis.axvline(1.0, color='black', linewidth=0.8)
        axis.set_yticks(range(len(chosen)), [f'{label(record)} {record["dtype"]}' for record in chosen], fontsize=8)
        axis.set_ylim(len(chosen) - 0.4, -0.6)
        axis.set_title(which, fontsize=10)
        axis.set_xlabel('times as fast as published')
        axis.spines[['top', 'right']].set_visible(False)
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels())}
    figure.legend(handles.values(), handles, fontsize=8, loc='outside lower center', ncols=3, frameon=False)
    days = sorted({results['date'], *(record['date'] for record in records if 'date' in record)})
    when = ' to '.join(dict.fromkeys((days[0], days[-1])))
    figure.suptitle(f'{results["hardware"]}, torch {results["versions"]["torch"]}, {when}', fontsize=9)
    save_figure(figure, path)
