"""What tools set for OpenMP before torch is loaded: on made-up cgroups, and in fresh processes with the real torch."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest

from mmlska.threads import COUNTS, SPIN, WAIT_POLICY, cpu_quota, thread_environment, thread_reason, usable_cpus

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / 'tools'


def made_up(folder: Path, cgroup: str, mounts: dict[str, str], files: dict[str, str]) -> Path:
    """A folder like a process's in /proc, and the files of its cgroups below ``folder``.

    Args:
        cgroup: The file of that name.
        mounts: Mount point below ``folder`` to 'root type options'.
        files: Path below ``folder`` to content.
    """
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    lines = ['22 27 0:21 / /proc rw,relatime shared:5 - proc proc rw']
    for point, mount in mounts.items():
        root, kind, options = mount.split()
        lines.append(f'31 23 0:28 {root} {folder}/{point} rw,relatime shared:9 master:1 - {kind} none {options}')
    proc = folder / 'proc'
    proc.mkdir()
    (proc / 'cgroup').write_text(cgroup)
    (proc / 'mountinfo').write_text('\n'.join(lines).replace('with space', r'with\040space') + '\n')
    return proc


V1 = '9:memory:/job\n4:cpu,cpuacct:/job/step\n1:name=systemd:/cpu\n'
TREES = {
    'v2': (1.5, '0::/job\n', {'c': '/ cgroup2 rw'}, {'c/job/cpu.max': '150000 100000\n'}),
    'v2, no limit': (inf, '0::/job\n', {'c': '/ cgroup2 rw'}, {'c/job/cpu.max': 'max 100000\n'}),
    'v2, less than one': (0.25, '0::/job\n', {'c': '/ cgroup2 rw'}, {'c/job/cpu.max': '25000 100000\n'}),
    'v2, another period': (3.0, '0::/job\n', {'c': '/ cgroup2 rw'}, {'c/job/cpu.max': '30000 10000\n'}),
    'v2, nested, the outer is smaller': (
        2.0,
        '0::/pod/job/step\n',
        {'c': '/ cgroup2 rw'},
        {
            'c/pod/cpu.max': '200000 100000\n',
            'c/pod/job/cpu.max': 'max 100000\n',
            'c/pod/job/step/cpu.max': '400000 100000\n',
        },
    ),
    'v2, the group beside it does not count': (
        inf,
        '0::/job\n',
        {'c': '/ cgroup2 rw'},
        {'c/job/cpu.max': 'max 100000\n', 'c/other/cpu.max': '100000 100000\n'},
    ),
    'v2, the limit at the root of a namespace': (
        1.0,
        '0::/\n',
        {'c': '/ cgroup2 rw'},
        {'c/cpu.max': '100000 100000\n'},
    ),
    'v2, outside of the namespace': (
        4.0,
        '0::/../../job\n',
        {'c': '/ cgroup2 rw'},
        {'c/cpu.max': '400000 100000\n', 'job/cpu.max': '100000 100000\n'},
    ),
    'v2, a part of the tree is mounted': (
        1.0,
        '0::/docker/abc/step\n',
        {'c': '/docker/abc cgroup2 rw'},
        {'c/cpu.max': '300000 100000\n', 'c/step/cpu.max': '100000 100000\n'},
    ),
    'v2, a mount point with a space': (
        2.0,
        '0::/job\n',
        {'with space': '/ cgroup2 rw'},
        {'with space/job/cpu.max': '200000 100000\n'},
    ),
    'v1': (
        2.5,
        V1,
        {'c/cpu': '/ cgroup rw,cpu,cpuacct', 'c/memory': '/ cgroup rw,memory'},
        {'c/cpu/job/step/cpu.cfs_quota_us': '250000\n', 'c/cpu/job/step/cpu.cfs_period_us': '100000\n'},
    ),
    'v1, no limit': (
        inf,
        V1,
        {'c/cpu': '/ cgroup rw,cpu,cpuacct'},
        {'c/cpu/job/step/cpu.cfs_quota_us': '-1\n', 'c/cpu/job/step/cpu.cfs_period_us': '100000\n'},
    ),
    'v1, nested': (
        1.0,
        V1,
        {'c/cpu': '/ cgroup rw,cpu,cpuacct'},
        {
            'c/cpu/job/step/cpu.cfs_quota_us': '-1\n',
            'c/cpu/job/step/cpu.cfs_period_us': '100000\n',
            'c/cpu/job/cpu.cfs_quota_us': '50000\n',
            'c/cpu/job/cpu.cfs_period_us': '50000\n',
        },
    ),
    'v1, another controller': (
        inf,
        V1,
        {'c/memory': '/ cgroup rw,memory', 'c/set': '/ cgroup rw,cpuset'},
        {'c/memory/job/step/cpu.cfs_quota_us': '100000\n', 'c/memory/job/step/cpu.cfs_period_us': '100000\n'},
    ),
    'v1 and v2 beside each other': (
        1.0,
        '1:cpu:/a\n0::/b\n',
        {'c/cpu': '/ cgroup rw,cpu', 'c/unified': '/ cgroup2 rw,nsdelegate'},
        {
            'c/cpu/a/cpu.cfs_quota_us': '300000\n',
            'c/cpu/a/cpu.cfs_period_us': '100000\n',
            'c/unified/b/cpu.max': '100000 100000\n',
        },
    ),
    'no such group': (inf, '0::/gone\n', {'c': '/ cgroup2 rw'}, {}),
    'nothing that can be read': (inf, '0::/job\n', {'c': '/ cgroup2 rw'}, {'c/job/cpu.max': '\n'}),
    'a period of zero': (inf, '0::/job\n', {'c': '/ cgroup2 rw'}, {'c/job/cpu.max': '100000 0\n'}),
}


@pytest.mark.parametrize('tree', TREES)
def test_quota_of_cgroups(tree, tmp_path):
    wanted, *described = TREES[tree]
    assert cpu_quota(made_up(tmp_path, *described)) == wanted


def test_a_mount_point_that_is_no_text(tmp_path):
    proc = with_quota(tmp_path, 0.5)
    with (proc / 'mountinfo').open('ab') as mounts:
        mounts.write(b'40 23 8:1 / /media/Fotos_\xe4 rw,relatime - ext4 /dev/sda1 rw\n')
    assert cpu_quota(proc) == 0.5


def test_no_cgroups_no_quota(tmp_path):
    assert cpu_quota(tmp_path / 'absent') == inf


def with_quota(folder: Path, cpus: float) -> Path:
    return made_up(folder, '0::/\n', {'c': '/ cgroup2 rw'}, {'c/cpu.max': f'{round(cpus * 100000)} 100000\n'})


@pytest.mark.parametrize(
    ('below', 'wanted'), [(0.75, -1), (0.0, None), (-0.5, None)], ids=['a quarter more', 'as many', 'more than CPUs']
)
def test_a_quota_below_the_affinity_mask_sets_the_threads(below, wanted, tmp_path):
    cpus = usable_cpus()
    found = thread_environment({}, with_quota(tmp_path, cpus - below))
    assert found == {**SPIN, **({'OMP_NUM_THREADS': str(max(1, cpus + wanted))} if wanted else {})}


def test_never_less_than_one_thread(tmp_path):
    proc = with_quota(tmp_path, 0.25)
    assert thread_environment({}, proc)['OMP_NUM_THREADS'] == '1'
    assert thread_reason({}, proc) == f'a cgroup limits this process to 0.25 of {usable_cpus()} CPUs'


@pytest.mark.parametrize('name', [*COUNTS, *SPIN, WAIT_POLICY])
def test_what_the_user_set_is_kept(name, tmp_path):
    proc = with_quota(tmp_path, 0.5)
    found = thread_environment({name: '7'}, proc)
    dropped = set(COUNTS) if name in COUNTS else set(SPIN) if name == WAIT_POLICY else {name}
    assert found == {key: value for key, value in {**SPIN, 'OMP_NUM_THREADS': '1'}.items() if key not in dropped}
    assert thread_environment({name: ''}, proc) == {**SPIN, 'OMP_NUM_THREADS': '1'}  # as OpenMP takes it
    assert (thread_reason({name: '7'}, proc) == f'{name}=7 is set') == (name in COUNTS)


def test_every_tool_begins_with_the_command():
    """It sets the threads before anything loads torch; what another import loaded before would be too late."""
    for file in TOOLS.glob('*.py'):
        nodes = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, (ast.Import, ast.ImportFrom))]
        names = {a.name if isinstance(n, ast.Import) else n.module for n in nodes for a in n.names}
        assert {name.split('.')[0] for name in names} - set(sys.stdlib_module_names) == {'mmlska_command'}, file.name


# A tool asked for its help, then what its process has become, and what one that it starts has of it.
ASK = """
import json, os, runpy, subprocess, sys

