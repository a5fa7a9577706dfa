"""Tables of measured numbers in Markdown files, written from results files and never by hand."""

from __future__ import annotations

import re
from pathlib import Path


def fill_section(path: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- name -->`` and ``<!-- end -->`` in a Markdown file.

    Args:
        path: The file.
        name: Name of the section.
        text: Its new content.

    Raises:
        ValueError: If the file has no such section.
    """
    old = path.read_text(encoding='utf-8')
    pattern = rf'(?s)(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)'
    new, count = re.subn(pattern, lambda match: f'{match[1]}{text}\n{match[2]}', old)
    if count != 1:
        raise ValueError(f'{path} has {count} sections {name!r}; mark one by <!-- {name} --> and <!-- end -->')
    path.write_text(new, encoding='utf-8')


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """Lay out a Markdown table; every column but the first is aligned right.

    Example:
        >>> print(markdown_table(['config', 'M'], [['a', '1.5']]))
        | config | M |
        | --- | --: |
        | a | 1.5 |
    """
    lines = [header, ['---', *['--:'] * (len(header) - 1)], *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)
