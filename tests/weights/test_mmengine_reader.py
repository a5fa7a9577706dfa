"""MMEngine reads as this package does, where it is asked to."""

from __future__ import annotations

import pytest
import torch
from evil_files import Payload
from mmengine.runner.checkpoint import _load_checkpoint

from mmlska.weights import UnsafeFileError, checkpoint_file, save_weights, use_safe_reader


@pytest.fixture
def mmengine_reader():
    """Undo what use_safe_reader() says to the process."""
    before = checkpoint_file._trust_everywhere
    yield
    checkpoint_file._trust_everywhere = before


def test_mmengines_reader_is_replaced_on_request(tmp_path, mmengine_reader):
    proof, path, good = tmp_path / 'proof', tmp_path / 'bad.pth', tmp_path / 'good.safetensors'
    torch.save(dict(meta=Payload(proof)), path)
    save_weights({'a': torch.ones(2)}, good)
    use_safe_reader()
    with pytest.raises(UnsafeFileError):
        _load_checkpoint(str(path))
    assert not proof.exists()
    assert _load_checkpoint(str(good), map_location='cpu')['a'].eq(1).all()
    use_safe_reader(trust=True)
    _load_checkpoint(str(path))
    assert proof.exists()
