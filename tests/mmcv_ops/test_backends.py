"""What every backend has to keep: who is asked, and the form of results."""

import warnings

import pytest
from cases import boxes, ops

from mmlska.mmcv_ops import backends


def test_kernels_of_another_version_are_left_alone_and_that_is_said_once(monkeypatch):
    """A checkout that was updated without a new build still has the old file."""
    if not backends.KERNELS.available():
        pytest.skip('the C++ kernels are not built')

    class Newer(type(backends.KERNELS)):
        VERSION = backends.KERNELS.VERSION + 1

    monkeypatch.setattr(backends, 'BACKENDS', (Newer(), backends.plain))
    with pytest.warns(UserWarning, match=r'without its C\+\+ kernels: .* of another version; .* `pip install'):
        names = backends.available_backends()
    assert names == ['plain PyTorch']
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        ops.nms(*boxes(9, 0), 0.5)


def test_kernels_that_were_not_built_are_no_matter():
    class Missing(type(backends.KERNELS)):
        MODULE = 'mmlska.mmcv_ops._no_kernels'

    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert not Missing.available()
