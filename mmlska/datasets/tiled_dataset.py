"""Data sets of large images: their tiles to train on, or the whole images, unread, for a loop that predicts tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import numpy as np
from mmengine.registry import DATASETS
from torch.utils.data import Dataset

from ..bands import BandFile, BandReader, grey_reader, reads_as_stored
from ..image_windows import open_windows, window_of
from ..images import read_header, spread
from ..tiles import checked_tiles, tile_spans
from .label_tiles import boxes_of, cut_instances, learned_in, shown_shares

_MAX_REFETCH = 1000  # as MMEngine's data sets


class _WholeImages(Dataset):
    """What both wrappers do with their inner data set, whose pipeline begins with the step that reads images."""

    def __init__(self, dataset: dict | Dataset) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self._loader = self.dataset.pipeline.transforms[0]
        color_type = getattr(self._loader, 'color_type', 'color')
        self.reader: BandReader | None = getattr(self._loader, 'reader', None) or grey_reader(color_type)
        self._as_stored = reads_as_stored(color_type)

    @property
    def metainfo(self) -> dict[str, Any]:
        """Classes and palette, of the inner data set."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Read the annotations; the data set is ready when it is made."""
        self.dataset.full_init()

    def open_image(self, path: str) -> np.ndarray | BandFile:
        """An image of the data set, as its pipeline would read it; see :func:`mmlska.image_windows.open_windows`."""
        return open_windows(path, self.reader, as_stored=self._as_stored)

    def _size(self, info: dict) -> tuple[int, int]:
        """Height and width of an image, as labels count its pixels."""
        if 'height' in info:
            return info['height'], info['width']
        header = read_header(info['img_path'], max_pixels=None)
        as_stored = self._as_stored if self.reader is None else self.reader.as_stored
        return (header.stored if as_stored else header.upright)[::-1]


@DATASETS.register_module()
class TiledDataset(_WholeImages):
    """Overlapping tiles of the images of another data set, each with its part of the labels, to train on.

    Objects are cut as :mod:`mmlska.datasets.label_tiles` says. Of the tiles without an object at most as many are kept as there are with
    one, evenly spread. Label maps are cut with their photos, and all of their tiles are kept.

    Args:
        dataset: A data set of mmdet's or mmseg's form, or its config, whose pipeline begins with ``LoadImageFromFile`` or ``LoadBands``.
        tile: Side of a tile in pixels.
        overlap: Pixels that neighbouring tiles share at least.

    Attributes:
        counts: How many there are: ``images``, ``tiles``, those ``with_objects``, those ``left_out`` because nothing is on them, and
            objects that are ``larger`` than a tile.

    Raises:
        ValueError: If there are no such tiles.
    """

    def __init__(self, dataset: dict | Dataset, tile: int, overlap: int) -> None:
        checked_tiles(tile, overlap)
        super().__init__(dataset)
        self.tile, self.overlap = tile, overlap
        self._places, self.counts = self._find_tiles()

    def _find_tiles(self) -> tuple[np.ndarray, dict[str, int]]:
        """The image, the row and the column of each tile that is kept, (N, 3)."""
        places, full, larger, of_objects = [], [], 0, False
        for index in range(len(self.dataset)):
            info = self.dataset.get_data_info(index)
            rows, columns = self._spans(info)
            grid = np.indices((len(rows), len(columns))).reshape(2, -1).T
            places.append(np.insert(grid, 0, index, axis=1))
            of_objects |= 'instances' in info
            objects = [i for i in info.get('instances', ()) if not i.get('ignore_flag')]
            boxes = boxes_of(objects, *self._size(info))
            larger += int(((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) > self.tile).sum())
            full.append(learned_in(*shown_shares(boxes, rows, columns)).any(axis=0).reshape(-1))
        places, full = np.concatenate(places or [np.zeros((0, 3), int)]), np.concatenate(full or [np.zeros(0, bool)])
        kept = np.arange(len(places))
        if of_objects:
            empty = np.flatnonzero(~full).tolist()
            some = spread(empty, int(full.sum())) if full.any() else []
            kept = np.sort(np.concatenate([np.flatnonzero(full), np.array(some, int)]))
        counts = dict(images=len(self.dataset), tiles=len(kept), with_objects=int(full.sum()))
        return places[kept], dict(counts, left_out=len(places) - len(kept), larger=larger)

    def _spans(self, info: dict) -> list[np.ndarray]:
        """Rows and columns of the tiles of an image."""
        return [tile_spans(side, self.tile, self.overlap) for side in self._size(info)]

    def __len__(self) -> int:
        return len(self._places)

    def get_data_info(self, index: int) -> dict[str, Any]:
        """The entry of an image in the inner data set, for one of its tiles.

        ``tile`` is its row and column and the row and the column after it, ``whole`` the height and the width of the image; ``height``,
        ``width`` and ``instances`` are the tile's.
        """
        number, row, column = self._places[index].tolist()
        info = self.dataset.get_data_info(number)
        rows, columns = self._spans(info)
        (y, y_end), (x, x_end) = rows[row].tolist(), columns[column].tolist()
        if 'instances' in info:
            info['instances'] = cut_instances(info['instances'], self._size(info), rows, columns, (row, column))
        size = dict(whole=self._size(info), height=y_end - y, width=x_end - x)
        return dict(info, tile=(y, x, y_end, x_end), **size)

    def get_cat_ids(self, index: int) -> list[int]:
        """The classes on a tile, as mmdet's ``ClassBalancedDataset`` asks for them."""
        return [instance['bbox_label'] for instance in self.get_data_info(index)['instances']]

    def __getitem__(self, index: int) -> Any:
        for _ in range(_MAX_REFETCH):
            data = self._prepared(self.get_data_info(index))
            if data is not None:  # a random crop may leave no object
                return data
            index = np.random.randint(len(self))  # noqa: NPY002  the generator that mmcv's transforms use
        raise ValueError(f'no sample in {_MAX_REFETCH} passes the training pipeline; look at its crops and filters')

    def _prepared(self, results: dict[str, Any]) -> Any:
        y, x, y_end, x_end = results['tile']
        cut = False
        for step in self.dataset.pipeline.transforms:
            results = self._read(results) if step is self._loader else step(results)
            if results is None:
                return None
            if not cut and 'gt_seg_map' in results:
                _check_size('label map', results['gt_seg_map'].shape, results['whole'])
                results['gt_seg_map'] = np.ascontiguousarray(results['gt_seg_map'][y:y_end, x:x_end])
                cut = True
        return results

    def _read(self, results: dict[str, Any]) -> dict[str, Any]:
        y, x, y_end, x_end = results['tile']
        image = self.open_image(results['img_path'])
        _check_size('image', image.shape, results['whole'])
        tile = window_of(image, self.reader, y, y_end, x, x_end)
        return dict(results, img=tile, img_shape=tile.shape[:2], ori_shape=tile.shape[:2])


