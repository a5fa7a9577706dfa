"""Run an ONNX file of mmlska with onnxruntime, numpy and OpenCV alone: copy this one file to where it is needed.

    from onnx_predictor import OnnxPredictor

    predictor = OnnxPredictor('retinanet.onnx')
    for prediction in predictor(['photo.jpg']):
        print(prediction.to_dict(score_thr=0.3))

A model of other images than photos of 8 bits needs ``onnx_bands.py``, from the same folder, beside it, and tifffile for TIFF files.
Nothing here may import torch, mmlska or anything of OpenMMLab.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

#: The key of the file's metadata.
METADATA = 'mmlska'
#: What is read of a folder.
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.bmp', '.tif', '.tiff', '.webp')
#: Pixels of three channels above which an image is not made an input: 770 MB in float32.
MAX_PIXELS = 64_000_000
#: What files of these formats start with; OpenCV reads more, by decoders that are tried less.
_STARTS = (b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'BM', b'II*\0', b'MM\0*', b'II+\0', b'MM\0+', b'RIFF')
#: Types of the values of images, by NumPy's names.
_DTYPES = ['uint8', 'uint16', 'uint32', 'uint64', 'int8', 'int16', 'int32', 'int64', 'float16', 'float32', 'float64']
#: Inputs and outputs of the whole models, by the kind in the metadata.
_VALUES = {
    'segmentor': ({'image'}, {'logits'}),
    'RetinaNet': ({'image', 'shape'}, {'boxes', 'scores', 'labels'}),
}


@dataclass
class OnnxPrediction:
    """The prediction for one image.

    Attributes:
        name: The image's path, '' for an array.
        image: The image: a photo as uint8 of shape (H, W, 3) in BGR order, else (H, W, C) as the model reads it, uint8 or float32.
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
    """A detector or segmentor in a file that ``mmlska export`` wrote.

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
        self.file = file
        self.session = open_session(file, providers, threads)
        self.metadata = read_metadata(self.session, file)
        self.classes = tuple(self.metadata['classes'])
        kind = self.metadata['kind']
        self.is_segmentor = kind == 'segmentor'
        if kind not in _VALUES:
            fix = (
                'export with --part model'
                if kind == 'backbone'
                else 'a two-stage detector has no whole ONNX file: test and predict with its checkpoint'
            )
            raise ValueError(f'{file} holds {kind:.60} alone, which predicts nothing; {fix}')
        inputs, outputs = _VALUES[kind]
        found = tuple(_names(values, file) for values in (self.session.get_inputs, self.session.get_outputs))
        if found[0] != inputs or not outputs <= found[1]:
            raise ValueError(
                f'{file} is no {kind} as its metadata say: it has the inputs {_some(found[0])} and the outputs {_some(found[1])}; '
                f'export the model again'
            )

    def __call__(self, inputs: str | Path | np.ndarray | Sequence) -> list[OnnxPrediction]:
        """Predict images one by one.

        Args:
            inputs: An image file, a folder (its images, without its subfolders, by name), an array, or a list of these. Arrays are uint8
                (H, W, 3) in BGR order; where ``metadata['input']`` has ``bands``, (H, W, C) of any real type, channels in the order
                of the files, of one channel also (H, W).

        Raises:
            FileNotFoundError: If an image does not exist or a folder has none.
            ValueError: If one can't be read or resized or does not fit the model, or the file predicts what its metadata don't know.
        """
        rule = self.metadata['input']
        items = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        return [self._predict(*_read(image, rule)) for image in [each for item in items for each in _images(item)]]

    def _predict(self, name: str, image: np.ndarray) -> OnnxPrediction:
        tensor, (height, width) = prepare(image, self.metadata['input'], name)
        prediction = OnnxPrediction(name, image, self.classes)
        if self.is_segmentor:
            (logits,) = self._run(['logits'], {'image': tensor})
            if logits.ndim != 4 or logits.shape[2] < height or logits.shape[3] < width:
                raise ValueError(f'{self.file} gives logits of shape {logits.shape} for an image of {tensor.shape}')
            self._check_labels(logits.shape[1] - 1)
            if logits.shape[1] == 1 and self.metadata['threshold'] is None:
                raise ValueError(
                    f'{self.file} has threshold=None in its metadata, and one logit, which needs one; export the model again'
                )
            prediction.index_mask = self._classes(logits[0, :, :height, :width], image.shape[:2])
            return prediction
        feeds = {'image': tensor, 'shape': np.array([[height, width]], np.int64)}
        boxes, scores, labels = self._run(['boxes', 'scores', 'labels'], feeds)
        if boxes.shape != (len(labels), 4) or scores.shape != labels.shape or labels.dtype.kind != 'i':
            raise ValueError(f'{self.file} gives boxes {boxes.shape}, scores {scores.shape} and labels {labels.shape}')
        self._check_labels(int(labels.max(initial=0)), int(labels.min(initial=0)))
        boxes = boxes / np.array([width / image.shape[1], height / image.shape[0]] * 2, np.float32)
        order = np.argsort(-scores, kind='stable')
        prediction.instances = dict(boxes=boxes[order], scores=scores[order], labels=labels[order])
        return prediction

    def _run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        try:
            return self.session.run(names, feeds)
        except Exception as error:  # as in open_session
            raise ValueError(f'{self.file} can not be run: {" ".join(str(error).split())}') from error

    def _check_labels(self, highest: int, lowest: int = 0) -> None:
        if lowest < 0 or highest >= len(self.classes):
            raise ValueError(
                f'{self.file} predicts the label {lowest if lowest < 0 else highest}, and classes in its metadata names '
                f'{len(self.classes)}; export the model again'
            )

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
        raise FileNotFoundError(f'ONNX file {file} does not exist; write it with mmlska export')
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
    """What mmlska wrote into a file; ValueError if it did not write it, or it was changed."""
    try:
        text = session.get_modelmeta().custom_metadata_map.get(METADATA)
    except UnicodeDecodeError as error:
        raise ValueError(f'{file} has metadata that are no text ({error.reason}); export the model again') from error
    if text is None:
        raise ValueError(
            f'{file} was not written by mmlska: its metadata lack classes and input rule; use mmlska export'
        )
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{file} has metadata that are not JSON ({error}); export the model again') from error
    check_metadata(metadata, file)
    return metadata


def check_metadata(metadata: Any, file: str | Path) -> None:
    """Raise ValueError, which names the file and the key, if something in the metadata of a file could not be used."""
    rule = metadata.get('input') if isinstance(metadata, dict) else None
    resize, bands = (rule.get(key) if isinstance(rule, dict) else None for key in ('resize', 'bands'))
    has_bands = isinstance(rule, dict) and (rule.get('channels') == 'bands' or bands is not None)
    for owner, prefix in ((metadata, ''), (rule, 'input.'), (bands, 'input.bands.'), (resize, 'input.resize.')):
        if (prefix == 'input.bands.' and not has_bands) or (prefix == 'input.resize.' and resize is None):
            continue  # photos; images keep their size
        for key, (fits, wanted) in _KEYS[prefix].items():
            there = isinstance(owner, dict) and key in owner
            if not there or not fits(owner[key]):
                found = f'{prefix}{key}={owner[key]!r:.60}' if there else f'no {prefix}{key}'
                raise ValueError(f'{file} has {found} in its metadata, {wanted} belongs there; export the model again')
    count, wrong = bands['count'] if has_bands else 3, ''
    fill = bands['fill'] or rule['mean'] if has_bands else [0]
    lists = {'mean': rule['mean'], 'std': rule['std'], 'bands.fill': fill}
    for key, values in lists.items():
        if len(values) != count and (has_bands or len(values) != 1):
            wrong = f'input.{key}={values!r:.60} in its metadata, a list of {count} numbers belongs there'
    if has_bands and rule['channels'] != 'bands':
        wrong = f'input.channels={rule["channels"]!r} in its metadata, {"bands"!r} belongs there'
    if resize and (resize['scale'] is None) == (resize['scale_factor'] is None):
        wrong = f'input.resize={resize!r:.100} in its metadata; scale or scale_factor belongs there, and not both'
    if wrong:
        raise ValueError(f'{file} has {wrong}; export the model again')


def _number(low: float, high: float, kinds: tuple[type, ...] = (int, float)) -> Callable[[Any], bool]:
    return lambda value: type(value) in kinds and low <= value <= high


def _numbers(*counts: int, **limits: Any) -> Callable[[Any], bool]:
    fits = _number(**limits)
    return lambda value: isinstance(value, (list, tuple)) and len(value) in counts and all(map(fits, value))


def _or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


def _are_classes(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(isinstance(name, str) for name in value)


def _names(values: Callable[[], list], file: str | Path) -> set[str]:
    try:
        return {value.name for value in values()}
    except UnicodeDecodeError as error:
        raise ValueError(f'{file} has inputs or outputs whose names are no text; export the model again') from error


def _some(names: set[str]) -> str:
    return ', '.join(repr(name[:40]) for name in sorted(names)[:6])


#: What belongs under the keys of the metadata that are used here: a test, which NaN fails too, and its words.
_KEYS: dict[str, dict[str, tuple[Callable[[Any], bool], str]]] = {
    '': dict(
        kind=(lambda value: isinstance(value, str), 'a name'),
        model=(lambda value: isinstance(value, str), 'a name'),
        classes=(_are_classes, 'a list of names'),
        input=(lambda value: isinstance(value, dict), 'the rule for images'),
        threshold=(_or_none(_number(0, 1)), 'a number from 0 to 1 or null'),
    ),
    'input.': dict(
        resize=(lambda value: value is None or isinstance(value, dict), 'a rule or null'),
        mean=(_numbers(*range(1, 513), low=-1e30, high=1e30), 'a list of numbers, one for each channel,'),
        std=(_numbers(*range(1, 513), low=1e-30, high=1e30), 'a list of numbers above 0, one for each channel,'),
        channels=(lambda value: value in ('RGB', 'BGR', 'bands'), "'RGB', 'BGR' or 'bands'"),
        pad_divisor=(_number(1, 4096, (int,)), 'a whole number from 1 to 4096'),
        pad_value=(_number(-1e6, 1e6), 'a number'),
    ),
    'input.bands.': dict(
        count=(_number(1, 512, (int,)), 'a whole number from 1 to 512'),
        dtype=(lambda value: value in _DTYPES, f'one of {", ".join(_DTYPES)}'),
        fill=(_numbers(*range(513), low=-1e30, high=1e30), 'a list of numbers'),
    ),
    'input.resize.': dict(
        scale=(_or_none(_numbers(2, low=1, high=100_000, kinds=(int,))), 'a width and a height or null'),
        scale_factor=(_or_none(_numbers(2, low=1e-3, high=1e3)), 'two factors or null'),
        keep_ratio=(lambda value: isinstance(value, bool), 'true or false'),
    ),
}


def prepare(image: np.ndarray, rule: dict[str, Any], name: str = '') -> tuple[np.ndarray, tuple[int, int]]:
    """Resize, normalise and pad an image as the model's test pipeline does.

    Args:
        image: (H, W, 3) in BGR order; of a model of bands (H, W, C) as it reads them, of one channel also (H, W).
        rule: The metadata's ``input``.
        name: What messages call the image.

    Returns:
        float32 of shape (1, C, H', W'), and height and width without padding.

    Raises:
        ValueError: If the image is so elongated that resizing leaves no pixel of its shorter side, or becomes too large.
    """
    size = image.shape[1::-1]
    if rule['resize']:
        size = _new_size(image.shape, *(rule['resize'][key] for key in ('scale', 'scale_factor', 'keep_ratio')))
        if 0 in size:
            raise ValueError(
                f'image {name or "array"} has {image.shape[1]}x{image.shape[0]} pixels, of whose shorter side resizing to '
                f'{size[0]}x{size[1]} leaves none; crop the image or pad that side'
            )
    divisor = rule['pad_divisor']
    right, below = -size[0] % divisor, -size[1] % divisor
    most = MAX_PIXELS * 3 // max(rule['bands']['count'] if 'bands' in rule else 3, 3)
    if (size[0] + right) * (size[1] + below) > most:
        raise ValueError(
            f'image {name or "array"} becomes {size[0] + right}x{size[1] + below} pixels by the rule in the metadata, more than '
            f'{most / 1e6:.3g} million; make it smaller'
        )
    if rule['resize']:
        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    image = image.reshape(*image.shape[:2], -1)  # OpenCV drops the axis of one channel
    if rule['channels'] == 'RGB':
        image = image[:, :, ::-1]
    tensor = (image.astype(np.float32) - np.array(rule['mean'], np.float32)) / np.array(rule['std'], np.float32)
    tensor = np.pad(tensor, ((0, below), (0, right), (0, 0)), constant_values=rule['pad_value'])
    return np.ascontiguousarray(tensor.transpose(2, 0, 1)[None]), size[::-1]


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
    if isinstance(item, np.ndarray) or not os.path.isdir(item):
        return [item]
    found = sorted(p for p in Path(item).iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and os.path.isfile(p))
    if not found:
        raise FileNotFoundError(f'folder {item} has no images ({" ".join(IMAGE_SUFFIXES)}); give another folder')
    return found


def _read(item: str | Path | np.ndarray, rule: dict[str, Any]) -> tuple[str, np.ndarray]:
    """Name and image, as the model of this input ``rule`` reads it."""
    bands, turn = rule.get('bands'), cv2.IMREAD_IGNORE_ORIENTATION if rule.get('as_stored') else 0
    if isinstance(item, np.ndarray):
        if bands:
            return '', _onnx_bands().from_array(item, bands)
        if item.dtype != np.uint8 or item.ndim != 3 or item.shape[2] != 3 or 0 in item.shape:
            raise ValueError(
                f'array of shape {item.shape} and dtype {item.dtype} is not an image; give uint8 (H, W, 3) in BGR'
            )
        return '', item
    if not os.path.exists(item):
        raise FileNotFoundError(f'image {item} does not exist; give an image or a folder')
    image = None
    if os.path.isfile(item):  # no pipe, which would be waited for
        try:
            content = Path(item).read_bytes()
            if content.startswith(_STARTS) and not _is_animated(content):
                if bands:
                    image = _onnx_bands().from_file(item, content, bands)
                else:
                    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | turn)
        except (OSError, cv2.error):
            pass
    if image is None:
        raise ValueError(f'{item} is not an image that OpenCV can read; it may be broken, leave it out or replace it')
    return str(item), image


def _onnx_bands() -> Any:
    """The file beside this one that reads what is no photo of 8 bits."""
    try:
        return import_module('.onnx_bands', __package__) if __package__ else import_module('onnx_bands')
    except ModuleNotFoundError as error:
        raise ValueError('this model needs onnx_bands.py beside onnx_predictor.py; copy it there too') from error


def _is_animated(content: bytes) -> bool:
    """Whether a file is an animated PNG; OpenCV 4.12 dies of frames that are damaged."""
    return content.startswith(b'\x89PNG') and b'acTL' in content[: content.find(b'IDAT')]
