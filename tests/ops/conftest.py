"""What the operator tests share.

They need nothing but torch, numpy and pytest, and triton for its backend, so that they run on a GPU machine without MMEngine.
"""

import importlib.util
import sys
import types
from pathlib import Path

import pytest
import torch

if not importlib.util.find_spec('mmengine'):
    # An empty package in the place of mmlska, which would import mmengine.
    package = types.ModuleType('mmlska')
    package.__path__ = [str(Path(__file__).resolve().parents[2] / 'mmlska')]
    sys.modules['mmlska'] = package


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
    from mmlska.ops import library

    monkeypatch.delenv('MMLSKA_STRICT')
    monkeypatch.setattr(library, '_warned', set())
