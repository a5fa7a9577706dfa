"""The inference API: a config and a checkpoint that predict images of any kind and size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import VISUALIZERS, init_default_scope

from ..bands import BandFile
from ..engine.config import load_config
from ..engine.device import find_device
from ..engine.hooks import to_channels_last
from ..engine.image_pipeline import ImagePipeline, as_batch
from ..engine.image_reading import band_reader, picture_reading
from ..engine.precision import float32_after_autocast
from ..engine.tiled_prediction import TiledPrediction
from ..engine.tiling import tiles_of
from ..images import ImageError
from ..models import fold_for_inference
from ..tiles import checked_tiles
from .model import load_model
from .overlay import draw_prediction
from .prediction import Prediction
from .sources import Source, check_size, read_images, resolve

_DTYPES = {'fp32': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}


class Predictor:
    """A trained detector or segmentor of mmdet or mmseg that predicts images.

    The config's own test pipeline prepares the images. Photos are in BGR order, as OpenCV reads them, images of other channels or more
    bits in the order of their files, and boxes in pixels.

    Args:
        config: Config file, or a Config as :func:`mmlska.engine.config.load_config` returns it.
        checkpoint: Checkpoint of a training with that config.
        device: 'auto' for the first GPU, else the CPU; or a device of torch.
        dtype: 'fp32', or 'bf16' or (on a GPU) 'fp16' for backbone and neck; heads always run in float32, as mmcv's operators need it.
        deploy: Fold norms and layer scales of the backbone into its convolutions: the same outputs, up to rounding, faster.
        trust: Let the checkpoint run code; only if you know its maker. By default as :func:`mmlska.weights.safe_reading` says, else no.

    Attributes:
        reader: How images are read where the model takes no photos in colours; else None.
        as_stored: Photos are not turned as their EXIF data say.

    Raises:
        FileNotFoundError: If config or checkpoint do not exist.
        ValueError: If the checkpoint is of another model, or device or dtype are not to be had.

    Example::

        predictor = Predictor('configs/mask_rcnn_van_lska_t.py', 'work_dirs/mask_rcnn/epoch_12.pth')
        for prediction in predictor('photos', batch_size=4):
            print(prediction.name, prediction.to_dict(score_thr=0.3)['instances'])
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path,
        device: str = 'auto',
        dtype: str = 'fp32',
        deploy: bool = True,
        *,
        trust: bool | None = None,
    ) -> None:
        if dtype not in _DTYPES:
            raise ValueError(f'dtype={dtype!r} is unknown; choose one of {", ".join(map(repr, _DTYPES))}')
        self.device = find_device(device)
        if dtype == 'fp16' and self.device.type == 'cpu':
            raise ValueError("dtype='fp16' needs a GPU; use 'bf16' or 'fp32' on the CPU")
        self.cfg = config if isinstance(config, Config) else load_config(str(config))
        self.reader = band_reader(self.cfg)
        self.as_stored = picture_reading(self.cfg)['as_stored']
        self._shown = tuple(self.reader.shown) if self.reader else None
        model, self.dataset_meta = load_model(self.cfg, checkpoint, trust=trust)
        if deploy and any(type(m).__name__ == 'VAN_LSKA' for m in model.modules()):
            model = fold_for_inference(model, inplace=True)
        model = model.to(self.device)
        if _DTYPES[dtype] is not None:
            model.extract_feat = float32_after_autocast(model.extract_feat, self.device.type, _DTYPES[dtype])
        self.model = to_channels_last(model) if self.device.type == 'cpu' else model
        self.pipeline = ImagePipeline.of(self.cfg)
        self.is_segmentor = hasattr(model, 'decode_head')

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return self.dataset_meta['classes']

    def __call__(self, inputs: Source | Sequence[Source], **options: Any) -> list[Prediction]:
        """Predict everything at once; options are those of :meth:`stream`."""
        return list(self.stream(inputs, **options))

    def stream(
        self,
        inputs: Source | Sequence[Source],
        *,
        batch_size: int = 1,
        tile: int | None = None,
        overlap: int | None = None,
        unread: list[Exception] | None = None,
    ) -> Iterator[Prediction]:
        """Predict image after image; no more than a batch of them is held.

        Only neighbours of one size share a batch, so that padding, and with it the result, is the same with every batch size.

        Args:
            inputs: An image or video file, a folder, a glob pattern, an array of uint8 (H, W, 3) in BGR order, an image of Pillow, or a
                list of these. Where the model takes no photos, arrays have its channels and type, in the order of
                the files: red comes before blue.
            batch_size: Images, or tiles of an image, that are predicted together.
            tile: Cut images larger than so many pixels, in either direction, into tiles of this side; 0 never does. By default those that
                the model was trained on, or none. Each tile is prepared as an image of its own. Boxes are merged by the model's NMS,
                logits are blended. A TIFF file of more than 192 MB is read tile by tile.
            overlap: Pixels that neighbouring tiles share at least, up to a third of ``tile``; by default that of the training, or an
                eighth. Instances larger than it may be found in pieces.
            unread: Gets what is wrong with each file that cannot be read, and the next file follows; None to raise that.

        Raises:
            FileNotFoundError: If there is no such input.
            ValueError: If an image can't be read or is too large to be predicted without tiles.
        """
        if batch_size < 1:
            raise ValueError(f'batch_size={batch_size} must be 1 or more')
        if tile is None and (trained := tiles_of(self.cfg)):
            tile, overlap = trained.tile, trained.overlap if overlap is None else overlap
        if tile:
            tile, overlap = checked_tiles(tile, overlap)
        elif overlap:
            raise ValueError(f'overlap={overlap} is that of tiles; give tile, for example 1024, too')
        return self._stream(resolve(inputs, self.reader), batch_size, tile or 0, overlap or 0, unread)

    def _stream(
        self, items: list, batch_size: int, tile: int, overlap: int, unread: list[Exception] | None
    ) -> Iterator[Prediction]:
        waiting: list[tuple[str, np.ndarray, dict]] = []
        found = read_images(items, self.reader, by_window=bool(tile), as_stored=self.as_stored, unread=unread)
        for index, (name, image) in enumerate(found):
            height, width = image.shape[:2]
            if tile and max(height, width) > tile:
                yield from self._finish(waiting)
                yield self._tiled(name, image, batch_size, tile, overlap)
                continue
            try:
                check_size(name or index, width, height)
                packed = self.pipeline(name, image, index)
            except ImageError as error:
                if unread is None:
                    raise
                unread.append(error)
                continue
            if waiting and waiting[0][2]['inputs'].shape != packed['inputs'].shape:
                yield from self._finish(waiting)
            waiting.append((name, image, packed))
            if len(waiting) == batch_size:
                yield from self._finish(waiting)
        yield from self._finish(waiting)

    def _finish(self, waiting: list[tuple[str, np.ndarray, dict]]) -> Iterator[Prediction]:
        """Predict what waits; nothing does afterwards."""
        samples = self._run([packed for *_, packed in waiting]) if waiting else []
        for (name, image, _), sample in zip(waiting, samples):
            yield Prediction(name, image, sample, self.classes, self._shown)
        waiting.clear()

    def _run(self, batch: list[dict]) -> list:
        init_default_scope(self.cfg.default_scope)  # another predictor may have set its own
        with torch.inference_mode():
            return [sample.cpu() for sample in self.model.test_step(as_batch(batch))]

    def _tiled(self, name: str, image: np.ndarray | BandFile, batch_size: int, tile: int, overlap: int) -> Prediction:
        def predict(views: Sequence[np.ndarray], first: int) -> list:
            return self._run([self.pipeline(name, view, first + i) for i, view in enumerate(views)])

        tiles = TiledPrediction(predict, self.model, tile=tile, overlap=overlap, batch_size=batch_size)
        sample = tiles(image, self.reader)
        sample.set_metainfo(dict(img_path=name))
        shown = self._shown or () if isinstance(image, BandFile) else self._shown
        return Prediction(name, image, sample, self.classes, shown)

    def network_input(self, image: np.ndarray) -> tuple[torch.Tensor, dict[str, Any]]:
        """What the network gets to see of an image.

        Args:
            image: uint8 of shape (H, W, 3) in BGR order, or what the model reads instead.

        Returns:
            The resized, normalised and padded image, (1, C, H', W'), and what the pipeline noted, such as ``scale_factor`` (of the width,
            of the height).
        """
        (image,) = resolve(image, self.reader)
        packed = self.pipeline('', image, 0)
        return self.model.data_preprocessor(as_batch([packed]), False)['inputs'], packed['data_samples'].metainfo

    def draw(
        self,
        prediction: Prediction,
        out_file: str | Path,
        score_thr: float = 0.3,
        *,
        opacity: float = 0.8,
        names: bool = True,
    ) -> None:
        """Draw a prediction over its image with the visualiser of mmdet or mmseg, into a file; as small as 2048 px if it is larger.

        Instances of an image that large are drawn as boxes.

        Args:
            prediction: One of this model.
            out_file: A .png or .jpg file.
            score_thr: Instances of a lower score are left out.
            opacity: Of boxes, masks and segments, 0 to 1.
            names: Write the classes into a segmentation; instances always have theirs.

        Raises:
            FileExistsError: If ``out_file`` is there and no regular file, such as a link.
        """
        with VISUALIZERS.switch_scope_and_registry(self.cfg.default_scope) as registry:
            visualizer = registry.get(self.cfg.visualizer.type)(alpha=opacity)
        visualizer.dataset_meta = self.dataset_meta
        draw_prediction(visualizer, prediction, Path(out_file), score_thr, names)
