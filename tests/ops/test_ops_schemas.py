"""Each operator has its schema from the one table, and a C++ function that does not fit its own stops the import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmlska.ops import schemas
from mmlska.ops.cpu import backend as cpu

needs_cpu = pytest.mark.skipif(cpu.PROBLEM is not None, reason=str(cpu.PROBLEM))


@needs_cpu
def test_every_schema_has_an_operator():
    names = [name.split('::') for name in torch._C._dispatch_get_all_op_names()]
    found = {name for namespace, name in names if namespace in ('mmlska_cpu', 'mmlska_triton')}
    assert found == set(schemas.SCHEMAS)


@needs_cpu
def test_function_of_another_signature_stops_the_import():
    script = (
        'import sys, types\n'
        'for name, path in {paths}.items():\n'
        '    package = types.ModuleType(name); package.__path__ = [path]; sys.modules[name] = package\n'
        'from mmlska.ops import schemas\n'
        "schemas.SCHEMAS['mlp_inference'] = schemas.SCHEMAS['mlp_inference'].replace('Tensor pb', 'int pb')\n"
        'import mmlska.ops.cpu.backend\n'
    )
    ops = Path(schemas.__file__).parent
    script = script.format(paths={'mmlska': str(ops.parent), 'mmlska.ops': str(ops)})
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'mmlska_cpu::mlp_inference' in done.stderr
