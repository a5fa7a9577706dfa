"""LSKA in Ultralytics YOLO: rows for YAMLs, surgery on trained models, weight transfer.

Ultralytics is licensed under AGPL-3.0, unlike this package (Apache-2.0): what you build with both together falls under its terms.
Nothing of Ultralytics is contained here, and only importing ``mmlska.yolo`` imports it. See docs/yolo.md.
"""

from ..torchvision_cpu import mend_torchvision
from .attach import attach
from .configs import PLACES, with_lska, write_cfg
from .registration import is_registered, register, unregister
from .transfer import transfer

mend_torchvision()  # Ultralytics imports it when it predicts and validates

__all__ = ['PLACES', 'attach', 'is_registered', 'register', 'transfer', 'unregister', 'with_lska', 'write_cfg']
