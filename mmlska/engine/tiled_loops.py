"""Validation and testing of whole images that are predicted in tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.registry import LOOPS
from mmengine.runner import TestLoop, ValLoop, autocast

from ..datasets.tiled_dataset import UnreadDataset
from ..tiles import checked_tiles
from .image_pipeline import ImagePipeline, as_batch
from .processes import bare_model
from .tiled_prediction import TiledPrediction

_DENSE = 1 << 29  # bytes of the masks of an image that metrics and pictures get as arrays


class _TiledLoop:
    """What both loops share; their data set is an ``UnreadDataset``.

    Args:
        tile: Side of a tile in pixels.
        overlap: Pixels that neighbouring tiles share at least.
        tile_batch: Tiles that are predicted together.
    """

    split: str

    def __init__(self, *args, tile: int, overlap: int, tile_batch: int = 1, **kwargs) -> None:
        checked_tiles(tile, overlap)
        super().__init__(*args, **kwargs)
        self._options = dict(tile=tile, overlap=overlap, batch_size=tile_batch)

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: dict[str, Any]) -> None:
        """Predict the images of a batch, one by one."""
        place = dict(batch_idx=idx, data_batch=data_batch)
        self.runner.call_hook(f'before_{self.split}_iter', **place)
        with autocast(enabled=self.fp16):
            outputs = self.predict(data_batch)
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook(f'after_{self.split}_iter', **place, outputs=outputs)

    def predict(self, data_batch: dict[str, Any]) -> list[Any]:
        """The data samples of the images of a batch, with their labels and predictions."""
        dataset = _unread(self.dataloader.dataset)  # asked for each time, as a loader may be replaced
        pipeline = ImagePipeline(dataset.image_steps)
        return [self._predicted(sample, dataset, pipeline) for sample in data_batch['data_samples']]

    def _predicted(self, sample: Any, dataset: UnreadDataset, pipeline: ImagePipeline) -> Any:
        step = getattr(self.runner.model, f'{self.split}_step')

        def predict(views: Sequence[np.ndarray], first: int) -> Sequence[Any]:
            return step(as_batch([pipeline(sample.img_path, view, first + i) for i, view in enumerate(views)]))

        tiles = TiledPrediction(predict, bare_model(self.runner), **self._options)
        found = tiles(dataset.open_image(sample.img_path), dataset.reader)
        if 'pred_sem_seg' in found:
            sample.pred_sem_seg = found.pred_sem_seg
        else:
            sample.pred_instances = found.pred_instances
            if 'masks' in sample.pred_instances:
                sample.pred_instances.masks = _for_metrics(sample.pred_instances.masks, *sample.ori_shape)
            _plain_boxes(sample)
        return sample


def _unread(dataset: Any) -> UnreadDataset:
    """The data set of whole images in others; of several the first, as all have one pipeline."""
    while not isinstance(dataset, UnreadDataset):
        dataset = getattr(dataset, 'dataset', None) or dataset.datasets[0]
    return dataset


def _plain_boxes(sample: Any) -> None:
    """Boxes of the labels as tensors, as mmdet's preprocessor makes them, which has not seen this sample."""
    for key in ('gt_instances', 'ignored_instances'):
        boxes = sample.get(key, {}).get('bboxes')
        if hasattr(boxes, 'tensor'):
            sample.get(key).bboxes = boxes.tensor


class RunLengths(Sequence):
    """Instance masks as COCO run lengths, where metrics expect those or a tensor of masks: as a tensor they can be larger than the memory.

    Args:
        masks: COCO's compressed run lengths.
    """

    def __init__(self, masks: Sequence[dict[str, Any]]) -> None:
        self._masks = list(masks)

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._masks[index]

    def numpy(self) -> Iterator[np.ndarray]:
        """The masks one by one, (H, W) bool, for a metric that goes through those of a tensor."""
        from pycocotools.mask import decode

        return (decode(mask).astype(bool) for mask in self._masks)


def _for_metrics(masks: Sequence[dict[str, Any]], height: int, width: int) -> torch.Tensor | RunLengths:
    """Run lengths as a tensor (N, H, W), which every metric and picture takes, as long as that is not huge."""
    found = RunLengths(masks)
    if len(masks) * height * width > _DENSE:
        return found
    dense = np.stack(list(found.numpy())) if masks else np.zeros((0, height, width), bool)
    return torch.from_numpy(dense)


@LOOPS.register_module()
class TiledValLoop(_TiledLoop, ValLoop):
    """MMEngine's ValLoop, for images that are predicted in tiles."""

    split = 'val'


@LOOPS.register_module()
class TiledTestLoop(_TiledLoop, TestLoop):
    """MMEngine's TestLoop, for images that are predicted in tiles."""

    split = 'test'
