"""Trainings that share a work directory, lose their last checkpoint or resume among rubbish: python runs_driver.py CONFIG SCENES FOLDER.

A program of its own, for it forks: everything is imported once, and each command line runs in a fork. A line of JSON on stdout says
how each ended.
"""

import atexit
import json
import os
import resource
import runpy
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

import torch
from mmdet.utils import register_all_modules

from mmlska.commands import train as _  # noqa: F401 (for the forks)
from mmlska.engine import lock

ROOT = Path(__file__).resolve().parents[2]
CONFIG, SCENES, FOLDER = (*sys.argv[1:], '', '', '')[:3]  # none where it is collected for doctests
FOLDER = Path(FOLDER)
SHORT = ['train_cfg.max_iters=2', 'train_cfg.val_interval=100']
ENDLESS = ['train_cfg.max_iters=5000', 'train_cfg.val_interval=5000', 'default_hooks.checkpoint.interval=2']


class Process:
    """A fork that runs a function, with all that it prints in ``output``."""

    def __init__(self, name: str, function, *args) -> None:
        self.file = FOLDER / f'{name}.out'
        self.pid = os.fork()
        if self.pid == 0:
            out = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.setpgid(0, 0)
            code = 1
            try:
                function(*args)
                code = 0
            except SystemExit as stop:
                code = int(stop.code or 0)
            except BaseException:
                traceback.print_exc()
            finally:
                atexit._run_exitfuncs()  # as at the end of a program
                sys.stdout.flush()
                os._exit(code)

    @property
    def output(self) -> str:
        return self.file.read_text(errors='replace') if self.file.exists() else ''

    def wait_for(self, text: str) -> None:
        end = time.monotonic() + 60
        while text not in self.output:
            if time.monotonic() > end or os.waitpid(self.pid, os.WNOHANG)[0]:
                raise RuntimeError(f'{self.file.name} never printed {text}: {self.output[-3000:]}')
            time.sleep(0.01)

    def end(self, signum: int | None = None) -> dict:
        if signum:
            os.kill(self.pid, signum)
        return dict(code=os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), output=self.output)


def tool(name: str, *arguments: str, limit: int | None = None, **environment: str) -> None:
    """Run a command line in this process."""
    os.environ.update(environment)
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    sys.argv = [f'{name}.py', *arguments]
    runpy.run_path(str(ROOT / 'tools' / f'{name}.py'), run_name='__main__')


def train(name: str, work_dir: str, settings: list[str], *arguments: str, **kwargs) -> Process:
    options = [
        '--work-dir',
        str(FOLDER / work_dir),
        '--seed',
        '0',
        '--no-report',
        *arguments,
        '--cfg-options',
        *settings,
    ]
    return Process(name, lambda: tool('train', CONFIG, *options, **kwargs))


def content(folder: Path) -> dict:
    return {str(p.relative_to(folder)): (s.st_size, s.st_mtime_ns) for p in folder.rglob('*') for s in [p.lstat()]}


def in_one_work_dir() -> dict:
    """A training, and in its work directory others of each kind, a test, and one more when it was killed."""
    work, result = FOLDER / 'shared', {}
    first = train('first', 'shared', [*ENDLESS, 'train_dataloader.num_workers=2'], '--verbose')
    first.wait_for('Iter(train)')
    while not (work / 'iter_2.pth.sha256').exists():
        time.sleep(0.01)
    result['pid'] = first.pid
    os.kill(first.pid, signal.SIGSTOP)
    before = content(work)
    result['second'] = train('second', 'shared', SHORT).end()
    result['resumed'] = train('resumed', 'shared', SHORT, '--resume').end()
    result['data'] = train('data', 'shared', SHORT, '--data', SCENES).end()
    ranks = dict(WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT='29611')
    both = [
        train(f'rank_{n}', 'shared', SHORT, '--launcher', 'pytorch', '--data', SCENES, RANK=n, LOCAL_RANK=n, **ranks)
        for n in '01'
    ]
    result['ranks'] = [process.end() for process in both]
    result['written'] = sorted(set(content(work).items()) ^ set(before.items()))
    shutil.copy(work / 'iter_2.pth', FOLDER)
    os.kill(first.pid, signal.SIGCONT)
    arguments = [CONFIG, str(FOLDER / 'iter_2.pth'), '--work-dir', str(work)]
    result['test'] = Process('test', lambda: tool('test', *arguments)).end()
    os.kill(first.pid, 0)
    result['killed'] = first.end(signal.SIGKILL)
    done = max(int(path.stem.removeprefix('iter_')) for path in work.glob('iter_*.pth'))
    result['after'] = train('after', 'shared', [*SHORT, f'train_cfg.max_iters={done + 2}'], '--resume').end()
    return result


def at_once() -> dict:
    both = [train(f'at_once_{n}', 'at_once', SHORT) for n in '12']
    ranks = dict(WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT='29612')
    many = [train(f'alone_{n}', 'alone', SHORT, '--launcher', 'pytorch', RANK=n, LOCAL_RANK=n, **ranks) for n in '01']
    return dict(at_once=[process.end() for process in both], alone=[process.end() for process in many])


