"""The front doors: definition, argument checks, choice of the backend, and life inside PyTorch's machinery."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import types
import warnings
from functools import partial
from pathlib import Path

import ops_cases as cases
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmlska import ops
from mmlska.ops.cpu import backend as cpu

needs_cpu = pytest.mark.skipif(cpu.PROBLEM is not None, reason=str(cpu.PROBLEM))


def by_shifting(x: Tensor, weight: Tensor, bias: Tensor, dilation: int = 1) -> Tensor:
    """A depthwise convolution written as what it means: a sum of shifted maps, zero outside the image."""
    c, _, kh, kw = weight.shape
    ph, pw = dilation * (kh - 1) // 2, dilation * (kw - 1) // 2
    padded = F.pad(x, (pw, pw, ph, ph))
    out = bias.view(1, c, 1, 1).expand_as(x).clone()
    for i in range(kh):
        for j in range(kw):
            top, left = i * dilation, j * dilation
            out += weight[:, 0, i, j].view(1, c, 1, 1) * padded[:, :, top : top + x.shape[2], left : left + x.shape[3]]
    return out


class Ops(nn.Module):
    """Both operators, with their weights as parameters."""

    def __init__(self, c: int = 8, k_size: int = 23, backend: str | None = None) -> None:
        super().__init__()
        flat, self.dilation = cases.lska_tensors(c, k_size, torch.float32)
        self.flat = nn.ParameterList(flat)
        self.mlp = nn.ParameterList(cases.mlp_tensors(c, torch.float32))
        self.reducing_mlp = nn.ParameterList(cases.mlp_tensors(c, torch.float32, c))
        self.whole_mlp = nn.ParameterList(cases.mlp_tensors(4 * c, torch.float32, c, c))
        self.backend = backend

    def forward(self, x: Tensor) -> Tensor:
        groups = self.flat, self.mlp, self.reducing_mlp, self.whole_mlp
        # By index: the compiler of torch 2.11 does not unpack a ParameterList.
        flat, mlp, reducing, whole = ([group[i] for i in range(len(group))] for group in groups)
        x = cases.lska(x, *flat, self.dilation, backend=self.backend)
        x = cases.mlp(x, *mlp, backend=self.backend)
        x = cases.mlp(x, *reducing, backend=self.backend)
        return cases.mlp(x, *whole, expand=True, backend=self.backend)


def channels_last(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return cases.make_map(shape, dtype, 'channels_last')


# ---- definition ----


@pytest.mark.parametrize('size', [(1, 1), (2, 9), (13, 17)])
@pytest.mark.parametrize('k_size', cases.LADDER)
def test_reference_is_the_definition(k_size, size):
    flat, dilation = cases.lska_tensors(3, k_size, torch.float64)
    x = cases.make_map((2, 3, *size), torch.float64, 'contiguous')
    h0, v0, h1, v1, (weight, bias) = cases.as_pairs(flat)
    t = by_shifting(by_shifting(by_shifting(by_shifting(x, *h0), *v0), *h1, dilation), *v1, dilation)
    wanted = x * (torch.einsum('nchw,oc->nohw', t, weight[:, :, 0, 0]) + bias.view(1, -1, 1, 1))
    torch.testing.assert_close(cases.lska(x, *flat, dilation, backend='reference'), wanted, rtol=1e-12, atol=1e-12)


def test_reference_depthwise_gelu_is_the_definition():
    x = cases.make_map((2, 3, 5, 4), torch.float64, 'contiguous')
    weight, bias = cases.make_pair((3, 1, 3, 3), torch.float64, 0)
    t = by_shifting(x, weight, bias)
    wanted = t * 0.5 * (1 + torch.special.erf(t / 2**0.5))
    torch.testing.assert_close(ops.depthwise_gelu(x, weight, bias, backend='reference'), wanted, rtol=1e-12, atol=1e-12)


def test_closed_form_of_the_chain():
    """The biased chain is one horizontal pass, one vertical pass and a separable bias field, borders included."""
    flat, d = cases.lska_tensors(2, 23, torch.float64)
    x = cases.make_map((1, 2, 7, 30), torch.float64, 'contiguous')
    h0, v0, h1, v1, _ = cases.as_pairs(flat)
    zero, one = torch.zeros(2, dtype=torch.float64), torch.ones(1, 2, 7, 30, dtype=torch.float64)
    linear = [partial(by_shifting, weight=p[0], bias=zero, dilation=k) for p, k in ((h0, 1), (v0, 1), (h1, d), (v1, d))]
    H0, V0, H1, V1 = linear
    b_h0, b_v0, b_h1, b_v1 = (p[1].view(1, 2, 1, 1) for p in (h0, v0, h1, v1))
    field = H1(one) * (b_h0 * V1(V0(one)) + b_v0 * V1(one)) + b_h1 * V1(one) + b_v1
    chain = by_shifting(by_shifting(by_shifting(by_shifting(x, *h0), *v0), *h1, d), *v1, d)
    torch.testing.assert_close(V1(V0(H1(H0(x)))) + field, chain, rtol=1e-12, atol=1e-12)


# ---- arguments ----


def lska_arguments() -> dict:
    flat, dilation = cases.lska_tensors(4, 7, torch.float32)
    names = ('h0', 'v0', 'h1', 'v1', 'pointwise')
    return dict(x=torch.rand(1, 4, 5, 6), **dict(zip(names, cases.as_pairs(flat))), dilation=dilation)


@pytest.mark.parametrize(
    ('change', 'error', 'text'),
    [
        (dict(x=[1.0]), TypeError, r'x must be a Tensor, got list'),
        (dict(x=torch.rand(4, 5, 6)), ValueError, r'x has shape \(4, 5, 6\); it must be \(N, C, H, W\)'),
        (dict(x=torch.ones(1, 4, 5, 6, dtype=torch.int64)), TypeError, r'x has dtype torch.int64; .* x.float\(\)'),
        (dict(x=torch.rand(1, 5, 5, 6)), ValueError, r'h0 weight has shape \(4, 1, 1, 3\); .* with C = 5'),
        (dict(h0=torch.rand(4, 1, 1, 3)), TypeError, r'h0 must be a pair \(weight, bias\) of Tensors, got Tensor'),
        (dict(v0=(torch.rand(4, 1, 3, 1), None)), TypeError, r'v0 must be a pair .* got tuple of \(Tensor, NoneType\)'),
        (dict(v0=(torch.rand(4, 1, 1, 3), torch.rand(4))), ValueError, r'v0 weight .* must be \(C, 1, k, 1\)'),
        (dict(h1=(torch.rand(4, 1, 1, 4), torch.rand(4))), ValueError, r'h1 weight .* k odd'),
        (dict(h1=None), ValueError, r'h1 and v1 must both be given'),
        (dict(v1=(torch.rand(4, 1, 3, 1), torch.rand(5))), ValueError, r'v1 bias has shape \(5,\); it must be \(4,\)'),
        (dict(pointwise=(torch.rand(4, 4), torch.rand(4))), ValueError, r'pointwise weight .* must be \(4, 4, 1, 1\)'),
        (
            dict(pointwise=(torch.rand(4, 4, 1, 1).double(), torch.rand(4))),
            ValueError,
            r'float64 on cpu but x is torch.float32',
        ),
        (dict(dilation=0), ValueError, r'dilation=0 must be 1 or more'),
        (dict(dilation=2.0), TypeError, r'dilation must be an int, got 2.0'),
        (dict(backend='fast'), ValueError, r"backend='fast' is unknown; choose one of .*'cpu', 'reference'"),
    ],
)
def test_wrong_arguments_of_lska(change, error, text):
    arguments = {**lska_arguments(), **change}
    with pytest.raises(error, match=text) as raised:
        ops.lska_attention(**arguments)
    assert '\n' not in str(raised.value)


@pytest.mark.parametrize(
    ('change', 'error', 'text'),
    [
        (dict(x=torch.rand(4)), ValueError, r'x has shape \(4,\)'),
        (
            dict(weight=torch.rand(4, 1, 5, 5)),
            ValueError,
            r'weight has shape \(4, 1, 5, 5\); it must be \(4, 1, 3, 3\)',
        ),
        (dict(bias=None), TypeError, r'weight and bias must be a pair'),
        (dict(bias=torch.rand(3)), ValueError, r'depthwise bias has shape \(3,\); it must be \(4,\)'),
        (dict(bias=torch.rand(4).half()), ValueError, r'depthwise bias is torch.float16'),
        (dict(pointwise=torch.rand(2, 4, 1, 1)), TypeError, r'pointwise must be a pair \(weight, bias\) of Tensors'),
        (
            dict(pointwise=(torch.rand(2, 3, 1, 1), torch.rand(2))),
            ValueError,
            r'pointwise has .* shapes \(2, 3, 1, 1\) and \(2,\); they must be \(C2, 4, 1, 1\) and \(C2,\)',
        ),
        (
            dict(expand=torch.rand(4, 4, 1, 1)),
            TypeError,
            r'expand must be a pair \(weight, bias\) of Tensors, got Tensor',
        ),
        (
            dict(expand=(torch.rand(4, 3, 1, 1), torch.rand(4))),
            ValueError,
            r'expand has .* shapes \(4, 3, 1, 1\) and \(4,\); they must be \(C2, 4, 1, 1\) and \(C2,\), as x has 4 channels',
        ),
        (
            dict(expand=(torch.rand(6, 4, 1, 1), torch.rand(6))),
            ValueError,
            r'weight has shape \(4, 1, 3, 3\); it must be \(6, 1, 3, 3\), as the output of expand has 6 channels',
        ),
        (
            dict(expand=(torch.rand(4, 4, 1, 1), torch.rand(4).double())),
            ValueError,
            r'expand bias is torch.float64 on cpu but x is torch.float32',
        ),
    ],
)
def test_wrong_arguments_of_depthwise_gelu(change, error, text):
    arguments = {**dict(x=torch.rand(1, 4, 5, 6), weight=torch.rand(4, 1, 3, 3), bias=torch.rand(4)), **change}
    with pytest.raises(error, match=text):
        ops.depthwise_gelu(**arguments)


# ---- choice of the backend ----


@needs_cpu
def test_available_backends():
    assert ops.available_backends('cpu', torch.float32) == ['cpu', 'reference']
    assert ops.available_backends(torch.device('cpu'), torch.bfloat16) == ['cpu', 'reference']
    assert ops.available_backends('cpu', torch.float16) == ['reference']


@needs_cpu
def test_backend_that_cannot_run_the_dtype(lenient):
    half = {k: tuple(t.half() for t in v) if isinstance(v, tuple) else v for k, v in lska_arguments().items()}
    half['x'] = half['x'].half()
    with pytest.raises(ValueError, match=r"backend='cpu' does not run torch.float16 on cpu; choose one of 'reference'"):
        ops.lska_attention(**half, backend='cpu')
    text = (
        r'mmlska.ops runs lska_attention of torch.float16 on cpu in plain PyTorch, which is slower: '
        r'there is no kernel for that dtype; use one of torch.float32, torch.bfloat16$'
    )
    with pytest.warns(UserWarning, match=text) as seen:
        assert [ops.lska_attention(**half).dtype for _ in range(2)] == [torch.float16] * 2
    assert len(seen) == 1


@needs_cpu
def test_the_fused_backend_runs_by_default():
    arguments = lska_arguments()
    calls = record_fused_calls(lambda: ops.lska_attention(**arguments))
    assert calls == ['lska_inference']
    weight, bias = cases.make_pair((4, 1, 3, 3), torch.float32, 0)
    assert record_fused_calls(lambda: ops.depthwise_gelu(channels_last(1, 4, 5, 6), weight, bias)) == ['depthwise_gelu']
    # The whole MLP is one operator.
    flat = [t.requires_grad_() for t in cases.mlp_tensors(8, torch.float32, 4, 4)]
    whole = partial(cases.mlp, channels_last(1, 4, 40, 6), *flat, expand=True)
    assert record_fused_calls(whole) == ['mlp_training']
    with torch.no_grad():
        assert record_fused_calls(whole) == ['mlp_inference']
    # Converting the wide map of the MLP twice costs more than the fused kernel saves.
    assert record_fused_calls(lambda: ops.depthwise_gelu(torch.rand(1, 4, 5, 6), weight, bias)) == []


def record_fused_calls(function) -> list[str]:
    from torch.utils._python_dispatch import TorchDispatchMode

    calls = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func.namespace.startswith('mmlska'):
                calls.append(func._opname)
            return func(*args, **(kwargs or {}))

    with Recorder():
        function()
    return calls


def test_missing_backend_warns_once_and_falls_back(lenient, monkeypatch):
    monkeypatch.setattr(cpu, 'PROBLEM', 'the C++ kernels are not there; `pip install .` builds them')
    arguments = lska_arguments()
    with pytest.warns(
        UserWarning, match=r'mmlska.ops runs in plain PyTorch, which is slower: .*`pip install \.` builds'
    ):
        found = ops.lska_attention(**arguments)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        again = ops.lska_attention(**arguments)
    assert torch.equal(found, ops.lska_attention(**arguments, backend='reference'))
    assert torch.equal(found, again)
    assert ops.available_backends() == ['reference']
    with pytest.raises(ValueError, match=r"backend='cpu' cannot be used here: the C\+\+ kernels are not there"):
        ops.lska_attention(**arguments, backend='cpu')


def missing_kernels(monkeypatch) -> tuple:
    """A call of a front door that falls back, and the text that says so. The others need no kernels to do so."""
    monkeypatch.setattr(cpu, 'PROBLEM', 'the C++ kernels are not there; `pip install .` builds them')
    flat, dilation = cases.lska_tensors(4, 7, torch.float32)
    return lambda x: cases.lska(x, *flat, dilation), 'not there; `pip install .` builds'


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
    return lambda x: cases.mlp(x.half(), *mlp), 'runs depthwise_gelu of torch.float16 on cpu in plain PyTorch'


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
    x = channels_last(1, 4, 5, 6)
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
            call(channels_last(1, 4, 5, 6))
        assert str(raised.value).endswith('; MMLSKA_STRICT=1 asks for an error')


@pytest.mark.parametrize('value', ['', '0', 'off', 'no'])
def test_not_strict(lenient, monkeypatch, value):
    monkeypatch.setenv('MMLSKA_STRICT', value)
    with pytest.warns(UserWarning, match='plain PyTorch'):
        missing_kernels(monkeypatch)[0](channels_last(1, 4, 5, 6))


@every_fallback
def test_fallback_does_not_break_a_compiled_graph(lenient, monkeypatch, fallback):
    call, text = fallback(monkeypatch)
    x = channels_last(1, 4, 5, 6)
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


def test_kernels_of_another_version_are_left_alone(monkeypatch):
    old = types.ModuleType('mmlska.ops.cpu._kernels')
    old.SCHEMAS = 0
    monkeypatch.setitem(sys.modules, 'mmlska.ops.cpu._kernels', old)
    monkeypatch.setattr(sys.modules['mmlska.ops.cpu'], '_kernels', old, raising=False)
    spec = importlib.util.spec_from_file_location('mmlska.ops.cpu.again', cpu.__file__)
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    assert again.PROBLEM.startswith('the C++ kernels are those of another version; with a C++ compiler, `pip install')


def test_ops_import_nothing_but_torch():
    root = Path(ops.__file__).parents[1]
    script = (
        'import sys, types\n'
        f'package = types.ModuleType("mmlska"); package.__path__ = [{str(root)!r}]; sys.modules["mmlska"] = package\n'
        'import mmlska.ops\n'
        'print(sorted({m.split(".")[0] for m in sys.modules} & {"mmengine", "mmcv", "mmdet", "mmseg", "triton"}))'
    )
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'


# ---- inside PyTorch ----


@needs_cpu
@pytest.mark.parametrize('layout', cases.LAYOUTS)
def test_output_has_the_memory_format_of_a_convolution(layout):
    model, x = Ops(), cases.make_map((2, 8, 6, 7), torch.float32, layout)
    wanted = Ops(backend='reference')(x)
    for backend in (None, 'cpu'):
        model.backend = backend
        assert model(x).stride() == wanted.stride()


@needs_cpu
def test_inference_mode():
    model, x = Ops(backend='cpu'), channels_last(1, 8, 9, 5)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # inference mode is a state of the calling thread; what others compute must not need it
    try:
        wanted = model(x)
        with torch.inference_mode():
            found = model(x)
    finally:
        torch.set_num_threads(threads)
    assert found.is_inference()
    assert torch.equal(found, wanted)


@needs_cpu
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_has_the_dtypes_of_plain_pytorch(lenient, dtype):
    model, x = Ops(), channels_last(1, 8, 9, 5)
    with torch.autocast('cpu', dtype):
        y = cases.lska(x, *model.flat, model.dilation)
        assert y.dtype == cases.lska_twin(x, *model.flat, model.dilation).dtype == torch.float32
        low = cases.lska(x.to(dtype), *model.flat, model.dilation)
        assert low.dtype == cases.lska_twin(x.to(dtype), *model.flat, model.dilation).dtype == dtype
        z = cases.mlp(cases.mlp(cases.mlp(x, *model.mlp), *model.reducing_mlp), *model.whole_mlp, expand=True)
        assert z.dtype == cases.mlp_twin(x, *model.mlp).dtype == dtype
        (low.float().square().sum() + z.float().square().sum()).backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())
    plain = cases.lska(x, *model.flat, model.dilation)
    assert ((low - plain).abs().max() / plain.abs().max()).item() < 0.02
    double = cases.make_map((1, 8, 4, 4), torch.float64, 'channels_last')
    with torch.autocast('cpu', dtype):
        flat, dilation = cases.lska_tensors(8, 23, torch.float64)
        assert cases.lska(double, *flat, dilation).dtype == torch.float64


@needs_cpu
def test_autocast_runs_the_fused_kernels():
    model, x = Ops(), channels_last(1, 8, 9, 5, dtype=torch.bfloat16)
    with torch.autocast('cpu', torch.bfloat16):
        wanted = ['lska_training', 'depthwise_gelu', 'depthwise_gelu_pointwise', 'mlp_training']
        assert record_fused_calls(lambda: model(x)) == wanted


@needs_cpu
@pytest.mark.parametrize('layout', ['channels_last', 'contiguous'])
def test_compile_in_one_graph(layout):
    model, x = Ops(backend='cpu'), cases.make_map((2, 8, 9, 5), torch.float32, layout).requires_grad_()
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    results = []
    for f in (model, compiled):
        y = f(x)
        results.append([y.detach(), *torch.autograd.grad(y.square().sum(), [x, *model.parameters()])])
    for a, b in zip(*results):
        torch.testing.assert_close(a, b)
    assert results[0][0].stride() == results[1][0].stride()
    with torch.no_grad():
        found = torch.compile(model, fullgraph=True, backend='aot_eager')(x)
    torch.testing.assert_close(found, results[0][0])
    assert found.stride() == results[0][0].stride()


@needs_cpu
def test_operators_keep_the_rules_of_custom_operators():
    flat, dilation = cases.lska_tensors(4, 7, torch.float32)
    x = channels_last(2, 4, 5, 6)
    learnt = [t.clone().requires_grad_() for t in (x, *flat)]
    mlp = cases.mlp_tensors(4, torch.float32, 6)
    learnt_mlp = [x.clone().requires_grad_(), *(t.clone().requires_grad_() for t in mlp)]
    whole_mlp = cases.mlp_tensors(8, torch.float32, 6, 4)
    y = channels_last(2, 6, 5, 6)
    namespace = torch.ops.mmlska_cpu
    torch.library.opcheck(namespace.lska_inference.default, (x, *flat, dilation, False))
    torch.library.opcheck(namespace.lska_training.default, (*learnt, dilation, True))
    torch.library.opcheck(namespace.lska_backward.default, (x, x, x, *flat, dilation, True))
    torch.library.opcheck(namespace.depthwise_gelu.default, learnt_mlp[:3])
    torch.library.opcheck(namespace.depthwise_gelu_backward.default, (x, x, *mlp[:2]))
    torch.library.opcheck(namespace.depthwise_gelu_pointwise.default, learnt_mlp)
    torch.library.opcheck(namespace.depthwise_gelu_pointwise_backward.default, (y, x, *mlp[:3]))
    whole_mlp = [*whole_mlp[4:], *whole_mlp[:4]]
    torch.library.opcheck(namespace.mlp_inference.default, (x, *whole_mlp))
    learnt_mlp = [learnt[0], *(t.clone().requires_grad_() for t in whole_mlp)]
    torch.library.opcheck(namespace.mlp_training.default, learnt_mlp)
    wide = channels_last(2, 8, 5, 6)
    torch.library.opcheck(namespace.mlp_backward.default, (y, x, wide, whole_mlp[0], *whole_mlp[2:5]))


@needs_cpu
def test_activation_checkpointing():
    model, x = Ops(backend='cpu'), channels_last(1, 8, 9, 5).requires_grad_()
    wanted = torch.autograd.grad(model(x).square().sum(), [x, *model.parameters()])
    for reentrant in (False, True):
        found = torch.autograd.grad(checkpoint(model, x, use_reentrant=False).square().sum(), [x, *model.parameters()])
        assert all(torch.equal(a, b) for a, b in zip(found, wanted)), reentrant


@pytest.mark.parametrize('record', ['trace', 'export'])
def test_recorders_see_plain_operators(lenient, record):
    model, x = Ops(), channels_last(1, 8, 9, 5)
    wanted = Ops(backend='reference')(x)
    if record == 'trace':
        recorded = torch.jit.trace(model, x)
        text = str(recorded.inlined_graph)
    else:
        program = torch.export.export(model, (x,))
        recorded, text = program.module(), str(program.graph)
    assert 'mmlska_cpu' not in text
    assert 'conv' in text
    torch.testing.assert_close(recorded(x), wanted)


# ---- memory ----


def saved_for_backward(function, *parameters: Tensor) -> int:
    """Bytes of distinct memory, other than the parameters', that autograd keeps between forward and backward."""
    own = {p.untyped_storage().data_ptr() for p in parameters}
    kept = {}

    def pack(t):
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = function()
    del out
    return sum(size for pointer, size in kept.items() if pointer not in own)


