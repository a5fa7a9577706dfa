"""Results files that are resumed, pictures, and tables in Markdown files that are written from them and never by hand."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from datetime import date
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .files import write_atomically, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_json(path: str | Path, data: object) -> Path:
    """Write data as JSON; the file appears whole or not at all."""
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + '\n'
    return write_text(path, text)


def read_results(path: str | Path, *parts: str) -> dict:
    """The content of a results file, which has to have objects under the keys ``parts``; empty where there is none yet.

    Raises:
        ValueError: If it is no JSON object, or lacks a part.
    """
    path = Path(path)
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        if not isinstance(content, dict):
            raise ValueError(f'it holds a {type(content).__name__}')
        if missing := [part for part in parts if not isinstance(content.get(part), dict)]:
            raise ValueError(f'it has no object {missing[0]!r}')
    except ValueError as error:  # JSON's errors and those of UTF-8 are such too
        raise ValueError(f'{path} is no results file: {error}; name another file or move it away') from error
    return content


def resume_results(path: str | Path, kind: str, facts: Mapping[str, object], **start: dict) -> dict:
    """What earlier runs wrote into a results file, or how a new one begins.

    Args:
        path: The JSON file, which is not written here.
        kind: The key under which it keeps what its results depend on.
        facts: What that is in this run: settings, and digests of data and weights.
        start: The other parts of a new file.

    Raises:
        ValueError: If the file holds results of other facts, or is no such file.

    Example:
        >>> resume_results('none.json', 'setup', dict(seed=0), runs={})
        {'setup': {'seed': 0}, 'runs': {}}
    """
    facts = json.loads(json.dumps(facts))  # as they are once they were written: no tuples
    content = read_results(path, kind, *start) or {kind: facts, **start}
    kept = content[kind]
    differing = [key for key in {**kept, **facts} if key not in kept or key not in facts or kept[key] != facts[key]]
    if differing:
        raise ValueError(
            f'{path} holds results of another {", ".join(differing)}; give another --out or delete it to start anew'
        )
    return content


def add_result(path: str | Path, name: str, entry: object) -> dict:
    """Put one entry into a results file, to which other runs may have added theirs meanwhile; return the whole content."""
    content = read_results(path) | {name: entry}
    write_json(path, content)
    return content


def new_figure(width: float, height: float) -> Figure:
    """A figure of ``width`` x ``height`` inches that needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout='constrained')


def save_figure(figure: Figure, path: str | Path, dpi: int = 110) -> Path:
    """Write a figure in the format that the suffix names, PNG without one; the file appears whole or not at all."""
    form = Path(path).suffix[1:] or 'png'
    return write_atomically(path, lambda name: figure.savefig(name, format=form, dpi=dpi))


def run_environment() -> dict:
    """Date, hardware and versions of this run, for a results file."""
    info = Path('/proc/cpuinfo')
    cpu = re.search(r'model name\s*: (.*)', info.read_text()) if info.exists() else None
    wanted = re.compile(
        r'torch|triton|numpy|onnxruntime|ultralytics|(onedl-)?mm(cv|engine|det|detection|seg|segmentation)'
    )
    versions = {d.name: d.version for d in distributions() if d.name and wanted.fullmatch(d.name)}
    gpu = f', {torch.cuda.get_device_name()}' if torch.cuda.is_available() else ''
    return {
        'date': date.today().isoformat(),
        'hardware': f'{cpu[1] if cpu else platform.processor()}, {torch.get_num_threads()} threads{gpu}',
        'versions': dict(sorted(versions.items()), python=platform.python_version()),
    }


def fill_section(path: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- name -->`` and ``<!-- end -->`` in a Markdown file.

    Raises:
        ValueError: If the file has no such section.
    """
    old = path.read_text(encoding='utf-8')
    pattern = rf'(?s)(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)'
    new, count = re.subn(pattern, lambda match: f'{match[1]}{text}\n{match[2]}', old)
    if count != 1:
        raise ValueError(f'{path} has {count} sections {name!r}; mark one by <!-- {name} --> and <!-- end -->')
    write_text(path, new)


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """Lay out a Markdown table; every column but the first is aligned right, and no text in a cell ends the cell or its row.

    Example:
        >>> print(markdown_table(['config', 'M'], [['a', '1.5']]))
        | config | M |
        | --- | --: |
        | a | 1.5 |
        >>> print(markdown_table(['name'], [['a|b']]).splitlines()[-1])
        | a\\|b |
    """
    lines = [header, ['---', *['--:'] * (len(header) - 1)], *rows]
    cells = ([' '.join(cell.replace('|', '\\|').splitlines()) for cell in line] for line in lines)
    return '\n'.join(f'| {" | ".join(line)} |' for line in cells)
