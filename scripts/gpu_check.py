#!/usr/bin/env python
"""Check mmlska on a GPU in one command: scripts/gpu_check.py --out DIR --minutes 9.

Stages, in the order of their worth:

    environment  card, driver, versions; copy bandwidth and bf16 matrix rate, the two ceilings
    correct      the operators against the float64 reference, in several processes
    sanitizer    one small case under compute-sanitizer: memcheck and initcheck
    operators    LSKA, 3x3 with GELU and MLP beside the published modules, at the four stages of VAN-B at 512x512, bf16, batch 16
    networks     training step and folded inference of VAN-LSKA-T and -B beside the published backbone
    training     the first losses in float32 beside the CPU's, then a real training in bf16
    profile      where the time of VAN-B's training step goes, with shares of the two ceilings
    compiled     operators and networks beside the published ones under torch.compile, and ours under it
    tune         other launch settings of the kernels

Every stage runs in processes of its own. Those of the first seven prepare at once (compile, check, warm up); then one after the other has
the GPU to itself and measures. The last two, whose compilers take minutes, follow in the same way. DIR/gpu_check.json has each result as
soon as it is there, so a run that is cut off keeps what it has, and DIR/gpu_check.log what the processes printed. A stage that fails says
why and the others continue.

It needs torch, triton, numpy, pytest, pytest-xdist and MMEngine, and a GPU with 24 GB of memory, better 80. --data names a folder that
holds Tiny-ImageNet as docs/pretraining.md describes it, for `training`; without one it learns generated textures.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STAGES = ('environment', 'correct', 'sanitizer', 'operators', 'networks', 'training', 'profile', 'compiled', 'tune')
LAST = ('compiled', 'tune')
OPERATORS = ('lska-7', 'lska-23', 'lska-53', 'depthwise_gelu', 'mlp')
PASSES = ('forward', 'forward+backward')
KERNELS = (
    'chain',
    'pointwise',
    'pointwise_before',
    'pointwise_after',
    'pointwise_gradient',
    'band_gradient',
    'depthwise',
    'libraries',
)
# Share of the time left that preparing may take at most; the rest is for measuring.
PREPARING = 0.6
# Share of the GPU's memory for processes that prepare at the same time; those that are ready keep some too.
MEMORY = 0.75


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, required=True, help='folder for gpu_check.json and gpu_check.log')
    parser.add_argument('--minutes', type=float, default=9.0, help='stop after this many minutes; default 9')
    parser.add_argument('--stages', nargs='+', choices=STAGES, default=list(STAGES), metavar='STAGE')
    parser.add_argument(
        '--only',
        nargs='+',
        metavar='NAME',
        help='of these stages the processes whose names begin so, as in compiled-networks',
    )
    parser.add_argument(
        '--at-once',
        action='store_true',
        help='compiled and tune prepare together with the other stages, for runs of a few minutes',
    )
    parser.add_argument('--data', type=Path, help='Tiny-ImageNet or a part of it, for the stage `training`')
    parser.add_argument('--processes', type=int, default=12, help='for the stage `correct`; default 12')
    parser.add_argument(
        '--smoke', action='store_true', help="on a CPU, in Triton's interpreter, on tiny maps: does every stage run?"
    )
    parser.add_argument(
        '--training-seconds', type=float, default=60.0, metavar='S', help='of the stage `training`; default 60'
    )
    args = parser.parse_args()
    for name in ('minutes', 'training_seconds', 'processes'):
        value = getattr(args, name)
        if not (value > 0 and math.isfinite(value)):
            parser.error(
                f'--{name.replace("_", "-")} must be a positive number, got {value}; a full run takes 9 minutes'
            )
    if args.smoke and args.stages == ['sanitizer']:
        parser.error('the stage sanitizer needs a GPU; leave out --smoke')
    if args.data and not (args.data / 'classes.json').is_file():
        parser.error(
            f'--data {args.data} holds no classes.json; name a folder as docs/pretraining.md describes, or leave it out'
        )
    args.workers = workers_of(args)
    if args.only:
        names = [worker.name for worker in args.workers]
        if wrong := [only for only in args.only if not any(name.startswith(only) for name in names)]:
            parser.error(f'--only {" ".join(wrong)} fits none of {", ".join(names)}; give the beginning of one')
        args.workers = [worker for worker in args.workers if worker.name.startswith(tuple(args.only))]
    missing = [
        name for name in ('torch', 'triton', 'pytest', 'xdist', 'mmengine') if not importlib.util.find_spec(name)
    ]
    if missing:
        parser.error(
            f'{", ".join(missing)} cannot be imported; pip install {" ".join(missing).replace("xdist", "pytest-xdist")}'
        )
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / 'gpu_check.log').write_text('')
        if (args.out / 'gpu_check.json').is_dir():
            raise IsADirectoryError
    except OSError as error:
        parser.error(
            f'--out {args.out} is no folder that can be written ({error.strerror or "gpu_check.json is a folder"}); name another'
        )
    return args


def gpu_memory() -> float:
    """Gigabytes of memory of the GPU; a line and an end where there is none."""
    import torch

    if not torch.cuda.is_available():
        sys.exit(
            f'gpu_check.py: error: torch {torch.__version__} finds no GPU here; '
            'install a CUDA build of torch and see whether nvidia-smi works, or add --smoke to run on the CPU'
        )
    return torch.cuda.get_device_properties(0).total_memory / 1e9


@dataclass
class Worker:
    """One process of a stage: it prepares, says that it is ready, waits for its turn and measures."""

    stage: str
    name: str
    arguments: list[str]
    seconds: float  # that measuring may take
    gigabytes: int = 4  # of GPU memory that preparing may take
    waits: bool = True  # for its turn; otherwise it does all while others prepare
    process: subprocess.Popen | None = None
    state: str = 'not started'
    started: float = 0.0
    took: float = 0.0
    log: Path = field(default_factory=Path)
    announced: bool = False

    def start(self, folder: Path, options: list[str], environment: dict[str, str]) -> None:
        self.log = folder / f'{self.name}.log'
        command = [sys.executable, str(ROOT / 'scripts/gpu_stages.py'), self.stage, *self.arguments, *options]
        command += ['--folder', str(folder), '--name', self.name, *(['--wait'] if self.waits else [])]
        with self.log.open('w') as out:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.state, self.started = 'preparing', time.monotonic()

    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def finish(self) -> None:
        """Note how an ended process went."""
        if self.state in ('preparing', 'measuring'):
            self.took = time.monotonic() - self.started
            self.state = 'done' if self.process.returncode == 0 else f'failed (exit {self.process.returncode})'

    def kill(self, why: str) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.state, self.took = why, time.monotonic() - self.started

    def last_lines(self, count: int = 12) -> str:
        lines = self.log.read_text(errors='replace').splitlines() if self.log.is_file() else []
        return '\n'.join('    ' + line[:200] for line in lines[-count:])


def gigabytes_of(what: Sequence[str]) -> int:
    """GPU memory that it may take to prepare an operator and pass, or a network and kind, with their exact results."""
    name, kind = what
    if kind == 'training':
        return 24 if name == 'b' else 12
    return 4 if kind == 'inference' else 3 if 'lska' in name else 12


def workers_of(args: argparse.Namespace) -> list[Worker]:
    """The processes of all stages, in the order in which they measure."""
    found = []
    for stage in (s for s in STAGES if s in args.stages):
        if stage == 'correct':
            found.append(Worker(stage, stage, ['--processes', str(args.processes)], 0, 16, waits=False))
        elif stage == 'sanitizer':
            if not args.smoke:  # that tool needs a GPU
                found += [
                    Worker(stage, f'{stage}-{tool}', [tool], 0, 2, waits=False) for tool in ('memcheck', 'initcheck')
                ]
        elif stage == 'operators' and not args.smoke:
            found += [
                Worker(stage, f'{stage}-{op}-{passes}', [op, passes], 60, gigabytes_of([op, passes]))
                for passes in PASSES
                for op in OPERATORS
            ]
        elif stage == 'networks' and not args.smoke:
            found += [
                Worker(stage, f'{stage}-{arch}-{kind}', [arch, kind], 60, gigabytes_of([arch, kind]))
                for arch in ('b', 't')
                for kind in ('training', 'inference')
            ]
        elif stage == 'compiled':
            # Not VAN-B's training step, which takes the compilers more than two minutes.
            jobs = [('networks', 't', 'training'), ('networks', 'b', 'inference'), ('networks', 't', 'inference')]
            jobs += [('operators', op, passes) for passes in PASSES for op in ('lska-23', 'depthwise_gelu', 'mlp')]
            if args.smoke:
                jobs = [('operators', 'depthwise_gelu', 'forward')]
            found += [Worker(stage, '-'.join([stage, *job]), list(job), 60, gigabytes_of(job[1:])) for job in jobs]
        elif stage == 'tune' and not args.smoke:
            found += [Worker(stage, f'{stage}-{kernel}', [kernel], 40) for kernel in KERNELS]
        elif stage == 'training':
            data = ['--data', str(args.data.resolve())] if args.data else []
            seconds = ['--training-seconds', str(args.training_seconds)]
            found.append(Worker(stage, stage, [*data, *seconds], args.training_seconds + 30))
        else:
            found.append(Worker(stage, stage, [], 60))
    return found


class Report:
    """gpu_check.json and gpu_check.log, written anew whenever there is something new."""

    def __init__(self, out: Path, folder: Path, workers: list[Worker]) -> None:
        self.out, self.folder, self.workers = out, folder, workers
        self.head = dict(
            command=shlex.join(['python', 'scripts/gpu_check.py', *sys.argv[1:]]), date=date.today().isoformat()
        )

    def write(self) -> dict:
        from mmlska.results import write_json

        stages: dict[str, dict] = {}
        for worker in self.workers:
            file = self.folder / f'{worker.name}.json'
            result = json.loads(file.read_text()) if file.is_file() else {}
            took = dict(state=worker.state, process_seconds=round(worker.took, 1))
            stages.setdefault(worker.stage, {})[worker.name] = took | result
        data = dict(**self.head, stages=stages)
        write_json(self.out / 'gpu_check.json', data)
        with (self.out / 'gpu_check.log').open('w') as log:
            for worker in self.workers:
                text = worker.log.read_text(errors='replace') if worker.log.is_file() else ''
                log.write(f'==== {worker.name}: {worker.state}\n{text[-200_000:]}\n')
        return data


def main() -> int:
    args = parse()
    sys.path.append(str(ROOT))  # where mmlska is not installed
    gigabytes = 1000.0 if args.smoke else MEMORY * gpu_memory()
    # What ends the check from outside must not leave its processes on the GPU.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    end = time.monotonic() + 60 * args.minutes
    folder = Path(tempfile.mkdtemp(prefix='gpu_check_'))
    environment = {
        **os.environ,
        'MMLSKA_STRICT': '1',
        'PYTHONPATH': os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')])),
        'PYTHONUNBUFFERED': '1',
        'OMP_NUM_THREADS': '1',
        'TORCHINDUCTOR_COMPILE_THREADS': '3',
    }
    if args.smoke:
        environment.update(TRITON_INTERPRET='1', CUDA_VISIBLE_DEVICES='')
    workers = args.workers
    report = Report(args.out, folder, workers)
    options = ['--smoke'] if args.smoke else []
    try:
        last = () if args.at_once else LAST
        for part in ([w for w in workers if w.stage not in last], [w for w in workers if w.stage in last]):
            at_once = 2 if args.smoke else len(workers)
            run(part, folder, options, environment, end, report, at_once, gigabytes)
    finally:
        for worker in workers:
            if worker.process and not worker.ended():
                worker.kill('cut off')
        data = report.write()
        shutil.rmtree(folder, ignore_errors=True)
    print(summary(workers, data))
    return 0 if all(worker.state == 'done' for worker in workers) else 1


def run(workers, folder, options, environment, end: float, report: Report, at_once: int, gigabytes: float) -> None:
    """Let all prepare, then each measure in its turn, until the time is over."""
    begin = written = time.monotonic()
    preparing_ends = begin + PREPARING * (end - begin)

    def ready(worker: Worker) -> bool:
        return worker.ended() or (worker.waits and (folder / f'{worker.name}.ready').exists())

    while time.monotonic() < preparing_ends:
        for worker in [w for w in workers if not w.process]:
            busy = [w for w in workers if w.process and not ready(w)]
            fits = sum(w.gigabytes for w in [*busy, worker]) <= gigabytes
            if not busy or (fits and len(busy) < at_once):
                worker.start(folder, options, environment)
        for worker in filter(Worker.ended, workers):
            announce(worker)
        if all(w.process and ready(w) for w in workers):
            break
        if time.monotonic() > written + 10:
            written = time.monotonic()
            report.write()
        time.sleep(0.1)
    for worker in workers:
        if worker.process and not ready(worker):
            worker.kill(f'not ready after {preparing_ends - begin:.0f} s')
            announce(worker)
    print(f'prepared in {time.monotonic() - begin:.0f} s', flush=True)
    for worker in workers:
        if worker.process and not worker.ended() and time.monotonic() < end:
            (folder / f'{worker.name}.go').touch()
            worker.state, worker.started = 'measuring', time.monotonic()
            limit = min(end, worker.started + worker.seconds)
            while not worker.ended() and time.monotonic() < limit:
                time.sleep(0.05)
            if not worker.ended():
                worker.kill(f'cut off after {time.monotonic() - worker.started:.0f} s')
        announce(worker)
        report.write()


def announce(worker: Worker) -> None:
    """Say once how a worker went, and why if it failed."""
    if worker.announced or not worker.ended():
        return
    worker.announced = True
    worker.finish()
    print(f'{worker.name}: {worker.state} ({worker.took:.0f} s)', flush=True)
    if worker.state != 'done':
        print(worker.last_lines(), flush=True)


def summary(workers: list[Worker], data: dict) -> str:
    """The short table at the end: what each worker says of itself in one line."""
    rows = [('stage', 'state', 'result')]
    for worker in workers:
        result = data['stages'][worker.stage][worker.name]
        rows += [(worker.name, worker.state, line) for line in result.get('summary', []) or ['']]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    return '\n'.join(f'{a:{widths[0]}}  {b:{widths[1]}}  {c}'.rstrip() for a, b, c in rows)


if __name__ == '__main__':
    sys.exit(main())
