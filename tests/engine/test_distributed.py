"""Several processes on torch.distributed, with gloo on CPU."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small_run import CONFIG, ROOT

DRIVER = Path(__file__).with_name('two_processes.py')
GROUP_NORM = """
norm_cfg = dict(type='GN', num_groups=4, requires_grad=True)
model = dict(
    backbone=dict(norm_cfg=norm_cfg, drop_path_rate=0.0),
    decode_head=dict(norm_cfg=norm_cfg),
    auxiliary_head=dict(norm_cfg=norm_cfg),
)
train_cfg = dict(max_iters=10, val_interval=100)
optim_wrapper = dict(optimizer=dict(lr=1e-3, eps=1e-4))
default_hooks = dict(checkpoint=dict(interval=5, save_best=None))
"""


@pytest.fixture(scope='module')
def config(scenes, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('distributed')
    base = str(ROOT / 'configs/demo/upernet_van_lska_t_scenes.py')
    (folder / 'base.py').write_text(CONFIG.format(base=base, root=f'{scenes}/'))
    path = folder / 'gn.py'
    path.write_text(f"_base_ = 'base.py'\n{GROUP_NORM}")
    return path


def environment() -> dict:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    path = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    return dict(
        os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT), PATH=path, MASTER_PORT=str(port), MASTER_ADDR='127.0.0.1'
    )


def train(config: Path, out: Path, processes: int, *options: str) -> dict[str, torch.Tensor]:
    """Ten steps with four images each, in one process or in several."""
    launcher = ['torchrun', '--nproc_per_node', str(processes), '--master_port'] if processes > 1 else [sys.executable]
    env = environment()
    command = [*launcher, *([env['MASTER_PORT']] if processes > 1 else []), str(DRIVER), str(config), str(out)]
    command += ['pytorch' if processes > 1 else 'none', str(4 // processes), *options]
    done = subprocess.run(command, env=env, cwd=config.parent, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out) if out.is_file() else {}


@pytest.fixture(scope='module')
def alone(config):
    return train(config, config.parent / 'one.pth', 1)


@pytest.mark.slow
@pytest.mark.parametrize('options', [[], ['zero1']])
def test_two_processes_equal_one_with_twice_the_batch(options, config, alone):
    name = '_'.join(['two', *options])
    together = train(config, config.parent / f'{name}.pth', 2, *options)
    assert alone.keys() == together.keys()
    difference = max(float((alone[n] - t).abs().max()) for n, t in together.items() if t.is_floating_point())
    moved = max(float(t.abs().max()) for t in alone.values() if t.is_floating_point())
    print(f'largest difference {difference:.3g}, largest weight {moved:.3g}')
    assert difference <= 1e-5
    checkpoint = torch.load(config.parent / f'{name}.pth_work' / 'iter_10.pth', weights_only=False)
    parameters = sum(len(group['params']) for group in checkpoint['optimizer']['param_groups'])
    assert len(checkpoint['optimizer']['state']) == parameters  # with ZeRO-1 too, where each process holds a part


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='tests what happens without a GPU')
@pytest.mark.parametrize(
    ('launcher', 'names'),
    [
        ('slurm', ('SLURM_PROCID', 'SLURM_LOCALID', 'SLURM_NTASKS')),
        ('mpi', ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_LOCAL_RANK', 'OMPI_COMM_WORLD_SIZE')),
    ],
)
def test_slurm_and_mpi_start_processes_without_a_gpu(launcher, names, config, alone):
    out, common = config.parent / f'{launcher}.pth', environment()
    command = [sys.executable, str(DRIVER), str(config), str(out), launcher, '2']
    processes = [
        subprocess.Popen(command, env=common | dict(zip(names, (rank, rank, '2'))), cwd=config.parent) for rank in '01'
    ]
    assert [process.wait(200) for process in processes] == [0, 0]
    together = torch.load(out)
    assert max(float((alone[n] - t).abs().max()) for n, t in together.items() if t.is_floating_point()) <= 1e-5


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both_at_the_same_step(config, alone):
    out = config.parent / 'stopped.pth'
    assert train(config, out, 2, 'stop') == {}
    saved = out.with_name('stopped.pth_work') / 'interrupted.pth'
    for rank in (0, 1):
        assert out.with_name(f'stopped.pth.{rank}').read_text() == f'SIGTERM at iteration 3: saved {saved}'
    assert torch.load(saved, weights_only=False)['meta']['iter'] == 3
    resumed = train(config, out, 2, 'resume')
    assert max(float((alone[n] - t).abs().max()) for n, t in resumed.items() if t.is_floating_point()) <= 1e-5


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_others_with_a_message(config, tmp_path):
    env = environment()
    command = ['bash', str(ROOT / 'tools/dist_train.sh'), str(config), '2', '--work-dir', str(tmp_path / 'work')]
    command += ['--verbose', '--cfg-options', 'train_cfg.max_iters=100000', 'default_hooks.logger.interval=1']
    process = subprocess.Popen(
        command, env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines, killed = [], None
    for line in process.stdout:
        lines.append(line)
        if killed is None and 'Iter(train)' in line:
            ranks = subprocess.run(['pgrep', '-P', str(process.pid)], capture_output=True, text=True, check=True)
            os.kill(max(map(int, ranks.stdout.split())), signal.SIGKILL)
            killed = time.monotonic()
    assert process.wait(60) != 0
    assert killed is not None, ''.join(lines)[-3000:]
    assert time.monotonic() - killed < 60
    output = ''.join(lines)
    assert 'SIGKILL' in output
    assert 'lost the connection to another process at iteration' in output
