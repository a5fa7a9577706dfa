"""The torchvision of the package registry beside a CPU build of torch.

That torchvision is built for CUDA: beside a torch without CUDA its compiled operators do not load and `import torchvision` ends in
``RuntimeError: operator torchvision::nms does not exist``, although its transforms, which are all that MMPretrain and a detector's
training need, are plain Python.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch

from .mmcv_ops.nms import nms

_libraries: list[torch.library.Library] = []  # a library that nobody holds is taken back


def mend_torchvision() -> bool:
    """Make torchvision importable where its compiled operators do not fit this torch; elsewhere do nothing.

    Non-maximum suppression is then done by :func:`mmlska.mmcv_ops.nms.nms`; the other compiled operators (RoI align and its kin) stay
    unavailable.

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
