"""What every backend has to keep: who is asked, and the form of results."""

import math
import warnings

import pytest
import torch
from cases import boxes, feature_map, ops, regions, rotated_boxes, rotated_regions

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


MAP, ROIS, TURNED = feature_map(), regions(), rotated_regions()
LAST = MAP.to(memory_format=torch.channels_last)


def roi_align(image, rois, ratio=0, mode=1, size=(3, 2)):
    return backends.call('roi_align', image, rois, *size, 0.5, ratio, mode, True)


def gradient_of_roi_align(slope, rois, places, ratio=0, mode=1):
    size = [*MAP.shape]
    return backends.call('roi_align_backward', slope, rois, *places, size, *slope.shape[2:], 0.5, ratio, mode, True)


def roi_align_rotated(image, rois, ratio=0):
    return backends.call('roi_align_rotated', image, rois, 3, 2, 0.5, ratio, True, True)


def gradient_of_roi_align_rotated(slope, rois):
    return backends.call('roi_align_rotated_backward', slope, rois, [*MAP.shape], 3, 2, 0.5, 0, True, True)


def attention(dtype=torch.float32):
    shapes, starts = torch.tensor([[3, 4], [2, 1]]), torch.tensor([0, 12])
    generator = torch.Generator().manual_seed(0)
    value, places, weights = (
        torch.rand(*shape, generator=generator, dtype=dtype)
        for shape in ((2, 14, 2, 5), (2, 6, 2, 2, 3, 2), (2, 6, 2, 2, 3))
    )
    return value, shapes, starts, places, weights


@pytest.mark.parametrize('mode', [0, 1])
def test_results_are_contiguous_whatever_the_layout(mode, backend):
    """mmcv's own operators know no other."""
    out, *places = roi_align(LAST, ROIS, mode=mode)
    slope = torch.ones_like(out).contiguous(memory_format=torch.channels_last)
    assert slope.stride() != out.stride()
    turned = roi_align_rotated(LAST, TURNED)
    found = [out, *places, gradient_of_roi_align(slope, ROIS, places, mode=mode), turned]
    found.append(gradient_of_roi_align_rotated(turned.contiguous(memory_format=torch.channels_last), TURNED))
    value, shapes, starts, where, weights = attention()
    turned_inputs = [t.transpose(0, 1).contiguous().transpose(0, 1) for t in (value, where, weights)]
    inputs = (turned_inputs[0], shapes, starts, *turned_inputs[1:])
    attended = backends.call('ms_deform_attn', *inputs)
    found += [attended, *backends.call('ms_deform_attn_backward', attended, *inputs)]
    assert all(t.is_contiguous() for t in found)


