"""The fused backends on the CPU beyond the grid of test_ops_grid.py: derivatives, extreme values, threads, instruction sets."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import types
from functools import partial
from pathlib import Path

import ops_cases as cases
import pytest
import torch
import torch.nn.functional as F

from mmlska import ops
from mmlska.ops import functional
from mmlska.ops.cpu import backend as cpu

# Those that run on the CPU; test_triton_*.py test the one for GPUs.
FUSED = [name for name in functional._BACKENDS if name not in ('reference', 'triton')]
DTYPES = [torch.float64, torch.float32, torch.bfloat16]

every_backend = pytest.mark.parametrize('backend', FUSED)
every_dtype = pytest.mark.parametrize('dtype', DTYPES, ids=lambda d: str(d)[6:])


pytestmark = pytest.mark.usefixtures('poisoned_memory')


@pytest.fixture(autouse=True)
def _need_backend(request):
    backend = request.node.callspec.params.get('backend') if hasattr(request.node, 'callspec') else None
    if backend and functional._BACKENDS[backend].PROBLEM:
        pytest.skip(functional._BACKENDS[backend].PROBLEM)


@every_backend
def test_empty_batch(backend):
    flat, dilation = cases.lska_tensors(3, 7, torch.float32)
    x = torch.empty(0, 3, 4, 5)
    assert cases.lska(x, *flat, dilation, backend=backend).shape == (0, 3, 4, 5)
    for out_channels in (None, 2):
        y = cases.mlp(x, *cases.mlp_tensors(3, torch.float32, out_channels), backend=backend)
        assert y.shape == (0, out_channels or 3, 4, 5)


@every_backend
@every_dtype
def test_design_without_dilated_kernels(backend, dtype):
    flat = [t for i, s in enumerate([(3, 1, 1, 9), (3, 1, 9, 1), (3, 3, 1, 1)]) for t in cases.make_pair(s, dtype, i)]
    x = cases.make_map((2, 3, 11, 6), dtype, 'channels_last')
    fused, twin = (partial(cases.lska_trivial, backend=b) for b in (backend, 'reference'))
    cases.assert_close_to_reference(fused, twin, [x, *flat])


@every_backend
def test_kernel_longer_than_the_kernels_take(lenient, backend):
    pairs = [cases.make_pair(s, torch.float32, 0) for s in ((2, 1, 1, 101), (2, 1, 101, 1), (2, 2, 1, 1))]
    x = cases.make_map((1, 2, 7, 9), torch.float32, 'contiguous')
    found = ops.lska_attention(x, *pairs[:2], None, None, pairs[2], 1, backend=backend)
    wanted = ops.lska_attention(x, *pairs[:2], None, None, pairs[2], 1, backend='reference')
    torch.testing.assert_close(found, wanted)


@every_backend
@pytest.mark.parametrize('check', [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_first_and_second_derivatives(backend, check):
    flat, dilation = cases.lska_tensors(3, 11, torch.float64)
    inputs = [t.requires_grad_() for t in (cases.make_map((1, 3, 4, 5), torch.float64, 'channels_last'), *flat)]
    for gelu in (False, True):
        fused = partial(cases.lska, gelu=gelu, backend=backend)
        assert check(lambda *t, f=fused: f(*t, dilation), inputs, fast_mode=True)
    for out_channels, in_channels in ((None, None), (2, None), (2, 3)):
        mlp = cases.mlp_tensors(3, torch.float64, out_channels, in_channels)
        fused = partial(cases.mlp, expand=in_channels is not None, backend=backend)
        fast = check is torch.autograd.gradgradcheck
        assert check(fused, [inputs[0], *(t.requires_grad_() for t in mlp)], fast_mode=fast)


@every_backend
def test_only_some_inputs_need_gradients(backend):
    flat, dilation = cases.lska_tensors(3, 7, torch.float64)
    x = cases.make_map((1, 3, 4, 5), torch.float64, 'channels_last')
    flat[4].requires_grad_()
    found, wanted = (
        torch.autograd.grad(cases.lska(x, *flat, dilation, backend=b).square().sum(), flat[4], create_graph=graph)[0]
        for b, graph in ((backend, True), ('reference', False))
    )
    torch.testing.assert_close(found, wanted)


@every_backend
def test_gelu_at_extreme_values(backend):
    x = torch.tensor(
        [-1e30, -1e6, -40.0, -14.0, -5.6, -3.0, -0.0, 0.0, 1e-20, 3.0, 5.6, 1e6, 1e30, torch.inf, torch.nan]
    )
    x = x.view(1, 1, 1, -1).requires_grad_()
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 1, 1] = 1
    identity = torch.where(torch.isfinite(x), x, 3.0).detach().requires_grad_()
    y = cases.mlp(identity, weight, torch.zeros(1), backend=backend)
    torch.testing.assert_close(y, F.gelu(identity), rtol=1e-5, atol=1e-6)
    found, wanted = (torch.autograd.grad(t.sum(), identity)[0] for t in (y, F.gelu(identity)))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert cases.mlp(x, weight, torch.zeros(1), backend=backend).flatten()[-2:].isnan().any(), 'a NaN must not vanish'


@every_backend
def test_bfloat16_rounds_to_nearest_even(backend):
    bits = torch.arange(0x3F80, 0x4080, dtype=torch.int16).view(torch.bfloat16)
    x = bits.view(1, 1, 1, -1)
    weight = torch.zeros(1, 1, 3, 3, dtype=torch.bfloat16)
    weight[0, 0, 1, 1] = 1
    found = cases.mlp(x, weight, torch.zeros(1, dtype=torch.bfloat16), backend=backend)
    wanted = F.gelu(x.double()).to(torch.bfloat16)
    # float's own rounding before the last one can move a tie, and no more than that.
    assert (found != wanted).float().mean() < 0.01


@every_backend
@every_dtype
def test_twice_the_same(backend, dtype):
    for shape in ((2, 32, 30, 17), (1, 160, 9, 8)):
        first, second = (cases.check_lska(backend, shape, 23, dtype) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(first, second))
        for sizes in (dict(), dict(out_channels=8), dict(in_channels=5, out_channels=8)):
            first, second = (cases.check_mlp(backend, shape, dtype, **sizes) for _ in range(2))
            assert all(torch.equal(a, b) for a, b in zip(first, second))


@every_backend
@pytest.mark.parametrize('threads', [2, 3, 7])
def test_threads_share_the_rows(backend, threads):
    """One block of channels and more threads than images: the rows are cut into strips with an overlap."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        for k_size in (7, 23):
            cases.check_lska(backend, (1, 16, 131, 9), k_size, torch.float64)
        for sizes in (dict(), dict(out_channels=5), dict(in_channels=3, out_channels=5)):
            for dtype in (torch.float64, torch.float32):
                # A thread's share may end, and the next one's begin, in the middle of either image.
                for shape in ((1, 16, 131, 9), (2, 33, 61, 9)):
                    cases.check_mlp(backend, shape, dtype, **sizes)
    finally:
        torch.set_num_threads(before)


