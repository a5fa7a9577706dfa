"""Pieces of HTML of the report of a training; every value from data is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .pictures import MOST_BOXES, Picture, shown_text, svg_of

#: Rows of a table and classes of a confusion matrix: more are left out, and the page says so.
MOST_ROWS, MOST_CLASSES = 200, 20
_WITH_NAMES = 10  # classes above which columns have numbers, so that the matrix is no wider than the page


class Bar(NamedTuple):
    """A cell of a table: a bar, ``share`` (0 to 1) of its width."""

    share: float


def note(text: str) -> str:
    """A line of explanation."""
    return f'<p class="note">{shown_text(text)}</p>'


def facts_table(facts: Mapping[str, object]) -> str:
    """A table of names and values."""
    rows = (f'<tr><th>{shown_text(name)}</th><td>{shown_text(value)}</td></tr>' for name, value in facts.items())
    return f'<table class="facts">{"".join(rows)}</table>'


def table(header: Sequence[str], rows: Sequence[Sequence[str | Bar]]) -> str:
    """A table whose first column has names and the others numbers or bars.

    Example:
        >>> table(['class', 'n'], [['<b>', '3']]).count('<b>')
        0
    """
    head = ''.join(
        f'<th class="{"number" if place else "name"}">{shown_text(name)}</th>' for place, name in enumerate(header)
    )
    lines = [''.join(_cell(value, place) for place, value in enumerate(row)) for row in rows[:MOST_ROWS]]
    body = ''.join(f'<tr>{line}</tr>' for line in lines)
    rest = note(f'{len(rows) - MOST_ROWS} more rows are left out.') if len(rows) > MOST_ROWS else ''
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{rest}'


def _cell(value: str | Bar, place: int) -> str:
    if isinstance(value, Bar):
        return f'<td class="bar"><span style="width:{100 * min(max(value.share, 0), 1):.1f}%"></span></td>'
    return f'<td class="{"number" if place else "name"}">{shown_text(value)}</td>'


def matrix(confusion: np.ndarray, names: Sequence[str], *, percent: bool, always: int = 0) -> str:
    """A confusion matrix, rows labelled and columns predicted, shaded by the share of its row, with its largest confusions below.

    Args:
        confusion: Counts, (N, N).
        names: Of the N classes.
        percent: Show the share of the row instead of the count, which is then what a cell says when it is pointed at.
        always: So many of the last rows and columns are shown however many others are left out.
    """
    shown, left_out = np.arange(len(names)), ''
    if len(names) > MOST_CLASSES:
        classes = len(names) - always
        most = np.argsort(-confusion[:classes].sum(1), kind='stable')[: MOST_CLASSES - always]
        shown = np.append(np.sort(most), shown[classes:])
        left_out = note(f'The {len(most)} classes that are labelled most, of {classes}.')
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    dense = len(shown) > _WITH_NAMES
    labels = {j: f'{place} {names[j]}' if dense else names[j] for place, j in enumerate(shown, start=1)}
    head = ''.join(
        f'<th title="{shown_text(label)}">{shown_text(label.split()[0] if dense else label)}</th>'
        for label in labels.values()
    )
    rows = []
    for i in shown:
        cells = ''.join(
            f'<td style="--share:{shares[i, j]:.2f}"{_right(i, j)} title="{_pair(names, i, j)}: {number(confusion[i, j])}">'
            f'{f"{100 * shares[i, j]:.{0 if dense else 1}f}" if percent else number(confusion[i, j])}</td>'
            for j in shown
        )
        rows.append(f'<tr><th title="{shown_text(labels[i])}">{shown_text(labels[i])}</th>{cells}</tr>')
    wrong = confusion * ~np.eye(len(names), dtype=bool)
    order = [np.unravel_index(place, wrong.shape) for place in np.argsort(-wrong, axis=None, kind='stable')[:10]]
    largest = ''.join(
        f'<li>{_pair(names, i, j)}: {number(wrong[i, j])} ({100 * shares[i, j]:.1f} % of the row)</li>'
        for i, j in order
        if wrong[i, j]
    )
    return (
        f'{left_out}<div class="wide"><table class="matrix{" dense" * dense}"><thead><tr><th>labelled \\ predicted</th>{head}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div><h3>Largest confusions</h3><ul>{largest or "<li>none</li>"}</ul>'
    )


def _right(i: int, j: int) -> str:
    return ' class="right"' if i == j else ''


def _pair(names: Sequence[str], i: int, j: int) -> str:
    return f'{shown_text(names[i])} labelled, {shown_text(names[j])} predicted'


def number(value: float) -> str:
    """A count with separators, '12,345'."""
    return f'{int(value):,}'


def keys(classes: Sequence[str], palette: Sequence[Sequence[int]]) -> str:
    """The colours of the classes."""
    items = (
        f'<li><i style="--color:rgb({int(r)},{int(g)},{int(b)})"></i>{shown_text(name)}</li>'
        for name, (r, g, b) in list(zip(classes, palette))[:MOST_ROWS]
    )
    return f'<ul class="keys">{"".join(items)}</ul>'


def figure(picture: Picture, classes: Sequence[str], palette: Sequence[Sequence[int]]) -> str:
    """A picture with its name and its note."""
    more = len(picture.boxes) - MOST_BOXES
    rest = f'{more} more boxes are not drawn' if more > 0 else ''
    caption = ' · '.join(filter(None, (picture.name, picture.note, rest)))
    return f'<figure>{svg_of(picture, classes, palette)}<figcaption>{shown_text(caption)}</figcaption></figure>'
