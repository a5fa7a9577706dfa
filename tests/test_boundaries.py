"""What each part of the package may import, in fresh processes, and how the OpenMMLab scopes find the backbone."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'mmlska'
FRAMEWORKS = ('mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'triton', 'ultralytics', 'torchvision', 'timm')


def present(part: str) -> bool:
    return (PACKAGE.parent / part.replace('.', '/') / '__init__.py').is_file()


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
            raise ImportError(name + ' is blocked')


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


# An empty package in the place of mmlska, so that a part cannot lean on what the whole package would have imported.
PART_ALONE = """
import importlib, types

package = types.ModuleType('mmlska')
package.__path__ = [{path!r}]
sys.modules['mmlska'] = package
importlib.import_module({part!r})
loaded = {{'.'.join(name.split('.')[:2]) for name in sys.modules if name.startswith('mmlska.')}}
assert loaded <= {parts!r}, loaded
"""

# Part: the packages that it may name, in functions too, the parts of mmlska likewise, and what must not be loaded.
# mmlska.weights inside functions only: a backbone converts what it loads, and importing it reads no weights code.
ALLOWED = {
    'mmlska.models': ({'mmengine', 'torch'}, {'mmlska.models', 'mmlska.ops', 'mmlska.weights'}, FRAMEWORKS),
    'mmlska.ops': ({'torch', 'triton'}, {'mmlska.ops'}, (*FRAMEWORKS, 'mmengine')),
}
every_part = pytest.mark.parametrize('part', [part for part in ALLOWED if present(part)])


@every_part
def test_part_imports_alone(tmp_path, part):
    _, parts, blocked = ALLOWED[part]
    code = PART_ALONE.format(path=str(PACKAGE), part=part, parts=parts)
    run_fresh(BLOCKER.format(blocked=blocked, code=code), tmp_path)


def imported_names(file: Path) -> set[str]:
    """Every module that a file imports anywhere, relative ones resolved."""
    package = ['mmlska', *file.relative_to(PACKAGE).parent.parts]
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            # `from . import ops` names modules, `from .ops import lska` an object in one: the deeper name serves both.
            names |= {'.'.join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names}
    return names


@every_part
def test_imports_written_in_the_source(part):
    """Imports inside functions, too, which no import of the part would run."""
    packages, parts, _ = ALLOWED[part]
    for file in (PACKAGE.parent / part.replace('.', '/')).rglob('*.py'):
        for name in imported_names(file):
            head, *rest = name.split('.')
            if head == 'mmlska':
                assert f'mmlska.{rest[0]}' in parts, f'{file} imports {name}'
            else:
                assert head in packages | set(sys.stdlib_module_names), f'{file} imports {name}'


def test_only_the_plug_in_knows_ultralytics():
    files = list(PACKAGE.rglob('*.py'))
    users = [f for f in files if any(name.split('.')[0] == 'ultralytics' for name in imported_names(f))]
    assert len(files) > 5
    assert {f.relative_to(PACKAGE).parts[0] for f in users} <= {'yolo'}


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
    assert (type(net).__module__, type(net).__name__) == ('mmlska.models.van_lska', 'VAN_LSKA')
    assert (type(layer).__module__, type(layer).__name__) == ('mmlska.models.attention', 'LSKA')
"""


@pytest.mark.parametrize('scope', [None, 'mmdet', 'mmseg'])
def test_builds_by_bare_name_in_every_scope(tmp_path, scope):
    """With custom_imports in the config and no import of mmlska in the program."""
    if scope and not importlib.util.find_spec(scope):
        pytest.skip(f'{scope} is not installed')
    (tmp_path / 'config.py').write_text(CONFIG.format(scope=scope))
    run_fresh(BUILD, tmp_path)
