"""Large Separable Kernel Attention for OpenMMLab: importing this package registers its parts in MMEngine."""

from . import datasets, engine, models, pretraining
from .models import (
    LKA,
    LSKA,
    VAN_LSKA,
    LKATrivial,
    LSKATrivial,
    van_lska_base,
    van_lska_large,
    van_lska_small,
    van_lska_tiny,
)
from .version import __version__

__all__ = [
    'LKA',
    'LSKA',
    'VAN_LSKA',
    'LKATrivial',
    'LSKATrivial',
    '__version__',
    'datasets',
    'engine',
    'models',
    'pretraining',
    'van_lska_base',
    'van_lska_large',
    'van_lska_small',
    'van_lska_tiny',
]
