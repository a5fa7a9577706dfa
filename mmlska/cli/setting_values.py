"""The values of ``--cfg-options KEY=VALUE`` as Python's: MMEngine's own reading takes blanks out of names."""

from __future__ import annotations

import ast
from typing import Any

_QUOTES = '\'"'
_BRACKETS = {'[': ']', '(': ')', '{': '}'}
_WORDS = {'None': None, 'true': True, 'false': False}


def setting_value(text: str) -> Any:
    """Read a value: a number, True, False, None, text, a list or tuple of values, or a dict.

    Text needs no quotes, and keeps its blanks. ``a,b`` is a list; text with a comma is quoted, but for a path.

    Raises:
        ValueError: If a bracket or a quote is not closed.

    Example:
        >>> setting_value('[traffic light,stop sign]'), setting_value("('a, b', 1e-3)"), setting_value('None')
        (['traffic light', 'stop sign'], ('a, b', 0.001), None)
        >>> setting_value("dict(type='SGD', lr=0.1)"), setting_value('my photos/a,b/'), setting_value("'12'")
        ({'type': 'SGD', 'lr': 0.1}, 'my photos/a,b/', '12')
    """
    text = text.strip()
    if text[:1] in tuple(_QUOTES) and len(_split(text, text)) == 1:
        inner = _quoted(text)
        # Quotes around a whole list, which MMEngine's pages show for shells, and which no shell has taken off.
        return setting_value(inner) if inner[:1] in _BRACKETS and inner.endswith(_BRACKETS[inner[0]]) else inner
    closing = _BRACKETS.get(text[:1])
    if text.startswith(('{', 'dict(')):
        return _dict(text)
    if closing:
        if not text.endswith(closing):
            raise ValueError(f'{text} has a bracket that is not closed')
        values = [setting_value(part) for part in _split(text[1:-1], text)]
        return tuple(values) if closing == ')' else values
    if ',' in text and not set(text) & {'/', '\\'}:
        return [setting_value(part) for part in _split(text, text)]
    return _plain(text)


def _quoted(text: str) -> str:
    if len(text) < 2 or text[-1] != text[0]:
        raise ValueError(f'{text} has a quote that is not closed')
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):  # such as a backslash of a path at the end
        return text[1:-1]


def _dict(text: str) -> dict | str:
    """A dict in Python's words; its values are literals. Other text in braces is text."""
    try:
        return _node(ast.parse(text, mode='eval').body)
    except (SyntaxError, ValueError) as error:
        if text.startswith('{'):
            return text
        raise ValueError(f"{text} is no dict; write dict(type='BN', eps=1e-5), text in it in quotes") from error


def _node(node: ast.AST) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args:
        return {keyword.arg: _node(keyword.value) for keyword in node.keywords if keyword.arg is not None}
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(key): _node(value) for key, value in zip(node.keys, node.values) if key is not None}
    if isinstance(node, (ast.List, ast.Tuple)):
        return type(ast.literal_eval(ast.unparse(type(node)([], ast.Load()))))(map(_node, node.elts))
    return ast.literal_eval(node)


def _split(text: str, whole: str) -> list[str]:
    """The parts between commas that stand in no bracket and no quote; a comma at the end has nothing after it."""
    parts, depth, quote, start = [], [], '', 0
    for i, letter in enumerate(text):
        # An apostrophe in a word opens nothing: it's.
        if quote:
            quote = '' if letter == quote and text[i - 1] != '\\' else quote
        elif letter in _QUOTES and text[:i].rstrip()[-1:] in ('', *',([{=:'):
            quote = letter
        elif letter in _BRACKETS:
            depth.append(_BRACKETS[letter])
        elif depth and letter == depth[-1]:
            depth.pop()
        elif letter == ',' and not depth:
            parts.append(text[start:i])
            start = i + 1
    if quote or depth:
        raise ValueError(f'{whole} has a {"quote" if quote else "bracket"} that is not closed')
    if text[start:].strip():
        parts.append(text[start:])
    return [part.strip() for part in parts]


def _plain(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return _WORDS[text] if text in _WORDS else _WORDS.get(text.lower(), text) if text.lower() != 'none' else text
