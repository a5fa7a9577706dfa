"""Large Separable Kernel Attention for OpenMMLab: importing this package registers its parts in MMEngine."""

from . import datasets, engine, models
from .models import LKA, LSKA, VAN_LSKA, LKATrivial, LSKATrivial
from .version import __version__

__all__ = ['LKA', 'LSKA', 'VAN_LSKA', 'LKATrivial', 'LSKATrivial', '__version__', 'datasets', 'engine', 'models']
