"""A training in one or several processes: what the launcher tells of them, the lock they share, the bare model, how they end."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys

import torch
from mmengine.config import Config
from mmengine.dist import broadcast_object_list, init_dist, is_distributed
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch import nn

from .lock import lock_work_dir

# Program, how to start it, and its names for torch's variables.
LAUNCHERS = dict(
    pytorch=(
        'torchrun',
        'tools/dist_train.sh',
        {name: name for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')},
    ),
    slurm=(
        'srun',
        'tools/slurm_train.sh',
        dict(RANK='SLURM_PROCID', WORLD_SIZE='SLURM_NTASKS', LOCAL_RANK='SLURM_LOCALID'),
    ),
    mpi=(
        "Open MPI's mpirun",
        'mpirun -n PROCESSES',
        dict(
            RANK='OMPI_COMM_WORLD_RANK',
            WORLD_SIZE='OMPI_COMM_WORLD_SIZE',
            LOCAL_RANK='OMPI_COMM_WORLD_LOCAL_RANK',
        ),
    ),
)


def use_launcher(launcher: str) -> None:
    """Set torch's RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT from the variables of the launcher, if it is not 'none'.

    Raises:
        ValueError: If a variable of the launcher is missing, or the address of the first machine can't be found out.
    """
    if launcher == 'none':
        return
    program, start, names = LAUNCHERS[launcher]
    missing = [name for name in names.values() if name not in os.environ]
    if missing:
        raise ValueError(f'--launcher {launcher} needs the variables of {program} ({missing[0]}); start with {start}')
    os.environ.update({name: os.environ[theirs] for name, theirs in names.items()})
    if 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = _first_machine(launcher)
    os.environ.setdefault('MASTER_PORT', '29500')


def _first_machine(launcher: str) -> str:
    if launcher == 'slurm':
        alone = os.environ.get('SLURM_NNODES') == '1'
    else:
        alone = os.environ.get('OMPI_COMM_WORLD_LOCAL_SIZE') == os.environ['WORLD_SIZE']
    if alone:
        return '127.0.0.1'
    nodes = os.environ.get('SLURM_NODELIST')
    if launcher == 'slurm' and nodes:
        command = ['scontrol', 'show', 'hostnames', nodes]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
        except (OSError, subprocess.CalledProcessError, IndexError):
            pass  # the next line says what to do
    raise ValueError(
        f'--launcher {launcher} on several machines needs MASTER_ADDR; set it to the name of the first one'
    )


def bare_model(runner: Runner) -> nn.Module:
    """The model of a runner without the wrapper of a distributed training."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def leave_processes() -> None:
    """End this process, if it is one of several, at the good end of a run.

    Not through the interpreter's own end, in which threads of torch and Gloo now and then abort a process that has done all of its work;
    torchrun would count that as a failure of the run.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def is_first(cfg: Config) -> bool:
    """Whether this is the first process of a run, before the process group is there."""
    return cfg.get('launcher', 'none') == 'none' or os.environ['RANK'] == '0'


def claim_work_dir(cfg: Config) -> None:
    """Lock the work directory for this training, by its first process; all of its processes have to call this.

    Raises:
        ValueError: In all processes, if another training uses it; see :func:`mmlska.engine.lock.lock_work_dir`.
    """
    refusal: list[Exception | None] = [None]
    if is_first(cfg):
        try:
            lock_work_dir(cfg.work_dir)
        except (OSError, ValueError) as error:
            refusal = [error]
    if cfg.launcher != 'none':
        if not is_distributed():  # as MMEngine's Runner would later
            set_multi_processing(**cfg.env_cfg.get('mp_cfg', {}), distributed=True)
            init_dist(cfg.launcher, **cfg.env_cfg.get('dist_cfg', {}))
        broadcast_object_list(refusal)
    if refusal[0] is not None:
        raise refusal[0]
