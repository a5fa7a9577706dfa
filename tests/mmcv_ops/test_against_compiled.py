"""Every stand-in gives what compiled mmcv gave, outputs and gradients (compiled_mmcv.npz, made by record.py)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from cases import CASES, boxes, feature_map, ops, regions, rotated_boxes, rotated_regions, with_gradient

from mmlska.mmcv_ops import backends, in_use, nms, roi_align, rotated, sampling

VALUES = np.load(Path(__file__).with_name('compiled_mmcv.npz'))


def recorded(case):
    return [torch.tensor(VALUES[name]) for name in VALUES.files if name.rsplit('/', 1)[0] == case.name]


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_values_of_compiled_mmcv(case, backend):
    wanted, found = recorded(case), case.run()
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-6)


def test_every_value_has_its_case():
    assert {name.rsplit('/', 1)[0] for name in VALUES.files} == {case.name for case in CASES}


@pytest.mark.parametrize('case', CASES[::3], ids=lambda case: case.name)
def test_the_values_are_those_of_the_compiled_operators_that_are_here(case):
    if in_use():
        pytest.skip('mmcv has no compiled operators here')
    for a, b in zip(case.run(), recorded(case)):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_roi_align_in_other_dtypes(dtype, mode, backend):
    """Rounded once, at the end, where the places are exact in the type."""
    rois = regions().round()[[0, 1, 2, 4, 6]]
    layer = ops.RoIAlign((3, 2), 0.5, 2, mode, True)
    image = feature_map(dtype)
    out, gradient = with_gradient(lambda x: layer(x, rois.to(dtype)), image)
    wanted, wanted_gradient = with_gradient(lambda x: layer(x, rois), image.float())
    assert out.dtype == gradient.dtype == dtype
    loose = dict(rtol=2e-2, atol=2e-2) if dtype.itemsize == 2 else dict(rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.float(), wanted, **loose)
    torch.testing.assert_close(gradient.float(), wanted_gradient, **loose)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_suppression_in_other_dtypes(dtype, backend):
    """Compiled mmcv takes float32 alone on the CPU."""
    found, scores = (t.to(dtype) for t in boxes(60, 60))
    kept = ops.nms(found, scores, 0.5)[1]
    assert kept.tolist() == ops.nms(found.float(), scores.float(), 0.5)[1].tolist()
    dets, index = ops.soft_nms(found, scores, 0.3)
    assert dets.dtype == dtype
    assert index.tolist() == ops.soft_nms(found.float(), scores.float(), 0.3)[1].tolist()
    rotated = rotated_boxes(20, 1).to(dtype)
    overlap = ops.box_iou_rotated(rotated, rotated)
    assert overlap.dtype == dtype
    torch.testing.assert_close(
        overlap.float(), ops.box_iou_rotated(rotated.float(), rotated.float()), rtol=0, atol=4e-3
    )


@pytest.mark.parametrize(('layer', 'mode'), [('plain', 'avg'), ('plain', 'max'), ('rotated', 'avg')])
def test_channels_last_maps_are_read_right(layer, mode, backend):
    """Compiled mmcv reads them as if they were contiguous."""
    plain = ops.RoIAlign((3, 2), 0.5, 0, mode, True)
    function, rois = (
        (plain, regions()) if layer == 'plain' else (ops.RoIAlignRotated((3, 2), 0.5, 0), rotated_regions())
    )
    image = feature_map()
    last = image.to(memory_format=torch.channels_last)
    assert last.stride() != image.stride()
    for a, b in zip(
        with_gradient(lambda x: function(x, rois), last), with_gradient(lambda x: function(x, rois), image)
    ):
        torch.testing.assert_close(a, b)


def test_slices_and_transposed_maps_are_read_right(backend):
    image, rois = feature_map(), regions()
    layer = ops.RoIAlign((3, 2), 0.5, 2)
    wide = torch.zeros(2, 6, 11, 9).transpose(2, 3)
    wide[:, ::2] = image
    torch.testing.assert_close(layer(wide[:, ::2], rois), layer(image, rois))


def test_autocast_changes_nothing(backend):
    """A compiled operator does not know autocast."""
    image, rois = feature_map(), torch.tensor([[0, 0.0, 0, 22, 18], [1, 1, 2, 20, 17]])
    layer = ops.RoIAlign(7, 0.5, 0)
    wanted = layer(image, rois)
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(layer(image, rois), wanted, rtol=0, atol=0)


@pytest.mark.parametrize('channels', [1, 5])
def test_matrices_and_weighted_sums_are_the_same_operator(channels, stand_ins, monkeypatch):
    """Plain PyTorch takes matrices for the axes where samples are many."""
    monkeypatch.setattr(backends, 'BACKENDS', (backends.plain,))
    image = torch.rand(2, channels, 20, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rois = regions(torch.float64)
    results = []
    for crowded in (0, float('inf')):
        monkeypatch.setattr(roi_align, 'CROWDED', crowded)
        results.append(with_gradient(lambda x: ops.roi_align(x, rois, 5, 1.0, 0, 'avg', True), image))
    for a, b in zip(*results):
        torch.testing.assert_close(a, b)


def test_work_in_small_parts_is_the_same(stand_ins, monkeypatch):
    """Memory is bounded by doing regions, queries and pairs of boxes in turn."""
    monkeypatch.setattr(backends, 'BACKENDS', (backends.plain,))
    monkeypatch.setattr(sampling.chunks, '__defaults__', (30,))
    monkeypatch.setattr(rotated, '_PAIRS', 5)
    monkeypatch.setattr(nms, 'BLOCK', 7)
    for case in CASES:
        for a, b in zip(case.run(), recorded(case)):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-6)
