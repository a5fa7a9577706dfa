"""What the page shows of a photo: the prediction as a picture, with its legend."""

from __future__ import annotations

import html
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..engine.config import find_path
from ..images import photos_in, shrink, spread
from ..images import read_photo as read_image
from ..infer import Prediction, Predictor, resolve
from ..infer.overlay import MAX_SIDE
from ..infer.sources import image_size, is_video, read_images

#: Lowest score that the page can show; what is below is not kept.
MIN_SCORE = 0.05
#: Longer sides of at most half as many pixels are enlarged.
SMALL = 640
#: Folders of the demos' photos, offered where they are.
EXAMPLES = ('data/demo_photos', 'data/scenes/images/validation', 'data/fruits_nuts/images')


def find_examples(folders: Sequence[str | Path] | None = None, each: int = 3) -> list[Path]:
    """Choose photos to offer: so many of ``each`` folder, evenly spread over it; by default of the EXAMPLES that exist.

    Raises:
        FileNotFoundError: If a folder that is named has no photos.
    """
    if folders is None:
        folders = [folder for folder in EXAMPLES if find_path(folder)]
    return [photo for folder in folders for photo in spread(photos_in(find_path(folder) or folder), each)]


def read_photo(path: str | Path, max_megapixels: float, as_stored: bool = False) -> tuple[np.ndarray, str]:
    """Read an uploaded photo, unless its header already says that it is too large; ``as_stored`` whatever its EXIF data say.

    Returns:
        The image, uint8 (H, W, 3) in BGR order with a longer side of 2048 px at most, and one line about its size.

    Raises:
        ValueError: If the file is not an image or has too many pixels.
    """
    path = Path(path)
    broken = f'{path.name} is not an image that can be read; give a photo, for example a .jpg or .png file'
    if is_video(path):
        raise ValueError(f'{path.name} is a video; give a photo here, mmlska predict predicts videos')
    stored = image_size(path)
    if stored is None:
        raise ValueError(broken)
    width, height = stored
    if width * height > max_megapixels * 1e6:
        raise ValueError(
            f'{path.name} has {width} x {height} = {width * height / 1e6:.1f} million pixels, more than {max_megapixels:g}; '
            f'make it smaller, or start the page with a larger --max-megapixels'
        )
    try:
        ((_, image),) = read_images(resolve(path), as_stored=as_stored)
    except ValueError as error:
        raise ValueError(broken) from error
    height, width = image.shape[:2]  # the other way round where the photo was taken with the camera turned
    size = f'{path.name}, {width} x {height} px'
    if max(height, width) > MAX_SIDE:
        image = shrink(image, MAX_SIDE)
        size += f', made smaller to {image.shape[1]} x {image.shape[0]} px'
    return image, size


@dataclass
class View:
    """What one model says about a photo."""

    model: str
    prediction: Prediction  # without what the page never shows: scores below 0.05 and logits
    seconds: float  # from the image in memory to boxes, masks or segments in its pixels


def make_view(model: str, predictor: Predictor, image: np.ndarray) -> View:
    """Predict an image, uint8 (H, W, 3) in BGR order, and take the time."""
    start = time.perf_counter()
    (prediction,) = predictor(image)
    seconds = time.perf_counter() - start
    sample = prediction.sample
    if prediction.is_segmentation:
        sample.pop('seg_logits', None)  # as large as the image, once for each class
    else:
        sample.pred_instances = sample.pred_instances[sample.pred_instances.scores >= MIN_SCORE]
    return View(model, prediction, seconds)


def draw_view(predictor: Predictor, view: View, score_thr: float, opacity: float) -> np.ndarray:
    """The photo with the prediction over it, uint8 (H, W, 3), RGB, as large as it is shown.

    Args:
        predictor: That of the view's model.
        view: What to draw.
        score_thr: Instances of a lower score are left out.
        opacity: Of boxes, masks and segments, 0 to 1.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'overlay.png'
        predictor.draw(_enlarged(view.prediction), file, score_thr, opacity=opacity, names=False)
        return read_image(file)[..., ::-1]


def zoom(image: np.ndarray) -> int:
    """How many times as large an image (H, W, 3) is shown: Gradio enlarges none, and clicks into a small one would be hard."""
    return max(1, SMALL // max(image.shape))


def enlarged(image: np.ndarray) -> np.ndarray:
    """An image as large as it is shown, each pixel as a square."""
    return image.repeat(zoom(image), axis=0).repeat(zoom(image), axis=1)


def _enlarged(prediction: Prediction) -> Prediction:
    """A prediction in the pixels that are shown, so that lines and names in a small photo are not enlarged with it."""
    times, sample = zoom(prediction.image), prediction.sample.clone()
    if prediction.is_segmentation:
        mask = torch.from_numpy(prediction.index_mask.astype(np.int64).repeat(times, axis=0).repeat(times, axis=1))
        sample = sample.new()
        sample.pred_sem_seg = type(prediction.sample.pred_sem_seg)(data=mask[None])
    else:
        instances = sample.pred_instances = sample.pred_instances.clone()  # which clone() of the sample shares
        instances.bboxes = instances.bboxes * times
        if 'masks' in instances:
            instances.masks = torch.from_numpy(np.asarray(instances.masks).repeat(times, axis=1).repeat(times, axis=2))
    return replace(prediction, image=enlarged(prediction.image), sample=sample)


def legend(view: View, palette: Sequence[tuple[int, int, int]], score_thr: float) -> str:
    """The classes in a prediction with their colours, as HTML: instances and best score, or the share of the image.

    Instances below ``score_thr`` are left out; the palette has the RGB colour of each label.
    """
    prediction = view.prediction
    if prediction.is_segmentation:
        labels, pixels = np.unique(prediction.index_mask, return_counts=True)
        shares = sorted(zip(pixels / pixels.sum(), labels.tolist()), reverse=True)
        rows = [(label, f'{share:.1%}' if share >= 0.001 else 'below 0.1%') for share, label in shares]
    else:
        instances = prediction.sample.pred_instances
        kept = instances[instances.scores >= score_thr]
        labels, counts = np.unique(kept.labels.numpy(), return_counts=True)
        best = [float(kept.scores[kept.labels == label].max()) for label in labels.tolist()]
        rows = [
            (label, f'{count}, best score {score:.2f}')
            for score, count, label in sorted(zip(best, counts.tolist(), labels.tolist()), reverse=True)
        ]
    if not rows:
        return f'<p class="nothing">Nothing found with a score of {score_thr:.2f} or more.</p>'
    items = (
        f'<li><span class="swatch" style="background: rgb{tuple(palette[label])}"></span>'
        f'{html.escape(str(prediction.classes[label]))} <span class="note">{text}</span></li>'
        for label, text in rows
    )
    return f'<ul class="legend">{"".join(items)}</ul>'
