"""What a model found in one picture, and what it can be made into."""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageShow

from ..bands import BandFile
from ..infer import Prediction, Predictor
from ..infer.writers import FileNames, coco_annotations, labelme_project, split_frame, to_json
from ..outputs import writing

if TYPE_CHECKING:
    import supervision

#: Where :meth:`Result.show` writes pictures if nothing can show them.
SHOWN = Path('predictions')


class Result:
    """What a detector or a segmentor found in one picture.

    A detector's has ``boxes``, ``scores``, ``labels`` and, if the model predicts masks, ``masks``, the best first; a segmentor's has
    ``label_map`` and ``areas``. To ask for what a model does not predict is a ValueError.

    Args:
        prediction: What :class:`mmlska.infer.Predictor` gave.
        predictor: Who gave it.
        score_thr: Instances of a lower score are left out.
    """

    def __init__(self, prediction: Prediction, predictor: Predictor, score_thr: float) -> None:
        self.prediction = prediction
        self.score_thr = score_thr
        self._predictor = predictor
        self._found = None if prediction.is_segmentation else prediction.to_dict(score_thr)['instances']

    @property
    def path(self) -> str:
        """The file of the picture, path#frame for a frame of a video, '' where it came as an array."""
        return self.prediction.name

    @property
    def image(self) -> np.ndarray | BandFile:
        """The picture: uint8 of shape (H, W, 3) in BGR order; of a model that takes no photos (H, W, C), what it reads.

        A TIFF file that was predicted in tiles because it is large is not read; slices of it are.
        """
        return self.prediction.image

    @property
    def names(self) -> dict[int, str]:
        """The names of the classes by label."""
        return dict(enumerate(self.prediction.classes))

    @property
    def boxes(self) -> np.ndarray:
        """Boxes in pixels, float32 of shape (N, 4): x1, y1, x2, y2."""
        return np.array([each['box'] for each in self._instances()], np.float32).reshape(-1, 4)

    @property
    def scores(self) -> np.ndarray:
        """Scores from 0 to 1, float32 of shape (N,)."""
        return np.array([each['score'] for each in self._instances()], np.float32)

    @property
    def labels(self) -> np.ndarray:
        """Labels of the classes, int64 of shape (N,)."""
        return np.array([each['label'] for each in self._instances()], np.int64)

    @property
    def masks(self) -> np.ndarray:
        """Masks of the instances, bool of shape (N, H, W)."""
        instances = self._instances()
        if not self._has_masks:
            raise ValueError(
                'masks are not predicted by this detector; use boxes, or a model with masks such as Mask R-CNN'
            )
        return self._decoded(instances)

    @property
    def label_map(self) -> np.ndarray:
        """The class of each pixel, of shape (H, W): uint8, or uint16 beyond 256 classes."""
        if not self.prediction.is_segmentation:
            raise ValueError(
                'label_map and areas are what a segmentor predicts, and this is a detector; use boxes, labels and masks'
            )
        return self.prediction.index_mask

    @property
    def areas(self) -> dict[str, int]:
        """Pixels of each class that is in a segmentation, by its name, the largest first."""
        labels, counts = np.unique(self.label_map, return_counts=True)
        order = np.argsort(-counts, kind='stable')
        return {self.prediction.classes[labels[i]]: int(counts[i]) for i in order}

    def to_dict(self) -> dict[str, Any]:
        """Plain Python; see :meth:`mmlska.infer.Prediction.to_dict`. A segmentor's has the label map under ``mask``."""
        return self.prediction.to_dict(self.score_thr)

    def to_json(self) -> str:
        """:meth:`to_dict` as JSON; a segmentation as run lengths of each class in the picture."""
        return json.dumps(to_json(self.prediction, self.score_thr))

    def to_coco(self, image_id: int = 1) -> list[dict[str, Any]]:
        """The instances, or the classes of a segmentation, as COCO results.

        Args:
            image_id: The number of the picture in the COCO file.

        Returns:
            See :func:`mmlska.infer.writers.coco_annotations`; the first class has the category 1.
        """
        return coco_annotations(self.prediction, self.score_thr, image_id)

    def to_labelme(self, folder: str | Path | None = None) -> dict[str, Any]:
        """The content of labelme's JSON file: polygons, or boxes where there are no masks.

        Args:
            folder: Where the file will stand, by default beside the picture.

        Raises:
            ValueError: If the picture is not in a file of its own.
        """
        return labelme_project(self.prediction, self.score_thr, Path(folder or Path(self.path).parent))

    def to_supervision(self) -> supervision.Detections:
        """The instances as ``supervision.Detections``; of a segmentation each class in the picture with its mask, without a score.

        Raises:
            ImportError: If the package supervision is missing.
        """
        try:
            import supervision
        except ImportError as error:
            raise ImportError(
                f'to_supervision() needs the package supervision ({error}); pip install supervision'
            ) from error
        found = self._found if self._found is not None else to_json(self.prediction, self.score_thr)['segments']
        sides = np.array([each['bbox'] for each in self.to_coco()], np.float32).reshape(-1, 4)
        return supervision.Detections(
            xyxy=np.hstack([sides[:, :2], sides[:, :2] + sides[:, 2:]]),
            mask=self._decoded(found) if self._has_masks else None,
            confidence=None if self._found is None else self.scores,
            class_id=np.array([each['label'] for each in found], int),
            data={'class_name': np.array([each['class'] for each in found], str)},
        )

    def plot(self) -> np.ndarray:
        """The picture with the predictions drawn into it: uint8 of shape (H, W, 3) in BGR order, no side above 2048."""
        with Image.open(io.BytesIO(self._repr_png_())) as image:
            return np.ascontiguousarray(np.asarray(image.convert('RGB'))[..., ::-1])

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Draw the predictions into a picture file.

        Args:
            path: A .png or .jpg file.
            overwrite: Replace a file that mmlska did not write, or that was changed since; never the picture that was predicted.

        Returns:
            The file.

        Raises:
            FileExistsError: If it is there and no regular file, the picture itself or, without ``overwrite``, not of mmlska.
            ValueError: If it has another suffix.
        """
        path = Path(path)
        if path.suffix.lower() not in ('.png', '.jpg', '.jpeg'):
            raise ValueError(f'{path} ends in {path.suffix!r}; a picture ends in .png or .jpg')
        with writing(path, inputs=[split_frame(self.path)[0] or None], overwrite=overwrite, insist='overwrite=True'):
            self._predictor.draw(self.prediction, path, self.score_thr)
        return path

    def show(self) -> Path | None:
        """Show the picture: in a notebook below the cell, else in the picture viewer of this computer.

        Returns:
            None; where there is no display the file in the folder ``predictions`` that was written instead, which is printed too.
        """
        if _in_notebook():
            from IPython.display import display

            display(self)
            return None
        if _has_display():
            with Image.open(io.BytesIO(self._repr_png_())) as image:
                if ImageShow.show(image, Path(self.path).name):
                    return None
        names = FileNames(file.stem for file in SHOWN.glob('*.png'))
        file = self.save(SHOWN / f'{names(self.path)}.png')
        print(f'nothing here shows pictures; the picture is {file.absolute()}')
        return file

    def _repr_png_(self) -> bytes:
        """What a notebook shows of a result."""
        with tempfile.TemporaryDirectory() as folder:
            self._predictor.draw(self.prediction, file := Path(folder, 'result.png'), self.score_thr)
            return file.read_bytes()

    def __len__(self) -> int:
        """How many instances there are; of a segmentation, how many classes."""
        return len(self.areas) if self._found is None else len(self._found)

    def __bool__(self) -> bool:
        return True  # a result is there, also where nothing was found

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        if self._found is None:
            parts = [f'{name} {count / (height * width):.1%}' for name, count in self.areas.items()]
        else:
            counts = Counter(each['class'] for each in self._found)
            parts = [f'{count} {name}' for name, count in counts.most_common()]
        return f'Result({self.path or "array"}, {width}x{height}: {", ".join(parts) or "nothing found"})'

    def _instances(self) -> list[dict[str, Any]]:
        if self._found is None:
            raise ValueError(
                'a segmentor predicts no boxes, scores, labels and masks of instances; use label_map and areas'
            )
        return self._found

    @property
    def _has_masks(self) -> bool:
        """Whether there is a mask for each instance, or class."""
        return self._found is None or 'masks' in self.prediction.sample.pred_instances

    def _decoded(self, found: list[dict[str, Any]]) -> np.ndarray:
        from pycocotools.mask import decode

        shape = (len(found), *self.image.shape[:2])
        return np.array([decode(each['mask']) for each in found], bool).reshape(shape)


def _in_notebook() -> bool:
    """Whether this runs in a kernel of Jupyter; IPython in a terminal shows no pictures."""
    shell = sys.modules['IPython'].get_ipython() if 'IPython' in sys.modules else None
    return shell is not None and hasattr(shell, 'kernel')


def _has_display() -> bool:
    return sys.platform in ('darwin', 'win32') or bool(os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY'))
