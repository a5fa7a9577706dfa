"""A small training beside busy processes, in processes of its own, and what is written of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import cv2
import pytest
from tiny_models import TINY_UPERNET

from mmlska.benchmark import busy
from mmlska.benchmark.run import Plan, benchmark
from mmlska.threads import COUNTS, SPIN, WAIT_POLICY, thread_environment

ROOT = Path(__file__).resolve().parents[2]
reads_proc = pytest.mark.skipif(
    not Path('/proc/self/stat').exists(), reason='what a process computes is read from /proc'
)


@pytest.fixture
def config(tmp_path, scenes, monkeypatch) -> str:
    monkeypatch.setenv('MMLSKA_DATA', str(scenes.parent))
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    path = tmp_path / 'small.py'
    path.write_text(TINY_UPERNET)
    return str(path)


def plan(**settings) -> Plan:
    return Plan(
        **{field.name: None for field in fields(Plan)} | dict(kind='busy', device='cpu', seconds=0.01) | settings
    )


@pytest.mark.slow(60)
def test_results_chart_and_table(config, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(busy, 'ROUNDS', 1)
    monkeypatch.setattr(busy, 'LOADS', (0, 1))
    page = tmp_path / 'page.md'
    page.write_text('<!-- busy benchmark cpu_small -->\n<!-- end -->\n')
    settings = ('tools', 'OMP_NUM_THREADS=1,GOMP_SPINCOUNT=7')
    wanted = plan(configs=[config], settings=settings)
    file = benchmark(wanted, tmp_path / 'out', 'the command', name='small', page=page)
    results = json.loads(file.read_text())
    assert {'date', 'hardware', 'versions', 'allocator', 'records'} == set(results)
    records = results['records']
    assert [(r['busy'], r['setting']) for r in records] == [(n, setting) for n in (0, 1) for setting in settings]
    for record in records:
        assert record['command'] == 'the command'
        assert record['config'] == 'small'
        assert record['steps'] >= 3  # those of one process
        assert 0 < record['quartile_1'] <= record['median'] <= record['quartile_3']
    assert records[0]['environ'] == thread_environment({})
    assert records[1]['environ'] == {'OMP_NUM_THREADS': '1', 'GOMP_SPINCOUNT': '7'}
    assert records[1]['threads'] == 1
    rows = busy.busy_table(results).splitlines()
    assert rows[2].startswith('| small | tools | ')
    ratio = records[2]['median'] / records[0]['median']
    assert rows[2].endswith(f' | {ratio:.2f}x |')
    assert page.read_text() == '\n'.join(['<!-- busy benchmark cpu_small -->', *rows, '<!-- end -->', ''])
    chart = cv2.imread(str(file.with_suffix('.png')))
    assert len({tuple(color) for color in chart.reshape(-1, 3)}) > 20


@pytest.mark.slow(15)
def test_missing_data_are_one_line(tmp_path):
    command = [sys.executable, str(ROOT / 'tools/benchmark.py'), 'busy', '--device', 'cpu', '--out', str(tmp_path)]
    environ = {**os.environ, 'PYTHONPATH': str(ROOT), 'MMLSKA_DATA': str(tmp_path / 'absent')}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith('benchmark.py: error: ')
    assert 'mmlska make-scenes' in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_settings_begin_from_an_environment_without_any(monkeypatch):
    names = (*COUNTS, *SPIN, WAIT_POLICY)
    for name in names:
        monkeypatch.setenv(name, '5')

    def chosen(setting: str) -> dict[str, str]:
        environ = busy.setting_environment(setting)
        assert environ['PATH'] == os.environ['PATH']
        return {name: value for name, value in environ.items() if name in names}

    assert chosen('default') == {}
    assert chosen('tools') == thread_environment({})
    assert chosen('OMP_WAIT_POLICY=PASSIVE') == {'OMP_WAIT_POLICY': 'PASSIVE'}
    assert chosen('GOMP_SPINCOUNT=9,OMP_NUM_THREADS=2') == {'GOMP_SPINCOUNT': '9', 'OMP_NUM_THREADS': '2'}


@pytest.mark.parametrize('setting', ['passive', 'GOMP_SPINCOUNT=', '=1', ''])
def test_an_unknown_setting(setting, tmp_path):
    with pytest.raises(ValueError, match=r'give default, tools or NAME=VALUE'):
        benchmark(plan(settings=[setting]), tmp_path / 'out', '')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('other', [dict(plan=plan(device='cuda')), dict(plan=plan(), threads=2)])
def test_it_is_for_the_cpu_and_sets_threads_itself(other, tmp_path):
    with pytest.raises(ValueError, match='give --device cpu, and threads as --settings'):
        benchmark(folder=tmp_path, command='', **other)


@reads_proc
def test_busy_processes_compute_and_end():
    with busy._busy_processes(2) as started:
        assert len({process.pid for process in started}) == 2
        _wait(lambda: all(_cpu_ticks(process.pid) > 5 for process in started))
    assert all(process.poll() is not None for process in started)


@reads_proc
def test_a_busy_process_ends_with_the_one_that_started_it():
    code = """
import os
from mmlska.benchmark.busy import _busy_processes

with _busy_processes(1) as (started,):
    print(started.pid, flush=True)
    os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True, check=False, timeout=300)
    pid = int(done.stdout)  # read to its end, which the busy process keeps open
    _wait(lambda: not _cpu_ticks(pid))


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _cpu_ticks(pid: int) -> int:
    """Time that a process has computed, in the system's ticks; 0 when it has ended."""
    try:
        state, *rest = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if state == 'Z' else 1 + int(rest[10]) + int(rest[11])