def lock_with_a_child(seconds: float) -> None:
    lock.lock_work_dir(FOLDER / 'orphaned')
    child = os.fork()
    if child == 0:
        time.sleep(seconds)
        os._exit(0)
    print('locked', child, flush=True)
    time.sleep(seconds)


def orphans() -> dict:
    """Whether a lock outlives its process with a child of that."""
    owner = Process('owner', lock_with_a_child, 30)
    owner.wait_for('locked')
    refused = Process('refused', lambda: lock.lock_work_dir(FOLDER / 'orphaned')).end()
    (FOLDER / 'orphaned/training.lock').write_bytes(b'\xff\x00\n\x1b[31m' * 500)
    garbled = Process('garbled', lambda: lock.lock_work_dir(FOLDER / 'orphaned')).end()
    child = int(owner.output.split()[1])
    owner.end(signal.SIGKILL)
    taken = Process('taken', lambda: lock.lock_work_dir(FOLDER / 'orphaned')).end()
    os.kill(child, 0)  # it lives
    os.kill(child, signal.SIGKILL)
    return dict(refused=refused, garbled=garbled, taken=taken)


def without_checkpoint() -> dict:
    hook = 'default_hooks.checkpoint'
    six = ['train_cfg.max_iters=6', 'train_cfg.val_interval=100']
    rare = [f'{hook}.interval=100', f'{hook}.save_last=False', f'{hook}.save_best=None']
    runs = dict(
        rare=train('rare', 'rare', [*SHORT, *rare]),
        none=train('none', 'none', [*SHORT, f'{hook}=None']),
        best=train('best', 'best', ['train_cfg.max_iters=2', 'train_cfg.val_interval=2', *rare[:2]]),
        full=train('full', 'full', SHORT, limit=100_000),
    )
    result = {name: process.end() for name, process in runs.items()}
    (FOLDER / 'blocked/iter_6.pth').mkdir(parents=True)
    result['blocked'] = train('blocked', 'blocked', six).end()
    (FOLDER / 'blocked/iter_6.pth').rmdir()
    result['unblocked'] = train('unblocked', 'blocked', six, '--resume').end()
    return result


def name_a_victim(checkpoint: Path) -> None:
    content = torch.load(checkpoint, weights_only=False)
    named = dict(best_ckpt=str(FOLDER / 'victim'), best_score=-1.0, keep_ckpt_ids=['../../victim', 7, 8, 9])
    content['message_hub']['runtime_info'].update(named)
    content['message_hub']['resumed_keys'].update(dict.fromkeys(named, True))
    torch.save(content, FOLDER / 'named.pth')


def started_anew() -> dict:
    """In a directory with the checkpoints of a longer training, and in one with those of another from whose file it goes on."""
    result = dict(anew=train('anew', 'blocked', SHORT).end())
    (FOLDER / 'victim').write_text('mine')
    Process('named', name_a_victim, FOLDER / 'blocked/iter_4.pth').end()
    (FOLDER / 'others').mkdir()
    (FOLDER / 'others/iter_7.pth').write_text('theirs')
    keep = ['train_cfg.max_iters=6', 'train_cfg.val_interval=6', 'default_hooks.checkpoint.max_keep_ckpts=1']
    result['others'] = train('others', 'others', keep, '--resume', str(FOLDER / 'named.pth')).end()
    return result


def among_rubbish() -> dict:
    """A run of four steps, then the dates are wrong and there is rubbish; then it goes on."""
    work = FOLDER / 'rubbish'
    keep = ['default_hooks.checkpoint.max_keep_ckpts=2', 'train_cfg.val_interval=100']
    train('four', 'rubbish', ['train_cfg.max_iters=4', *keep]).end()
    os.utime(work / 'iter_2.pth', (2e9, 2e9))
    (work / 'epoch_9.pth').symlink_to('nowhere.pth')
    (work / 'iter_6.pth').symlink_to('iter_6.pth')
    (work / 'iter_7.pth').mkdir()
    os.mkfifo(work / 'iter_8.pth')
    (work / 'iter_9.pth').write_bytes((work / 'iter_4.pth').read_bytes())
    (work / 'iter_9.pth.sha256').write_bytes(os.urandom(100))
    (work / 'last_checkpoint').write_text('/etc/passwd')
    result = dict(goes_on=train('goes_on', 'rubbish', ['train_cfg.max_iters=6', *keep], '--resume').end())
    result['left'] = sorted(p.name for p in work.glob('*.pth'))
    return result


def main() -> None:
    torch.set_num_threads(1)
    register_all_modules(init_default_scope=False)  # imports what every fork needs
    result, began = {}, time.monotonic()
    for scenario in (in_one_work_dir, at_once, orphans, without_checkpoint, started_anew, among_rubbish):
        result.update(scenario())
        print(f'{scenario.__name__}: {time.monotonic() - began:.1f} s', file=sys.stderr, flush=True)
    print(json.dumps(result))


if __name__ == '__main__':
    main()
