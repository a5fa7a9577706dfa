"""How many threads torch uses in a tool of this package, and how long they spin while they wait for work.

An OpenMP runtime reads its settings from the environment when it is loaded, which is when torch is. So the command `mmlska` and the tools
call :func:`prepare_tool` before they import the package. Where another program imports ``mmlska``, nothing is set. Nothing of the
package is imported here, as this file is loaded alone.

Threads that spin keep a core from other processes, and after a while the kernel takes it from them in the middle of their work; then all
the others wait for them. On an idle machine most waits are shorter than a short spin. docs/performance.md tells how to measure it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from math import inf
from pathlib import Path

#: How long a thread spins before it sleeps: rounds in GNU's runtime, milliseconds in LLVM's and Intel's.
SPIN = {'GOMP_SPINCOUNT': '3000', 'KMP_BLOCKTIME': '1'}
#: The standard's variable for the same; whoever sets it has decided.
WAIT_POLICY = 'OMP_WAIT_POLICY'
#: The variables by which a user sets torch's number of threads.
COUNTS = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')

_PROC = Path('/proc/self')


def prepare_tool() -> None:
    """Set :func:`thread_environment` in this process, for its OpenMP and the processes that it starts."""
    os.environ.update(thread_environment(os.environ))


def thread_environment(environ: Mapping[str, str], proc: Path = _PROC) -> dict[str, str]:
    """The variables to set for OpenMP: a short spin, and a number of threads where a cgroup allows fewer than the affinity mask.

    Args:
        environ: The environment so far. What it sets is kept: a wait policy leaves out all of :data:`SPIN`.
        proc: The process's folder in ``/proc``.

    Returns:
        Those variables that are to be added. Without a quota no number is among them: torch itself counts the CPUs of the mask, with MKL
        one for each core.

    Source:
        GNU libgomp's manual, ``GOMP_SPINCOUNT`` and ``OMP_WAIT_POLICY``; LLVM's OpenMP documentation, ``KMP_BLOCKTIME``.

    Example:
        >>> thread_environment({'OMP_WAIT_POLICY': 'ACTIVE', 'OMP_NUM_THREADS': '3'})
        {}
        >>> thread_environment({'GOMP_SPINCOUNT': '0', 'OMP_NUM_THREADS': '3'})
        {'KMP_BLOCKTIME': '1'}
    """
    settings = {} if environ.get(WAIT_POLICY) else {name: n for name, n in SPIN.items() if not environ.get(name)}
    quota = cpu_quota(proc)
    if quota < usable_cpus() and not _set_by(environ):
        settings['OMP_NUM_THREADS'] = str(max(1, int(quota)))
    return settings


def thread_reason(environ: Mapping[str, str], proc: Path = _PROC) -> str:
    """Why a tool in this environment uses as many threads as it does, in one line.

    Args:
        environ: The environment before :func:`prepare_tool`.
        proc: As for :func:`thread_environment`.

    Example:
        >>> thread_reason({'OMP_NUM_THREADS': '3'})
        'OMP_NUM_THREADS=3 is set'
    """
    if name := _set_by(environ):
        return f'{name}={environ[name]} is set'
    cpus, quota = usable_cpus(), cpu_quota(proc)
    if quota < cpus:
        return f'a cgroup limits this process to {quota:g} of {cpus} CPUs'
    return f"torch's choice for the CPUs this process may use, {cpus} of {os.cpu_count()}"


def usable_cpus() -> int:
    """CPUs that the affinity mask of this process allows; where there is no such mask, those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def cpu_quota(proc: Path = _PROC) -> float:
    """CPUs whose time the cgroups of this process allow it, of version 1 or 2: the least that one on the way up to the root allows.

    Args:
        proc: The process's folder in ``/proc``, with the files ``cgroup`` and ``mountinfo``.

    Returns:
        A number of CPUs, as 1.5; infinity without a limit or without cgroups.

    Source:
        Linux, Documentation/admin-guide/cgroup-v2.rst, ``cpu.max``; Documentation/scheduler/sched-bwc.rst, ``cpu.cfs_quota_us``;
        proc_pid_mountinfo(5).
    """
    try:
        groups, mounts = (
            (proc / name).read_text('utf-8', 'surrogateescape').splitlines() for name in ('cgroup', 'mountinfo')
        )
    except OSError:
        return inf
    own = {}  # type of file system to this process's cgroup in it
    for controllers, path in (line.split(':', 2)[1:] for line in groups):
        if not controllers:
            own['cgroup2'] = path
        elif 'cpu' in controllers.split(','):
            own['cgroup'] = path
    limits = [inf]
    for mount in mounts:
        place, _, system = mount.partition(' - ')
        kind, *_, options = system.split()
        if kind in own and (kind == 'cgroup2' or 'cpu' in options.split(',')):
            root, point = (_plain(text) for text in place.split()[3:5])
            limits += [_limit(folder) for folder in _way_up(own[kind], root, Path(point))]
    return min(limits)


def _set_by(environ: Mapping[str, str]) -> str | None:
    return next((name for name in COUNTS if environ.get(name)), None)


def _plain(text: str) -> str:
    """A path of ``mountinfo``, which writes spaces and the like as octal numbers."""
    return re.sub(r'\\(\d{3})', lambda match: chr(int(match[1], 8)), text)


def _way_up(group: str, root: str, point: Path) -> list[Path]:
    """The folders of a cgroup and of all above it, as far as they can be seen at the mount point, which shows what is below ``root``."""
    root = root.rstrip('/')
    inside = group == root or group.startswith(f'{root}/')  # else the group is outside of what is mounted here
    parts = [part for part in group.removeprefix(root).split('/') if part] if inside else []
    if '..' in parts:  # outside of this process's cgroup namespace
        parts = []
    return [point.joinpath(*parts[:count]) for count in range(len(parts), -1, -1)]


def _limit(folder: Path) -> float:
    """CPUs that one cgroup allows."""
    try:
        if (both := folder / 'cpu.max').exists():
            quota, period = both.read_text().split()
        else:
            quota, period = ((folder / f'cpu.cfs_{name}_us').read_text() for name in ('quota', 'period'))
        return inf if quota == 'max' or int(quota) <= 0 else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no such files at a root; others mean no limit that can be known
        return inf