@DATASETS.register_module()
class UnreadDataset(_WholeImages):
    """The images of another data set with their labels and without their pixels: ``TiledValLoop`` and ``TiledTestLoop`` read those.

    Of the pipeline the steps count that load labels, and the last one, which packs them.

    Args:
        dataset: A data set of mmdet's or mmseg's form, or its config.

    Attributes:
        reader: How images are read that are no photos.
        image_steps: The other steps of the pipeline, for the tiles.
    """

    def __init__(self, dataset: dict | Dataset) -> None:
        super().__init__(dataset)
        _, *steps, last = self.dataset.pipeline.transforms
        labels = [copy(step) for step in steps if type(step).__name__.startswith('Load')]
        for step in labels:
            if getattr(step, 'with_mask', False):
                step.with_mask = False  # each would be as large as the image; metrics have them from the annotations
        self._steps: Sequence[Callable] = [*labels, last]
        self.image_steps: Sequence[Callable] = [s for s in (*steps, last) if not type(s).__name__.startswith('Load')]

    def __len__(self) -> int:
        return len(self.dataset)

    def get_data_info(self, index: int) -> dict[str, Any]:
        """The entry of an image in the inner data set."""
        return self.dataset.get_data_info(index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """``data_samples`` alone, with the labels."""
        results = self.get_data_info(index)
        size = self._size(results)
        results.update(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))
        for step in self._steps:
            results = step(results)
            if 'gt_seg_map' in results:
                _check_size('label map', results['gt_seg_map'].shape, size)
        return results


def _check_size(what: str, shape: Sequence[int], size: tuple[int, int]) -> None:
    """Raise ValueError where what was read has another size than tiles were laid for."""
    if tuple(shape[:2]) != tuple(size):
        raise ValueError(
            f'the {what} has {shape[1]}x{shape[0]} pixels, but tiles were laid for {size[1]}x{size[0]}, the size that the labels or '
            f'the photo say; mmlska check lists such files'
        )
