"""Data sets of small photos: all of one in memory as one tensor, handed out a batch at a time.

Small photos are read faster than a Python loop over them runs: a batch is one indexing operation here, cropping and flipping are done on it
as a whole by :class:`BatchPreprocessor`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import DATASETS, FUNCTIONS
from torch import Tensor
from torch.utils.data import Dataset

from ..images import IMAGE_SUFFIXES, images_below, read_photo, square


class Photos(Dataset):
    """Photos of one size and their labels.

    Args:
        images: (N, H, W, 3) uint8, RGB.
        labels: (N,) int64.
        classes: Names in the order of the labels.

    Example:
        >>> photos = Photos(torch.zeros(5, 8, 8, 3, dtype=torch.uint8), torch.arange(5), ['a', 'b', 'c', 'd', 'e'])
        >>> batch = photos.__getitems__([0, 3])
        >>> batch['inputs'].shape, batch['labels']
        (torch.Size([2, 3, 8, 8]), tensor([0, 3]))
    """

    whole_batches = True  # for GuardedDataset: one call for a batch

    def __init__(self, images: Tensor, labels: Tensor, classes: Sequence[str]) -> None:
        self.images, self.labels = images, labels
        self.metainfo = dict(classes=tuple(classes))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """A batch: ``inputs`` (N, 3, H, W) uint8 in channels_last, ``labels`` (N,). torch's DataLoader calls this with the indices."""
        index = torch.as_tensor(indices)
        return dict(inputs=self.images[index].permute(0, 3, 1, 2), labels=self.labels[index])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """A batch of one."""
        return self.__getitems__([index])


@FUNCTIONS.register_module()
def whole_batch(data: dict[str, Tensor] | Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The ``collate_fn`` for :class:`Photos`: a batch as it is, or several put together.

    Example:
        >>> whole_batch([dict(labels=torch.tensor([1])), dict(labels=torch.tensor([2]))])
        {'labels': tensor([1, 2])}
    """
    return data if isinstance(data, dict) else {key: torch.cat([item[key] for item in data]) for key in data[0]}


@DATASETS.register_module()
class TinyImageNet(Photos):
    """Tiny-ImageNet packed as one sheet of 64 x 64 tiles for each class.

    Args:
        data_root: Folder with the classes' list and the sheets' folders.
        ann_file: JSON list of classes in the order of the labels, each with ``wnid`` (the sheet's name) and ``name``.
        data_prefix: ``img`` is the folder with the sheets, ``<wnid>.webp``.
        photos_per_class: Take so many of each class, from the sheet's start; None for all.
        num_classes: Take the first so many classes; None for all.
        tile: Height and width of a photo in pixels.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a sheet is not made of whole tiles or can't be read, or has fewer photos than asked for.
    """

    def __init__(
        self,
        data_root: str,
        ann_file: str = 'classes.json',
        data_prefix: dict = dict(img='train'),  # noqa: B006, only read
        photos_per_class: int | None = None,
        num_classes: int | None = None,
        tile: int = 64,
    ) -> None:
        root = Path(data_root)
        classes = json.loads((root / ann_file).read_text(encoding='utf-8'))[:num_classes]
        paths = [root / data_prefix['img'] / f'{c["wnid"]}.webp' for c in classes]
        blocks = _parallel(lambda path: cut_sheet(_read(path), tile, path), paths)
        for path, block in zip(paths, blocks):
            if photos_per_class is not None and len(block) < photos_per_class:
                raise ValueError(f'photos_per_class={photos_per_class} is more than {path} has: {len(block)}')
        blocks = [block[:photos_per_class] for block in blocks]
        labels = torch.arange(len(blocks)).repeat_interleave(torch.tensor([len(block) for block in blocks]))
        super().__init__(torch.from_numpy(np.concatenate(blocks)), labels, [c['name'] for c in classes])


@DATASETS.register_module()
class PhotoFolder(Photos):
    """A folder for each class, as ImageNet comes: every photo below ``<data_prefix>/<class>/``, resized and cropped to one size.

    All photos stay in memory: 12 KB each at 64 px, 1.2 GB for 100,000.

    Args:
        data_root: Folder above the splits.
        data_prefix: ``img`` is the split's folder.
        size: Height and width in pixels: the short side is resized to it, the middle is kept.
        classes: Names of the class folders in the order of the labels; by default all folders, sorted.
        photos_per_class: Take the first so many of each class; None for all.

    Raises:
        FileNotFoundError: If the folder has no class folders, or one of ``classes`` is missing or has no photo.
        ValueError: If a photo can't be read.
    """

    def __init__(
        self,
        data_root: str,
        data_prefix: dict = dict(img='train'),  # noqa: B006, only read
        size: int = 64,
        classes: Sequence[str] | None = None,
        photos_per_class: int | None = None,
    ) -> None:
        root = Path(data_root) / data_prefix['img']
        if classes is None:
            classes = sorted(folder.name for folder in root.iterdir() if folder.is_dir()) if root.is_dir() else []
        if not classes:
            raise FileNotFoundError(f'{root} has no folders; give one that has a folder of photos for each class')
        files: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(classes):
            found = images_below(root / name)[:photos_per_class]
            if not found:
                raise FileNotFoundError(
                    f'{root / name} has no photos; a class folder holds {", ".join(IMAGE_SUFFIXES)} files'
                )
            files += found
            labels += [label] * len(found)
        images = np.empty((len(files), size, size, 3), np.uint8)

        def fill(i: int) -> None:
            images[i] = square(_read(files[i]), size)

        _parallel(fill, range(len(files)))
        super().__init__(torch.from_numpy(images), torch.tensor(labels), classes)


def cut_sheet(sheet: np.ndarray, tile: int, name: str | Path = 'sheet') -> np.ndarray:
    """Cut a sheet into its tiles, row by row.

    Args:
        sheet: (rows * tile, columns * tile, 3).
        tile: Height and width of a tile.
        name: For the message.

    Returns:
        (rows * columns, tile, tile, 3).

    Raises:
        ValueError: If the sheet is not made of whole tiles.

    Example:
        >>> cut_sheet(np.zeros((8, 12, 3)), 4).shape
        (6, 4, 4, 3)
    """
    height, width, channels = sheet.shape
    if height % tile or width % tile:
        raise ValueError(f'{name} is {width}x{height} pixels, not a whole number of tiles of {tile}; set tile')
    tiles = sheet.reshape(height // tile, tile, width // tile, tile, channels).swapaxes(1, 2)
    return tiles.reshape(-1, tile, tile, channels)


def _read(path: Path) -> np.ndarray:
    """A file as (H, W, 3) uint8, RGB."""
    import cv2  # here, so that mmlska can be imported without OpenCV, as the GPU check does

    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist; check data_root and data_prefix')
    return cv2.cvtColor(read_photo(path), cv2.COLOR_BGR2RGB)


def _parallel(function: Callable, items: Sequence) -> list:
    with ThreadPoolExecutor() as pool:  # cv2 decodes without holding Python's lock
        return list(pool.map(function, items))
