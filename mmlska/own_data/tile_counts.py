"""How many tiles a training has, and a line on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from ..datasets.tiled_dataset import TiledDataset
from ..text import counted


def training_samples(cfg: Config) -> Any:
    """The data set that the training of a config draws from."""
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    return DATASETS.build(cfg.train_dataloader.dataset)


def tile_line(built: Any) -> list[str]:
    """A line on the tiles of a training's data set, and what is odd about them; none where it has no tiles.

    Raises:
        ValueError: If no tile is left to train on.
    """
    found = list(_tiled(built))
    if not found:
        return []
    counts = sum((Counter(dataset.counts) for dataset in found), Counter())
    tile, overlap = found[0].tile, found[0].overlap
    if not counts['tiles']:
        raise ValueError(f'none of the tiles of {tile} pixels has an object to learn; label some, or leave out --tile')
    some = f', {counts["with_objects"]} with objects' if counts['with_objects'] else ''
    rest = f'; {counts["left_out"]} more without objects are left out' if counts['left_out'] else ''
    lines = [
        f'tiles: {counted(counts["tiles"], "tile")} of {tile} pixels from {counted(counts["images"], "training image")}{some}{rest}; '
        f'neighbours share {overlap} pixels; results are those of whole images'
    ]
    if counts['tiles'] + counts['left_out'] == counts['images']:
        lines.append('no image is larger than a tile: nothing is cut, and images keep their own size')
    if counts['larger']:
        objects = counted(counts['larger'], 'object is', 'objects are')
        lines.append(f'{objects} larger than a tile, and learned and found in pieces: give a larger --tile')
    return lines


def _tiled(dataset: Any) -> Iterator[TiledDataset]:
    """The tiled data sets in a data set of data sets."""
    if isinstance(dataset, TiledDataset):
        yield dataset
        return
    inner = [getattr(dataset, 'dataset', None), *(getattr(dataset, 'datasets', None) or ())]
    for each in inner:
        if each is not None:
            yield from _tiled(each)
