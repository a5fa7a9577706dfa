"""Models as files that run without OpenMMLab, or without PyTorch.

``onnx_predictor.py`` in this folder needs onnxruntime, numpy and OpenCV alone and imports nothing of the package: where PyTorch is
missing, copy that one file.
"""

from .exporter import DTYPES, Exported, ParityError, export
from .formats import FORMATS
from .graphs import PARTS

__all__ = ['DTYPES', 'FORMATS', 'PARTS', 'Exported', 'OnnxPredictor', 'ParityError', 'export']


def __getattr__(name: str):
    if name == 'OnnxPredictor':  # exporting to other formats needs no onnxruntime
        from .onnx_predictor import OnnxPredictor

        return OnnxPredictor
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