{before}
tool = {tool!r}
sys.argv = [tool, '--help']
try:
    runpy.run_path(tool, run_name='__main__')
except SystemExit as end:
    assert end.code == 0
import torch

names = {names!r}
show = 'import json, os; print(json.dumps({{name: os.environ.get(name) for name in ' + repr(names) + '}}))'
child = json.loads(subprocess.run([sys.executable, '-c', show], capture_output=True, text=True, check=True).stdout)
own = {{name: os.environ.get(name) for name in names}}
print(json.dumps(dict(threads=torch.get_num_threads(), own=own, child=child)))
"""
NAMES = (*COUNTS, *SPIN, WAIT_POLICY)


def clean(**more: str) -> dict[str, str]:
    """An environment in which nobody has decided on threads."""
    kept = {name: value for name, value in os.environ.items() if name not in NAMES}
    return {**kept, 'PYTHONPATH': str(ROOT), 'COLUMNS': '80', **more}


def ask(tool: str, *, before: str = '', start: tuple[str, ...] = (), **environ: str) -> tuple[dict, str]:
    """Threads and variables of a tool's process, and what it wrote to stderr."""
    code = ASK.format(before=before, tool=str(TOOLS / tool), names=NAMES)
    command = [*start, sys.executable, '-c', code]
    done = subprocess.run(command, env=clean(**environ), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.parametrize('tool', ['benchmark.py', 'train.py'])
def test_torch_is_loaded_with_what_the_tool_set(tool):
    said, stderr = ask(tool, OMP_DISPLAY_ENV='verbose')
    expected = {**dict.fromkeys(NAMES), **thread_environment({})}
    assert said['own'] == said['child'] == expected
    assert said['threads'] <= usable_cpus()
    if 'GOMP_SPINCOUNT' not in stderr:
        pytest.skip("torch does not use GNU's OpenMP here, which says what it has read")
    assert f"GOMP_SPINCOUNT = '{SPIN['GOMP_SPINCOUNT']}'" in stderr


def test_a_users_threads_and_wait_policy_reach_torch():
    said, stderr = ask('train.py', OMP_NUM_THREADS='1', OMP_WAIT_POLICY='ACTIVE', OMP_DISPLAY_ENV='verbose')
    assert said['threads'] == 1
    assert said['own'] == {**dict.fromkeys(NAMES), 'OMP_NUM_THREADS': '1', WAIT_POLICY: 'ACTIVE'}
    if 'GOMP_SPINCOUNT' in stderr:
        assert f"GOMP_SPINCOUNT = '{SPIN['GOMP_SPINCOUNT']}'" not in stderr


@pytest.mark.skipif(not hasattr(os, 'sched_setaffinity'), reason='this system has no affinity masks')
def test_a_mask_of_one_cpu_gives_one_thread():
    before = 'os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])'
    said, _ = ask('train.py', before=before)
    assert said['threads'] == 1


def group_folder() -> Path:
    """The folder of a cgroup whose processes' time can be limited, for this test to make others in."""
    for folder, limit in (
        (Path('/sys/fs/cgroup/cpu'), 'cpu.cfs_quota_us'),
        (Path('/sys/fs/cgroup'), 'cgroup.subtree_control'),
    ):
        if (folder / limit).exists() and (limit.startswith('cpu') or 'cpu' in (folder / limit).read_text().split()):
            return folder
    pytest.skip('no cgroups with a controller of the CPU here')


@pytest.fixture
def one_core() -> Iterator[Path]:
    """A cgroup of its own without a limit, in one with the time of one core."""
    outer = group_folder() / f'mmlska_test_{os.getpid()}'
    inner = outer / 'step'
    try:
        outer.mkdir()
        try:
            if outer.parent.name == 'cpu':
                (outer / 'cpu.cfs_quota_us').write_text((outer / 'cpu.cfs_period_us').read_text())
            else:
                (outer / 'cpu.max').write_text('100000 100000')
            inner.mkdir()
            yield inner
        finally:
            for folder in (inner, outer):
                if folder.exists():
                    folder.rmdir()
    except OSError as error:
        pytest.skip(f'this user may not make cgroups: {error}')


@pytest.mark.slow(15)
@pytest.mark.skipif(usable_cpus() == 1, reason='one CPU gives one thread anyway')
def test_a_real_cgroup_of_one_core_gives_one_thread(one_core):
    start = ('sh', '-c', f'echo $$ > {one_core}/cgroup.procs && exec "$@"', 'sh')
    said, _ = ask('train.py', start=start)
    assert said['threads'] == 1
    assert said['own']['OMP_NUM_THREADS'] == said['child']['OMP_NUM_THREADS'] == '1'
    command = [*start, sys.executable, str(TOOLS / 'doctor.py'), '--json']
    report = json.loads(subprocess.run(command, env=clean(), capture_output=True, text=True, timeout=300).stdout)
    row = next(c for c in report['components'] if c['name'] == 'threads')
    assert (row['version'], row['note']) == ('1', f'a cgroup limits this process to 1 of {usable_cpus()} CPUs')


def test_importing_the_package_sets_nothing():
    code = """
import os

def openmp():
    return {name: value for name, value in os.environ.items() if name.startswith(('OMP_', 'GOMP_', 'KMP_', 'MKL_'))}

before = openmp()
import mmlska, torch
assert openmp() == before, openmp()
"""
    done = subprocess.run([sys.executable, '-c', code], env=clean(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
