"""The GPU check runs every stage on a CPU, keeps what it has when one fails or the time is over, and says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmlska.ops import gpu

ROOT = Path(__file__).resolve().parents[2]
STAGES = ('environment', 'correct', 'operators', 'networks', 'training', 'profile', 'compiled', 'tune')

pytestmark = pytest.mark.skipif(gpu.PROBLEM is not None, reason=str(gpu.PROBLEM))


def check(out: Path, *options: str) -> tuple[subprocess.CompletedProcess, dict]:
    """Run it, and read what it wrote."""
    command = [sys.executable, 'scripts/gpu_check.py', '--smoke', '--out', str(out), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    return done, json.loads((out / 'gpu_check.json').read_text())


@pytest.mark.slow(60)
def test_smoke_run_of_every_stage(tmp_path):
    done, data = check(tmp_path, '--minutes', '6')
    assert done.returncode == 0, done.stdout + (tmp_path / 'gpu_check.log').read_text()[-4000:]
    assert tuple(data['stages']) == STAGES
    parts = {stage: next(iter(found.values())) for stage, found in data['stages'].items()}
    assert all(part['state'] == 'done' and part['summary'] for part in parts.values())
    assert parts['environment']['copy_bytes_per_second'] > 0
    assert parts['correct']['passed'] == 3
    assert not parts['correct']['failed']
    for stage, contender in (('operators', 'mmlska'), ('compiled', 'published-compiled')):
        found = parts[stage]['records'][0]['contenders'][contender]
        assert found['median'] > 0
        assert 0 <= found['error'] < 0.03
    assert parts['networks']['contenders']['mmlska']['images_per_second'] > 0
    assert parts['training']['finite']
    assert parts['training']['largest_difference'] < 1e-3
    shares = [row['share'] for row in parts['profile']['operators']]
    assert sum(shares) <= 1.001
    assert shares == sorted(shares, reverse=True)
    # Every candidate gave the right result.
    assert all(row['us'] > 0 for row in parts['tune']['rows'])
    assert len(parts['tune']['rows']) == 4
    table = done.stdout.split('stage  ')[1]
    assert all(f'\n{name}' in table for name in STAGES)


@pytest.mark.slow(20)
def test_failing_stage_does_not_keep_others(tmp_path):
    done, data = check(tmp_path, '--stages', 'environment', 'training', '--data', str(tmp_path / 'nothing'))
    assert done.returncode == 1
    states = {name: part['state'] for found in data['stages'].values() for name, part in found.items()}
    assert states == {'environment': 'done', 'training': 'failed (exit 1)'}
    assert 'nothing' in done.stdout
    # What it had found before stays.
    assert data['stages']['training']['training']['first_losses']


@pytest.mark.slow(20)
def test_what_is_there_when_the_time_is_over_stays(tmp_path):
    done, data = check(tmp_path, '--minutes', '0.01', '--stages', 'environment', 'networks')
    assert done.returncode == 1
    assert data['stages']['networks']['networks']['state'].startswith(('not ready after', 'not started'))
    assert not [name for name in os.listdir(tmp_path) if not name.startswith('gpu_check.')]
