"""The operators that mmcv compiles beside the stand-ins of this package, which take the same arguments."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor

from ..environment import compiled_mmcv
from ..mmcv_ops import extension, in_use
from .cases import TOLERANCE, Case
from .contenders import Contender

NMS_BOXES, ROIS, MAP, OUT = 2000, 1000, (1, 256, 64, 64), 7
_STRIDE = 16  # of the map in the image
# mmdet's own: as many points as a bin has pixels, the average, half a pixel to the left.
_ROI_NUMBERS = (OUT, OUT, 1 / _STRIDE, 0, 1, True)


def _nms(operators: ModuleType, boxes: Tensor) -> Tensor:
    return operators.nms(boxes, _scores(len(boxes), boxes.device), iou_threshold=0.7, offset=0)


def _roi_align(operators: ModuleType, maps: Tensor) -> Tensor:
    rois = _rois(maps.device)
    out = maps.new_zeros(len(rois), maps.shape[1], OUT, OUT)
    operators.roi_align_forward(maps, rois, out, *_no_argmax(maps), *_ROI_NUMBERS)
    return out


def _roi_align_backward(operators: ModuleType, grad: Tensor) -> Tensor:
    into = grad.new_zeros(MAP)
    operators.roi_align_backward(grad, _rois(grad.device), *_no_argmax(grad), into, *_ROI_NUMBERS)
    return into


#: What is timed, by the name in mmcv: the call and the shape of its input.
MMCV_OPS: dict[str, tuple[Callable[[ModuleType, Tensor], Tensor], tuple[int, ...]]] = {
    'nms': (_nms, (NMS_BOXES, 4)),
    'roi_align': (_roi_align, MAP),
    'roi_align_backward': (_roi_align_backward, (ROIS, MAP[1], OUT, OUT)),
}


def mmcv_case(op: str, *, device: torch.device, compiled: ModuleType | None = None) -> Case:
    """Build a case of one operator in float32: ``published`` is mmcv's compiled one.

    Args:
        op: One of ``MMCV_OPS``.
        device: Where it runs.
        compiled: By default ``mmcv._ext``.

    Raises:
        ValueError: If mmcv has no compiled operators here.
    """
    if compiled is None:
        if in_use():
            raise ValueError(
                f'mmcv has no compiled operators here, which those of mmlska are compared with: {compiled_mmcv()}'
            )
        compiled = import_module('mmcv._ext')
    call, shape = MMCV_OPS[op]
    x = _boxes(shape[0]).to(device) if op == 'nms' else _random(shape).to(device)
    settings = {'op': op, 'input': list(shape), 'dtype': 'float32', 'pass': 'forward'}
    contenders = {
        name: Contender(partial(call, operators), [], x)
        for name, operators in (('published', compiled), ('mmlska', extension))
    }
    return Case(settings, contenders, contenders['published'], TOLERANCE[torch.float32], 0)


def _random(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def _boxes(count: int) -> Tensor:
    """Boxes of 16 to 256 pixels in an image of 1024, some of them nearly the same, as proposals are."""
    corners, sides = _random((count // 4, 2), 1) * 768, 16 + _random((count // 4, 2), 2) * 240
    boxes = torch.cat((corners, corners + sides), 1).repeat(4, 1)
    return boxes + _random((len(boxes), 4), 3) * 16


@cache
def _scores(count: int, device: torch.device) -> Tensor:
    return _random((count,), 4).to(device)


@cache
def _rois(device: torch.device) -> Tensor:
    return torch.cat((torch.zeros(ROIS, 1), _boxes(ROIS)), 1).to(device)


def _no_argmax(maps: Tensor) -> tuple[Tensor, Tensor]:
    """The places of the maximum, which the average does not have."""
    return maps.new_zeros(0), maps.new_zeros(0)
