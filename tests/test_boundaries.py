"""What each part of the package may import, in fresh processes, and how the OpenMMLab scopes find the backbone."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from rooms import CONTRIBUTING, ROOMS, table

from mmlska_command import COMMANDS

PACKAGE = Path(__file__).parents[1] / 'mmlska'
OPTIONAL = {'gradio', 'matplotlib', 'onnx', 'onnxruntime', 'triton', 'ultralytics'}
FRAMEWORKS = ('mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'triton', 'ultralytics', 'torchvision', 'timm')


def run_fresh(code: str, cwd: Path) -> None:
    """Run code in a process of its own, in an empty folder, against this copy of the package."""
    code = f'import sys\nsys.path.insert(0, {str(PACKAGE.parent)!r})\n{code}\nprint("done")'
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == 'done'


# Refuses to import some packages, also where they are installed, and says at the end which got in all the same.
BLOCKER = """
BLOCKED = {blocked!r}


class Blocker:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split('.')[0] in BLOCKED:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)


sys.meta_path.insert(0, Blocker)
{code}
leaked = sorted(name for name in sys.modules if name.split('.')[0] in BLOCKED)
assert not leaked, leaked
"""

BACKBONE = """
import torch
from mmengine.registry import MODELS
import mmlska

for attention in ('lska', 'lka', 'lska_trivial', 'lka_trivial'):
    net = MODELS.build(dict(type='VAN_LSKA', arch='t', k_size=7, attention=attention))
    outs = net.eval()(torch.rand(1, 3, 40, 33))
    assert [tuple(out.shape[1:]) for out in outs] == [(32, 10, 9), (64, 5, 5), (160, 3, 3), (256, 2, 2)]
mmlska.VAN_LSKA('t')(torch.rand(2, 3, 64, 64))[3].sum().backward()
"""


def test_package_needs_torch_and_mmengine_only(tmp_path):
    run_fresh(BLOCKER.format(blocked=FRAMEWORKS, code=BACKBONE), tmp_path)


IMPORT = """
import mmlska

rooms = {name.split('.')[1] for name in sys.modules if name.startswith('mmlska.')}
assert not rooms & {'api', 'infer', 'own_data', 'export', 'analysis', 'app', 'cli', 'commands'}, rooms
assert 'load' in dir(mmlska)
"""


def test_importing_the_package_loads_what_it_registers_alone(tmp_path):
    """Neither what ``mmlska.load`` needs, nor what draws, exports and serves."""
    run_fresh(
        BLOCKER.format(blocked=('matplotlib', 'gradio', 'onnx', 'onnxruntime', 'pycocotools'), code=IMPORT), tmp_path
    )


# An empty package in the place of mmlska, so that a room cannot lean on what the whole package would have imported.
ROOM_ALONE = """
import importlib, types

package = types.ModuleType('mmlska')
package.__path__ = [{path!r}]
sys.modules['mmlska'] = package
importlib.import_module('mmlska.' + {room!r})
loaded = {{name.split('.')[1] for name in sys.modules if name.startswith('mmlska.')}}
assert loaded <= {rooms!r}, loaded
"""


@pytest.mark.parametrize('room', ['designs', 'models', 'ops', 'weights'])
def test_room_needs_torch_alone(tmp_path, room):
    rooms, more = set(), {room}
    while more := more - rooms:
        rooms |= more
        more = {name for room in more for name in ROOMS[room].imports}
    code = ROOM_ALONE.format(path=str(PACKAGE), room=room, rooms=rooms)
    run_fresh(BLOCKER.format(blocked=(*FRAMEWORKS, 'mmengine'), code=code), tmp_path)


class Import(NamedTuple):
    """One import statement's module, and whether it stands inside a function."""

    module: str
    inside: bool


def modules() -> dict[str, Path]:
    files = PACKAGE.rglob('*.py')
    return {
        '.'.join(('mmlska', *f.relative_to(PACKAGE).with_suffix('').parts)).removesuffix('.__init__'): f for f in files
    }


def room_of(module: str) -> str:
    return [*module.split('.'), ''][1]


