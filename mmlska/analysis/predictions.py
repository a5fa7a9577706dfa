"""What a model predicts on the test data of a config, beside what is labelled there, as plain arrays.

The predictions come from MMEngine's own test loop, or from the .pkl file that ``mmlska test --out`` wrote.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, init_default_scope
from torch import Tensor

from ..colors import distinct_colors
from ..engine.checks import check_data
from ..engine.ignored_label import IGNORED, ignored_by
from ..engine.image_reading import picture_reading
from ..engine.launch import build_test_runner
from ..weights.checkpoint_file import DamagedFile, read_pickle_file

#: Steps of the pickle of a test's predictions: 5,000 photos with 100 masks each take 10 million.
MAX_STEPS = 50_000_000


@dataclass(frozen=True, eq=False)
class BoxImage:
    """Boxes of one image, in pixels of the file: left, top, right, bottom.

    Attributes:
        path: The image file.
        boxes: Predicted boxes, (N, 4).
        labels: Their classes, (N,).
        scores: Their scores, (N,), falling.
        true_boxes: Labelled boxes, (M, 4).
        true_labels: Their classes, (M,).
        crowd: Which of those are crowds, neither wanted nor wrong to find, bool (M,).
    """

    path: str
    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    true_boxes: np.ndarray
    true_labels: np.ndarray
    crowd: np.ndarray


@dataclass(frozen=True, eq=False)
class MapImage:
    """Class maps of one image, both (H, W); 255 in ``truth`` is not labelled."""

    path: str
    prediction: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True, eq=False)
class Predictions:
    """All images of a test set.

    Attributes:
        task: 'detection' or 'segmentation'.
        classes: Names of the classes.
        palette: A colour (red, green, blue; 0..255) for each class.
        images: One entry for each image, in the order of the data set.
        metrics: What the evaluators of the config reported; empty where the predictions were read from a file.
        as_stored: Whether the model saw photos as they are stored, not turned as their EXIF data say; labels count pixels likewise.
        bands: Which channels of the images are shown, as for :func:`mmlska.bands.read_picture`; none for photos.
    """

    task: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    images: list[BoxImage] | list[MapImage]
    metrics: dict[str, float]
    as_stored: bool = False
    bands: tuple[int, ...] = ()


class _Collect(Hook):
    """Hands every data sample of a test to a list, without its logits."""

    def __init__(self, dataset) -> None:
        self.dataset, self.images = dataset, []

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        for sample in outputs or ():
            self.images.append(labelled_image(sample.to_dict(), self.dataset, len(self.images)))


def predict(cfg: Config, checkpoint: str, *, trust: bool | None = None) -> Predictions:
    """Run the test loop of a config.

    Args:
        cfg: A config of mmdet or mmseg that went through :func:`mmlska.engine.launch.prepare`.
        checkpoint: The checkpoint file.
        trust: Let checkpoints run code; only those whose maker you know. By default as :func:`mmlska.weights.safe_reading` says, else no.

    Raises:
        FileNotFoundError: If data or the checkpoint are missing.
        ValueError: If the test data have no labels.
        WeightsError: If the checkpoint cannot be read.
    """
    runner = build_test_runner(cfg, checkpoint, trust=trust)
    dataset = runner.test_dataloader.dataset
    collect = _Collect(dataset)
    runner.register_hook(collect)
    metrics = {name: float(value) for name, value in runner.test().items()}
    return _predictions(cfg, dataset, collect.images, metrics)


def read_predictions(cfg: Config, path: str | Path, *, trust: bool | None = None) -> Predictions:
    """Read the .pkl file that ``mmlska test CONFIG CHECKPOINT --out FILE.pkl`` wrote.

    It is a pickle, of which only containers, numbers, arrays and tensors are read.

    Args:
        cfg: The same config, whose test data hold the labels.
        path: The file.
        trust: Let the file run code; only if you know its maker. By default as :func:`mmlska.weights.safe_reading` says, else no.

    Raises:
        FileNotFoundError: If the file or the test data are missing.
        UnsafeFileError: If the file asks for anything else.
        ValueError: If the file holds something else, or predictions for other images.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'predictions {path} do not exist; write them by mmlska test ... --out {path}')
    check_data(cfg, ('test',))
    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    try:
        samples = read_pickle_file(path, MAX_STEPS, trust=trust)
    except DamagedFile as error:
        raise ValueError(f'{path} is not a file of mmlska test --out FILE.pkl: {error.__cause__}') from error
    if not isinstance(samples, list) or not all(isinstance(s, dict) and 'img_path' in s for s in samples):
        raise ValueError(f'{path} is not a file of mmlska test --out FILE.pkl: no list of data samples')
    if len(samples) != len(dataset):
        raise ValueError(
            f'{path} has {len(samples)} images, the test data of the config {len(dataset)}; give the config of that test'
        )
    images = []
    for index, sample in enumerate(samples):
        try:
            images.append(labelled_image(sample, dataset, index))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            reason = ' '.join(str(error).split())[:300]
            raise ValueError(f'{path}: image {index} holds no predictions of this config: {reason}') from error
    return _predictions(cfg, dataset, images, {})


