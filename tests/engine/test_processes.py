"""Which process of a distributed training this is."""

import os

import pytest

from mmlska.engine.processes import use_launcher

SLURM = dict(SLURM_PROCID='3', SLURM_NTASKS='4', SLURM_LOCALID='1')
MPI = dict(OMPI_COMM_WORLD_RANK='3', OMPI_COMM_WORLD_SIZE='4', OMPI_COMM_WORLD_LOCAL_RANK='1')
OURS = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')


@pytest.fixture
def environment(monkeypatch):
    """Set the variables of a launcher, and nothing else of that kind."""

    def prepare(**variables: str) -> None:
        for name in [n for n in os.environ if n in OURS or n.startswith(('SLURM_', 'OMPI_'))]:
            monkeypatch.delenv(name)
        for name in OURS:  # so that what use_launcher sets goes away with the test
            monkeypatch.setenv(name, '')
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return prepare


@pytest.mark.parametrize(
    ('launcher', 'variables', 'address', 'port'),
    [
        ('slurm', dict(SLURM, SLURM_NNODES='1'), '127.0.0.1', '29500'),
        ('slurm', dict(SLURM, MASTER_ADDR='node7', MASTER_PORT='29511'), 'node7', '29511'),
        ('mpi', dict(MPI, OMPI_COMM_WORLD_LOCAL_SIZE='4'), '127.0.0.1', '29500'),
        ('mpi', dict(MPI, OMPI_COMM_WORLD_LOCAL_SIZE='2', MASTER_ADDR='node7', LOCAL_RANK='0'), 'node7', '29500'),
    ],
)
def test_torchs_variables(launcher, variables, address, port, environment):
    environment(**variables)
    use_launcher(launcher)
    assert [os.environ[name] for name in OURS] == ['3', '4', '1', address, port]


def test_slurm_names_its_first_machine(environment, monkeypatch, tmp_path):
    scontrol = tmp_path / 'scontrol'  # Slurm's program, which is on the machines of a cluster only
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames gpu[04-05]" ] && printf "gpu04\\ngpu05\\n"\n')
    scontrol.chmod(0o755)
    environment(**SLURM, SLURM_NNODES='2', SLURM_NODELIST='gpu[04-05]')
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    use_launcher('slurm')
    assert os.environ['MASTER_ADDR'] == 'gpu04'


@pytest.mark.parametrize(
    ('launcher', 'variables', 'message'),
    [
        ('pytorch', {}, r'needs the variables of torchrun \(RANK\); start with tools/dist_train.sh'),
        ('slurm', {}, r'needs the variables of srun \(SLURM_PROCID\); start with tools/slurm_train.sh'),
        ('mpi', {}, r"needs the variables of Open MPI's mpirun \(OMPI_COMM_WORLD_RANK\); start with mpirun -n"),
        ('mpi', dict(MPI, OMPI_COMM_WORLD_LOCAL_SIZE='2'), 'on several machines needs MASTER_ADDR; set it'),
        ('slurm', dict(SLURM, SLURM_NNODES='2'), 'on several machines needs MASTER_ADDR; set it'),
    ],
)
def test_what_is_missing_is_named(launcher, variables, message, environment):
    environment(**variables)
    with pytest.raises(ValueError, match=f'--launcher {launcher} {message}'):
        use_launcher(launcher)


def test_one_process_needs_nothing(environment):
    environment()
    use_launcher('none')
    assert 'RANK' not in os.environ
