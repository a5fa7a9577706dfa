"""Where plain PyTorch replaces faster kernels, one warning says why, or an error if that is asked for."""

from __future__ import annotations

import re

import ops_cases as cases
import pytest
import torch

from mmlska import ops
from mmlska.ops.cpu import backend as cpu


def missing_kernels(monkeypatch) -> tuple:
    """A call of a front door that falls back, and the text that says so. The others need no kernels to do so."""
    monkeypatch.setattr(cpu, 'PROBLEM', 'the C++ kernels are not there; `pip install .` builds them')
    flat, dilation = cases.lska_tensors(4, 7, torch.float32)
    return lambda x: cases.lska(x, *flat, dilation), (
        'mmlska.ops runs in plain PyTorch, which is slower: the C++ kernels are not there; `pip install .` builds'
    )


def float32_under_autocast(monkeypatch) -> tuple:
    monkeypatch.setattr(cpu, 'PROBLEM', None)
    flat, dilation = cases.lska_tensors(4, 7, torch.float32)

    def call(x):
        with torch.autocast('cpu', torch.bfloat16):
            return cases.lska(x, *flat, dilation)

    return call, (
        'runs lska_attention of torch.float32 under autocast to torch.bfloat16 in plain PyTorch, which is slower: '
        'autocast keeps the product with x in torch.float32; pass x.to(torch.bfloat16)'
    )


def float16(monkeypatch) -> tuple:
    monkeypatch.setattr(cpu, 'PROBLEM', None)
    mlp = cases.mlp_tensors(4, torch.float16)
    return lambda x: cases.mlp(x.half(), *mlp), (
        'runs mlp of torch.float16 on cpu in plain PyTorch, which is slower: '
        'there is no kernel for that dtype; use one of torch.float32, torch.bfloat16'
    )


def many_taps(monkeypatch) -> tuple:
    monkeypatch.setattr(cpu, 'PROBLEM', None)
    shapes = (4, 1, 1, 65), (4, 1, 65, 1), (4, 4, 1, 1)
    h0, v0, pointwise = (cases.make_pair(s, torch.float32, 0) for s in shapes)
    return lambda x: ops.lska_attention(x, h0, v0, None, None, pointwise, 1), (
        'runs lska_attention with more than 63 taps in plain PyTorch, which is slower: '
        'the C++ kernels take up to 63; choose a smaller or a dilated kernel'
    )


every_fallback = pytest.mark.parametrize('fallback', [missing_kernels, float32_under_autocast, float16, many_taps])


@every_fallback
def test_fallback_warns_once(lenient, monkeypatch, fallback):
    call, text = fallback(monkeypatch)
    x = cases.channels_last(1, 4, 5, 6)
    with pytest.warns(UserWarning, match=re.escape(text)) as seen:
        found = [call(x) for x in (x, x, x[..., 1:, 1:].contiguous(memory_format=torch.channels_last))]
    assert len(seen) == 1
    assert '\n' not in str(seen[0].message)
    assert str(seen[0].message).startswith('mmlska.ops runs ')
    assert torch.equal(found[0], found[1])


@every_fallback
@pytest.mark.parametrize('value', ['1', 'true', 'ON', 'yes'])
def test_strict_turns_a_fallback_into_an_error(monkeypatch, fallback, value):
    monkeypatch.setenv('MMLSKA_STRICT', value)
    call, text = fallback(monkeypatch)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=re.escape(text)) as raised:
            call(cases.channels_last(1, 4, 5, 6))
        assert str(raised.value).endswith('; MMLSKA_STRICT=1 asks for an error')


@pytest.mark.parametrize('value', ['', '0', 'off', 'no'])
def test_not_strict(lenient, monkeypatch, value):
    monkeypatch.setenv('MMLSKA_STRICT', value)
    with pytest.warns(UserWarning, match='plain PyTorch'):
        missing_kernels(monkeypatch)[0](cases.channels_last(1, 4, 5, 6))


@every_fallback
def test_fallback_does_not_break_a_compiled_graph(lenient, monkeypatch, fallback):
    call, text = fallback(monkeypatch)
    x = cases.channels_last(1, 4, 5, 6)
    with pytest.warns(UserWarning, match=re.escape(text)):
        found = torch.compile(call, fullgraph=True, backend='eager')(x)
    torch.testing.assert_close(found, call(x))
    monkeypatch.setenv('MMLSKA_STRICT', '1')
    torch.compiler.reset()
    with pytest.raises(RuntimeError, match='MMLSKA_STRICT=1 asks for an error'):
        torch.compile(call, backend='eager')(x)


@pytest.mark.filterwarnings('error:mmlska')
def test_what_is_no_fallback_says_nothing(lenient, monkeypatch):
    """The reference where it was asked for, is the faster one for the layout, or is what a recorder shall see."""
    monkeypatch.setattr(cpu, 'PROBLEM', None)
    x, mlp = torch.rand(1, 4, 5, 6), cases.mlp_tensors(4, torch.float32)
    flat, dilation = cases.lska_tensors(4, 7, torch.float32)
    cases.mlp(x, *mlp)
    cases.mlp(x.half(), *(t.half() for t in mlp), backend='reference')
    torch.jit.trace(lambda x: cases.lska(x, *flat, dilation), x, check_trace=False)
    with torch.autocast('cpu', torch.bfloat16):
        cases.lska(x, *flat, dilation, backend='reference')
        cases.lska(x.to(torch.bfloat16), *flat, dilation, backend='reference')
        with pytest.raises(ValueError, match=r"backend='fast' is unknown"):
            cases.lska(x, *flat, dilation, backend='fast')
