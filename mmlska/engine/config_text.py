"""Configs as text that MMEngine reads back as what they were: no class name, folder or setting in them becomes code.

MMEngine replaces ``{{$NAME:default}}``, ``{{ fileDirname }}`` and ``{{ _base_.key }}`` in the text of a config file before it runs
it, inside string literals too; and its own ``pretty_text`` does not quote the keys of dicts.
"""

from __future__ import annotations

import ast
import json
import math
import os
import re
from functools import lru_cache
from keyword import iskeyword
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import yaml
from mmengine.config import Config

from ..files import write_atomically
from ..text import shown

_CALLS = ('dict', 'float', 'set')
_NODES = (
    *(ast.Module, ast.Assign, ast.Name, ast.Store, ast.Load, ast.Call, ast.keyword, ast.Constant),
    *(ast.List, ast.Tuple, ast.Set, ast.Dict, ast.UnaryOp, ast.USub),
)
_SECOND_BRACE = re.compile(r'(?<=\{)\{')  # in the files that are written here two in a row stand in strings only


class SafeConfig(Config):
    """MMEngine's Config, whose text and files read back as what it holds, whatever its strings and keys are.

    Everything that MMEngine writes of a config comes from here: the file in the work directory, that of the visualizer's backend,
    the text in checkpoints and in the log.
    """

    @classmethod
    def of(cls, cfg: Config | dict | None) -> SafeConfig:
        """The same config; a Config shares its settings with it.

        Example:
            >>> print(SafeConfig.of(dict(classes=('{{$HOME:1}}',))).pretty_text)
            classes = ('{\\x7b$HOME:1}}', )
        """
        if isinstance(cfg, cls):
            return cfg
        if not isinstance(cfg, Config):
            return cls(cfg)
        safe = cls.__new__(cls)
        safe.__setstate__(cfg.__getstate__())
        return safe

    @property
    def pretty_text(self) -> str:
        """The config as Python.

        Raises:
            ValueError: If it holds what no config file can, such as a function.
        """
        text = _python(_plain(self.to_dict()))
        return _formatted(text) if self._format_python_code else text

    def dump(self, file: str | Path | None = None) -> str | None:
        """Write the config to a file, or return its text without one.

        Args:
            file: ``*.py``, ``*.json``, ``*.yml`` or ``*.yaml``. It appears only if MMEngine reads from it what was written.

        Raises:
            FileExistsError: If ``file`` is a link, a folder or a device.
            ValueError: If the config can't be written so that it reads back the same, or the file is of another kind.
        """
        if file is None:
            return self._as(Path(self.filename or 'config.py').suffix)[0]
        path = Path(file)
        try:
            text, expected = self._as(path.suffix)
        except (TypeError, RecursionError) as error:  # a key that holds a set; lists in lists in lists
            raise ValueError(f'the config cannot be written: {error}; correct the setting that is nested so') from error

        def write(temporary: str) -> None:
            Path(temporary).write_text(text, encoding='utf-8')
            _check_read(temporary, expected)

        write_atomically(path, write)
        return None

    def _as(self, suffix: str) -> tuple[str, dict]:
        """The text for a kind of file, and the settings that are to be read from it."""
        if suffix not in ('.py', '.json', '.yml', '.yaml'):
            raise ValueError(f'a config is no {suffix or "file without an ending"}; write .py, .json or .yml')
        settings = _plain(self.to_dict())
        if suffix == '.json':
            return _json(settings)
        return (self.pretty_text if suffix == '.py' else _yaml(settings)), settings


def _plain(value: Any, place: str = '') -> Any:
    """A setting as a config file can hold it: a class by its name, where MMEngine finds it, NumPy's numbers as Python's."""
    if isinstance(value, dict):
        return {_plain(k, place): _plain(v, f'{place}.{k}' if place else str(k)) for k, v in value.items()}
    if isinstance(value, (list, tuple, range, set, frozenset)):
        kind = list if isinstance(value, list) else tuple if isinstance(value, (tuple, range)) else set
        return kind(_plain(item, place) for item in value)
    if isinstance(value, type):
        return f'{value.__module__}.{value.__qualname__}'
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        return str.__str__(value)  # a subclass may print itself in any way
    for kind in (bool, int, float, bytes):
        if isinstance(value, kind):
            return kind(value)
    if value is None:
        return None
    raise ValueError(
        f'setting {place} is {shown(value)}, of type {type(value).__name__}, which no config file can hold; '
        f'give numbers, text, lists, dicts or the name of a class'
    )


