"""One thing wrong in a labelled folder: what happens to files when they are copied, edited by hand, or made to do harm."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

Rng = np.random.Generator
_PHOTOS = ('.jpg', '.jpeg', '.png')
_TEXTS = ('.txt', '.csv')
_DEEP = 100_000
_WHOLE = ('object', 'image', 'box', 'polygon', 'mask')  # who misses one of these in an XML file?
_ENTITIES = ''.join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "ha" * 10}">' for i in range(10))
_ALIASES = '\n'.join(f'a{i}: &a{i} [{", ".join([f"*a{i - 1}" if i else "ha"] * 10)}]' for i in range(10))


@dataclass(frozen=True)
class Mutation:
    """Changes a file.

    Args:
        change: Gets the file and numbers to choose by.
        suffixes: The files that it can be done to.
        loses_in_silence: Suffixes of files that look whole afterwards, though lines are missing.
    """

    change: Callable[[Path, Rng], object]
    suffixes: tuple[str, ...]
    loses_in_silence: tuple[str, ...] = ()

    def __call__(self, root: Path, rng: Rng) -> str:
        """Change one of the files below a folder; its name, empty where there is none."""
        files = sorted(path for path in root.rglob('*') if path.is_file() and path.suffix.lower() in self.suffixes)
        if not files:
            return ''
        path = files[rng.integers(len(files))]
        self.change(path, rng)
        return path.relative_to(root).as_posix()


def _truncate(path: Path, rng: Rng) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * rng.uniform(0.3, 0.95))])


def _flip(path: Path, rng: Rng) -> None:
    content = bytearray(path.read_bytes())
    for place in rng.integers(len(content), size=5) if content else ():
        content[place] ^= 1 << rng.integers(8)
    path.write_bytes(content)


def _insert(path: Path, rng: Rng, what: bytes) -> None:
    content, place = path.read_bytes(), rng.integers(path.stat().st_size + 1)
    path.write_bytes(content[:place] + what + content[place:])


def _put(path: Path, rng: Rng, number: str) -> None:
    """Another text in the place of a number."""
    text = path.read_text(encoding='utf-8')
    found = list(re.finditer(r'-?\d+(\.\d+)?', text))
    if path.suffix == '.json':
        number = {'nan': 'NaN'}.get(number, number if number[:1].isdigit() else json.dumps(number))
    if found:
        start, end = found[rng.integers(len(found))].span()
        path.write_text(text[:start] + number + text[end:], encoding='utf-8')


def _place(node: Any, rng: Rng) -> tuple[Any, Any]:
    """A container somewhere in JSON, and a key or a place in it."""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = keys[rng.integers(len(keys))]
        below = node[key]
        if not (isinstance(below, (dict, list)) and below) or rng.random() < 0.3:
            return node, key
        node = below


def _swap(path: Path, rng: Rng, value: Any) -> None:
    content = json.loads(path.read_text(encoding='utf-8'))
    if rng.random() < 0.05 or not content:
        content = value
    else:
        node, key = _place(content, rng)
        node[key] = value
    path.write_text(json.dumps(content), encoding='utf-8')


def _say(path: Path, rng: Rng, text: str) -> None:
    """Another text in the place of a word, a value or an attribute."""
    if path.suffix == '.json':
        _swap(path, rng, text)
    elif path.suffix == '.xml':
        tree = ElementTree.parse(path)
        holders = [element for element in tree.iter() if element.attrib or not len(element)]
        holder = holders[rng.integers(len(holders))]
        if holder.attrib:
            holder.set(list(holder.attrib)[rng.integers(len(holder.attrib))], text)
        else:
            holder.text = text
        tree.write(path, encoding='utf-8')
    else:
        words = re.split(r'(\s+|,)', path.read_text(encoding='utf-8'))
        words[2 * rng.integers((len(words) + 1) // 2)] = text
        path.write_text(''.join(words), encoding='utf-8')


def _drop_key(path: Path, rng: Rng) -> None:
    content = json.loads(path.read_text(encoding='utf-8'))
    node, key = _place(content, rng) if content else ([], 0)
    if isinstance(node, dict):  # who misses an entry of a list?
        del node[key]
    path.write_text(json.dumps(content), encoding='utf-8')


def _edit_xml(path: Path, rng: Rng, what: str) -> None:
    tree = ElementTree.parse(path)
    parents = [(parent, child) for parent in tree.iter() for child in parent if child.tag not in _WHOLE]
    parent, child = parents[rng.integers(len(parents))]
    if what == 'drop':
        parent.remove(child)
    elif what == 'double':
        parent.append(child)
    elif what == 'rename':
        child.tag = 'other'
    elif what == 'attribute':
        holders = [element for element in tree.iter() if element.attrib]
        if holders:
            holder = holders[rng.integers(len(holders))]
            del holder.attrib[list(holder.attrib)[rng.integers(len(holder.attrib))]]
    tree.write(path, encoding='utf-8')


def _drop_word(path: Path, rng: Rng) -> None:
    comma = ',' if path.suffix == '.csv' else ' '
    lines = path.read_text(encoding='utf-8').splitlines()
    chosen = int(rng.integers(len(lines))) if lines else 0
    for place, line in enumerate(lines):
        words = line.split(comma)
        if place == chosen:
            del words[rng.integers(len(words))]
        lines[place] = comma.join(words)
    path.write_text('\n'.join(lines), encoding='utf-8')


def _drop_column(path: Path, rng: Rng) -> None:
    lines = [line.split(',') for line in path.read_text(encoding='utf-8').splitlines()]
    chosen = rng.integers(len(lines[0]))
    path.write_text(
        '\n'.join(','.join(w for i, w in enumerate(line) if i != chosen) for line in lines), encoding='utf-8'
    )


def _double(path: Path, rng: Rng) -> None:
    (path.parent / 'elsewhere').mkdir()
    shutil.copy(path, path.parent / 'elsewhere' / path.name)


def _upper(path: Path, rng: Rng) -> None:
    path.rename(path.with_name('renaming')).rename(path.with_name(path.name.upper()))


def _become(path: Path, rng: Rng, what: Callable[[Path], object]) -> None:
    path.unlink()
    what(path)


def _nest(path: Path, rng: Rng) -> None:
    path.write_text('<a>' * _DEEP if path.suffix == '.xml' else '[' * _DEEP)


def _bomb(path: Path, rng: Rng) -> None:
    text = path.read_text(encoding='utf-8')
    if path.suffix in ('.yaml', '.yml'):
        path.write_text(f'{_ALIASES}\n{text}\nextra: *a9\nnames: *a9\n', encoding='utf-8')
    else:
        start = text.index('<annotation')
        root = re.match(r'<\w+', text[start:]).group()[1:]
        text = re.sub(r'>[^<\s]+<', '>&e9;<', text[start:], count=3)
        path.write_text(f'<?xml version="1.0"?><!DOCTYPE {root} [{_ENTITIES}]>{text}', encoding='utf-8')


_LABELS = ('.json', '.xml', '.yaml', *_TEXTS)
_SAID = (' ', '0', '1e308', '7' * 400, '../../../etc/x.jpg', '/etc/x.jpg', 'x' * 5000, 'train', '\u202e\u2028')
_SWAPPED: tuple = ([], {}, None, 'text', True, -1, [[[]]], {'id': {'a': []}})

#: What can be done to a folder, by a name.
MUTATIONS: dict[str, Mutation] = {
    'truncated': Mutation(_truncate, _LABELS, loses_in_silence=(*_TEXTS, '.yaml')),
    'deleted': Mutation(lambda path, rng: path.unlink(), _LABELS),
    'emptied': Mutation(lambda path, rng: path.write_bytes(b''), _LABELS),
    'bits flipped': Mutation(_flip, _LABELS),
    'a zero byte': Mutation(partial(_insert, what=b'\0'), _LABELS),
    'Latin-1': Mutation(partial(_insert, what=b'\xe9'), _LABELS),
    'a line end': Mutation(partial(_insert, what=b'\r\n'), _LABELS),
    'a mark': Mutation(lambda path, rng: path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes()), _LABELS),
    'nan': Mutation(partial(_put, number='nan'), _LABELS),
    'infinity': Mutation(partial(_put, number='1e999'), _LABELS),
    'no number': Mutation(partial(_put, number=''), _LABELS),
    'letters': Mutation(partial(_put, number='abc'), _LABELS),
    'many digits': Mutation(partial(_put, number='7' * 5000), _LABELS),
    'negative': Mutation(partial(_put, number='-5'), _LABELS),
    **{f'JSON {value!r}': Mutation(partial(_swap, value=value), ('.json',)) for value in _SWAPPED},
    'half a letter': Mutation(partial(_swap, value='\ud800'), ('.json',)),
    **{f'the text {text[:20]!r}': Mutation(partial(_say, text=text), _LABELS) for text in _SAID},
    'no key': Mutation(_drop_key, ('.json',)),
    **{
        f'XML {what}': Mutation(partial(_edit_xml, what=what), ('.xml',))
        for what in ('drop', 'double', 'rename', 'attribute')
    },
    'no word': Mutation(_drop_word, _TEXTS),
    'no column': Mutation(_drop_column, ('.csv',)),
    'a photo deleted': Mutation(lambda path, rng: path.unlink(), _PHOTOS),
    'a photo emptied': Mutation(lambda path, rng: path.write_bytes(b''), _PHOTOS),
    'a photo truncated': Mutation(_truncate, _PHOTOS),
    'a photo twice': Mutation(_double, _PHOTOS),
    'a photo in capitals': Mutation(_upper, _PHOTOS),
    'labels twice': Mutation(_double, _LABELS),
    'labels in capitals': Mutation(_upper, _LABELS),
    'a folder': Mutation(partial(_become, what=Path.mkdir), _LABELS),
    'a bomb': Mutation(_bomb, ('.xml', '.yaml')),
    'deep': Mutation(_nest, _LABELS),
}
if hasattr(os, 'mkfifo'):
    MUTATIONS['a pipe'] = Mutation(partial(_become, what=os.mkfifo), _LABELS)
