"""The Triton backend where there is no GPU: the files test_triton_*.py in its interpreter, a compile of every kernel, what it says."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import ops_cases as cases
import pytest
import torch

from mmlska import ops
from mmlska.ops.triton import backend as gpu
from mmlska.ops.triton.launch import INTERPRETED

HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(gpu.PROBLEM is not None, reason=str(gpu.PROBLEM))


@needs_triton
@pytest.mark.slow(120)
@pytest.mark.skipif(torch.cuda.is_available() or INTERPRETED, reason='pytest collects the files itself')
def test_kernels_in_the_interpreter():
    options = ['-q', '-p', 'no:cacheprovider', '--tb=short']
    command = [sys.executable, '-m', 'pytest', *options, *HERE.glob('test_triton_*.py')]
    env = {**os.environ, 'TRITON_INTERPRET': '1', 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(command, env=env, cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert ' passed' in done.stdout


def test_kernels_need_a_gpu():
    assert 'triton' not in ops.available_backends('cpu')
    if gpu.PROBLEM is None:
        with pytest.raises(ValueError, match=r"backend='triton' does not run torch.float32 on cpu; choose one of"):
            cases.mlp(torch.rand(1, 2, 3, 4), *cases.mlp_tensors(2, torch.float32), backend='triton')


def test_without_triton(monkeypatch):
    monkeypatch.setattr(gpu, 'find_spec', lambda name: None)
    assert gpu._missing() == 'triton is not installed; `pip install triton` brings it'
    monkeypatch.setattr(gpu, 'PROBLEM', gpu._missing())
    assert 'triton' not in ops.available_backends('cuda')
    with pytest.raises(
        ValueError, match=r"backend='triton' cannot be used here: triton is not installed; `pip install"
    ):
        cases.mlp(torch.rand(1, 2, 3, 4), *cases.mlp_tensors(2, torch.float32), backend='triton')


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
