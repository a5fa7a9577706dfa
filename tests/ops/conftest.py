"""What the operator tests share.

They need nothing but torch, numpy and pytest, and triton for its backend, so that they run on a GPU machine without MMEngine.
"""

import importlib.util
import os
import sys
import types
from pathlib import Path

import pytest
import torch

if not importlib.util.find_spec('mmengine'):
    # An empty package in the place of mmlska: the operators need nothing else of it.
    package = types.ModuleType('mmlska')
    package.__path__ = [str(Path(__file__).resolve().parents[2] / 'mmlska')]
    sys.modules['mmlska'] = package

# The Triton kernels run on a GPU or in Triton's interpreter, in which test_triton.py runs these files in a process of their own.
runs_kernels = torch.cuda.is_available() or os.environ.get('TRITON_INTERPRET') == '1'
kernel_tests = [path.name for path in Path(__file__).parent.glob('test_triton_*.py')]
collect_ignore = [] if runs_kernels and importlib.util.find_spec('triton') else kernel_tests


@pytest.fixture
def poisoned_memory():
    """torch.empty holds NaN, in tensors of the operators and in their scratch memory, so an unwritten element cannot pass."""
    assert torch.utils.deterministic.fill_uninitialized_memory
    # The reference has no deterministic gradient on a GPU, which only warns then.
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    assert torch.empty(4).isnan().all()
    # By default cuDNN rounds float32 to TF32, 10 bits, in the reference.
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = True
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def strict(monkeypatch):
    """A test that meant to run the kernels must not pass on plain PyTorch."""
    monkeypatch.setenv('MMLSKA_STRICT', '1')


@pytest.fixture
def lenient(monkeypatch, strict):
    """What users get: fallbacks with a warning, none of which was given before."""
    from mmlska.ops import fallback

    monkeypatch.delenv('MMLSKA_STRICT')
    monkeypatch.setattr(fallback, '_warned', set())
