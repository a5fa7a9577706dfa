"""What is wrong or fails gets no time."""

import torch
from small_cases import case, measure_case
from torch import nn

from mmlska.benchmark.measure import ratio
from mmlska.benchmark.report import table


def test_a_wrong_contender_gets_no_time():
    built = case()
    with torch.no_grad():
        built.contenders['mmlska'].parameters[0].add_(1.0)
    record = measure_case(built)
    assert 'relative error' in record['contenders']['mmlska']['failed']
    assert 'median' not in record['contenders']['mmlska']
    assert record['contenders']['published']['median'] > 0
    assert ratio(record, 'mmlska') is None
    assert '| failed |' in table({'records': [record]})


def test_a_contender_that_raises_does_not_stop_the_others():
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError('no such kernel\nmore')

    built = case()
    built.contenders['published-channels-last'] = built.contenders['published']._replace(module=Broken())
    record = measure_case(built, profile=True)
    shares = record['contenders']['mmlska']['operators']
    assert 0.2 < sum(shares.values()) <= 1.01
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert record['contenders']['published-channels-last'] == {'failed': 'RuntimeError: no such kernel'}
    assert record['contenders']['mmlska']['median'] > 0
