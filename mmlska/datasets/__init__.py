"""Data: generated scenes and transforms; importing this registers the transforms."""

from .band_transforms import BandDistortion, LoadBands
from .corruption import CorruptImage
from .transforms import LoadColorAnnotations, color_to_index

__all__ = ['BandDistortion', 'CorruptImage', 'LoadBands', 'LoadColorAnnotations', 'color_to_index']
