"""Pretrained weights: every published layout is recognised, loaded whole or refused with the reason, and read without running code."""

from ..files import file_sha256
from .adapt import ADAPTATIONS, adapt_weights, rank1
from .checkpoint_file import (
    DamagedFile,
    MissingCheckpoint,
    UnsafeFileError,
    check_finite,
    read_checkpoint,
    save_weights,
)
from .inspection import WeightsInfo, inspect_state_dict
from .layouts import LAYOUTS, WeightsError, convert_state_dict
from .load import Coverage, adopt_state_dict, compare, load_weights
from .manifest import load_manifest, load_pretrained, published_names, shipped_entries
from .mmengine_reader import safe_reading, use_safe_reader
from .whole_model import load_whole_model

__all__ = [
    'ADAPTATIONS',
    'LAYOUTS',
    'Coverage',
    'DamagedFile',
    'MissingCheckpoint',
    'UnsafeFileError',
    'WeightsError',
    'WeightsInfo',
    'adapt_weights',
    'adopt_state_dict',
    'check_finite',
    'compare',
    'convert_state_dict',
    'file_sha256',
    'inspect_state_dict',
    'load_manifest',
    'load_pretrained',
    'load_weights',
    'load_whole_model',
    'published_names',
    'rank1',
    'read_checkpoint',
    'safe_reading',
    'save_weights',
    'shipped_entries',
    'use_safe_reader',
]
