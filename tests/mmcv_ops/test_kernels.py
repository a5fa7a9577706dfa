"""The C++ operators of mmlska.mmcv_ops against plain twins: values, gradients, layouts, dtypes, borders, and what they refuse."""

import itertools
import math

import kernel_twins as twins
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip('mmlska.mmcv_ops._kernels', reason='the C++ kernels are not built', exc_type=ImportError)
OPERATORS = torch.ops.mmlska_mmcv
HALVES = (torch.float16, torch.bfloat16)


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture(autouse=True)
def poisoned_memory():
    """New memory holds NaN, so an element that no operator wrote cannot pass."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(4).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def some_boxes(draw, n, size=60.0):
    low = draw(n, 2) * size
    return torch.cat([low, low + draw(n, 2) * size / 2], 1)


def some_rois(draw, n, images, reach=16.0):
    """Some lie beyond the map; the first is a point, the second covers all of it."""
    rois = torch.cat([(draw(n, 1) * images).floor(), some_boxes(draw, n, reach) - reach / 4], 1)
    rois[0, 3:] = rois[0, 1:3]
    rois[1, 1:] = torch.tensor([-40.0, -30.0, 50.0, 60.0])
    return rois


def some_rotated_rois(draw, n, images, reach=16.0):
    rois = some_rois(draw, n, images, reach)
    return torch.cat([rois[:, :3], rois[:, 3:] - rois[:, 1:3], draw(n, 1) * 8 - 4], 1)


def some_rotated_boxes(draw, n, size=20.0):
    return torch.cat([draw(n, 2) * size, draw(n, 2) * size + 0.1, draw(n, 1) * 8 - 4], 1)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('n', [0, 1, 63, 64, 65, 300])
@pytest.mark.parametrize('offset', [0, 1])
def test_nms_keeps_what_its_definition_keeps(draw, dtype, n, offset):
    boxes, scores = some_boxes(draw, n).to(dtype), draw(n).to(dtype)
    if n > 9:
        boxes[5::7] = boxes[4].clone()
        scores[::3] = scores[0].clone()  # of equal scores the first counts as the higher
    for threshold in (0.0, 0.1, 0.5, 1.0):
        kept = OPERATORS.nms(boxes, scores, threshold, offset)
        assert kept.dtype == torch.int64
        assert kept.tolist() == twins.nms(boxes.double(), scores, threshold, offset)


def test_nms_in_parallel_and_of_half_precision(draw):
    # More boxes than one thread takes.
    boxes, scores = some_boxes(draw, 9000, 4000.0).float(), draw(9000).float()
    threads, kept = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        kept.append(OPERATORS.nms(boxes, scores, 0.3, 0))
    torch.set_num_threads(threads)
    assert torch.equal(*kept)
    assert 100 < len(kept[0]) < 9000
    for dtype in HALVES:
        rounded, scores_too = boxes[:200].to(dtype), scores[:200].to(dtype)
        wide = OPERATORS.nms(rounded.float(), scores_too.float(), 0.3, 0)
        assert torch.equal(OPERATORS.nms(rounded, scores_too, 0.3, 0), wide)


def test_boxes_without_area_or_with_nan_suppress_nothing():
    boxes = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 1], [math.nan, 0, 9, 9], [0, 0, 9, 9], [0, 0, math.inf, 9]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, math.nan])
    assert OPERATORS.nms(boxes, scores, 0.5, 0).tolist() == [4, 0, 1, 2, 3]
    for method in range(3):
        dets, numbers = OPERATORS.softnms(boxes, scores[:4].repeat(2)[:5], 0.5, 0.5, 0.1, method, 0)
        assert sorted(numbers.tolist()) == [0, 1, 2, 3, 4]
        assert dets.shape == (5, 5)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('method', [0, 1, 2])
@pytest.mark.parametrize(('threshold', 'min_score', 'offset'), [(0.3, 0.001, 0), (0.1, 0.3, 1), (0.5, 1e-6, 0)])
def test_softnms_gives_the_scores_of_its_definition(draw, dtype, method, threshold, min_score, offset):
    for n in (0, 1, 2, 80):
        boxes, scores = some_boxes(draw, n).to(dtype), draw(n).to(dtype)
        dets, numbers = OPERATORS.softnms(boxes, scores, threshold, 0.5, min_score, method, offset)
        kept, final = twins.softnms(boxes, scores, threshold, 0.5, min_score, method, offset)
        assert numbers.tolist() == kept
        assert torch.equal(dets[:, :4], boxes[numbers])
        torch.testing.assert_close(dets[:, 4], dets.new_tensor(final), rtol=1e-5, atol=1e-30)


def roi_operators(rotated, size, scale, ratio, mode, aligned, clockwise):
    """Forward and backward of the operator, and the twin, of (input, rois)."""
    if rotated:
        numbers = (*size, scale, ratio, aligned, clockwise)
        return (
            lambda x, rois: (OPERATORS.roi_align_rotated(x, rois, *numbers), None, None),
            lambda grad, x, rois, *_: OPERATORS.roi_align_rotated_backward(grad, rois, x.shape, *numbers),
            lambda x, rois: twins.roi_align(x, rois, size, scale, ratio, 1, aligned, clockwise),
        )
    numbers = (*size, scale, ratio, mode, aligned)
    return (
        lambda x, rois: OPERATORS.roi_align(x, rois, *numbers),
        lambda grad, x, rois, *where: OPERATORS.roi_align_backward(grad, rois, *where, x.shape, *numbers),
        lambda x, rois: twins.roi_align(x, rois, size, scale, ratio, mode, aligned),
    )


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('kind', ['average', 'maximum', 'rotated'])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 1, 3])
def test_roi_align_and_its_gradient(draw, layout, kind, aligned, ratio):
    # One channel, more than a task owns; maps of one pixel and of more pixels than the RoIs read, which are read as they lie.
    for shape, n in (((2, 5, 11, 14), 7), ((1, 1, 1, 1), 3), ((1, 70, 9, 8), 5), ((2, 3, 60, 50), 3)):
        rois = (some_rotated_rois if kind == 'rotated' else some_rois)(draw, n, shape[0])
        mode = 0 if kind == 'maximum' else 1
        forward, backward, twin = roi_operators(kind == 'rotated', (3, 2), 0.75, ratio, mode, aligned, n % 2 == 0)
        x = (draw(*shape) * 2 - 1).requires_grad_()
        expected = twin(x, rois)
        grad = (draw(*expected.shape) - 0.5).contiguous(memory_format=layout)
        (expected_grad,) = torch.autograd.grad(expected, x, grad)
        for dtype, close in ((torch.float64, 1e-10), (torch.float32, 2e-5)):
            moved, rois_too = x.detach().to(dtype).contiguous(memory_format=layout), rois.to(dtype)
            out, *where = forward(moved, rois_too)
            assert out.dtype == dtype
            assert all(t is None or t.is_contiguous() for t in (out, *where))
            torch.testing.assert_close(out, expected.to(dtype), rtol=close, atol=close)
            found = backward(grad.to(dtype), moved, rois_too, *where)
            assert found.is_contiguous()
            # In float32 the maximum may be another one of two that are almost equal.
            if kind != 'maximum' or dtype == torch.float64:
                torch.testing.assert_close(found, expected_grad.to(dtype), rtol=close, atol=close)


@pytest.mark.parametrize('kind', ['average', 'maximum', 'rotated'])
def test_gradients_in_parallel_are_the_same_bits(draw, kind):
    x = draw(2, 150, 9, 9).float()
    rois = (some_rotated_rois if kind == 'rotated' else some_rois)(draw, 40, 2).float()
    forward, backward, _ = roi_operators(kind == 'rotated', (7, 7), 0.5, 2, 0 if kind == 'maximum' else 1, True, False)
    threads, found = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        out, *where = forward(x, rois)
        found.append((out, backward(torch.ones_like(out), x, rois, *where)))
    torch.set_num_threads(threads)
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize('dtype', HALVES)
@pytest.mark.parametrize('kind', ['average', 'maximum', 'rotated'])
def test_half_precision_is_computed_in_float32(draw, dtype, kind):
    x = draw(1, 4, 9, 9).to(dtype)
    rois = (some_rotated_rois if kind == 'rotated' else some_rois)(draw, 4, 1).to(dtype)
    forward, backward, _ = roi_operators(kind == 'rotated', (7, 7), 0.5, 2, 0 if kind == 'maximum' else 1, True, False)
    out, *where = forward(x, rois)
    wide, *_ = forward(x.float(), rois.float())
    assert out.dtype == dtype
    assert torch.equal(out, wide.to(dtype))
    grad = draw(*out.shape).to(dtype)
    found = backward(grad, x, rois, *where)
    wide_where = [t.float() if t is not None else t for t in where]
    assert torch.equal(found, backward(grad.float(), x.float(), rois.float(), *wide_where).to(dtype))


def test_maximum_tells_where_it_lies(draw):
    x, rois = -draw(1, 3, 6, 6), torch.tensor([[0.0, 1, 1, 5, 5], [0, -3, -3, 2, 2], [0, 2, 2, 2, 2]]).double()
    out, y, x_at = OPERATORS.roi_align(x, rois, 2, 2, 1.0, 0, 0, True)
    assert (out[2] == 0).all()  # a RoI of one point has no samples where they are counted by pixels
    assert (y[2] == -2).all()
    for c, i, j in itertools.product(range(3), range(2), range(2)):
        assert twins.bilinear(x[0], y[0, c, i, j], x_at[0, c, i, j])[c] == pytest.approx(out[0, c, i, j].item())
    assert (out[1, :, 0, 0] == 0).all()  # outside all samples are 0, which is more than what lies inside
    assert (y[1, :, 0, 0] < -1).all()


def test_rois_far_beyond_the_map_cost_no_more_than_the_map(draw):
    x = draw(1, 2, 8, 8)
    far = torch.tensor([[0.0, -9e7, -9e7, 9e7, 9e7], [0, 5e7, 5e7, 9e7, 9e7]]).double()
    average, *_ = OPERATORS.roi_align(x, far, 1, 1, 1.0, 0, 1, True)
    # Of 1.8e8 squared samples one lies on each pixel of the map and on the pixels around it, which count as its border.
    seen = F.pad(x, (1, 1, 1, 1), mode='replicate').sum((0, 2, 3))
    torch.testing.assert_close(average[0, :, 0, 0] * 1.8e8**2, seen, rtol=1e-6, atol=0)
    assert (average[1] == 0).all()
    best, *_ = OPERATORS.roi_align(x, far, 1, 1, 1.0, 0, 0, True)
    assert (best[1] == 0).all()
    turned = torch.tensor([[0.0, 0, 0, 9e7, 9e7, 0.7], [0, 9e7, 9e7, 9e7, 9e7, 2.0]]).double()
    assert torch.isfinite(OPERATORS.roi_align_rotated(x, turned, 7, 7, 1.0, 0, True, False)).all()


@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('aligned', [True, False])
def test_rois_that_are_nowhere_have_no_samples(draw, ratio, aligned):
    x = draw(1, 2, 8, 8) + 1
    odd = torch.tensor(
        [[0.0, math.nan, 1, 5, 5], [0, 1, 1, math.inf, 5], [0, 1, -1e30, 5, 5], [0, 1, 1, 5, 5]]
    ).double()
    for mode in (0, 1):
        args = (3, 3, 1.0, ratio, mode, aligned)
        out, *where = OPERATORS.roi_align(x, odd, *args)
        assert not out[:3].any()
        assert (out[3] >= 1).all()
        grad = torch.ones_like(out)
        grad[3] = 0
        assert not OPERATORS.roi_align_backward(grad, odd, *where, x.shape, *args).any()
    turned = torch.cat([odd, torch.ones(4, 1)], 1)
    turned[3, 5] = math.nan
    assert not OPERATORS.roi_align_rotated(x, turned, 3, 3, 1.0, ratio, aligned, True).any()
    backward = OPERATORS.roi_align_rotated_backward(grad + 1, turned, x.shape, 3, 3, 1.0, ratio, aligned, True)
    assert not backward.any()


def test_maximum_of_nan_is_nan(draw):
    x = draw(1, 1, 4, 4)
    x[0, 0, 1, 2] = math.nan
    out, *_ = OPERATORS.roi_align(x, torch.tensor([[0.0, 0, 0, 4, 4]]).double(), 1, 1, 1.0, 0, 0, True)
    assert out.isnan().all()


def test_maps_that_are_views_and_no_rois(draw):
    x = draw(2, 6, 9, 10)[:, ::2, 1:, ::3]
    rois = some_rois(draw, 6, 2)
    for few in (rois, rois[:1]):
        args = (3, 3, 1.0, 2, 1, True)
        out, *_ = OPERATORS.roi_align(x, few, *args)
        assert torch.equal(out, OPERATORS.roi_align(x.contiguous(), few, *args)[0])
    for mode in (0, 1):
        out, y, x_at = OPERATORS.roi_align(x, rois[:0], 3, 3, 1.0, 2, mode, True)
        assert out.shape == (0, 3, 3, 3)
        grad = OPERATORS.roi_align_backward(out, rois[:0], y, x_at, x.shape, 3, 3, 1.0, 2, mode, True)
        assert grad.shape == x.shape
        assert not grad.any()
    no_images = OPERATORS.roi_align(draw(0, 3, 4, 4), rois[:0], 3, 3, 1.0, 2, 1, True)[0]
    assert no_images.shape == (0, 3, 3, 3)


def attention_inputs(draw, batch=2, queries=5, heads=3, channels=19, points=4):
    shapes, starts = torch.tensor([[4, 6], [3, 1], [1, 1]]), torch.tensor([0, 24, 27])
    value = draw(batch, 28, heads, channels) - 0.5
    locations = draw(batch, queries, heads, 3, points, 2) * 1.6 - 0.3  # some beyond the maps
    return value, shapes, starts, locations, draw(batch, queries, heads, 3, points)


@pytest.mark.parametrize('channels', [1, 16, 19, 32])
def test_deformable_attention_and_its_gradients(draw, channels):
    value, shapes, starts, locations, weights = attention_inputs(draw, channels=channels)
    leaves = [t.requires_grad_() for t in (value, locations, weights)]
    expected = twins.ms_deform_attn(value, shapes, starts, locations, weights)
    grad = draw(*expected.shape) - 0.5
    expected_grads = torch.autograd.grad(expected, leaves, grad)
    for dtype, close in ((torch.float64, 1e-10), (torch.float32, 5e-5)):
        v, at, w = (t.detach().to(dtype) for t in leaves)
        out = OPERATORS.ms_deform_attn(v, shapes, starts, at, w)
        torch.testing.assert_close(out, expected.to(dtype), rtol=close, atol=close)
        grads = OPERATORS.ms_deform_attn_backward(grad.to(dtype), v, shapes, starts, at, w)
        for found, wanted in zip(grads, expected_grads):
            torch.testing.assert_close(found, wanted.to(dtype), rtol=close, atol=close)


def test_deformable_attention_of_nothing_and_at_no_place(draw):
    value, shapes, starts, locations, weights = attention_inputs(draw)
    locations[0] = math.nan
    locations[1, 0] = math.inf
    out = OPERATORS.ms_deform_attn(value, shapes, starts, locations, weights)
    assert not out[0].any()
    assert not out[1, 0].any()
    assert out[1, 1].any()
    grads = OPERATORS.ms_deform_attn_backward(torch.ones_like(out), value, shapes, starts, locations, weights)
    assert all(torch.isfinite(grad).all() for grad in grads)
    assert not grads[1][0].any()
    none = OPERATORS.ms_deform_attn(value, shapes, starts, locations[:, :0], weights[:, :0])
    assert none.shape == (2, 0, 57)


@pytest.mark.parametrize('mode', [0, 1])
def test_overlaps_of_rotated_boxes(draw, mode):
    a, b = some_rotated_boxes(draw, 12), some_rotated_boxes(draw, 9)
    b[:3] = a[:3]
    expected = torch.tensor([[twins.box_iou_rotated(p, q, mode) for q in b] for p in a], dtype=a.dtype)
    assert 0 < (expected == 0).sum() < expected.numel() / 2
    for dtype, close in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        found = OPERATORS.box_iou_rotated(a.to(dtype), b.to(dtype), mode, False)
        torch.testing.assert_close(found, expected.to(dtype), rtol=close, atol=close)
        pairs = OPERATORS.box_iou_rotated(a[:9].to(dtype), b.to(dtype), mode, True)
        assert torch.equal(pairs, found[:9].diagonal())


def test_overlaps_that_are_known():
    square, diamond = [0.0, 0, 2, 2, 0], [0.0, 0, 2, 2, math.pi / 4]
    octagon = 8 * (math.sqrt(2) - 1)
    boxes = torch.tensor(
        [square, diamond, [2, 0, 2, 2, 0], [1, 0, 2, 2, math.pi / 2], [0, 0, 0, 5, 1], [0, 0, 1, 1, 0.3]]
    )
    found = OPERATORS.box_iou_rotated(boxes[:1].double(), boxes.double(), 0, False)[0]
    expected = [1, octagon / (8 - octagon), 0, 1 / 3, 0, 1 / 4]
    torch.testing.assert_close(found, found.new_tensor(expected), rtol=1e-6, atol=1e-12)
    assert OPERATORS.box_iou_rotated(boxes[:0], boxes, 0, False).shape == (0, 6)


def test_rotated_nms(draw):
    boxes, scores = some_rotated_boxes(draw, 24, 30.0), draw(24)
    boxes[::9] = boxes[1].clone()
    ious = [[twins.box_iou_rotated(a, b) for b in boxes] for a in boxes]
    for threshold in (0.1, 0.4):
        left, kept = scores.argsort(descending=True, stable=True).tolist(), []
        while left:
            best, *left = left
            kept.append(best)
            left = [i for i in left if ious[best][i] < threshold]
        assert OPERATORS.nms_rotated(boxes, scores, threshold).tolist() == kept
        assert OPERATORS.nms_rotated(boxes.float(), scores.float(), threshold).tolist() == kept
    # An overlap that equals the threshold is too much.
    assert OPERATORS.nms_rotated(boxes[:1].repeat(2, 1), scores[:2], 0.0).shape == (1,)
    apart = torch.tensor([[0.0, 0, 1, 1, 0], [9, 9, 1, 1, 0]])
    assert OPERATORS.nms_rotated(apart, scores[:2].float(), 0.0).shape == (1,)
    assert OPERATORS.nms_rotated(boxes[:0], scores[:0], 0.5).shape == (0,)


MAP, ROI = torch.zeros(2, 3, 5, 5), torch.tensor([[1.0, 0, 0, 4, 4]])


@pytest.mark.parametrize(
    ('name', 'args', 'words'),
    [
        ('nms', (torch.zeros(3, 5), torch.zeros(3), 0.5, 0), r'boxes has shape \[3, 5\]; it must be \(n, 4\)'),
        ('nms', (torch.zeros(3, 4), torch.zeros(2), 0.5, 0), r'scores has shape \[2\]'),
        ('nms', (torch.zeros(3, 4).long(), torch.zeros(3), 0.5, 0), 'boxes is Long; it must be float32'),
        ('softnms', (torch.zeros(3, 4), torch.zeros(3), 0.5, 0.5, 0.1, 3, 0), 'method is 3; it must be 0'),
        ('roi_align', (MAP[0], ROI, 7, 7, 1.0, 0, 1, True), r'input has shape \[3, 5, 5\]; it must be \(N, C, H, W\)'),
        ('roi_align', (MAP, ROI + 1, 7, 7, 1.0, 0, 1, True), r'rois\[0\] names image 2; the batch has images 0 to 1'),
        ('roi_align', (MAP, ROI - 2, 7, 7, 1.0, 0, 1, True), r'rois\[0\] names image -1'),
        ('roi_align', (MAP, ROI * math.nan, 7, 7, 1.0, 0, 1, True), r'rois\[0\] names image nan'),
        ('roi_align', (MAP, ROI, 0, 7, 1.0, 0, 1, True), 'aligned_height and aligned_width are 0 and 7'),
        ('roi_align', (MAP, ROI, 7, 7, 1.0, 9999, 1, True), 'sampling_ratio is 9999; it must be at most 4096'),
        ('roi_align', (MAP, ROI, 7, 7, 1.0, 0, 2, True), 'pool_mode is 2; it must be 0'),
        ('roi_align', (MAP[:, :, :0], ROI, 7, 7, 1.0, 0, 1, True), 'the map is empty'),
        ('roi_align_rotated', (MAP, ROI, 7, 7, 1.0, 0, True, True), r'rois has shape \[1, 5\]; it must be \(n, 6\)'),
        ('box_iou_rotated', (ROI, ROI.repeat(2, 1), 0, True), r'\(n, 5\) with the n of boxes1'),
        ('box_iou_rotated', (ROI, ROI, 2, False), 'mode_flag is 2'),
    ],
)
def test_wrong_input_is_refused_with_its_name(name, args, words):
    with pytest.raises(ValueError, match=f'mmlska_mmcv: .*{words}'):
        getattr(OPERATORS, name)(*args)


def test_wrong_gradients_levels_and_memory_are_refused(draw):
    rest = (ROI[:, :0], ROI[:, :0], MAP.shape, 7, 7, 1.0, 0, 1, True)
    with pytest.raises(ValueError, match='mmlska_mmcv: grad_output has shape'):
        OPERATORS.roi_align_backward(torch.zeros(1, 3, 7, 6), ROI, *rest)
    with pytest.raises(ValueError, match='mmlska_mmcv: argmax_y has shape'):
        OPERATORS.roi_align_backward(torch.zeros(1, 3, 7, 7), ROI, *rest[:-2], 0, True)
    value, shapes, starts, locations, weights = attention_inputs(draw)
    for wrong in (shapes + 1, shapes * 2**40, -shapes):
        with pytest.raises(ValueError, match=r'mmlska_mmcv: level \d is a map of .* value has 28 keys'):
            OPERATORS.ms_deform_attn(value, wrong, starts, locations, weights)
    cut = MAP.clone()
    cut.untyped_storage().resize_(8)
    with pytest.raises(ValueError, match='mmlska_mmcv: the memory of input was freed or cut: 8 bytes'):
        OPERATORS.roi_align(cut, ROI, 7, 7, 1.0, 0, 1, True)
