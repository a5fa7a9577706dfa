"""SIGTERM and Ctrl-C, as launchers, schedulers and terminals send them."""

import os
import signal
import subprocess
import sys

import pytest
from small_run import ROOT, write_config

from mmlska.engine.resume import why_not_resumable

ASKED_TWICE = """
import os, signal, sys
from mmlska.engine import signals
signals.REPEATED_WITHIN = float(sys.argv[1])
request = signals.StopRequest()
for signum in map(int, sys.argv[2:]):
    os.kill(os.getpid(), signum)
print(request.signum, request.agreed())
"""


@pytest.mark.slow
def test_a_signal_to_the_data_workers_too_saves_and_ends_all(scenes, tmp_path):
    command = [sys.executable, str(ROOT / 'tools/train.py'), write_config(scenes, tmp_path), '--work-dir', 'work']
    command += ['--verbose']
    command += ['--cfg-options', 'train_cfg.max_iters=100000', 'train_cfg.val_interval=100000']
    command += ['train_dataloader.num_workers=2', 'train_dataloader.persistent_workers=True']
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines, signalled = [], False
    for line in process.stdout:
        lines.append(line)
        if 'Iter(train)' in line and not signalled:
            os.killpg(process.pid, signal.SIGTERM)
            signalled = True
    output = ''.join(lines)
    assert process.wait(60) == 128 + signal.SIGTERM, output[-3000:]
    assert 'SIGTERM at iteration' in output
    assert why_not_resumable(tmp_path / 'work/interrupted.pth') is None
    with pytest.raises(ProcessLookupError):  # no worker is left
        os.killpg(process.pid, 0)


@pytest.mark.parametrize(
    ('within', 'signals', 'code', 'said'),
    [
        (10, [signal.SIGTERM, signal.SIGTERM], 0, '15 15'),  # what a scheduler sent, and what the launcher forwards
        (0, [signal.SIGTERM, signal.SIGTERM], -signal.SIGTERM, ''),
        (10, [signal.SIGINT, signal.SIGTERM], 0, '2 2'),
        (10, [signal.SIGINT, signal.SIGINT], -signal.SIGINT, ''),
    ],
)
def test_when_a_second_signal_ends_the_process(within, signals, code, said):
    command = [sys.executable, '-c', ASKED_TWICE, str(within), *(str(int(s)) for s in signals)]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (code, said), done.stderr
    assert ('Ctrl-C again ends at once and saves nothing' in done.stderr) == (signal.SIGINT in signals)


KEPT = """
import signal
from mmlska.engine.errors import Interrupted
from mmlska.engine.signals import StopRequest, handlers_kept

heard = []
signal.signal(signal.SIGTERM, lambda signum, frame: heard.append(signum))
for signum in (signal.SIGTERM, signal.SIGINT):
    try:
        with handlers_kept():
            request = StopRequest()
            signal.raise_signal(signum)
            assert request.agreed() == signum and len(heard) == (signum == signal.SIGINT), heard
            raise Interrupted('saved', signum)
    except Interrupted:
        print('SIGTERM was handed on', heard == [signal.SIGTERM])
    except KeyboardInterrupt:
        print('as Ctrl-C')
with handlers_kept():
    StopRequest()
    StopRequest.release()
signal.raise_signal(signal.SIGTERM)
print(len(heard))
"""


def test_a_program_that_trains_keeps_its_handlers():
    done = subprocess.run([sys.executable, '-c', KEPT], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines() == ['SIGTERM was handed on True', 'as Ctrl-C', '2'], done.stderr
