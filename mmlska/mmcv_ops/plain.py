"""Every operator in plain PyTorch: on any device, for any dtype."""

from __future__ import annotations

from .deformable_attention import ms_deform_attn, ms_deform_attn_backward
from .nms import nms, softnms
from .roi_align import roi_align, roi_align_backward
from .rotated import box_iou_rotated, nms_rotated, roi_align_rotated, roi_align_rotated_backward

NAME = 'plain PyTorch'

__all__ = [
    'box_iou_rotated',
    'ms_deform_attn',
    'ms_deform_attn_backward',
    'nms',
    'nms_rotated',
    'roi_align',
    'roi_align_backward',
    'roi_align_rotated',
    'roi_align_rotated_backward',
    'softnms',
]


def available() -> bool:
    """Always."""
    return True
