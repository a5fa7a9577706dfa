"""One image with what a model says about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bands import BandFile, picture_of
from ..datasets.coco_labels import encode_mask
from ..images import shrink


def check_score_thr(score_thr: float) -> None:
    """Raise ValueError for a threshold of scores that is not between 0 and 1."""
    if not 0 <= score_thr <= 1:
        raise ValueError(f'score_thr {score_thr} is impossible; use 0 to 1')


@dataclass
class Prediction:
    """The prediction for one image.

    ``sample`` is mmdet's DetDataSample or mmseg's SegDataSample, on the CPU, in pixels of ``image``. After tiling, masks are COCO run
    lengths and a segmentor's logits are not kept.
    """

    # The image's path; path#frame for a frame of a video, '' for an array.
    name: str
    # uint8 of shape (H, W, 3) in BGR order; where the model takes no photos, (H, W, C). A large TIFF file is not read.
    image: np.ndarray | BandFile
    sample: Any
    # By label.
    classes: tuple[str, ...]
    # Where the image is no photo: its channels, from 1, in pictures; () for the first ones.
    shown: tuple[int, ...] | None = None

    def picture(self, side: int) -> np.ndarray:
        """The image to draw on, (h, w, 3) uint8 in BGR order, with a longer side of at most ``side`` pixels."""
        return shrink(self.image, side) if self.shown is None else picture_of(self.image, self.shown, side)

    @property
    def is_segmentation(self) -> bool:
        """Whether the model gave one class for each pixel instead of instances."""
        return 'pred_sem_seg' in self.sample

    @property
    def index_mask(self) -> np.ndarray:
        """The class of each pixel, of shape (H, W): uint8, or uint16 beyond 256 classes. Of a segmentor only."""
        data = self.sample.pred_sem_seg.data[0].cpu().numpy()
        return data.astype(np.uint8 if len(self.classes) <= 256 else np.uint16, copy=False)

    def to_dict(self, score_thr: float = 0.0) -> dict[str, Any]:
        """The prediction without tensors.

        Args:
            score_thr: Leave out instances of a lower score.

        Returns:
            ``name``, ``height``, ``width``, ``classes``, and of a detector ``instances``, best first: each with ``box`` (x1, y1, x2, y2
            in pixels), ``score``, ``label``, ``class`` and, if the model predicts masks, ``mask`` (COCO's compressed run lengths); all of
            it can go into JSON. Of a segmentor ``mask``: the index mask, an array.
        """
        height, width = self.image.shape[:2]
        result: dict[str, Any] = dict(name=self.name, height=height, width=width, classes=list(self.classes))
        if self.is_segmentation:
            return dict(result, mask=self.index_mask)
        instances = self.sample.pred_instances
        scores = instances.scores.float().cpu().numpy()
        order = [i for i in np.argsort(-scores, kind='stable') if scores[i] >= score_thr]
        boxes = instances.bboxes.float().cpu().tolist()
        labels = instances.labels.cpu().tolist()
        result['instances'] = [
            dict(box=boxes[i], score=float(scores[i]), label=labels[i], **{'class': self.classes[labels[i]]})
            for i in order
        ]
        if 'masks' in instances:
            for i, instance in zip(order, result['instances']):
                mask = instances.masks[i]
                instance['mask'] = mask if isinstance(mask, dict) else encode_mask(mask)
        return result
