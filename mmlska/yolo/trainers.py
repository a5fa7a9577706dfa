"""Trainers that register LSKA's rows in every process: give one as ``YOLO(...).train(trainer=...)``.

Multi-GPU training starts worker processes that read the trainer by its name and know nothing of what was registered before.
"""

from __future__ import annotations

from ultralytics.models.yolo import detect, obb, pose, segment
from ultralytics.utils import DEFAULT_CFG

from .registration import register


class _Registers:
    """Registers before Ultralytics' trainer builds anything."""

    def __init__(self, cfg=DEFAULT_CFG, overrides: dict | None = None, _callbacks: dict | None = None) -> None:
        register()
        super().__init__(cfg, overrides, _callbacks)


class DetectionTrainer(_Registers, detect.DetectionTrainer):
    """Ultralytics' trainer of detectors, with LSKA registered."""


class SegmentationTrainer(_Registers, segment.SegmentationTrainer):
    """Ultralytics' trainer of instance segmentors, with LSKA registered."""


class PoseTrainer(_Registers, pose.PoseTrainer):
    """Ultralytics' trainer of keypoint detectors, with LSKA registered."""


class OBBTrainer(_Registers, obb.OBBTrainer):
    """Ultralytics' trainer of oriented boxes, with LSKA registered."""
