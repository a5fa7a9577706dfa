"""Damaged files of every kind, in processes with little memory: no crash, no traceback, no file outside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name('fuzz_driver.py')


@pytest.mark.slow(60)
@pytest.mark.parametrize(
    ('kind', 'count'), [('picture', 400), ('coco', 120), ('masks', 80), ('checkpoint', 400), ('onnx', 150)]
)
def test_no_damaged_file_harms(tmp_path, kind, count):
    command = [sys.executable, str(DRIVER), kind, '0', str(count), str(tmp_path / 'fuzz')]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=DRIVER.parents[2])
    lines = result.stdout.splitlines()
    escaped = [f'{lines[i - 1]}: {line}' for i, line in enumerate(lines) if line.startswith('ESCAPED')]
    assert escaped == []
    assert result.returncode == 0, f'{lines[-1:]}\n{result.stderr[-2000:]}'
    assert lines[-1] == f'seed {count - 1}'
