"""torchvision's compiled operators, where torchvision is installed and they load; for what they do differently, NotImplemented."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from .roi_align import MAX

NAME = 'torchvision'


@cache
def available() -> bool:
    """Whether the operators are there; the first call imports torchvision."""
    if find_spec('torchvision') is None:
        return False
    try:
        import torchvision  # noqa: F401, registers its operators
    except (ImportError, OSError, RuntimeError):  # made for another torch: then importing it fails in one of these ways
        return False
    # A torchvision that does not fit may import without its compiled operators.
    return hasattr(torch.ops.torchvision, 'roi_align') and hasattr(torch.ops.torchvision, '_roi_align_backward')


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """See :func:`mmlska.mmcv_ops.nms.nms`."""
    if not _serves('nms', boxes):
        return NotImplemented
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return torch.ops.torchvision.nms(boxes, scores.to(boxes.dtype), iou_threshold)


def roi_align(
    input: Tensor,
    rois: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`mmlska.mmcv_ops.roi_align.roi_align`; the average alone."""
    if pool_mode == MAX or not _serves('roi_align', input) or not _are_usual(rois, input.shape, spatial_scale):
        return NotImplemented
    output = torch.ops.torchvision.roi_align(
        input, rois.to(input.dtype), spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned
    )
    return output, input.new_zeros(0), input.new_zeros(0)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    input_size: list[int],
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> Tensor:
    """See :func:`mmlska.mmcv_ops.roi_align.roi_align_backward`; of the average alone."""
    served = _serves('_roi_align_backward', grad_output) and _are_usual(rois, input_size, spatial_scale)
    if pool_mode == MAX or not served:
        return NotImplemented
    return torch.ops.torchvision._roi_align_backward(
        grad_output,
        rois.to(grad_output.dtype),
        spatial_scale,
        aligned_height,
        aligned_width,
        *input_size,
        sampling_ratio,
        aligned,
    )


def _serves(operator: str, x: Tensor) -> bool:
    """Whether torchvision has the operator on the tensor's device. On the CPU it would sum 16 bits in 16 bits."""
    exact = (torch.float32, torch.float64)
    dtypes = {'cpu': exact, 'cuda': (*exact, torch.float16)}.get(x.device.type, ())
    return x.dtype in dtypes and torch._C._dispatch_has_kernel_for_dispatch_key(
        f'torchvision::{operator}', x.device.type.upper()
    )


def _are_usual(rois: Tensor, size: Sequence[int], scale: float) -> bool:
    """Whether RoIs belong to images of the batch and lie about where the map does.

    torchvision does not look: it reads other memory for an image that is not there, and a RoI of 1e30 has samples without end.
    """
    if rois.is_cuda:
        return True  # to look would be to wait for the GPU
    images, _, height, width = size
    number, corners = rois[:, 0], rois[:, 1:] * scale
    belong, near = (number >= 0) & (number < images), corners.abs() <= 100 + 2 * max(height, width)  # false for NaN
    return min(height, width) > 0 and bool(belong.all() and near.all())
