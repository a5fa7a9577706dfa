"""What the recorded values of compiled mmcv cannot tell: gradients in float64, GPU operators, borders, ties, nothing at all."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cases import boxes, feature_map, ops, regions, rotated_boxes, rotated_regions
from torch.autograd.gradcheck import gradcheck

from mmlska.mmcv_ops import extension

deformable = ops.multi_scale_deform_attn


def numbers(*shape, seed=0, dtype=torch.float64):
    return torch.tensor(np.random.RandomState(seed).randn(*shape), dtype=dtype)


@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_gradient_of_roi_align(ratio, mode, backend):
    image = feature_map(torch.float64)[:, :1].requires_grad_()
    rois = regions(torch.float64)[[0, 1, 3, 4, 6]]
    assert gradcheck(lambda x: ops.roi_align(x, rois, (3, 2), 0.5, ratio, mode, True), image, fast_mode=True)


def test_gradient_of_roi_align_rotated(backend):
    image = feature_map(torch.float64)[:, :1].requires_grad_()
    rois = rotated_regions().double()
    assert gradcheck(lambda x: ops.roi_align_rotated(x, rois, (3, 2), 0.5, 0, True, True), image, fast_mode=True)


@pytest.mark.parametrize('weight', [None, [0.5, 2.0, 1.0]])
@pytest.mark.parametrize('gamma', [0.0, 1.5, 2.0])
def test_sigmoid_focal_loss(gamma, weight, stand_ins):
    """Compiled mmcv has none for the CPU: the paper's formula, from the cross entropy of PyTorch."""
    logits, target = numbers(6, 3).requires_grad_(), torch.tensor([0, 3, 2, 1, 2, 3])  # 3 is the background
    of_class = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    found = ops.sigmoid_focal_loss(logits, target, gamma, 0.3, of_class, 'none')
    one_hot = F.one_hot(target, 4)[:, :3].double()
    entropy = F.binary_cross_entropy_with_logits(logits, one_hot, reduction='none')
    wrong = 1 - (-entropy).exp()
    wanted = entropy * wrong**gamma * torch.where(one_hot > 0, 0.3, 0.7)
    if weight:
        wanted = wanted * torch.tensor([*weight, 1.0])[target][:, None]
    torch.testing.assert_close(found, wanted)
    for reduction, reduced in (('sum', wanted.sum()), ('mean', wanted.sum() / 6)):
        torch.testing.assert_close(ops.sigmoid_focal_loss(logits, target, gamma, 0.3, of_class, reduction), reduced)
    assert gradcheck(lambda x: ops.sigmoid_focal_loss(x, target, gamma, 0.3, of_class, 'mean'), logits)


@pytest.mark.parametrize('weight', [None, [0.5, 2.0, 1.0]])
@pytest.mark.parametrize('gamma', [0.0, 1.0, 2.5])
def test_softmax_focal_loss(gamma, weight, stand_ins):
    logits, target = numbers(6, 3).requires_grad_(), torch.tensor([0, 1, 2, 1, 2, 0])
    of_class = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    entropy = F.cross_entropy(logits, target, reduction='none')
    wanted = 0.3 * entropy * (1 - (-entropy).exp()) ** gamma
    if weight:
        wanted = wanted * of_class[target]
    torch.testing.assert_close(ops.softmax_focal_loss(logits, target, gamma, 0.3, of_class, 'none'), wanted)
    assert gradcheck(lambda x: ops.softmax_focal_loss(x, target, gamma, 0.3, of_class, 'sum'), logits)


def test_a_sample_of_a_negative_class_has_no_softmax_loss(stand_ins):
    logits, target = numbers(2, 3).requires_grad_(), torch.tensor([-1, 0])
    assert ops.softmax_focal_loss(logits, target, 2.0, 0.25, None, 'none')[0] == 0
    (gradient,) = torch.autograd.grad(ops.softmax_focal_loss(logits, target, 2.0, 0.25, None, 'sum'), logits)
    assert (gradient[0] == 0).all()
    assert (gradient[1] != 0).all()


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_focal_losses_of_certain_predictions_are_finite(dtype, gamma, stand_ins):
    logits = torch.tensor([[300.0, -300.0], [-300.0, 300.0]], dtype=dtype, requires_grad=True)
    for function in (ops.sigmoid_focal_loss, ops.softmax_focal_loss):
        loss = function(logits, torch.tensor([0, 0]), gamma, 0.25, None, 'sum')
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.dtype == gradient.dtype == dtype
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()
        assert loss > 1


