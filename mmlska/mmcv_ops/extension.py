"""What stands in the place of ``mmcv._ext``: its functions, called as mmcv calls them, which mostly write into tensors that are given.

Every public function of this file becomes one of ``mmcv._ext``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import backends, focal_loss
from .nms import nms_match as groups_of_boxes


def get_compiler_version() -> str:
    """What mmcv reports as the compiler of its operators."""
    return f'none, operators of mmlska: {", ".join(backends.available_backends())}'


def get_compiling_cuda_version() -> str:
    """What mmcv reports as the CUDA version of its operators."""
    return 'not available'


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """See :func:`mmlska.mmcv_ops.nms.nms`."""
    order = _order(scores)
    return order[backends.call('nms', boxes[order], scores[order], iou_threshold, offset)]


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """See :func:`mmlska.mmcv_ops.nms.nms_match`."""
    order = _order(dets[:, 4])
    return [order[group].tolist() for group in groups_of_boxes(dets[order], iou_threshold)]


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """See :func:`mmlska.mmcv_ops.nms.softnms`; writes the boxes into the first rows of ``dets`` and returns the indices."""
    found, index = backends.call('softnms', boxes, scores, iou_threshold, sigma, min_score, method, offset)
    dets[: len(found)] = found
    return index


def nms_rotated(
    dets: Tensor,
    scores: Tensor,
    order: Tensor,
    dets_sorted: Tensor,
    labels: Tensor,
    iou_threshold: float,
    multi_label: bool,
) -> Tensor:
    """See :func:`mmlska.mmcv_ops.rotated.nms_rotated`. Boxes of different labels do not meet; compiled for CPU, mmcv forgets the labels."""
    boxes, scores = dets_sorted[:, :5].contiguous(), scores[order]
    if not multi_label:
        return order[backends.call('nms_rotated', boxes, scores, iou_threshold)]
    labels, kept = labels[order], []
    for label in labels.unique():
        which = (labels == label).nonzero()[:, 0]
        kept.append(which[backends.call('nms_rotated', boxes[which], scores[which], iou_threshold)])
    return order[torch.cat(kept).sort().values]


def box_iou_rotated(boxes1: Tensor, boxes2: Tensor, ious: Tensor, mode_flag: int, aligned: bool) -> None:
    """See :func:`mmlska.mmcv_ops.rotated.box_iou_rotated`; fills ``ious``."""
    ious.copy_(backends.call('box_iou_rotated', boxes1, boxes2, mode_flag, aligned).reshape(ious.shape))


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """See :func:`mmlska.mmcv_ops.roi_align.roi_align`; fills ``output``, and for the maximum ``argmax_y`` and ``argmax_x``."""
    results = backends.call(
        'roi_align', input, rois, aligned_height, aligned_width, spatial_scale, sampling_ratio, pool_mode, aligned
    )
    for target, result in zip((output, argmax_y, argmax_x), results):
        target.copy_(result)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """See :func:`mmlska.mmcv_ops.roi_align.roi_align_backward`; fills ``grad_input``."""
    numbers = (aligned_height, aligned_width, spatial_scale, sampling_ratio, pool_mode, aligned)
    size = list(grad_input.shape)
    grad_input.copy_(backends.call('roi_align_backward', grad_output, rois, argmax_y, argmax_x, size, *numbers))


def roi_align_rotated_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    clockwise: bool,
) -> None:
    """See :func:`mmlska.mmcv_ops.rotated.roi_align_rotated`; fills ``output``."""
    numbers = (pooled_height, pooled_width, spatial_scale, sampling_ratio, aligned, clockwise)
    output.copy_(backends.call('roi_align_rotated', input, rois, *numbers))


def roi_align_rotated_backward(
    grad_output: Tensor,
    rois: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    clockwise: bool,
) -> None:
    """See :func:`mmlska.mmcv_ops.rotated.roi_align_rotated_backward`; fills ``grad_input``."""
    numbers = (pooled_height, pooled_width, spatial_scale, sampling_ratio, aligned, clockwise)
    grad_input.copy_(backends.call('roi_align_rotated_backward', grad_output, rois, list(grad_input.shape), *numbers))


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """See :func:`mmlska.mmcv_ops.focal_loss.sigmoid_focal_loss`; fills ``output``."""
    output.copy_(focal_loss.sigmoid_focal_loss(input, target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """See :func:`mmlska.mmcv_ops.focal_loss.sigmoid_focal_loss_backward`; fills ``grad_input``."""
    grad_input.copy_(focal_loss.sigmoid_focal_loss_backward(input, target, weight, gamma, alpha))


def softmax_focal_loss_forward(
    softmax: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """See :func:`mmlska.mmcv_ops.focal_loss.softmax_focal_loss`; fills ``output``."""
    output.copy_(focal_loss.softmax_focal_loss(softmax, target, weight, gamma, alpha))


def softmax_focal_loss_backward(
    softmax: Tensor, target: Tensor, weight: Tensor, buff: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """See :func:`mmlska.mmcv_ops.focal_loss.softmax_focal_loss_backward`; fills ``grad_input``; ``buff`` is mmcv's own scratch."""
    grad_input.copy_(focal_loss.softmax_focal_loss_backward(softmax, target, weight, gamma, alpha))


def ms_deform_attn_forward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """See :func:`mmlska.mmcv_ops.deformable_attention.ms_deform_attn`; ``im2col_step``, how mmcv divides the work, changes nothing."""
    return backends.call(
        'ms_deform_attn', value, spatial_shapes, level_start_index, sampling_locations, attention_weights
    )


def ms_deform_attn_backward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_locations: Tensor,
    grad_attention_weights: Tensor,
    im2col_step: int,
) -> None:
    """See :func:`mmlska.mmcv_ops.deformable_attention.ms_deform_attn_backward`; fills the three gradients."""
    inputs = (value, spatial_shapes, level_start_index, sampling_locations, attention_weights)
    targets = (grad_value, grad_sampling_locations, grad_attention_weights)
    for target, gradient in zip(targets, backends.call('ms_deform_attn_backward', grad_output, *inputs)):
        target.copy_(gradient)


def _order(scores: Tensor) -> Tensor:
    """The order of boxes by falling score as mmcv has it, equal scores too: those of an untrained head are often equal.

    mmcv sorts without ``stable``. Backends sort what is sorted by then once more, and stably, which changes nothing.
    """
    return scores.sort(descending=True).indices
