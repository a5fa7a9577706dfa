"""The hooks that the tools add."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmlska import mmcv_ops
from mmlska.engine.hooks import to_channels_last

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


@pytest.mark.parametrize('name', ['mask_rcnn_van_lska_t', 'retinanet_van_lska_t', 'fpn_van_lska_t'])
def test_channels_last_changes_rounding_only(name):
    """mmcv's RoIAlign misreads channels_last maps: this fails without the conversion of its inputs."""

    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    init_default_scope(cfg.default_scope)
    cfg.model.data_preprocessor.pop('pad_mask', None)
    for head in ('decode_head', 'backbone'):
        if head in cfg.model:
            cfg.model[head].norm_cfg = dict(type='BN')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).double().eval()
    other = to_channels_last(copy.deepcopy(model))
    image = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    outs = []
    for net in (model, other):
        features = net.extract_feat(image)
        if name.startswith('mask'):
            rois = torch.tensor([[0, 1.0, 2.0, 60.0, 50.0], [0, 20.0, 5.0, 90.0, 60.0]], dtype=torch.float64)
            result = net.roi_head._bbox_forward(features, rois)
            outs.append([result['cls_score'], result['bbox_pred'], *features])
        else:
            outs.append(list(features))
    for a, b in zip(*outs):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert outs[1][-1].is_contiguous(memory_format=torch.channels_last)


def test_inputs_are_copied_for_compiled_operators_alone():
    """The stand-ins of mmlska read channels_last maps as they are."""
    from mmcv.ops import RoIAlign

    layer = to_channels_last(RoIAlign(7))
    assert len(layer._forward_pre_hooks) == (not mmcv_ops.in_use())