@every_backend
@every_dtype
def test_rows_too_long_for_the_cache(backend, dtype):
    """A task of the MLP then takes a few rows, or one, of which the next one needs those at its border."""
    for width, channels in ((2900, 64), (1300, 64), (400, 160)):
        cases.check_mlp(backend, (1, channels, 19, width), dtype, in_channels=4, out_channels=3)


@every_backend
def test_parameters_that_need_gradients_in_several_threads(backend):
    """The 1x1 runs inside worker threads, which do not inherit that autograd is off there."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        tensors = [t.requires_grad_() for t in cases.mlp_tensors(16, torch.float64, 4)]
        x = cases.make_map((3, 16, 9, 9), torch.float64, 'channels_last')
        torch.testing.assert_close(cases.mlp(x, *tensors, backend=backend), cases.mlp_twin(x, *tensors))
    finally:
        torch.set_num_threads(before)


def run_script(script: str, capability: str) -> None:
    """Run it in a process that uses this instruction set, which is chosen once."""
    env = {**os.environ, 'ATEN_CPU_CAPABILITY': capability, 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(
        [sys.executable, '-c', script], env=env, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('backend', ['cpu'])
@pytest.mark.parametrize('capability', ['default', 'avx2'])
def test_narrower_instruction_sets(backend, capability):
    script = (
        'import torch, ops_cases as cases\n'
        'for dtype in (torch.float64, torch.float32, torch.bfloat16):\n'
        '    cases.check_lska("cpu", (2, 33, 12, 11), 23, dtype)\n'
        '    cases.check_mlp("cpu", (2, 33, 12, 11), dtype, out_channels=8, in_channels=5)\n'
    )
    run_script(script, capability)


@pytest.mark.parametrize('backend', ['cpu'])
@pytest.mark.parametrize('capability', ['avx2', 'avx512'])
def test_backward_inside_autocast_is_in_the_dtype_of_the_maps(backend, capability):
    script = (
        'import torch, ops_cases as cases\n'
        'flat, dilation = cases.lska_tensors(8, 23, torch.float32)\n'
        'mlp = cases.mlp_tensors(32, torch.float32, 8, 8)\n'
        'tensors = [t.requires_grad_() for t in (cases.make_map((1, 8, 9, 7), torch.float32, "channels_last"), *flat, *mlp)]\n'
        'grads = []\n'
        'for enabled in (False, True):\n'
        '    y = cases.lska(*tensors[:11], dilation, backend="cpu")\n'
        '    y = cases.mlp(y, *tensors[11:], expand=True, backend="cpu")\n'
        '    with torch.autocast("cpu", torch.bfloat16, enabled):\n'
        '        grads.append(torch.autograd.grad(y.sum(), tensors))\n'
        'assert all(torch.equal(a, b) for a, b in zip(*grads))\n'
    )
    run_script(script, capability)


def test_kernels_of_another_version_are_left_alone(monkeypatch):
    old = types.ModuleType('mmlska.ops.cpu._kernels')
    old.VERSION = 0
    monkeypatch.setitem(sys.modules, 'mmlska.ops.cpu._kernels', old)
    monkeypatch.setattr(sys.modules['mmlska.ops.cpu'], '_kernels', old, raising=False)
    spec = importlib.util.spec_from_file_location('mmlska.ops.cpu.again', cpu.__file__)
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    assert again.PROBLEM.startswith('the C++ kernels are those of another version; with a C++ compiler, `pip install')