def test_gradients_that_are_expanded_are_read_right(backend):
    """The gradient of a sum has no memory of its own."""
    out, *places = roi_align(MAP, ROIS)
    one = torch.ones(1)
    torch.testing.assert_close(
        gradient_of_roi_align(one.expand(out.shape), ROIS, places),
        gradient_of_roi_align(torch.ones_like(out), ROIS, places),
    )
    turned = roi_align_rotated(MAP, TURNED)
    torch.testing.assert_close(
        gradient_of_roi_align_rotated(one.expand(turned.shape), TURNED),
        gradient_of_roi_align_rotated(torch.ones_like(turned), TURNED),
    )
    inputs = attention()
    attended = backends.call('ms_deform_attn', *inputs)
    for a, b in zip(
        backends.call('ms_deform_attn_backward', one.expand(attended.shape), *inputs),
        backends.call('ms_deform_attn_backward', torch.ones_like(attended), *inputs),
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize('mode', [0, 1])
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('side', [1e30, math.inf, math.nan])
def test_regions_that_are_nowhere_are_zero(side, ratio, mode, backend):
    rois = torch.tensor([[0, 1.0, 1, 5, 5], [1, 1, 1, side, 5], [1, -side, 0, 9, 9]])
    out, *places = roi_align(MAP, rois, ratio, mode)
    assert out[0].any()
    assert not out[1:].any()
    slope = torch.ones_like(out)
    slope[0] = 0
    assert not gradient_of_roi_align(slope, rois, places, ratio, mode).any()
    turned = torch.tensor([[0, 5.0, 5, 9, 9, 0.3], [1, 5, 5, side, 9, 0], [1, side, 5, 9, 9, 0], [1, 5, 5, 9, 9, side]])
    out = roi_align_rotated(MAP, turned, ratio)
    assert out[0].any()
    assert not out[1:].any()
    slope = torch.ones_like(out)
    slope[0] = 0
    assert not gradient_of_roi_align_rotated(slope, turned).any()


def test_a_region_of_any_size_costs_no_more_than_the_map(backend):
    """Samples are a pixel apart: most lie on no pixel. In float64, where a place so far away is exact."""
    image, far = torch.ones(2, 2, 9, 11, dtype=torch.float64), 1.4e8  # of the image; the map has half of it
    rois = torch.tensor([[0, -far, -far, far, far], [0, 0, 0, far, far]], dtype=torch.float64)
    for size in ((1, 1), (3, 2)):
        average = roi_align(image, rois, size=size)[0]
        # Where the map is, 11 x 13 samples have its value or that of its border; the second region begins at its corner.
        for region, side, seen in ((0, far, 11 * 13), (1, far / 2, 10 * 12)):
            total = average[region, 0].sum() * (side / size[0]) * (side / size[1])
            torch.testing.assert_close(total, total.new_tensor(float(seen)), rtol=0.25, atol=0)
        assert set(roi_align(image, rois, mode=0, size=size)[0].flatten().tolist()) <= {0.0, 1.0}
        assert roi_align(image, rois, mode=0, size=size)[0].max() == 1
    turned = torch.tensor([[0, 9, 9, far, far, 0.7]], dtype=torch.float64)
    total = roi_align_rotated(image, turned)[0, 0].sum() * (far / 2) ** 2 / 6
    torch.testing.assert_close(total, total.new_tensor(10.0 * 12), rtol=0.25, atol=0)


@pytest.mark.parametrize('dtypes', [(torch.float32, torch.float64), (torch.float64, torch.float32)])
@pytest.mark.parametrize('mode', [0, 1])
def test_the_dtype_of_the_map_is_that_of_the_computation(dtypes, mode, backend):
    """Regions, places and second boxes of another dtype are converted first."""
    first, second = dtypes
    image = MAP.to(first)
    for run, rois in ((lambda x, r: roi_align(x, r, 0, mode)[0], ROIS), (roi_align_rotated, TURNED)):
        found = run(image, rois.to(second))
        assert found.dtype == first
        torch.testing.assert_close(found, run(image, rois.to(second).to(first)), rtol=0, atol=0)
    out, *places = roi_align(image, ROIS.to(second), 0, mode)
    gradient = gradient_of_roi_align(out, ROIS.to(second), [t.to(second) for t in places], 0, mode)
    assert gradient.dtype == first
    rounded = [t.to(second).to(first) for t in places]
    torch.testing.assert_close(gradient, gradient_of_roi_align(out, ROIS.to(first), rounded, 0, mode))
    value, shapes, starts, where, weights = attention()
    mixed = (value.to(first), shapes, starts, where.to(second), weights.to(second))
    attended = backends.call('ms_deform_attn', *mixed)
    gradients = backends.call('ms_deform_attn_backward', attended, *mixed)
    assert [t.dtype for t in (attended, *gradients)] == [first, first, second, second]
    pure = (value.to(first), shapes, starts, where.to(first), weights.to(first))
    torch.testing.assert_close(attended, backends.call('ms_deform_attn', *pure), rtol=0, atol=0)
    found, scores = boxes(30, 3)
    dets, index = backends.call('softnms', found.to(first), scores.to(second), 0.3, 0.5, 0.05, 1, 0)
    assert dets.dtype == first
    assert index.tolist() == backends.call('softnms', found, scores, 0.3, 0.5, 0.05, 1, 0)[1].tolist()
    a, b = rotated_boxes(6, 1).to(first), rotated_boxes(7, 2).to(second)
    overlap = backends.call('box_iou_rotated', a, b, 0, False)
    assert overlap.dtype == first
    torch.testing.assert_close(overlap, backends.call('box_iou_rotated', a, b.to(first), 0, False), rtol=0, atol=0)


@pytest.mark.parametrize('number', [2.0, -1.0, math.nan])
def test_images_that_are_not_there_are_refused(number, backend):
    words = rf'rois\[1\] names image {number:g}; the batch has images 0 to 1'
    rois, turned = ROIS.clone(), TURNED.clone()
    rois[1, 0] = turned[1, 0] = number
    for mode in (0, 1):
        out, *places = roi_align(MAP, ROIS, mode=mode)
        with pytest.raises(ValueError, match=words):
            roi_align(MAP, rois, mode=mode)
        with pytest.raises(ValueError, match=words):
            gradient_of_roi_align(out, rois, places, mode=mode)
    with pytest.raises(ValueError, match=words):
        roi_align_rotated(MAP, turned)
    with pytest.raises(ValueError, match=words):
        gradient_of_roi_align_rotated(roi_align_rotated(MAP, TURNED), turned)


def test_maps_without_pixels_and_regions_without_bins_are_refused(backend):
    with pytest.raises(ValueError, match=r'the map is empty \(height 0, width 11\) but there are 7 RoIs'):
        roi_align(MAP[:, :, :0], ROIS)
    assert roi_align(MAP[:, :, :0], ROIS[:0])[0].shape == (0, 3, 3, 2)
    assert roi_align(MAP[:, :0], ROIS)[0].shape == roi_align(MAP[:, :0], ROIS, mode=0)[0].shape == (7, 0, 3, 2)
    assert roi_align_rotated(MAP[:, :0], TURNED).shape == (6, 0, 3, 2)
    value, *rest = attention()
    inputs = (value[..., :0], *rest)
    out = backends.call('ms_deform_attn', *inputs)
    assert out.shape == (2, 6, 0)
    shapes = [t.shape for t in backends.call('ms_deform_attn_backward', out, *inputs)]
    assert shapes == [inputs[i].shape for i in (0, 3, 4)]
    if backend.NAME != 'torchvision':
        with pytest.raises(ValueError, match='aligned_height and aligned_width are 0 and 2; they must be 1 or more'):
            roi_align(MAP, ROIS, size=(0, 2))


def test_maps_of_attention_that_have_too_few_pixels_are_refused(backend):
    value, shapes, starts, places, weights = attention()
    for wrong in ((shapes + 1, starts), (shapes, starts + 1), (-shapes, starts), (shapes, starts - 1)):
        with pytest.raises(ValueError, match=r'level \d is a map of .* value has 14 keys'):
            backends.call('ms_deform_attn', value, *wrong, places, weights)
        with pytest.raises(ValueError, match=r'level \d is a map of .* value has 14 keys'):
            backends.call('ms_deform_attn_backward', value.new_ones(2, 6, 10), value, *wrong, places, weights)


@pytest.mark.parametrize('odd', [math.nan, math.inf, 1e30])
def test_attention_to_no_place_is_zero(odd, backend):
    value, shapes, starts, places, weights = attention()
    places[:, 0] = odd
    out = backends.call('ms_deform_attn', value, shapes, starts, places, weights)
    gradients = backends.call('ms_deform_attn_backward', out + 1, value, shapes, starts, places, weights)
    assert not out[:, 0].any()
    assert out[:, 1:].any()
    assert all(torch.isfinite(t).all() for t in gradients)
    assert not gradients[1][:, 0].any()


def test_boxes_with_nan_overlap_nothing_and_sides_may_be_negative(backend):
    found = rotated_boxes(8, 4)
    same = found.clone()
    same[:, 2:4] *= -1
    wanted = backends.call('box_iou_rotated', found, found, 0, False)
    torch.testing.assert_close(backends.call('box_iou_rotated', same, found, 0, False), wanted)
    torch.testing.assert_close(backends.call('box_iou_rotated', found, same, 0, False), wanted)
    scores = torch.linspace(1, 0.5, 8)
    kept = backends.call('nms_rotated', found, scores, 0.1).tolist()
    odd = torch.cat([found, found[:1] * math.nan, found[:1]])
    assert backends.call('nms_rotated', odd, torch.cat([scores, torch.tensor([2.0, 0.1])]), 0.1).tolist() == [8, *kept]


def test_autograd_does_not_see_an_operator(backend):
    """Compiled ones have no derivative of boxes, and mmcv calls two of them outside of a function of its own."""
    upright, rotated = boxes(9, 0)[0].requires_grad_(), rotated_boxes(6, 0).requires_grad_()
    scores = torch.linspace(1, 0.1, 9, requires_grad=True)
    assert not ops.box_iou_rotated(rotated, rotated).requires_grad
    assert len(ops.nms_rotated(rotated, scores[:6], 0.5)[1])
    assert ops.nms_match(torch.cat([upright, scores[:, None]], 1), 0.5)
    assert len(ops.nms(upright, scores, 0.5)[1])
    image, rois = MAP.clone().requires_grad_(), ROIS.clone().requires_grad_()
    out = ops.roi_align(image, rois, (3, 2), 0.5, 0, 'avg', True)
    of_image, of_rois = torch.autograd.grad(out.sum(), (image, rois), allow_unused=True, create_graph=True)
    assert of_rois is None
    with pytest.raises(RuntimeError, match='once_differentiable|does not require grad'):
        torch.autograd.grad(of_image.sum(), image)


def test_gradients_under_inference_mode_are_the_same(backend):
    """Autograd records nothing there, and plain PyTorch asks it for the gradient: nothing recorded would be a gradient of 0."""
    slope, rois = torch.ones(len(ROIS), MAP.shape[1], 3, 2), ROIS
    value, shapes, starts, locations, weights = attention()
    slope_of_attention = torch.ones(2, 6, 10)

    def gradients(copied=lambda x: x):
        of_maps = [
            gradient_of_roi_align(copied(slope), copied(rois), [slope.new_zeros(0)] * 2),
            gradient_of_roi_align_rotated(copied(slope[: len(TURNED)]), copied(TURNED)),
        ]
        inputs = [copied(x) for x in (slope_of_attention, value, shapes, starts, locations, weights)]
        return [*of_maps, *backends.call('ms_deform_attn_backward', *inputs)]

    with torch.inference_mode():
        inside, of_its_tensors = gradients(), gradients(torch.clone)
    for wanted, *found in zip(gradients(), inside, of_its_tensors):
        assert wanted.any()
        for gradient in found:
            torch.testing.assert_close(gradient, wanted)
