"""Large Separable Kernel Attention: networks in plain PyTorch, and where MMEngine is installed their parts in its registries."""

from importlib import import_module

from . import mmcv_ops
from .environment import has_mmengine, require_mmengine
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

_FOR_MMENGINE = ('classification', 'datasets', 'engine', 'pretraining')
__all__ = [
    'LKA',
    'LSKA',
    'VAN_LSKA',
    'LKATrivial',
    'LSKATrivial',
    '__version__',
    'models',
    'van_lska_base',
    'van_lska_large',
    'van_lska_small',
    'van_lska_tiny',
]

# Before anything imports mmcv.ops.
mmcv_ops.install()

if has_mmengine():
    from . import classification, datasets, engine  # noqa: F401, registers them
    from . import classification as pretraining  # noqa: F401, its earlier name

    __all__ += (*_FOR_MMENGINE, 'load')


def __getattr__(name: str):
    if name == 'load':  # brings most of the package with it
        require_mmengine()
        return import_module('.api', __name__).load
    if name in _FOR_MMENGINE:
        require_mmengine()
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return [*globals(), 'load']
