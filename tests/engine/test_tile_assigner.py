"""Candidates on pieces of objects, beside mmdet's own assigner."""

import pytest
import torch
from mmengine.registry import TASK_UTILS, init_default_scope
from mmengine.structures import InstanceData

import mmlska.engine  # noqa: F401  registers the assigner

OPTIONS = {
    'retinanet': dict(pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0),
    'proposals': dict(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3, match_low_quality=True),
    'boxes': dict(pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, match_low_quality=False),
}


@pytest.fixture(scope='module')
def priors():
    init_default_scope('mmdet')
    anchors = TASK_UTILS.build(
        dict(
            type='mmdet.AnchorGenerator', octave_base_scale=4, scales_per_octave=3, ratios=[0.5, 1.0, 2.0], strides=[8]
        )
    )
    return InstanceData(priors=anchors.grid_priors([(40, 40)], device='cpu')[0])


def instances(*boxes):
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), labels=torch.zeros(len(boxes)).long()
    )


@pytest.mark.parametrize('kind', OPTIONS)
def test_an_object_inside_a_piece_is_learned_as_without_it(kind, priors):
    """And what else lies on the piece is no background."""
    plain = TASK_UTILS.build(dict(type='mmdet.MaxIoUAssigner', **OPTIONS[kind]))
    ours = TASK_UTILS.build(dict(type='TileAssigner', **OPTIONS[kind]))
    objects, piece = instances((100, 100, 132, 132)), instances((60, 60, 320, 320))
    wanted, found = plain.assign(priors, objects), ours.assign(priors, objects, piece)
    assert (wanted.gt_inds > 0).sum() > 0
    assert torch.equal(found.gt_inds > 0, wanted.gt_inds > 0)
    x1, y1, x2, y2 = priors.priors.unbind(1)
    inside = (x2.clamp(max=320) - x1.clamp(min=60)).clamp(min=0) * (y2.clamp(max=320) - y1.clamp(min=60)).clamp(min=0)
    mostly = inside / ((x2 - x1) * (y2 - y1)) >= 0.5
    assert torch.equal(found.gt_inds == -1, (wanted.gt_inds == -1) | (mostly & (wanted.gt_inds == 0)))
    assert ((found.gt_inds == 0) & ~mostly).any()


def test_without_pieces_it_is_the_other(priors):
    plain = TASK_UTILS.build(dict(type='mmdet.MaxIoUAssigner', **OPTIONS['retinanet']))
    ours = TASK_UTILS.build(dict(type='TileAssigner', **OPTIONS['retinanet']))
    for objects in (instances((100, 100, 132, 132)), instances()):
        wanted = plain.assign(priors, objects).gt_inds
        assert torch.equal(ours.assign(priors, objects).gt_inds, wanted)
        assert torch.equal(ours.assign(priors, objects, instances()).gt_inds, wanted)


def test_a_tile_of_pieces_alone_teaches_no_background_there(priors):
    ours = TASK_UTILS.build(dict(type='TileAssigner', **OPTIONS['retinanet']))
    found = ours.assign(priors, instances(), instances((0, 0, 320, 320)))
    assert set(found.gt_inds.tolist()) <= {0, -1}
    assert (found.gt_inds == -1).float().mean() > 0.8
