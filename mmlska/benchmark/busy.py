"""A training step alone and beside busy processes, with what the tools set for OpenMP and without: ``mmlska benchmark busy``."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..results import markdown_table, new_figure, save_figure
from ..threads import COUNTS, SPIN, WAIT_POLICY, thread_environment

#: Busy processes that run beside the training.
LOADS = (0, 1, 2)
#: What a setting may be called beside NAME=VALUE: nothing set, and what the tools set.
DEFAULT, TOOLS = 'default', 'tools'
#: Fresh processes for each setting and load; each round begins with another setting.
ROUNDS = 3

# Ends by itself when the process that started it, whose number it is given, is gone.
_BUSY = 'import os, sys\nwhile os.getppid() == int(sys.argv[1]): sum(range(10**5))'


def setting_environment(setting: str) -> dict[str, str]:
    """This process's environment with one setting of OpenMP.

    Args:
        setting: 'default' for nothing set, 'tools' for what the tools set, or variables: 'GOMP_SPINCOUNT=20000,OMP_NUM_THREADS=2'.

    Raises:
        ValueError: If it is something else.
    """
    environ = {name: value for name, value in os.environ.items() if name not in (*COUNTS, *SPIN, WAIT_POLICY)}
    if setting == TOOLS:
        return {**environ, **thread_environment(environ)}
    if setting == DEFAULT:
        return environ
    pairs = [part.partition('=') for part in setting.split(',')]
    if not all(name and value for name, _, value in pairs):
        raise ValueError(f'setting {setting!r} is not known; give {DEFAULT}, {TOOLS} or NAME=VALUE[,NAME=VALUE]')
    return {**environ, **{name: value for name, _, value in pairs}}


def busy_records(configs: Sequence[str], settings: Sequence[str], seconds: float) -> Iterator[dict]:
    """Time the steps of trainings on the CPU, each setting alone and beside one and two busy processes.

    Args:
        configs: Config files, whose data are there.
        settings: Those of :func:`setting_environment`.
        seconds: Time to spend on the steps of one setting beside one number of busy processes, in three processes of a third each.

    Yields:
        A record for each config, number of busy processes and setting: milliseconds of a step, as median and quartiles.

    Raises:
        ValueError: If config, data or a setting are wrong.
        RuntimeError: If a training fails.
    """
    environments = {setting: {**setting_environment(setting), 'CUDA_VISIBLE_DEVICES': ''} for setting in settings}
    for config in configs:
        for load in LOADS:
            times: dict[str, list[float]] = {setting: [] for setting in settings}
            threads = {}
            for turn in range(ROUNDS):
                for i in range(len(settings)):
                    setting = settings[(i + turn) % len(settings)]
                    with _busy_processes(load):
                        said = _train(config, seconds / ROUNDS, environments[setting])
                    times[setting] += said['times']
                    threads[setting] = said['threads']
            for setting in settings:
                first, median, third = statistics.quantiles(times[setting], n=4, method='inclusive')
                environ = environments[setting]
                yield {
                    'config': Path(config).stem,
                    'busy': load,
                    'setting': setting,
                    'environ': {name: environ[name] for name in (*COUNTS, *SPIN, WAIT_POLICY) if name in environ},
                    'threads': threads[setting],
                    'median': median,
                    'quartile_1': first,
                    'quartile_3': third,
                    'steps': len(times[setting]),
                }


def _train(config: str, seconds: float, environ: dict[str, str]) -> dict:
    command = [sys.executable, '-m', 'mmlska.benchmark.busy_step', config, str(seconds)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode == 2:
        raise ValueError(done.stderr.splitlines()[-1])
    if done.returncode:
        raise RuntimeError(f'the training of {config} ended with status {done.returncode}:\n{done.stderr[-2000:]}')
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def _busy_processes(count: int) -> Iterator[list[subprocess.Popen]]:
    """Processes that do nothing but compute, each on one core."""
    started = [subprocess.Popen([sys.executable, '-c', _BUSY, str(os.getpid())]) for _ in range(count)]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def _grid(results: dict) -> dict[tuple[str, str], dict[int, dict]]:
    """The records by config and setting, then by busy processes."""
    rows: dict[tuple[str, str], dict[int, dict]] = {}
    for record in results['records']:
        rows.setdefault((record['config'], record['setting']), {})[record['busy']] = record
    return rows


def busy_table(results: dict) -> str:
    """The Markdown table of a results file: a row for each config and setting, with ratios to its own step alone.

    Example:
        >>> step = dict(config='a', setting='tools', threads=2)
        >>> print(busy_table({'records': [dict(step, busy=0, median=500.0), dict(step, busy=1, median=750.0)]}))
        | config | setting | threads | alone, s | beside 1, s | of alone |
        | --- | --: | --: | --: | --: | --: |
        | a | tools | 2 | 0.500 | 0.750 | 1.50x |
    """
    grid = _grid(results)
    loads = sorted({load for cells in grid.values() for load in cells} - {0})
    header = ['config', 'setting', 'threads', 'alone, s']
    header += [column for load in loads for column in (f'beside {load}, s', 'of alone')]
    rows = []
    for (config, setting), cells in grid.items():
        alone = cells[0]['median']
        row = [config, setting, str(cells[0]['threads']), f'{alone / 1e3:.3f}']
        for load in loads:
            row += (
                [f'{cells[load]["median"] / 1e3:.3f}', f'{cells[load]["median"] / alone:.2f}x']
                if load in cells
                else ['', '']
            )
        rows.append(row)
    return markdown_table(header, rows)


def draw_busy(results: dict, path: Path) -> None:
    """Draw the seconds of a step over the busy processes beside it, a line for each config and setting, with quartiles.

    Args:
        results: A results file's content.
        path: The PNG to write.
    """
    figure = new_figure(6.0, 4.0)
    axis = figure.subplots()
    for (config, setting), cells in _grid(results).items():
        loads = sorted(cells)
        middle, low, high = ([cells[n][key] / 1e3 for n in loads] for key in ('median', 'quartile_1', 'quartile_3'))
        (line,) = axis.plot(loads, middle, marker='o', label=f'{config}, {setting}')
        axis.fill_between(loads, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axis.set_xticks(LOADS)
    axis.set_ylim(bottom=0)
    axis.set_xlabel('busy processes beside it')
    axis.set_ylabel('seconds of a training step')
    axis.legend(fontsize=8, frameon=False)
    axis.spines[['top', 'right']].set_visible(False)
    figure.suptitle(f'{results["hardware"]}, torch {results["versions"]["torch"]}, {results["date"]}', fontsize=9)
    save_figure(figure, path)