def attention_inputs(dtype=torch.float64):
    shapes = torch.tensor([[4, 3], [2, 2], [1, 1]])
    starts = torch.tensor([0, 12, 16])
    value, weights = numbers(2, 17, 2, 3, dtype=dtype), numbers(2, 5, 2, 3, 4, seed=1, dtype=dtype)
    places = numbers(2, 5, 2, 3, 4, 2, seed=2, dtype=dtype) * 0.5 + 0.5  # some outside
    return value, shapes, starts, places, weights.softmax(-1)


def attend(value, shapes, starts, places, weights):
    return deformable.MultiScaleDeformableAttnFunction.apply(value, shapes, starts, places, weights, 64)


def test_deformable_attention(backend):
    """mmcv's own formula for the CPU, with grid_sample, is the reference; compiled mmcv has the GPU's alone."""
    value, shapes, starts, places, weights = attention_inputs()
    leaves = [t.requires_grad_() for t in (value, places, weights)]
    found = attend(value, shapes, starts, places, weights)
    wanted = deformable.multi_scale_deformable_attn_pytorch(value, shapes, places, weights)
    torch.testing.assert_close(found, wanted)
    slope = numbers(*found.shape, seed=3)
    for a, b in zip(torch.autograd.grad(found, leaves, slope), torch.autograd.grad(wanted, leaves, slope)):
        torch.testing.assert_close(a, b)
    assert gradcheck(lambda v, p, w: attend(v, shapes, starts, p, w), leaves, fast_mode=True)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_deformable_attention_in_other_dtypes(dtype, backend):
    inputs = attention_inputs()
    found = attend(*(t.to(dtype) if t.is_floating_point() else t for t in inputs))
    assert found.dtype == dtype
    # A place is rounded to the type: 8 bits say little about where in a pixel it lies.
    loose = {torch.float16: 2e-2, torch.bfloat16: 1e-1, torch.float32: 1e-5}[dtype]
    torch.testing.assert_close(found.double(), attend(*inputs), rtol=loose, atol=loose)


@pytest.mark.parametrize('queries', [0, 1])
def test_deformable_attention_without_queries(queries, backend):
    value, shapes, starts, places, weights = attention_inputs()
    value.requires_grad_()
    out = attend(value, shapes, starts, places[:, :queries], weights[:, :queries])
    assert out.shape == (2, queries, 6)
    (gradient,) = torch.autograd.grad(out.sum(), value)
    assert bool(gradient.any()) == bool(queries)


def test_nothing_gives_nothing(backend):
    none = torch.zeros(0, 4)
    assert [t.shape for t in ops.nms(none, none[:, 0], 0.5)] == [(0, 5), (0,)]
    assert [t.shape for t in ops.soft_nms(none, none[:, 0])] == [(0, 5), (0,)]
    assert ops.nms_match(torch.zeros(0, 5), 0.5) == extension.nms_match(torch.zeros(0, 5), 0.5) == []
    assert ops.box_iou_rotated(torch.zeros(0, 5), rotated_boxes(6, 0)).shape == (0, 6)
    assert ops.box_iou_rotated(rotated_boxes(6, 0), torch.zeros(0, 5)).shape == (6, 0)
    for mode in ('avg', 'max'):
        image = feature_map().requires_grad_()
        out = ops.roi_align(image, torch.zeros(0, 5), (3, 2), 0.5, 0, mode, True)
        assert out.shape == (0, 3, 3, 2)
        assert not torch.autograd.grad(out.sum(), image)[0].any()
    image = feature_map().requires_grad_()
    out = ops.roi_align_rotated(image, torch.zeros(0, 6), (3, 2), 0.5, 0, True, True)
    assert out.shape == (0, 3, 3, 2)
    assert not torch.autograd.grad(out.sum(), image)[0].any()
    assert ops.sigmoid_focal_loss(
        torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, 'none'
    ).shape == (0, 3)


