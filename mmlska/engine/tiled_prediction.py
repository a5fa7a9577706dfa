"""Predict an image tile by tile and put together what was found: for predictions, and for validation and tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData, PixelData

from ..bands import BandFile, BandReader
from ..datasets.coco_labels import encode_mask
from ..image_windows import window_of
from ..tiles import Blender, cut_by_tile, drop_pieces


class TiledPrediction:
    """Predicts images in overlapping tiles: boxes are merged by NMS, the logits of a segmentor are blended.

    Args:
        predict: Gives the data samples of some tiles, each (h, w, C) as the model's pipeline takes it, and the number of the first.
        model: mmdet's or mmseg's model, which says how its boxes are merged or its logits become classes.
        tile: Side of a tile in pixels.
        overlap: Pixels that neighbouring tiles share at least.
        batch_size: Tiles that are predicted together.
    """

    def __init__(
        self,
        predict: Callable[[Sequence[np.ndarray], int], Sequence[Any]],
        model: torch.nn.Module,
        *,
        tile: int,
        overlap: int,
        batch_size: int,
    ) -> None:
        self._predict = predict
        self._head = getattr(model, 'decode_head', None)
        self._test_cfg = getattr(model, 'test_cfg', None) or {}
        self.tile, self.overlap, self.batch_size = tile, overlap, batch_size

    def __call__(self, image: np.ndarray | BandFile, reader: BandReader | None = None) -> Any:
        """The data sample of an image in its pixels; instance masks are COCO run lengths, and of a segmentor there are no logits.

        Args:
            image: As :func:`mmlska.image_windows.open_windows` gives it.
            reader: What a model reads that takes no photos.
        """
        height, width = image.shape[:2]
        blender = Blender(height, width, self.tile, self.overlap, getattr(self._head, 'threshold', None) or 0.0)
        places, found, samples = list(blender.boxes()), [], []
        for start in range(0, len(places), self.batch_size):
            batch = places[start : start + self.batch_size]
            views = [window_of(image, reader, y, y_end, x, x_end) for y, x, y_end, x_end in batch]
            samples = self._predict(views, start)
            for i, (place, sample) in enumerate(zip(batch, samples)):
                if self._head is not None:
                    blender.add(start + i, sample.seg_logits.data.float().cpu().numpy())
                else:
                    found.append(_shifted(sample.pred_instances, place, height, width))
        merged = samples[0].new()
        merged.set_metainfo(dict(ori_shape=(height, width), img_shape=(height, width)))
        if self._head is not None:
            merged.pred_sem_seg = PixelData(data=torch.from_numpy(blender.mask)[None])
        else:
            merged.pred_instances = self._merged(found)
        return merged

    def _merged(self, found: list[dict[str, np.ndarray]]) -> InstanceData:
        """Instances of all tiles without doubles."""
        from mmcv.ops import batched_nms

        together = {key: np.concatenate([part[key] for part in found]) for key in found[0]}
        stays = np.flatnonzero(drop_pieces(together['bboxes'], together['labels'], together.pop('cut')))
        together = {key: value[stays] for key, value in together.items()}
        bboxes, scores, labels = (torch.from_numpy(together[key]) for key in ('bboxes', 'scores', 'labels'))
        order = torch.arange(0)
        if len(bboxes):
            nms = self._test_cfg.get('nms') or self._test_cfg['rcnn']['nms']
            _, order = batched_nms(bboxes, scores, labels, dict(nms))
        merged = InstanceData(bboxes=bboxes[order], scores=scores[order], labels=labels[order])
        if 'masks' in together:
            merged.masks = [together['masks'][i] for i in order.tolist()]
        return merged


def _shifted(
    instances: InstanceData, place: tuple[int, int, int, int], height: int, width: int
) -> dict[str, np.ndarray]:
    """The instances of a tile in pixels of the image."""
    y, x, *_ = place
    bboxes = instances.bboxes.float().cpu().numpy() + np.array([x, y, x, y], np.float32)
    part = dict(
        bboxes=bboxes,
        scores=instances.scores.float().cpu().numpy(),
        labels=instances.labels.cpu().numpy(),
        cut=cut_by_tile(bboxes, place, height, width),
    )
    if 'masks' in instances:
        part['masks'] = np.array(
            [encode_mask(mask, y, x, (height, width)) for mask in instances.masks] or [], dtype=object
        )
    return part
