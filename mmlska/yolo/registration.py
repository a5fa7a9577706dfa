"""Teach Ultralytics' YAML parser the rows with LSKA, in memory."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path

import ultralytics
from torch import nn
from ultralytics.engine import model as engine_model
from ultralytics.nn import tasks

from .configs import stock_and_place, with_lska
from .record import apply_record, split_record
from .rows import ROWS, TWINS, Scaling, channels_before, read_row

KNOWN_VERSIONS = '8.4'
_ENTRY = '_mmlska'
# What the branch that we add reads and writes among the parser's local names.
_LOCALS = {'m', 'n', 'args', 'ch', 'f', 'c2', 'width', 'max_channels', 'scale', 'legacy', 'base_modules'}
_BRANCH = f"""
if m in {_ENTRY}.modules:
    c2 = {_ENTRY}.channels_before(m, ch, f)
    args, c2, n, legacy = {_ENTRY}.read_row(m, args, c2, n, legacy, {_ENTRY}.Scaling(width, max_channels, scale))
"""
_stock: dict[str, Callable] = {}


class _Namespace:
    """What the added branch of the parser calls."""

    modules = frozenset(ROWS.values())
    read_row = staticmethod(read_row)
    channels_before = staticmethod(channels_before)
    Scaling = Scaling


def register() -> None:
    """Make ``YOLO('...yaml')`` understand rows with LSKA, SPPF_LSKA, C2f_LSKA, C3k2_LSKA, C2PSA_LSKA and LSKABottleneck.

    The parser is changed in memory of this process: one branch is added to a copy of it. Calling it again changes nothing;
    :func:`unregister` takes it back. Names such as ``YOLO('yolo11n-lska-sppf.yaml')`` need
    no file: see :mod:`mmlska.yolo.configs`.

    Raises:
        RuntimeError: If this version of Ultralytics has a parser that is not known here.
    """
    if _stock:
        return
    edited = sorted(name for name in ROWS if hasattr(tasks, name))
    if edited:
        raise RuntimeError(
            f'the Ultralytics installed here has its own {", ".join(edited)}: its source was edited; '
            f'reinstall it with `pip install --force-reinstall --no-deps ultralytics=={ultralytics.__version__}`'
        )
    parser = extended_parser()
    _stock.update(parse_model=tasks.parse_model, yaml_model_load=tasks.yaml_model_load)
    vars(tasks).update(ROWS)
    setattr(tasks, _ENTRY, _Namespace)
    tasks.parse_model = _with_attachments(parser)
    tasks.yaml_model_load = engine_model.yaml_model_load = _finds_own_yamls(tasks.yaml_model_load)
    try:
        _check_against_twins()
    except Exception:
        unregister()
        raise


def unregister() -> None:
    """Give Ultralytics its own parser back. Models that were built stay as they are."""
    if not _stock:
        return
    tasks.parse_model = _stock['parse_model']
    tasks.yaml_model_load = engine_model.yaml_model_load = _stock['yaml_model_load']
    for name in (*ROWS, _ENTRY):
        delattr(tasks, name)
    _stock.clear()


def is_registered() -> bool:
    """Whether :func:`register` was called and not taken back."""
    return bool(_stock)


def extended_parser(source: str | None = None, version: str | None = None) -> Callable:
    """Return a copy of Ultralytics' ``parse_model`` that also reads our rows.

    Args:
        source: Its source, by default that of the version installed.
        version: Of Ultralytics, by default the one installed.

    Raises:
        RuntimeError: If version or source are not as expected.
    """
    version = version or ultralytics.__version__
    if not version.startswith(f'{KNOWN_VERSIONS}.'):
        raise RuntimeError(_refusal(version, 'this version was never tried'))
    try:
        tree = ast.parse(textwrap.dedent(source or inspect.getsource(tasks.parse_model)))
    except (OSError, SyntaxError) as error:
        raise RuntimeError(_refusal(version, f'its parser has no readable source ({error})')) from error
    (function,) = tree.body
    names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    chains = [
        (loop, at)
        for loop in ast.walk(function)
        if isinstance(loop, ast.For)
        for at, node in enumerate(loop.body)
        if isinstance(node, ast.If) and ast.unparse(node.test) == 'm in base_modules'
    ]
    if not isinstance(function, ast.FunctionDef) or not names >= _LOCALS or len(chains) != 1:
        raise RuntimeError(_refusal(version, 'its parser is built in another way'))
    loop, at = chains[0]
    (branch,) = ast.parse(_BRANCH).body
    branch.orelse = [loop.body[at]]
    loop.body[at] = branch
    code = compile(ast.fix_missing_locations(tree), f'<{tasks.__file__} with LSKA>', 'exec')
    made: dict[str, Callable] = {}
    exec(code, vars(tasks), made)  # in Ultralytics' own namespace, where its parser looks its modules up
    return made['parse_model']


def _refusal(version: str, why: str) -> str:
    return f'mmlska.yolo does not know Ultralytics {version}: {why}; install one it knows: pip install "ultralytics=={KNOWN_VERSIONS}.*"'


def _with_attachments(parse: Callable) -> Callable:
    def parse_model(d: dict, ch: int, verbose: bool = True) -> tuple[nn.Sequential, list[int]]:
        """Ultralytics' parse_model, with rows of LSKA and with what mmlska.yolo.attach() recorded."""
        d, record = split_record(d)
        layers, save = parse(d, ch, verbose)
        apply_record(layers, record)
        return layers, save

    return parse_model


def _finds_own_yamls(load: Callable) -> Callable:
    def yaml_model_load(path: str | Path) -> dict:
        """Ultralytics' yaml_model_load, which also knows names such as yolo11n-lska-sppf.yaml."""
        parts = None if Path(path).exists() else stock_and_place(path)
        if parts is None:
            return load(path)
        return {**with_lska(load(parts[0]), parts[1]), 'yaml_file': str(path)}

    return yaml_model_load


def _check_against_twins() -> None:
    """Build every block beside its stock twin and compare: the parser may have changed what it does for the latter."""
    for scale in ('n', 'm'):
        for block, twin in TWINS.items():
            rows = [_probe(module.__name__, scale) for module in (block, twin)]
            ours, stock = (tasks.parse_model(row, 3, verbose=False)[0][1] for row in rows)
            shapes = {k: v.shape for k, v in ours.state_dict().items()}
            # Self-attention is what C2PSA_LSKA replaces.
            wanted = {k: v.shape for k, v in stock.state_dict().items() if '.attn.' not in k}
            activations = [
                [str(m) for m in part.modules() if 'activation' in type(m).__module__] for part in (ours, stock)
            ]
            if not wanted.items() <= shapes.items() or activations[0] != activations[1]:
                raise RuntimeError(
                    _refusal(ultralytics.__version__, f'it builds {twin.__name__} otherwise than {block.__name__}')
                )


def _probe(name: str, scale: str) -> dict:
    rows = [[-1, 1, 'Conv', [64, 3, 2]], [-1, 2 if name.startswith('C') else 1, name, [64]]]
    return dict(nc=1, scales={scale: [1.0, 0.5, 1024]}, scale=scale, backbone=rows, head=[])
