"""The published code written out computes what ours computes, and keeps more for the backward pass."""

import pytest
import torch

from mmlska.benchmark.published import published_twin
from mmlska.cost import saved_bytes
from mmlska.models import VAN_LSKA
from mmlska.ops.cpu import backend as cpu

needs_cpu = pytest.mark.skipif(cpu.PROBLEM is not None, reason=str(cpu.PROBLEM))


@pytest.mark.parametrize('batch', [1, 2])
@pytest.mark.parametrize('attention', ['lska', 'lka', 'lska_trivial'])
def test_published_backbone_has_our_outputs_and_gradients(batch, attention):
    torch.manual_seed(0)
    ours = VAN_LSKA('t', k_size=11, attention=attention, drop_path_rate=0.0).double().train()
    twin, x = published_twin(ours), torch.randn(batch, 3, 65, 97, dtype=torch.float64)
    found, wanted = twin(x), ours(x)
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
        assert a.is_contiguous()
    grads = [torch.randn_like(t) for t in found]
    named = dict(ours.named_parameters())
    theirs = torch.autograd.grad(found, list(twin.parameters()), grads)
    mine = dict(zip(named, torch.autograd.grad(wanted, list(named.values()), grads)))
    for (name, _), grad in zip(twin.named_parameters(), theirs):
        torch.testing.assert_close(grad, mine[name], rtol=1e-7, atol=1e-8, msg=lambda m, name=name: f'{name}: {m}')


@needs_cpu
def test_training_keeps_less_than_45_percent_of_what_the_published_backbone_keeps():
    # 463 MB: the published code without its clones.
    torch.manual_seed(0)
    ours = VAN_LSKA('t').train()
    twin, x = published_twin(ours), torch.randn(1, 3, 512, 512)
    published = saved_bytes(lambda: twin(x), list(twin.parameters()))
    ours.to(memory_format=torch.channels_last)
    kept = saved_bytes(lambda: ours(x.to(memory_format=torch.channels_last)), list(ours.parameters()))
    assert kept < 0.45 * 463e6
    assert kept < 0.43 * published