def _predictions(cfg: Config, dataset, images: list, metrics: dict[str, float]) -> Predictions:
    classes, palette = classes_of(dataset)
    return Predictions(
        task='detection' if cfg.default_scope == 'mmdet' else 'segmentation',
        classes=classes,
        palette=palette,
        images=images,
        metrics=metrics,
        **picture_reading(cfg),
    )


def classes_of(dataset) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """Names of the classes of a data set, and a colour (red, green, blue; 0..255) for each."""
    classes = tuple(dataset.metainfo['classes'])
    palette = dataset.metainfo.get('palette')
    # mmdet keeps the colours of COCO's 80 classes where a config names other classes.
    if not isinstance(palette, (list, tuple)) or len(palette) != len(classes):
        palette = distinct_colors(len(classes))
    return classes, tuple(tuple(int(c) for c in color) for color in palette[: len(classes)])


def labelled_image(sample: dict, dataset, index: int) -> BoxImage | MapImage:
    """What a data sample, a dict, says of the image ``index`` of a data set, with the labels of the data set.

    Raises:
        ValueError: If it is of another image, or has no boxes and no class map, or no labelled one.
    """
    info, named = dataset.get_data_info(index), sample['img_path']
    path = info['img_path']  # not what a file of predictions says, which may name any picture
    if not isinstance(named, str) or Path(path).name != Path(named).name:
        raise ValueError(f'prediction {index} is for {named!r:.200}, the data set has {path} there')
    if 'pred_sem_seg' in sample:
        return _map_image(sample, path, ignored_by(dataset))
    if 'pred_instances' not in sample:
        raise ValueError(f'no boxes predicted for {path}; give a detector of mmdet or a segmentor of mmseg')
    found = sample['pred_instances']
    scores = as_array(found['scores'])
    order = np.argsort(-scores, kind='stable')
    instances = info.get('instances', [])
    return BoxImage(
        path,
        as_array(found['bboxes']).reshape(-1, 4)[order].astype(np.float64),
        as_array(found['labels'])[order].astype(int),
        scores[order].astype(np.float64),
        np.array([item['bbox'] for item in instances], np.float64).reshape(-1, 4),
        np.array([item['bbox_label'] for item in instances], int),
        np.array([bool(item.get('ignore_flag')) for item in instances], bool),
    )


def _map_image(sample: dict, path: str, ignored: int) -> MapImage:
    if 'gt_sem_seg' not in sample:
        raise ValueError(f'{path} has no labels; put LoadAnnotations into the test pipeline')
    prediction, truth = (as_array(sample[key]['data'])[0] for key in ('pred_sem_seg', 'gt_sem_seg'))
    if prediction.shape != truth.shape:
        raise ValueError(
            f'{path}: prediction of {prediction.shape} and labels of {truth.shape} pixels; '
            'put LoadAnnotations behind Resize in the test pipeline'
        )
    truth = np.where(truth == ignored, IGNORED, truth)
    return MapImage(path, prediction.astype(np.int16), truth.astype(np.int16))


def as_array(value) -> np.ndarray:
    """A tensor, an array or one of mmdet's box structures as an array."""
    value = getattr(value, 'tensor', value)  # mmdet's box structures
    if not isinstance(value, (Tensor, np.ndarray)):
        raise TypeError(f'a {type(value).__name__} stands where an array must be')
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value
