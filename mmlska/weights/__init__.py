"""Pretrained weights: every published layout is recognised, loaded whole or refused with the reason, and read without running code."""

from ..files import file_sha256
from .adapt import adapt_weights
from .checkpoint_file import MissingCheckpoint, UnsafeFileError, check_finite, read_checkpoint, save_weights
from .inspection import inspect_state_dict
from .layouts import LAYOUTS, WeightsError, convert_state_dict
from .load import adopt_state_dict, load_weights
from .manifest import load_manifest, load_pretrained, published_names, shipped_entries
from .mmengine_reader import safe_reading, use_safe_reader
from .whole_model import load_whole_model

__all__ = [
    'LAYOUTS',
    'MissingCheckpoint',
    'UnsafeFileError',
    'WeightsError',
    'adapt_weights',
    'adopt_state_dict',
    'check_finite',
    'convert_state_dict',
    'file_sha256',
    'inspect_state_dict',
    'load_manifest',
    'load_pretrained',
    'load_weights',
    'load_whole_model',
    'published_names',
    'read_checkpoint',
    'safe_reading',
    'save_weights',
    'shipped_entries',
    'use_safe_reader',
]
