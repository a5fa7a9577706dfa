"""Data: generated scenes and transforms; importing this registers the transforms."""

from .transforms import LoadColorAnnotations, color_to_index

__all__ = ['LoadColorAnnotations', 'color_to_index']
