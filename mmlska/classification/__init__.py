"""Image classification for pretraining a backbone; importing this registers its parts in MMEngine."""

from .datasets import PhotoFolder, Photos, TinyImageNet
from .metric import TopK
from .preprocess import BatchPreprocessor
from .pretraining import PretrainingClassifier

__all__ = ['BatchPreprocessor', 'PhotoFolder', 'Photos', 'PretrainingClassifier', 'TinyImageNet', 'TopK']
