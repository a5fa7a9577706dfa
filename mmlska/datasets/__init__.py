"""Data: generated scenes and transforms; importing this registers the transforms."""

from .band_transforms import BandDistortion, LoadBands
from .corruption import CorruptImage
from .tiled_dataset import TiledDataset, UnreadDataset
from .transforms import LoadColorAnnotations, RandomScale, color_to_index

__all__ = [
    'BandDistortion',
    'CorruptImage',
    'LoadBands',
    'LoadColorAnnotations',
    'RandomScale',
    'TiledDataset',
    'UnreadDataset',
    'color_to_index',
]
