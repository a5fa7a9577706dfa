"""From a checkpoint to predictions: images in, boxes, masks or segmentations out."""

from .model import load_model
from .prediction import Prediction
from .predictor import Predictor
from .sources import resolve
from .writers import FORMATS, write_predictions

__all__ = ['FORMATS', 'Prediction', 'Predictor', 'load_model', 'resolve', 'write_predictions']
