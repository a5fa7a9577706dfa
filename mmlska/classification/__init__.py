"""Image classification for pretraining a backbone; importing this registers its parts in MMEngine."""

from .datasets import PhotoFolder, Photos, TinyImageNet, whole_batch
from .metric import TopK
from .preprocess import BatchPreprocessor, color_jitter, mix, random_erase, random_resized_crop
from .pretraining import PretrainingClassifier, zero_unreached_taps

__all__ = [
    'BatchPreprocessor',
    'PhotoFolder',
    'Photos',
    'TinyImageNet',
    'TopK',
    'PretrainingClassifier',
    'color_jitter',
    'mix',
    'random_erase',
    'random_resized_crop',
    'whole_batch',
    'zero_unreached_taps',
]
