"""The torchvision of the package registry beside a CPU build of torch.

That torchvision is built for CUDA: beside a torch without CUDA its compiled operators do not load and `import torchvision` ends in
``RuntimeError: operator torchvision::nms does not exist``, although its transforms, which are all that MMPretrain and a detector's
training need, are plain Python.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

_libraries: list[torch.library.Library] = []  # a library that nobody holds is taken back


def mend_torchvision() -> bool:
    """Make torchvision importable where its compiled operators do not fit this torch; elsewhere do nothing.

    Non-maximum suppression is then done by :func:`nms`; the other compiled operators (RoI align and its kin) stay unavailable.

    Returns:
        Whether there was anything to mend.
    """
    # With CUDA the two fit together, and importing torchvision takes its time.
    if torch.version.cuda is not None or find_spec('torchvision') is None:
        return False
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if 'torchvision::nms' not in str(error):
            raise
        library = torch.library.Library('torchvision', 'FRAGMENT')
        for name in ('nms', 'qnms'):
            library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        library.impl('nms', nms, 'CPU')
        _libraries.append(library)
        import torchvision

        torchvision.ops.nms = torchvision.ops.boxes.nms = nms
        return True
    return False


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy non-maximum suppression in plain PyTorch, equal to ``torchvision.ops.nms``.

    Args:
        boxes: (N, 4) as left, top, right, bottom in pixels.
        scores: (N,).
        iou_threshold: Of two boxes that overlap by more, the one of lower score is dropped.

    Returns:
        The indices of the boxes that stay, highest score first.

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
        >>> nms(boxes, torch.tensor([0.8, 0.9, 0.1]), 0.5)
        tensor([1, 2])
    """
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    order = scores.argsort(descending=True, stable=True)
    keep = []
    while order.numel():
        best, order = order[0], order[1:]
        keep.append(best)
        corner = torch.maximum(boxes[best, :2], boxes[order, :2])
        sides = (torch.minimum(boxes[best, 2:], boxes[order, 2:]) - corner).clamp(min=0)
        overlap = sides.prod(1)
        order = order[overlap <= iou_threshold * (areas[best] + areas[order] - overlap)]
    return torch.stack(keep) if keep else order
