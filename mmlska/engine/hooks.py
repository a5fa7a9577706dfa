"""Hooks for MMEngine's Runner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from .. import mmcv_ops
from ..bands import read_picture, reads_as_stored
from ..images import MAX_PIXELS, read_header
from ..log import log
from ..models import fold_for_inference
from .processes import bare_model


def unused_name(stem: str, used: set[str]) -> str:
    """A name for an image, numbered where several folders have the same; it is ``used`` from now on."""
    name, number = stem, 2
    while name in used:
        name, number = f'{stem}_{number}', number + 1
    used.add(name)
    return name


@HOOKS.register_module()
class OverlayHook(Hook):
    """Draw every test image with labels (left) and predictions (right); the same for detection and segmentation.

    mmdet's and mmseg's own hooks name and place their files differently; this one always writes ``out_dir/<image name>.png`` with
    the visualiser of the config.

    Args:
        out_dir: Folder for the pictures; made when the first one is written.
        score_thr: Detections below this score are not drawn.
        color_type, imdecode_backend: Those of ``LoadImageFromFile`` in the test pipeline, which decide whether EXIF data turn a photo.
        bands: Which channels, from 1, are red, green and blue, or one for grey, for a model of ``LoadBands``; none are the first three,
            or the first. None for a model of photos.
        as_stored: Do not turn such images as their EXIF data say.
        skip_huge: Leave out images of more pixels than are read at once, which were predicted in tiles.
    """

    def __init__(
        self,
        out_dir: str,
        score_thr: float = 0.3,
        color_type: str = 'color',
        imdecode_backend: str = 'cv2',
        bands: Sequence[int] | None = None,
        as_stored: bool = False,
        skip_huge: bool = False,
    ) -> None:
        self._skip_huge = skip_huge
        self.out_dir, self.score_thr = Path(out_dir), score_thr
        self._bands, self._as_stored = bands, as_stored
        # Always three channels to draw on; 'unchanged' does not turn a photo either.
        flag = 'color_ignore_orientation' if reads_as_stored(color_type) else 'color'
        self._reading = dict(flag=flag, backend=imdecode_backend)
        self._written: set[str] = set()

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: Sequence | None = None) -> None:
        """Draw the samples of one batch."""
        for sample in [output.cpu() for output in outputs or ()]:
            options = dict(pred_score_thr=self.score_thr) if 'pred_instances' in sample else {}
            if self._skip_huge and self._is_huge(sample.img_path):
                continue
            if options and not hasattr(sample.pred_instances.get('masks'), 'shape'):
                sample.pred_instances.pop('masks', None)  # run lengths, which are not drawn
            runner.visualizer.add_datasample(
                'overlay',
                self._read(sample.img_path),
                data_sample=sample,
                out_file=str(self.out_dir / f'{unused_name(Path(sample.img_path).stem, self._written)}.png'),
                **options,
            )

    def _is_huge(self, path: str) -> bool:
        width, height = read_header(path, max_pixels=None).stored
        huge = width * height > MAX_PIXELS
        if huge:
            log(f'{path} has {width}x{height} pixels, too many for a picture of it')
        return huge

    def _read(self, path: str) -> np.ndarray:
        """A picture of a test image, (H, W, 3) uint8, RGB."""
        if self._bands is not None:
            return np.ascontiguousarray(read_picture(path, as_stored=self._as_stored, bands=self._bands)[..., ::-1])
        from mmcv import bgr2rgb, imread  # mmcv is there whenever a Runner tests an mmdet or mmseg model

        read_header(path)  # imread would take every format, and any size
        return bgr2rgb(imread(path, **self._reading))


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Run the model in the channels_last memory format.

    Convolutions with channels_last weights return channels_last maps whatever the format of the image, so converting the model is
    all it takes; numbers change by rounding only.
    """

    def before_run(self, runner: Runner) -> None:
        """Convert the weights, before any is used."""
        if not is_model_wrapper(runner.model):  # too late then, see SafeRunner.wrap_model
            to_channels_last(runner.model)


@HOOKS.register_module()
class DeployHook(Hook):
    """Fold norms and layer scales of the backbone away, once the checkpoint is loaded."""

    def before_test(self, runner: Runner) -> None:
        """Fold the model in place."""
        fold_for_inference(bare_model(runner).eval(), inplace=True)


def to_channels_last(model: nn.Module) -> nn.Module:
    """Convert a model to channels_last, in place, safely for the operators of mmcv.

    mmcv's compiled operators, RoIAlign among them, read a map as NCHW whatever its strides, so that channels_last maps give wrong
    features without an error. Their inputs are made contiguous. The stand-ins of :mod:`mmlska.mmcv_ops` read both right.
    """
    if not mmcv_ops.in_use():
        for module in model.modules():
            if type(module).__module__.startswith('mmcv.ops.'):
                module.register_forward_pre_hook(_contiguous_inputs)
    return model.to(memory_format=torch.channels_last)


def _contiguous_inputs(module: nn.Module, args: tuple) -> tuple:
    return tuple(arg.contiguous() if isinstance(arg, torch.Tensor) else arg for arg in args)