@needs_cpu
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_memory_saved_for_backward(dtype):
    flat, dilation = cases.lska_tensors(32, 23, dtype)
    flat = [t.requires_grad_() for t in flat]
    x = channels_last(2, 32, 16, 12, dtype=dtype).requires_grad_()
    one = x.numel() * x.element_size()
    # Its input and one intermediate; plain PyTorch keeps the input, the four depthwise results and the attention.
    assert saved_for_backward(lambda: cases.lska(x, *flat, dilation, backend='cpu'), *flat) == 2 * one
    assert saved_for_backward(lambda: cases.lska(x, *flat, dilation, backend='reference'), *flat) == 6 * one
    assert saved_for_backward(lambda: cases.lska(x, *flat, dilation, gelu=True, backend='cpu'), *flat) == 2 * one
    # The input of the depthwise convolution; plain PyTorch keeps the GELU's input, and its output for the 1x1.
    for out_channels, plain in ((None, 2), (8, 3)):
        mlp = [t.requires_grad_() for t in cases.mlp_tensors(32, dtype, out_channels)]
        assert saved_for_backward(lambda mlp=mlp: cases.mlp(x, *mlp, backend='cpu'), *mlp) == one
        assert saved_for_backward(lambda mlp=mlp: cases.mlp_twin(x, *mlp), *mlp) == plain * one
    # The input and the output of the first 1x1, which is four times as wide; plain PyTorch keeps two more of that.
    mlp = [t.requires_grad_() for t in cases.mlp_tensors(128, dtype, 32, 32)]
    assert saved_for_backward(lambda: cases.mlp(x, *mlp, expand=True, backend='cpu'), *mlp) == 5 * one
    assert saved_for_backward(lambda: cases.mlp_twin(x, *mlp, expand=True), *mlp) == 13 * one
