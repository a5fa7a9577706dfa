"""LSKA in Ultralytics YOLO: rows for YAMLs, surgery on trained models, weight transfer.

Ultralytics is licensed under AGPL-3.0, unlike this package (Apache-2.0): what you build with both together falls under its terms.
Nothing of Ultralytics is contained here, and only importing ``mmlska.yolo`` imports it. It then asks no other host on its own, unless
YOLO_OFFLINE=false is set or it was imported before. See docs/yolo.md.
"""

from ..torchvision_cpu import mend_torchvision
from . import offline  # noqa: F401 (before Ultralytics)
from .attach import attach
from .configs import PLACES, with_lska, write_cfg
from .files import load_yolo
from .registration import is_registered, register, unregister
from .transfer import transfer

mend_torchvision()  # Ultralytics imports it when it predicts and validates

__all__ = [
    'PLACES',
    'attach',
    'is_registered',
    'load_yolo',
    'register',
    'transfer',
    'unregister',
    'with_lska',
    'write_cfg',
]