def imports_of(name: str, file: Path, known: dict[str, Path]) -> list[Import]:
    """The modules that a file imports anywhere; relative ones resolved, objects by the module that has them."""
    package = name.split('.') if file.name == '__init__.py' else name.split('.')[:-1]
    found = []

    def visit(node: ast.AST, inside: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend(Import(alias.name, inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = '.'.join(
                    [*(package[: len(package) - child.level + 1] if child.level else ()), *filter(None, [child.module])]
                )
                deeper = (f'{base}.{alias.name}' for alias in child.names)
                found.extend(Import(module if module in known else base, inside) for module in deeper)
            later = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            types_alone = isinstance(child, ast.If) and ast.unparse(child.test) == 'TYPE_CHECKING'
            visit(child, inside or later or types_alone)

    visit(ast.parse(file.read_text(encoding='utf-8')), False)
    return found


KNOWN = modules()
IMPORTS = {name: imports_of(name, file, KNOWN) for name, file in KNOWN.items()}


def test_the_table_has_every_room_and_names_only_those_above():
    assert {room_of(name) for name in KNOWN} - {''} == set(ROOMS)
    above = set()
    for name, room in ROOMS.items():
        assert set(room.imports) <= above, f'{name} may import {set(room.imports) - above}, which stand below it'
        above.add(name)


@pytest.mark.parametrize('room', ROOMS)
def test_room_imports_what_the_table_says(room):
    """Imports inside functions too, which no import of the room would run."""
    rooms, packages = {room, *ROOMS[room].imports}, {*ROOMS[room].packages, *sys.stdlib_module_names}
    used = set()
    for name in (name for name in KNOWN if room_of(name) == room):
        for module, _ in IMPORTS[name]:
            head = module.split('.')[0]
            if head == 'mmlska':
                assert room_of(module) in rooms, f'{name} imports {module}'
                used.add(room_of(module))
            else:
                assert head in packages, f'{name} imports {module}'
                used.add(head)
    assert used >= {*ROOMS[room].imports, *ROOMS[room].packages}, 'the table allows what nothing needs'


def needs_at_once(name: str, seen: frozenset = frozenset()) -> set[str]:
    """The optional packages without which a module cannot be imported, by way of others too."""
    parts = name.split('.')
    parents = ['.'.join(parts[:n]) for n in range(2, len(parts))]  # mmlska itself imports none
    direct = [module for module, inside in IMPORTS[name] if not inside]
    others = {m for m in (*direct, *parents) if m in KNOWN and m != 'mmlska'} - seen - {name}
    needed = {m.split('.')[0] for m in direct} & OPTIONAL
    return needed.union(*(needs_at_once(m, seen | {name, *others}) for m in others))


def test_imports_inside_functions_are_for_optional_packages():
    """Of the package's own modules only those that such a package needs, which the importing one does without."""
    for name, found in IMPORTS.items():
        for module, inside in found:
            if inside and module in KNOWN:
                assert needs_at_once(module) - needs_at_once(name), f'{name} imports {module} inside a function'


def test_no_module_imports_itself_by_way_of_others():
    """No circle, of files this time; what a package's __init__ collects counts as its own import."""
    graph = {name: {module for module, _ in found if module in KNOWN} for name, found in IMPORTS.items()}
    graph['mmlska'] = set()
    while leaves := {name for name, others in graph.items() if not others & graph.keys()}:
        graph = {name: others for name, others in graph.items() if name not in leaves}
    assert graph == {}


def test_contributing_shows_the_table():
    assert f'<!-- rooms -->\n{table()}\n<!-- end -->' in CONTRIBUTING.read_text(encoding='utf-8'), (
        'run python tests/rooms.py'
    )


def test_each_tool_starts_a_command_and_does_nothing_else():
    """Every command has one but those that tell of the package itself."""
    commands = set()
    for file in (PACKAGE.parent / 'tools').glob('*.py'):
        docstring, *body = ast.parse(file.read_text(encoding='utf-8')).body
        assert isinstance(docstring.value.value, str), file
        lines = ast.unparse(ast.Module(body, [])).splitlines()
        if file.stem == 'doctor':  # it also runs where nothing is installed, for which it has to find mmlska_command
            lines = [line for line in lines if not line.startswith(('import sys', 'from pathlib', 'sys.path.'))]
        command = body[-1].body[0].value.args[0].value
        assert [line for line in lines if line] == [
            'from mmlska_command import run',
            "if __name__ == '__main__':",
            f'    run({command!r})',
        ], file
        commands.add(command)
    assert commands == set(COMMANDS) - {'configs', 'completion'}


def test_no_file_is_longer_than_400_lines():
    root, suffixes = PACKAGE.parent, {'.py', '.cpp', '.h', '.inl', '.html', '.css', '.js', '.sh'}
    folders = [root / name for name in ('mmlska', 'tools', 'scripts', 'configs', 'tests', 'tests_extras')]
    files = [f for folder in folders for f in folder.rglob('*') if f.suffix in suffixes and '.mim' not in f.parts]
    assert len(files) > 200
    assert [str(f.relative_to(root)) for f in files if len(f.read_text(encoding='utf-8').splitlines()) > 400] == []


CONFIG = """
custom_imports = dict(imports=['mmlska'], allow_failed_imports=False)
default_scope = {scope!r}
backbone = dict(type='VAN_LSKA', arch='t', k_size=7, out_indices=(0, 1))
layer = dict(type='LSKA', dim=8, k_size=11)
"""

BUILD = """
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

cfg = Config.fromfile('config.py')
registries = [MODELS]
if cfg.default_scope:
    init_default_scope(cfg.default_scope)
    registries.append(__import__(cfg.default_scope + '.registry').registry.MODELS)
for registry in registries:
    net, layer = registry.build(cfg.backbone), registry.build(cfg.layer)
    assert (type(net).__module__, type(net).__name__) == ('mmlska.models.openmmlab', 'VAN_LSKA')
    assert (type(layer).__module__, type(layer).__name__) == ('mmlska.models.attention', 'LSKA')
"""


@pytest.mark.parametrize('scope', [None, 'mmdet', 'mmseg'])
def test_builds_by_bare_name_in_every_scope(tmp_path, scope):
    """With custom_imports in the config and no import of mmlska in the program."""
    if scope and not importlib.util.find_spec(scope):
        pytest.skip(f'{scope} is not installed')
    (tmp_path / 'config.py').write_text(CONFIG.format(scope=scope))
    run_fresh(BUILD, tmp_path)
