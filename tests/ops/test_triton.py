"""Runs the tests of triton_cases.py: here where there is a GPU, else in another process in Triton's interpreter."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmlska import ops
from mmlska.ops.triton import backend as gpu

HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(gpu.PROBLEM is not None, reason=str(gpu.PROBLEM))

if torch.cuda.is_available() and gpu.PROBLEM is None:
    from triton_cases import *  # noqa: F403
else:

    @needs_triton
    @pytest.mark.slow(120)
    def test_kernels_in_the_interpreter():
        command = [
            sys.executable,
            '-m',
            'pytest',
            '-q',
            '-p',
            'no:cacheprovider',
            '--tb=short',
            HERE / 'triton_cases.py',
        ]
        env = {**os.environ, 'TRITON_INTERPRET': '1', 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'}
        done = subprocess.run(command, env=env, cwd=HERE, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert ' passed' in done.stdout


def test_kernels_need_a_gpu():
    x, weight, bias = torch.rand(1, 2, 3, 4), torch.rand(2, 1, 3, 3), torch.rand(2)
    assert 'triton' not in ops.available_backends('cpu')
    if gpu.PROBLEM is None:
        with pytest.raises(ValueError, match=r"backend='triton' does not run torch.float32 on cpu; choose one of"):
            ops.depthwise_gelu(x, weight, bias, backend='triton')


def test_without_triton(monkeypatch):
    monkeypatch.setattr(gpu, 'find_spec', lambda name: None)
    assert gpu._missing() == 'triton is not installed; `pip install triton` brings it'
    monkeypatch.setattr(gpu, 'PROBLEM', gpu._missing())
    assert 'triton' not in ops.available_backends('cuda')
    with pytest.raises(
        ValueError, match=r"backend='triton' cannot be used here: triton is not installed; `pip install"
    ):
        ops.depthwise_gelu(torch.rand(1, 2, 3, 4), torch.rand(2, 1, 3, 3), torch.rand(2), backend='triton')


@needs_triton
@pytest.mark.slow
@pytest.mark.skipif(
    not importlib.util.find_spec('triton.backends.nvidia'), reason='this triton has no compiler for NVIDIA'
)
def test_kernels_compile_without_a_gpu():
    """To machine code, with tensor-core instructions for the products; the interpreter sees none of that."""
    done = subprocess.run(
        [sys.executable, HERE / 'compile_kernels.py'],
        env={**os.environ, 'TRITON_INTERPRET': '0'}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert done.stdout.endswith('done\n')
