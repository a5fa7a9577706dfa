"""The front doors: which backend runs, and with which dtypes and memory formats."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import ops_cases as cases
import pytest
import torch

from mmlska import ops
from mmlska.ops.cpu import backend as cpu

needs_cpu = pytest.mark.skipif(cpu.PROBLEM is not None, reason=str(cpu.PROBLEM))


@needs_cpu
def test_available_backends():
    assert ops.available_backends('cpu', torch.float32) == ['cpu', 'reference']
    assert ops.available_backends(torch.device('cpu'), torch.bfloat16) == ['cpu', 'reference']
    assert ops.available_backends('cpu', torch.float16) == ['reference']


@needs_cpu
def test_backend_that_cannot_run_the_dtype():
    half = {k: tuple(t.half() for t in v) if isinstance(v, tuple) else v for k, v in cases.lska_arguments().items()}
    half['x'] = half['x'].half()
    with pytest.raises(ValueError, match=r"backend='cpu' does not run torch.float16 on cpu; choose one of 'reference'"):
        ops.lska_attention(**half, backend='cpu')


@needs_cpu
def test_the_fused_backend_runs_by_default():
    arguments = cases.lska_arguments()
    calls = cases.record_fused_calls(lambda: ops.lska_attention(**arguments))
    assert calls == ['lska_inference']
    depthwise = cases.make_pair((4, 1, 3, 3), torch.float32, 0)
    single = partial(ops.mlp, expand=None, depthwise=depthwise, pointwise=None)
    assert cases.record_fused_calls(lambda: single(cases.channels_last(1, 4, 5, 6))) == ['depthwise_gelu']
    # The whole MLP is one operator.
    flat = [t.requires_grad_() for t in cases.mlp_tensors(8, torch.float32, 4, 4)]
    whole = partial(cases.mlp, cases.channels_last(1, 4, 40, 6), *flat, expand=True)
    assert cases.record_fused_calls(whole) == ['mlp_training']
    with torch.no_grad():
        assert cases.record_fused_calls(whole) == ['mlp_inference']
    # Converting the wide map of the MLP twice costs more than the fused kernel saves.
    assert cases.record_fused_calls(lambda: single(torch.rand(1, 4, 5, 6))) == []


def test_missing_backend_falls_back(lenient, monkeypatch):
    monkeypatch.setattr(cpu, 'PROBLEM', 'the C++ kernels are not there; `pip install .` builds them')
    arguments = cases.lska_arguments()
    with pytest.warns(UserWarning, match='plain PyTorch'):
        found = ops.lska_attention(**arguments)
    assert torch.equal(found, ops.lska_attention(**arguments, backend='reference'))
    assert ops.available_backends() == ['reference']
    with pytest.raises(ValueError, match=r"backend='cpu' cannot be used here: the C\+\+ kernels are not there"):
        ops.lska_attention(**arguments, backend='cpu')


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


# ---- what comes out ----


@needs_cpu
@pytest.mark.parametrize('layout', cases.LAYOUTS)
def test_output_has_the_memory_format_of_a_convolution(layout):
    model, x = cases.Ops(), cases.make_map((2, 8, 6, 7), torch.float32, layout)
    wanted = cases.Ops(backend='reference')(x)
    for backend in (None, 'cpu'):
        model.backend = backend
        assert model(x).stride() == wanted.stride()


@needs_cpu
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_has_the_dtypes_of_plain_pytorch(lenient, dtype):
    model, x = cases.Ops(), cases.channels_last(1, 8, 9, 5)
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
    model, x = cases.Ops(), cases.channels_last(1, 8, 9, 5, dtype=torch.bfloat16)
    with torch.autocast('cpu', torch.bfloat16):
        wanted = ['lska_training', 'depthwise_gelu', 'depthwise_gelu_pointwise', 'mlp_training']
        assert cases.record_fused_calls(lambda: model(x)) == wanted


@pytest.mark.parametrize('record', ['trace', 'export'])
def test_recorders_see_plain_operators(lenient, record):
    model, x = cases.Ops(), cases.channels_last(1, 8, 9, 5)
    wanted = cases.Ops(backend='reference')(x)
    if record == 'trace':
        recorded = torch.jit.trace(model, x)
        text = str(recorded.inlined_graph)
    else:
        program = torch.export.export(model, (x,))
        recorded, text = program.module(), str(program.graph)
    assert 'mmlska_cpu' not in text
    assert 'conv' in text
    torch.testing.assert_close(recorded(x), wanted)