def test_of_equal_scores_the_first_of_the_sorted_ones_stays(backend):
    """Compiled mmcv sorts with Tensor.sort, which is not stable; whoever wants its losses needs its order."""
    found = boxes(60, 9)[0]
    found = found[(found[:, 2:] - found[:, :2]).prod(1) > 0].repeat(2, 1)  # one without area overlaps nothing
    scores = torch.tensor(np.random.RandomState(1).randint(1, 5, len(found)) / 5, dtype=torch.float32)
    order = scores.sort(descending=True).indices
    first = {}
    for i in order.tolist():
        first.setdefault(tuple(found[i].tolist()), i)
    assert ops.nms(found, scores, 0.9999)[1].tolist() == list(first.values())
    groups = ops.nms_match(torch.cat([found, scores[:, None]], 1), 0.9999)
    assert [group[0].item() for group in groups] == list(first.values())
    rotated = torch.cat([found[:, :2], 2 + found[:, 2:] - found[:, :2], found[:, :1] / 20], 1)
    assert ops.nms_rotated(rotated, scores, 0.9999)[1].tolist() == list(first.values())


def test_a_region_without_area_has_no_maximum(stand_ins):
    """Compiled mmcv gives -10000, which a loss would never forget."""
    image = feature_map().requires_grad_()
    out = ops.roi_align(image, torch.tensor([[0, 5.0, 6, 5, 9]]), (3, 2), 0.5, 0, 'max', True)
    assert not out.any()
    assert not torch.autograd.grad(out.sum(), image)[0].any()


def test_boxes_of_several_labels_do_not_meet(backend):
    """Compiled for the CPU, mmcv forgets the labels."""
    found, labels = rotated_boxes(40, 2), torch.arange(40) % 3
    scores = torch.tensor(np.random.RandomState(0).permutation(40) / 40, dtype=torch.float32)
    dets, kept = ops.nms_rotated(found, scores, 0.2, labels)
    apart = [
        torch.arange(40)[labels == n][ops.nms_rotated(found[labels == n], scores[labels == n], 0.2)[1]]
        for n in range(3)
    ]
    assert sorted(kept.tolist()) == sorted(torch.cat(apart).tolist())
    assert len(kept) > len(ops.nms_rotated(found, scores, 0.2)[1])
    assert dets[:, 5].tolist() == sorted(dets[:, 5].tolist(), reverse=True)


def test_places_that_are_no_numbers_do_not_read_other_memory(stand_ins):
    rois = torch.tensor([[0, float('nan'), 0, 9, 9], [0, 0, 0, float('inf'), 9], [0, -1e9, -1e9, -9e8, -9e8]])
    out = ops.roi_align(feature_map(), rois, 2, 0.5, 2, 'avg', True)
    assert out.shape == (3, 3, 2, 2)
    assert not out[2].any()
    overlap = ops.box_iou_rotated(torch.tensor([[0, 0, 0, 4, 1.0], [0, 0, 2, 2, 0]]), torch.tensor([[0, 0, 2, 2, 0.0]]))
    assert overlap.tolist() == [[0], [1]]


def test_overlap_of_rotated_boxes_by_counting_points(backend):
    """An independent measure: the share of a grid of points that lies in both boxes."""
    a, b = rotated_boxes(6, 20).double(), rotated_boxes(6, 21).double()
    axis = torch.linspace(-12, 38, 250, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(axis, axis, indexing='xy'), -1)

    def inside(box):
        shift, (sin, cos) = points - box[:2], (box[4].sin(), box[4].cos())
        along, across = shift[..., 0] * cos + shift[..., 1] * sin, shift[..., 1] * cos - shift[..., 0] * sin
        return (along.abs() <= box[2] / 2) & (across.abs() <= box[3] / 2)

    first, second = ([inside(box) for box in found] for found in (a, b))
    wanted = torch.tensor([[(p & q).sum() / (p | q).sum() for q in second] for p in first])
    torch.testing.assert_close(ops.box_iou_rotated(a, b).float(), wanted, rtol=0, atol=0.02)
    assert wanted.max() > 0.2
