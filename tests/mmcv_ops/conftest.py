"""mmcv.ops on the stand-ins, also where mmcv has compiled operators; one backend after the other."""

import sys

import pytest

from mmlska.mmcv_ops import backends, extension


@pytest.fixture
def stand_ins(monkeypatch):
    """mmcv's public operators call the stand-ins."""
    for name, module in list(sys.modules.items()):
        if name.startswith('mmcv.ops.') and hasattr(module, 'ext_module'):
            monkeypatch.setattr(module, 'ext_module', extension)


@pytest.fixture(params=backends.BACKENDS, ids=lambda backend: backend.NAME)
def backend(request, monkeypatch, stand_ins):
    """The stand-ins on one backend; what it leaves to others plain PyTorch does."""
    if not request.param.available():
        pytest.skip(f'{request.param.NAME} is not here')
    monkeypatch.setattr(backends, 'BACKENDS', (request.param, backends.plain))
    return request.param
