"""Which process of a distributed training this is, as torchrun, Slurm or Open MPI tell it."""

from __future__ import annotations

import os
import subprocess

# Program, how to start it, and its names for torch's variables.
_LAUNCHERS = dict(
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
    """Set torch's variables RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT from those of the launcher.

    Args:
        launcher: 'none', which changes nothing, 'pytorch', 'slurm' or 'mpi'.

    Raises:
        ValueError: If a variable of the launcher is missing, or the address of the first machine can't be found out.
    """
    if launcher == 'none':
        return
    program, start, names = _LAUNCHERS[launcher]
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
