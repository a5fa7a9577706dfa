"""What a model costs; functions that return data."""

from .complexity import Complexity, measure_config

__all__ = ['Complexity', 'measure_config']
