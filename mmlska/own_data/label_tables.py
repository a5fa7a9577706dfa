"""Tables (csv) of labels: their rows, and their columns by name."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .encodings import is_utf16
from .label_text import check_regular, read_text


def read_csv(path: Path) -> list[list[str]]:
    """Read the rows of a table with commas, semicolons or tabs between its cells.

    Raises:
        ValueError: If a quoted cell has no end, or as :func:`read_text`.
    """
    text = read_text(path)
    delimiter = delimiter_of(text)
    before = csv.field_size_limit(max(len(text), 1))  # an outline is longer than what Python's reader takes by itself
    try:
        lines = io.StringIO(text, newline='')
        return list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise ValueError(f'{path} is no valid table: {error}') from error
    finally:
        csv.field_size_limit(before)


def csv_start(path: Path) -> list[list[str]]:
    """The rows in the first 64 KiB of a table, to see what it is, the last one perhaps cut off; none where it can't be read."""
    try:
        check_regular(path)
        with open(path, 'rb') as file:
            content = file.read(1 << 16)
        text = content.decode('utf-16' if is_utf16(content) else 'utf-8-sig', 'replace')
        return [
            cells
            for _, cells in filled_rows(
                csv.reader(io.StringIO(text, newline=''), delimiter=delimiter_of(text), skipinitialspace=True)
            )
        ]
    except (OSError, ValueError, csv.Error):
        return []


def filled_rows(rows: Iterable[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table that are not empty, each with its line and without spaces around its cells."""
    for line, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if any(cells) and not (line == 1 and cells[0].startswith('sep=')):  # a line for Excel alone
            yield line, cells


def column_names(head: Sequence[str]) -> dict[str, int]:
    """The columns by their names in a head, without case, spaces, underscores and hyphens; of two the first.

    Example:
        >>> column_names(['', 'Image_ID', 'x-min'])
        {'': 0, 'imageid': 1, 'xmin': 2}
    """
    names: dict[str, int] = {}
    for column, cell in enumerate(head):
        names.setdefault(re.sub(r'[\s_-]', '', cell).casefold(), column)
    return names


def first_column(columns: dict[str, int], names: Iterable[str]) -> int | None:
    """The column that is there of these names."""
    return next((columns[name] for name in names if name in columns), None)


def columns_of(columns: dict[str, int], names: Iterable[Sequence[str]]) -> list[int]:
    """The columns of the first of several groups of names that is there as a whole; none if none is."""
    return next(([columns[name] for name in group] for group in names if all(name in columns for name in group)), [])


def check_cells(cells: Sequence[str], least: int, most: int) -> None:
    """Raise ValueError for a row that was cut off, or whose cells are split where they should not be."""
    if not least <= len(cells) or any(cells[most:]):
        wanted = str(most) if least == most else f'{least} to {most}'
        raise ValueError(f'{len(cells)} cells, not {wanted}; put cells with a comma into quotes')


def delimiter_of(text: str) -> str:
    """The separator of a table, by its first line: a comma, a semicolon or a tab."""
    return max(',;\t', key=text.partition('\n')[0].count)
