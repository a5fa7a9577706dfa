"""What modules cost as they run: counts that can be made by hand, and those of an independent counter."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmlska.cost import count, dense_flops, latency, saved_bytes


def network():
    """Dense, strided, grouped and depthwise convolutions, a BatchNorm, a matrix product and attention."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.Conv2d(8, 8, 3, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 12, 1, groups=2),
        nn.Flatten(2),
        nn.TransformerEncoderLayer(45, 5, 16, batch_first=True),
        nn.Linear(45, 7),
    )


def test_flops_are_those_of_torchs_own_counter():
    x = torch.rand(2, 3, 23, 15)  # 11x7, 9x5: 45 pixels
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network()(x)
    counted = count(network(), x.shape)
    assert counted.flops == counter.get_total_flops() // 2
    assert counted.parameters == sum(p.numel() for p in network().parameters())


def test_only_dense_convolutions_are_dense():
    built, x = network(), torch.rand(2, 3, 23, 15)
    before = {name: value.clone() for name, value in built.state_dict().items()}
    assert dense_flops(built.train(), x) == 2 * (2 * 11 * 7 * 8) * 3 * 9
    assert built.training
    for name, value in built.state_dict().items():  # the network itself was not run
        assert torch.equal(value, before[name]), name


def test_memory_counts_what_is_alive_and_no_views_or_weights():
    chain = nn.Sequential(*(nn.Conv2d(4, 4, 1, bias=False) for _ in range(5)), nn.Flatten())
    assert count(chain, (1, 4, 10, 10)).peak_memory == 3 * 4 * 100 * 4  # the input stays, one map is read, one written
    assert count(chain, (1, 4, 10, 10)).activations == 5 * 4 * 100
    assert count(nn.Linear(1000, 1000), (1, 1, 1, 1000)).peak_memory == 2 * 1000 * 4


@pytest.mark.parametrize('device', ['cpu', 'meta'])
def test_bytes_saved_for_backward(device):
    linear, x = nn.Linear(8, 4).to(device), torch.randn(16, 8, device=device)
    assert saved_bytes(lambda: linear(x).sigmoid(), linear.parameters()) == (16 * 8 + 16 * 4) * 4
    scale = torch.ones(4, requires_grad=True, device=device)
    y = linear(x)  # kept by both operators, and counted once; a view of a parameter is no memory of its own
    assert saved_bytes(lambda: (y * scale[None], y.square()), [scale]) == 16 * 4 * 4


def test_latency_is_a_time():
    assert 0 < latency(nn.Conv2d(3, 8, 3), torch.rand(1, 3, 16, 16), repeats=3, warm_up=1) < 1
