"""Data: generated scenes and transforms; importing this registers the transforms."""

from .corruption import CorruptImage
from .transforms import LoadColorAnnotations, color_to_index

__all__ = ['CorruptImage', 'LoadColorAnnotations', 'color_to_index']
