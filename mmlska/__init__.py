"""Large Separable Kernel Attention for OpenMMLab: importing this package registers its parts in MMEngine."""

try:
    import mmengine  # noqa: F401, the one requirement that pip cannot choose: two distributions have this import name
except ImportError as error:
    from .environment import import_advice

    raise ImportError(import_advice(error)) from error

from . import classification, datasets, engine, models
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
    'classification',
    'datasets',
    'engine',
    'models',
    'van_lska_base',
    'van_lska_large',
    'van_lska_small',
    'van_lska_tiny',
]
