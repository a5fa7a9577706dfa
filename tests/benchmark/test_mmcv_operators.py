"""mmcv's operators beside the stand-ins; without compiled ones plain PyTorch takes their place here."""

from types import SimpleNamespace

import pytest
import torch

from mmlska.benchmark.measure import check_case, time_case
from mmlska.benchmark.mmcv_operators import MMCV_OPS, mmcv_case
from mmlska.mmcv_ops import extension, in_use, plain


def by_plain_pytorch() -> SimpleNamespace:
    """The operators in plain PyTorch, called as mmcv's compiled ones are."""

    def nms(boxes, scores, iou_threshold, offset):
        order = scores.sort(descending=True, stable=True).indices
        return order[plain.nms(boxes[order], scores[order], iou_threshold, offset)]

    def roi_align_forward(maps, rois, out, argmax_y, argmax_x, *numbers):
        out.copy_(plain.roi_align(maps, rois, *numbers)[0])

    def roi_align_backward(grad, rois, argmax_y, argmax_x, into, *numbers):
        into.copy_(plain.roi_align_backward(grad, rois, argmax_y, argmax_x, list(into.shape), *numbers))

    return SimpleNamespace(nms=nms, roi_align_forward=roi_align_forward, roi_align_backward=roi_align_backward)


@pytest.mark.parametrize('op', MMCV_OPS)
def test_both_are_right_and_timed(op):
    case = mmcv_case(op, device=torch.device('cpu'), compiled=by_plain_pytorch())
    record = time_case(case, check_case(case), 0.01)
    assert set(record['contenders']) == {'published', 'mmlska'}
    assert all(values['median'] > 0 for values in record['contenders'].values())
    assert case.contenders['mmlska'].forward().any()


def test_suppression_has_something_to_do():
    case = mmcv_case('nms', device=torch.device('cpu'), compiled=extension)
    assert 200 < len(case.contenders['mmlska'].forward()) < 1500


def test_a_wrong_one_is_not_timed():
    wrong = by_plain_pytorch()
    wrong.nms = lambda boxes, scores, iou_threshold, offset: torch.arange(len(boxes))
    case = mmcv_case('nms', device=torch.device('cpu'), compiled=wrong)
    assert 'failed' in check_case(case).results['mmlska']


@pytest.mark.skipif(not in_use(), reason='mmcv has compiled operators')
def test_without_compiled_operators_there_is_nothing_to_compare_with():
    with pytest.raises(ValueError, match='mmcv has no compiled operators here.*onedl-mmcv'):
        mmcv_case('nms', device=torch.device('cpu'))
