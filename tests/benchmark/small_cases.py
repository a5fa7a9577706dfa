"""A case of one operator on a small map, and its measurement."""

import torch

from mmlska.benchmark.cases import Case, op_case
from mmlska.benchmark.measure import check_case, time_case

CPU = torch.device('cpu')
EAGER = ('published', 'published-channels-last', 'mmlska')


def case(op='lska', size=(9, 7), dtype=torch.float32, passes='forward+backward', names=EAGER) -> Case:
    return op_case(op, 8, size, batch=2, k_size=7, dtype=dtype, passes=passes, device=CPU, names=names)


def measure_case(case: Case, profile: bool = False) -> dict:
    return time_case(case, check_case(case), 0.01, profile)
