"""The GPU check runs every stage on a CPU, keeps what it has when one fails or the time is over, and says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mmlska.ops.triton import backend as gpu

ROOT = Path(__file__).resolve().parents[2]
STAGES = ('environment', 'correct', 'operators', 'networks', 'training', 'profile', 'compiled', 'tune')

pytestmark = pytest.mark.skipif(gpu.PROBLEM is not None, reason=str(gpu.PROBLEM))


def check(out: Path, *options: str) -> tuple[subprocess.CompletedProcess, dict]:
    """Run it, and read what it wrote."""
    command = [sys.executable, 'scripts/gpu_check.py', '--smoke', '--out', str(out), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    return done, json.loads((out / 'gpu_check.json').read_text())


@pytest.mark.slow(60)
def test_smoke_run_of_every_stage(tmp_path, compiler):  # for torch.compile
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
    ours = parts['networks']['contenders']['mmlska']
    assert 0 < ours['error'] < 1e-4
    assert ours['images_per_second'] > 0
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
    data = tmp_path / 'photos'
    data.mkdir()
    (data / 'classes.json').write_text('[{"wnid": "n1", "name": "cat"}]')  # and no photos
    done, result = check(tmp_path / 'out', '--stages', 'environment', 'training', '--data', str(data))
    assert done.returncode == 1
    states = {name: part['state'] for found in result['stages'].values() for name, part in found.items()}
    assert states == {'environment': 'done', 'training': 'failed (exit 1)'}
    assert 'n1.webp' in done.stdout
    # What it had found before stays.
    assert result['stages']['training']['training']['first_losses']


@pytest.mark.slow(20)
def test_ended_check_leaves_no_process(tmp_path):
    command = [sys.executable, 'scripts/gpu_check.py', '--smoke', '--out', str(tmp_path), '--stages', 'networks']
    environment = {**os.environ, 'TMPDIR': str(tmp_path)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    # A worker that imports torch: then its start is over in the process that is sent the signal, too.
    while not any(map(imports_torch, children(process.pid))) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert (workers := children(process.pid))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while any(map(running, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(running, workers))
    assert json.loads((tmp_path / 'gpu_check.json').read_text())['stages']['networks']['networks']['state'] == 'cut off'
    assert not list(tmp_path.glob('gpu_check_*'))


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


def imports_torch(pid: int) -> bool:
    return 'libtorch' in Path(f'/proc/{pid}/maps').read_text()


def running(pid: int) -> bool:
    stat = Path(f'/proc/{pid}/stat')
    return stat.exists() and stat.read_text().rsplit(')', 1)[1].split()[0] != 'Z'


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (['--minutes', 'nan'], '--minutes must be a positive number, got nan'),
        (['--processes', '0'], '--processes must be a positive number, got 0'),
        (['--stages', 'sanitizer'], 'sanitizer needs a GPU; leave out --smoke'),
        (['--only', 'networkz'], '--only networkz fits none of environment, correct'),
        (['--data', 'nowhere'], '--data nowhere holds no classes.json'),
        (['--out', 'setup.py'], '--out setup.py is no folder that can be written'),
        (['--stages', 'speed'], "invalid choice: 'speed'"),
    ],
)
def test_wrong_setting_gives_one_line(tmp_path, options, text):
    (tmp_path / 'gpu_check.json').write_text('{"kept": true}')
    command = [sys.executable, 'scripts/gpu_check.py', '--smoke', '--out', str(tmp_path), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert text in done.stderr.splitlines()[-1]
    assert 'Traceback' not in done.stderr
    assert json.loads((tmp_path / 'gpu_check.json').read_text()) == {'kept': True}


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_machine_without_a_gpu_is_told_so(tmp_path):
    command = [sys.executable, 'scripts/gpu_check.py', '--out', str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'finds no GPU here' in done.stderr
    assert 'or add --smoke' in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow(20)
def test_what_is_there_when_the_time_is_over_stays(tmp_path):
    done, data = check(tmp_path, '--minutes', '0.01', '--stages', 'environment', 'networks')
    assert done.returncode == 1
    assert data['stages']['networks']['networks']['state'].startswith(('not ready after', 'not started'))
    assert not [name for name in os.listdir(tmp_path) if not name.startswith('gpu_check.')]
