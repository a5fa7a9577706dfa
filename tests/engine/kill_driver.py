"""Trains a config, kills it again and again and resumes it; a program of its own, for it forks.

    python kill_driver.py CONFIG FOLDER KILLS SEED

Everything is imported once, and each training is a fork. FOLDER/whole gets an uninterrupted run, FOLDER/killed the other; a line of
JSON on stdout says what happened.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import torch
from mmdet.utils import register_all_modules

from mmlska.engine.config import load_config
from mmlska.engine.launch import build_train_runner, prepare
from mmlska.engine.resume import why_not_resumable
from mmlska.weights import use_safe_reader


def train(config: str, work_dir: Path, tick: int) -> None:
    """Train in this process; write a byte to ``tick`` before each step."""
    log = os.open(work_dir.with_suffix('.log'), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    use_safe_reader()
    cfg = load_config(config)
    prepare(cfg, config, work_dir=str(work_dir), launcher='none', seed=0, deterministic=True)
    runner = build_train_runner(cfg, resume='auto')
    step = runner.call_hook

    def call_hook(name: str, **kwargs) -> None:
        if name == 'before_train_iter':
            os.write(tick, b'.')
        step(name, **kwargs)

    runner.call_hook = call_hook
    runner.train()


def start(config: str, work_dir: Path) -> tuple[int, int]:
    """Fork a training; return its process and the pipe that its steps tick on."""
    ticks, tick = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            train(config, work_dir, tick)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(tick)
    return pid, ticks


def wait(pid: int, seconds: float | None, until=None) -> int | None:
    """Wait for the end of a process, for a time at most, or until something is true; return its status once it has ended."""
    end = None if seconds is None else time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        if (end and time.monotonic() > end) or (until and until()):
            return None
        time.sleep(0.0005 if until else 0.005)


def main() -> None:
    config, folder, kills, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(1)
    register_all_modules(init_default_scope=False)  # imports what every fork needs
    rng = random.Random(seed)
    whole, killed = folder / 'whole', folder / 'killed'
    began = time.monotonic()
    pid, ticks = start(config, whole)
    os.read(ticks, 1)
    startup = time.monotonic() - began
    result = dict(whole=wait(pid, None), kills=0, during_save=0, damaged=[])
    result['seconds_whole'], result['startup'] = time.monotonic() - began, startup

    saving = False

    def saves() -> bool:
        nonlocal saving
        saving = any(killed.glob('.new-*.pth'))
        return saving

    for number in range(kills + kills // 2):
        if result['kills'] == kills:
            break
        pid, ticks = start(config, killed)
        # Every third kill comes while a file is being written, the others at any time, the start of the run included.
        saving = False
        delay = rng.uniform(0.3, 1.1) * startup + rng.uniform(0, 0.08) * (result['seconds_whole'] - startup)
        status = wait(pid, 60, saves) if number % 3 == 0 else wait(pid, delay)
        if status is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            result['kills'] += 1
            result['during_save'] += saving
        os.close(ticks)
        result['damaged'] += [
            str(p) for p in killed.glob('[!.]*.pth') if why_not_resumable(p) and 'best_' not in p.name
        ]
    pid, _ = start(config, killed)
    result['killed'] = wait(pid, None)
    result['seconds'] = time.monotonic() - began
    print(json.dumps(result))


if __name__ == '__main__':
    main()
