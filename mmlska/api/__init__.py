"""From Python: load a model, predict, train. ``mmlska.load`` is :func:`load` of here."""

from .load import load
from .model import Model
from .result import Result

__all__ = ['Model', 'Result', 'load']
