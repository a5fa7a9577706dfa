"""Mixed precision."""

import pytest
import torch

from mmlska.engine.config import load_config
from mmlska.engine.precision import float32_after_autocast, use_dtype


@pytest.mark.skipif(torch.cuda.is_available(), reason='tests what happens without a GPU')
def test_mixed_precision():
    cfg = load_config('configs/fpn_van_lska_t.py')
    before = cfg.to_dict()
    with pytest.raises(ValueError, match='--dtype fp16 needs a GPU and there is none here; use --dtype bf16'):
        use_dtype(cfg, 'fp16', training=True)
    use_dtype(cfg, 'fp32', training=True)
    assert cfg.to_dict() == before
    for _ in range(2):  # as with the config that a training wrote
        use_dtype(cfg, 'bf16', training=True)
    assert [hook.type for hook in cfg.custom_hooks].count('AutocastHook') == 1
    assert cfg.custom_hooks[-1] == dict(type='AutocastHook', dtype='bf16')


def test_maps_are_float32_of_fewer_bits():
    conv = torch.nn.Conv2d(3, 8, 1)
    image = torch.rand(1, 3, 8, 8)
    (found,) = float32_after_autocast(lambda x: [conv(x)], 'cpu', torch.bfloat16)(image)
    assert found.dtype == torch.float32
    assert torch.equal(found, found.bfloat16().float())
    assert not torch.equal(found, conv(image))