def _python(settings: dict) -> str:
    wrong = next((key for key in settings if not _is_name(key)), None)
    if wrong is not None:
        raise ValueError(f'setting {shown(wrong)} cannot be written to a config file; give a name such as work_dir')
    return '\n'.join(f'{key} = {literal(settings[key])}' for key in sorted(settings))


def _is_name(key: Any) -> bool:
    """Whether a key can stand left of an equals sign as it is: Python would write 'ﬁ' as 'fi'."""
    return isinstance(key, str) and key.isidentifier() and normalize('NFKC', key) == key and not iskeyword(key)


def literal(value: Any) -> str:
    if isinstance(value, dict):
        items = sorted(value.items(), key=lambda item: str(item[0]))
        if all(map(_is_name, value)):
            return f'dict({", ".join(f"{key}={literal(item)}" for key, item in items)})'
        return f'dict({{{", ".join(f"{literal(key)}: {literal(item)}" for key, item in items)}}})'
    if isinstance(value, (list, tuple, set)):
        if isinstance(value, set) and not value:
            return 'set()'
        left, right = {list: '[]', tuple: '()', set: '{}'}[type(value)]
        return f'{left}{"".join(f"{literal(item)}, " for item in value)}{right}'
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    if isinstance(value, (str, bytes)):
        return _SECOND_BRACE.sub(r'\\x7b', repr(value))
    return repr(value)


@lru_cache(maxsize=4)  # a run writes its config into its log, its folder and each checkpoint
def _formatted(text: str) -> str:
    """Lay Python out as MMEngine does."""
    from yapf.yapflib.yapf_api import FormatCode

    style = dict(
        based_on_style='pep8',
        blank_line_before_nested_class_or_def=True,
        split_before_expression_after_opening_paren=True,
    )
    return FormatCode(text, style_config=style)[0]


def _json(settings: dict) -> tuple[str, dict]:
    try:
        text = json.dumps(settings, default=sorted)  # of sets; tuples become lists as well
    except TypeError as error:
        raise ValueError(f'the config cannot be written as JSON: {error}; take a .py file') from error
    return _SECOND_BRACE.sub(r'\\u007b', text), json.loads(text)


class _Dumper(yaml.Dumper):
    """PyYAML's, with double quotes around braces, as the other kinds of strings have no escapes."""

    def represent_str(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar('tag:yaml.org,2002:str', text, style='"' if '{{' in text else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def _yaml(settings: dict) -> str:
    return _SECOND_BRACE.sub(r'\\x7b', yaml.dump(settings, Dumper=_Dumper, width=math.inf))


def _check_read(file: str, expected: dict) -> None:
    """Raise a ValueError if MMEngine reads from a file other settings than those expected; nothing but literals is run for that."""
    text = Path(file).read_text(encoding='utf-8')
    if '_base_' in expected:
        raise ValueError('setting _base_ cannot be written: MMEngine would read another file for it; leave it out')
    try:
        if '{{' in text or (file.endswith('.py') and not _is_inert(text)):
            raise ValueError('its text is more than literals')
        found = _plain(Config.fromfile(file, import_custom_modules=False).to_dict())
    except Exception as error:  # whatever MMEngine raises on settings that it takes for its own
        reason = ' '.join(str(error).split())[:200]
        raise ValueError(
            f'the config cannot be written so that it reads back the same: {type(error).__name__}: {reason}; '
            f'rename or remove the setting that the reason names, or write another kind of file'
        ) from error
    for key in expected.keys() | found.keys():
        if key not in found or key not in expected or literal(found[key]) != literal(expected[key]):
            raise ValueError(
                f'setting {key}={shown(expected.get(key))} cannot be written so that MMEngine reads it back the same; '
                f'rename it or change its value'
            )


def _is_inert(text: str) -> bool:
    """Whether Python text does nothing but assign literals to names."""
    return all(
        isinstance(node, _NODES)
        and not (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in _CALLS)
        for node in ast.walk(ast.parse(text))
    )
