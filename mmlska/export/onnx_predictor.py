"""Run an ONNX file of mmlska with onnxruntime, numpy and OpenCV alone: copy this one file to where it is needed.

    from onnx_predictor import OnnxPredictor

    predictor = OnnxPredictor('retinanet.onnx')
    for prediction in predictor(['photo.jpg']):
        print(prediction.to_dict(score_thr=0.3))

Nothing here may import torch, mmlska or anything of OpenMMLab.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

#: The key of the file's metadata.
METADATA = 'mmlska'
#: What is read of a folder.
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


@dataclass
class OnnxPrediction:
    """The prediction for one image.

    Attributes:
        name: The image's path, '' for an array.
        image: The image, uint8 of shape (H, W, 3) in BGR order.
        classes: Names of the classes.
        instances: Of a detector: boxes (N, 4) in pixels, scores (N,), labels (N,), best first.
        index_mask: Of a segmentor: the class of each pixel, (H, W).
    """

    name: str
    image: np.ndarray
    classes: tuple[str, ...]
    instances: dict[str, np.ndarray] = field(default_factory=dict)
    index_mask: np.ndarray | None = None

    def to_dict(self, score_thr: float = 0.0) -> dict[str, Any]:
        """The prediction in the form of ``mmlska.infer.Prediction.to_dict``."""
        height, width = self.image.shape[:2]
        result: dict[str, Any] = dict(name=self.name, height=height, width=width, classes=list(self.classes))
        if self.index_mask is not None:
            return dict(result, mask=self.index_mask)
        rows = zip(*(self.instances[key].tolist() for key in ('boxes', 'scores', 'labels')))
        result['instances'] = [
            {'box': box, 'score': score, 'label': label, 'class': self.classes[label]}
            for box, score, label in rows
            if score >= score_thr
        ]
        return result


class OnnxPredictor:
    """A detector or segmentor in a file that ``tools/export.py`` wrote.

    Args:
        file: The ONNX file of a whole model.
        providers: Execution providers of onnxruntime; by default the CPU.
        threads: Threads of onnxruntime; 0 for as many as there are cores.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no ONNX file, or none of a whole model that mmlska exported.
    """

    def __init__(
        self, file: str | Path, providers: Sequence[str] = ('CPUExecutionProvider',), threads: int = 0
    ) -> None:
        self.session = open_session(file, providers, threads)
        self.metadata = read_metadata(self.session, file)
        self.classes = tuple(self.metadata['classes'])
        self.is_segmentor = self.metadata['kind'] == 'segmentor'
        if self.metadata['kind'] not in ('segmentor', 'RetinaNet'):
            raise ValueError(
                f'{file} holds {self.metadata["kind"]} alone, which predicts nothing; export with --part model'
            )

    def __call__(self, inputs: str | Path | np.ndarray | Sequence) -> list[OnnxPrediction]:
        """Predict images one by one.

        Args:
            inputs: An image file, a folder (its images, without its subfolders, by name), an array of uint8 (H, W, 3) in BGR order, or
                a list of these.

        Raises:
            FileNotFoundError: If an image does not exist or a folder has none.
            ValueError: If one can't be read or resized.
        """
        items = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        return [self._predict(*_read(image)) for image in [each for item in items for each in _images(item)]]

    def _predict(self, name: str, image: np.ndarray) -> OnnxPrediction:
        tensor, (height, width) = prepare(image, self.metadata['input'], name)
        prediction = OnnxPrediction(name, image, self.classes)
        if self.is_segmentor:
            logits = self.session.run(['logits'], {'image': tensor})[0][0, :, :height, :width]
            prediction.index_mask = self._classes(logits, image.shape[:2])
            return prediction
        feeds = {'image': tensor, 'shape': np.array([[height, width]], np.int64)}
        boxes, scores, labels = self.session.run(['boxes', 'scores', 'labels'], feeds)
        boxes = boxes / np.array([width / image.shape[1], height / image.shape[0]] * 2, np.float32)
        order = np.argsort(-scores, kind='stable')
        prediction.instances = dict(boxes=boxes[order], scores=scores[order], labels=labels[order])
        return prediction

    def _classes(self, logits: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        count = len(logits)
        if logits.shape[1:] != shape:
            # Channel by channel, as OpenCV takes no more than 512 of them.
            logits = np.stack([cv2.resize(one, shape[::-1], interpolation=cv2.INTER_LINEAR) for one in logits])
        if count == 1:
            return (1 / (1 + np.exp(-logits[0])) > self.metadata['threshold']).astype(np.uint8)
        return logits.argmax(axis=0).astype(np.uint8 if count <= 256 else np.uint16)


def open_session(
    file: str | Path, providers: Sequence[str] = ('CPUExecutionProvider',), threads: int = 0
) -> onnxruntime.InferenceSession:
    """Load an ONNX file; errors name it."""
    if not Path(file).is_file():
        raise FileNotFoundError(f'ONNX file {file} does not exist; write it with tools/export.py')
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=list(providers))
    except Exception as error:  # onnxruntime's own kinds are many and undocumented
        raise ValueError(
            f'{file} is not an ONNX file that onnxruntime can run: {" ".join(str(error).split())}'
        ) from error


def read_metadata(session: onnxruntime.InferenceSession, file: str | Path) -> dict[str, Any]:
    """What mmlska wrote into a file; ValueError if it did not write it."""
    text = session.get_modelmeta().custom_metadata_map.get(METADATA)
    if text is None:
        raise ValueError(
            f'{file} was not written by mmlska: its metadata lack classes and input rule; use tools/export.py'
        )
    return json.loads(text)


def prepare(image: np.ndarray, rule: dict[str, Any], name: str = '') -> tuple[np.ndarray, tuple[int, int]]:
    """Resize, normalise and pad an image as the model's test pipeline does.

    Args:
        image: uint8 of shape (H, W, 3) in BGR order.
        rule: The metadata's ``input``.
        name: What messages call the image.

    Returns:
        float32 of shape (1, 3, H', W'), and height and width without padding.

    Raises:
        ValueError: If the image is so elongated that resizing leaves no pixel of its shorter side.
    """
    if rule['resize']:
        size = _new_size(image.shape, **rule['resize'])
        if 0 in size:
            raise ValueError(
                f'image {name or "array"} has {image.shape[1]}x{image.shape[0]} pixels, of whose shorter side resizing to '
                f'{size[0]}x{size[1]} leaves none; crop the image or pad that side'
            )
        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    if rule['channels'] == 'RGB':
        image = image[:, :, ::-1]
    tensor = (image.astype(np.float32) - np.array(rule['mean'], np.float32)) / np.array(rule['std'], np.float32)
    height, width = image.shape[:2]
    divisor = rule['pad_divisor']
    below, right = -height % divisor, -width % divisor
    tensor = np.pad(tensor, ((0, below), (0, right), (0, 0)), constant_values=rule['pad_value'])
    return np.ascontiguousarray(tensor.transpose(2, 0, 1)[None]), (height, width)


def _new_size(
    shape: tuple[int, ...], scale: list | None, scale_factor: list | None, keep_ratio: bool
) -> tuple[int, int]:
    """Width and height after mmcv's Resize."""
    height, width = shape[:2]
    if scale is None:
        scale = [int(width * scale_factor[0] + 0.5), int(height * scale_factor[1] + 0.5)]
    if not keep_ratio:
        return scale[0], scale[1]
    factor = min(max(scale) / max(height, width), min(scale) / min(height, width))
    return int(width * factor + 0.5), int(height * factor + 0.5)


def _images(item: str | Path | np.ndarray) -> list:
    """The images of a folder, or the item itself."""
    if isinstance(item, np.ndarray) or not Path(item).is_dir():
        return [item]
    found = sorted(p for p in Path(item).iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not found:
        raise FileNotFoundError(f'folder {item} has no images ({" ".join(IMAGE_SUFFIXES)}); give another folder')
    return found


def _read(item: str | Path | np.ndarray) -> tuple[str, np.ndarray]:
    if isinstance(item, np.ndarray):
        if item.dtype != np.uint8 or item.ndim != 3 or item.shape[2] != 3 or 0 in item.shape:
            raise ValueError(
                f'array of shape {item.shape} and dtype {item.dtype} is not an image; give uint8 (H, W, 3) in BGR'
            )
        return '', item
    if not Path(item).is_file():
        raise FileNotFoundError(f'image {item} does not exist; give an image or a folder')
    try:
        image = cv2.imdecode(np.fromfile(item, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError(f'{item} is not an image that OpenCV can read; it may be broken, leave it out or replace it')
    return str(item), image
