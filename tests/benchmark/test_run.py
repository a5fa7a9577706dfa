"""Which cases a plan has, in which order."""

from mmlska.benchmark.run import Plan, size

BASE = dict(
    device='cpu',
    ops=['lska', 'mlp'],
    archs=['t', 'b'],
    configs=['a.py'],
    attention='lka',
    k_sizes=[7, 23],
    stages=[1, 4],
    sizes=[(65, 96)],
    batch=2,
    dtypes=['fp32', 'bf16'],
    passes=['forward', 'forward+backward'],
    contenders=['published', 'mmlska'],
    seconds=0.1,
    profile=False,
)


def cases(kind: str, **changes) -> list:
    return list(Plan(**{**BASE, 'kind': kind, **changes}).cases())


def test_operators_at_each_stage_and_those_without_a_kernel_once():
    found = cases('op', dtypes=['fp32'], passes=['forward'])
    assert [(case.args, case.keywords['k_size']) for case in found] == [
        (('lska', 32, (17, 24)), 7),
        (('lska', 256, (3, 3)), 7),
        (('lska', 32, (17, 24)), 23),
        (('lska', 256, (3, 3)), 23),
        (('mlp', 32, (17, 24)), 7),
        (('mlp', 256, (3, 3)), 7),
    ]
    assert [case.keywords['ratio'] for case in found[:2]] == [8, 4]


def test_every_combination_of_backbones():
    found = cases('backbone')
    assert len(found) == 2 * 2 * 2 * 2
    assert len({str((case.args, case.keywords)) for case in found}) == len(found)
    assert {case.keywords['attention'] for case in found} == {'lka'}


def test_models_run_forward_alone():
    found = cases('model')
    assert [case.args for case in found] == [('a.py', (65, 96))] * 2
    assert all('passes' not in case.keywords for case in found)


def test_sizes_are_height_x_width():
    assert size('800x1333') == (800, 1333)
