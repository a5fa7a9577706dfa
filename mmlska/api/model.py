"""A model as one object: load it, predict with it, train it, measure it, export it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from ..chatter import without_known_chatter
from ..engine.config import load_config
from ..engine.device import find_device
from ..engine.evaluation_options import use_validation_data
from ..engine.launch import build_train_runner, prepared_config
from ..engine.signals import handlers_kept
from ..engine.tiling import choose_tiles, tiles_of
from ..engine.validations import Validations
from ..engine.work_dir import holds_run, next_run, origin_of, runs_of
from ..environment import import_advice
from ..export import Exported, export
from ..export.evaluate import build_evaluation
from ..export.formats import format_file
from ..infer import Predictor
from ..infer.model import build_model, dataset_meta, num_classes
from ..infer.prediction import check_score_thr
from ..infer.sources import Source, is_one_image
from ..outputs import writing
from ..own_data.adapt_config import own_work_dir
from ..own_data.anchors import names_anchors, take_anchors, take_anchors_of_run
from ..own_data.training import use_data_and_options
from ..report import record_run, report_training
from ..weights import safe_reading
from .result import Result

_runs = itertools.count(1)


class Model:
    """A detector or a segmentor; :func:`mmlska.load` makes it.

    Attributes:
        config: The config file of the weights.
        checkpoint: The checkpoint file of the weights; None where there are none yet.
        device: Where it predicts.
    """

    def __init__(
        self, recipe: str, config: str | Path, checkpoint: Path | None, *, start: Path | None, options: dict[str, Any]
    ) -> None:
        self._recipe, self._start, self._options = recipe, start, options
        self.device = find_device(options['device'])
        self._use(config, checkpoint)

    def _use(self, config: str | Path, checkpoint: Path | None) -> None:
        """Take other weights."""
        self.config, self.checkpoint = Path(config), checkpoint
        self._predictor: Predictor | None = None
        self._untrained: nn.Module | None = None
        self._cfg = load_config(str(config))

    def build(self) -> None:
        """Build the network and read its weights, if it has any, now instead of when they are needed first.

        Raises:
            ValueError: If the checkpoint is of another model than the config's, or device or dtype are not to be had.
        """
        if self._predictor is None and self.checkpoint is not None and self._predicts:
            with without_known_chatter():
                self._predictor = Predictor(load_config(str(self.config)), self.checkpoint, **self._options)

    @property
    def _predicts(self) -> bool:
        """Whether this is a detector or a segmentor, not a classifier."""
        return self._cfg.get('default_scope') in ('mmdet', 'mmseg')

    @property
    def module(self) -> nn.Module:
        """The torch module, in evaluation mode; with random weights where there is no checkpoint yet."""
        self._require_images()
        self.build()
        if self._predictor is not None:
            return self._predictor.model
        if self._untrained is None:
            with without_known_chatter():
                untrained = build_model(load_config(str(self.config)), trust=self._options['trust'])
            self._untrained = untrained.to(self.device)
        return self._untrained

    @property
    def names(self) -> dict[int, str]:
        """The names of the classes by label."""
        module = self.module
        if self._predictor is not None:
            return dict(enumerate(self._predictor.classes))
        return dict(enumerate(dataset_meta(self._cfg, {}, num_classes(module))['classes']))

    def predict(
        self,
        source: Source | Sequence[Source],
        *,
        score_thr: float = 0.3,
        stream: bool = False,
        batch_size: int = 1,
        tile: int | None = None,
        overlap: int | None = None,
    ) -> Result | list[Result] | Iterator[Result]:
        """Predict pictures.

        Args:
            source: A picture: a file, an array of uint8 (H, W, 3) in BGR order as OpenCV reads it, or an image of Pillow. Or many: a
                folder, a pattern such as 'photos/*.jpg', a video, or a list of any of these. Nothing is downloaded: no URLs. Where the
                model takes no photos, arrays are (H, W, C) of its channels.
            score_thr: Leave out instances of a lower score.
            stream: Give an iterator that predicts picture after picture and holds no more than a batch.
            batch_size: Pictures, or tiles of a picture, that are predicted together.
            tile, overlap: Cut larger pictures; see :meth:`mmlska.infer.Predictor.stream`.

        Returns:
            A result for one picture, a list of them for many, and with ``stream`` always an iterator.

        Raises:
            FileNotFoundError: If there is no such picture.
            ValueError: If the model has no weights, the threshold is not between 0 and 1, or a picture cannot be read or is too large to
                be predicted without tiles.
        """
        self._require_weights()
        self._require_images()
        check_score_thr(score_thr)
        self.build()
        predictor = self._predictor
        predictions = predictor.stream(source, batch_size=batch_size, tile=tile, overlap=overlap)
        results = (Result(prediction, predictor, score_thr) for prediction in predictions)
        if stream:
            return results
        return next(results) if is_one_image(source) else list(results)

    __call__ = predict

    def train(
        self,
        data: str | Path | None = None,
        *,
        epochs: int | None = None,
        val_fraction: float | None = None,
        palette: str | None = None,
        label_format: str | None = None,
        instances: bool = False,
        bands: Sequence[int] = (),
        tile: int | None = None,
        overlap: int | None = None,
        keep_anchors: bool = False,
        work_dir: str | Path | None = None,
        resume: bool | str = False,
        pretrained: str | None = None,
        seed: int | None = None,
        deterministic: bool = False,
        dtype: str = 'fp32',
        auto_scale_lr: bool = False,
        ema: float | None = None,
        accumulate: int | None = None,
        clip_grad: float | None = None,
        loggers: Sequence[str] = (),
        skip_bad_images: int = 0,
        report: bool = True,
        cfg_options: dict[str, Any] | None = None,
    ) -> dict[str, float]:
        """Train, as the command ``mmlska train`` does, and take the trained weights: those of the best validation if the config keeps them.

        Training starts from the checkpoint that :func:`mmlska.load` was given, else as the config says. A checkpoint that was only
        found in a work directory is no start: the same program trains the same, however often it runs.

        Args:
            data: Folder of images with labels of objects or masks, see docs/own_data.md; by default the data sets of the config.
            epochs: How often training sees each image; by default as the recipe.
            val_fraction, palette, label_format, instances, bands: How to use ``data``; see
                :func:`mmlska.own_data.adapt_config.use_own_data`.
            tile, overlap, keep_anchors: Train and evaluate on overlapping tiles; keep the anchors of the config. See there too.
            work_dir: A folder without a training, for logs and checkpoints. By default ``work_dirs/<config>`` or, with ``data``,
                ``work_dirs/<config>_<folder>``, with a number behind it if there is a training already.
            resume: Continue the training in ``work_dir``, by default the newest; or from this checkpoint.
            pretrained: Start the backbone from a file, a URL or 'mmlska://NAME'; 'none' for random weights.
            seed: That of all random numbers.
            deterministic: Only deterministic algorithms.
            dtype: 'fp32', 'bf16' or (on a GPU) 'fp16': that of convolutions and matrix products.
            auto_scale_lr: Scale the learning rate to the batch size.
            ema, accumulate, clip_grad, loggers: See :func:`mmlska.engine.training_options.use_training_options`.
            skip_bad_images: Continue past so many images that cannot be read.
            report: Write ``report.html`` into the work directory.
            cfg_options: Settings of the config by dotted key.

        Returns:
            The metrics of the validation of these weights by the names of the evaluators, such as 'coco/bbox_mAP'.

        Raises:
            FileNotFoundError: If the data or a checkpoint is missing.
            ValueError: If a setting does not fit, or ``work_dir`` holds a training.
            TrainingError: If the training cannot continue; the message says what to try.
        """
        given = dict(epochs=epochs, val_fraction=val_fraction, palette=palette, tile=tile, overlap=overlap)
        own = {name: value for name, value in given.items() if value is not None}
        keep_anchors = keep_anchors or data is not None and names_anchors(cfg_options)
        switches = dict(label_format=label_format, instances=instances, bands=bands, keep_anchors=keep_anchors)
        own |= {name: value for name, value in switches.items() if value}
        if data is None and not own.keys() <= {'epochs', 'tile', 'overlap'}:
            raise ValueError(f'{", ".join(own)} go with data; give a folder, or settings of the config by cfg_options')
        data = None if data is None else str(data)
        folder = self._folder(work_dir, data, resume)
        with self._running(), handlers_kept():
            cfg = self._prepared(
                self._recipe, cfg_options, work_dir=str(folder), seed=seed, deterministic=deterministic
            )
            if self._start is not None:
                cfg.load_from = str(self._start)
                own = self._as_before(cfg, tile, chooses=data is not None and not keep_anchors) | own
            elif resume and data is not None and not keep_anchors and take_anchors_of_run(cfg, self._recipe):
                own['keep_anchors'] = True
            options = dict(pretrained=pretrained, ema=ema, accumulate=accumulate, clip_grad=clip_grad, loggers=loggers)
            continued = 'auto' if resume is True else resume or None
            for line in use_data_and_options(cfg, data, own, settings=cfg_options, resume=continued, **options):
                print(line)
            runner = build_train_runner(
                cfg,
                resume=continued,
                dtype=dtype,
                auto_scale_lr=auto_scale_lr,
                skip_bad_images=skip_bad_images,
            )
            validations = Validations()
            runner.register_hook(validations)
            if report:
                record_run(runner)
            runner.train()
            if report and (page := report_training(runner)):
                print(f'report: {page}')
        checkpoint, metrics = validations.outcome(runner)
        if checkpoint is not None:
            del runner  # frees its memory
            self._start = checkpoint.absolute()
            self._use(folder.absolute() / Path(self._recipe).name, self._start)
        return metrics

    def test(
        self,
        *,
        split: str = 'test',
        work_dir: str | Path | None = None,
        dtype: str = 'fp32',
        tta: bool = False,
        deploy: bool = False,
        out: str | Path | None = None,
        show_dir: str | Path | None = None,
        tile: int | None = None,
        overlap: int | None = None,
        overwrite: bool = False,
        cfg_options: dict[str, Any] | None = None,
    ) -> dict[str, float]:
        """Measure the model on the data of its config, as the command ``mmlska test`` does.

        Args:
            split: 'test', or 'val' for the data of the validations.
            work_dir: Folder for the log; by default that of the config.
            dtype: 'fp32', 'bf16' or (on a GPU) 'fp16'.
            tta: Average over flips and scales.
            deploy: Fold norms and layer scales of the backbone away first.
            out: Write the predictions; see :func:`mmlska.engine.evaluation_options.use_predictions`.
            show_dir: Folder for pictures of labels (left) and predictions (right).
            overwrite: Replace files of ``out`` and ``show_dir`` that mmlska did not write, or that were changed since; never inputs.
            tile, overlap: Predict tiles of this side and measure whole images, 0 never; by default as in training.
            cfg_options: Settings of the config by dotted key, such as ``{'data_root': 'DIR/'}``.

        Returns:
            The metrics by the names of the evaluators, such as 'coco/bbox_mAP' or 'mIoU'.

        Raises:
            FileExistsError: If an output is an input or, without ``overwrite``, a file that mmlska did not write.
            FileNotFoundError: If the data are missing.
            ValueError: If the model has no weights or a setting does not fit.
        """
        if split not in ('test', 'val'):
            raise ValueError(f"split={split!r} is unknown; choose 'test' or 'val'")
        self._require_weights()
        with self._running():
            cfg = self._prepared(str(self.config), cfg_options, work_dir=None if work_dir is None else str(work_dir))
            if split == 'val':
                use_validation_data(cfg)
            choose_tiles(cfg, tile, overlap)
            runner = build_evaluation(
                cfg,
                str(self.checkpoint),
                out=None if out is None else str(out),
                show_dir=None if show_dir is None else str(show_dir),
                tta=tta,
                deploy=deploy,
                dtype=dtype,
                trust=self._options['trust'],
                overwrite=overwrite,
            )
            return runner.test()

    def val(self, **options: Any) -> dict[str, float]:
        """Measure the model on the data of its validations; options are those of :meth:`test`."""
        return self.test(split='val', **options)

    def export(
        self,
        out: str | Path | None = None,
        *,
        format: str = 'onnx',
        part: str = 'model',
        dtype: str = 'fp32',
        int8: str | Path | None = None,
        photos: str | Path | None = None,
        overwrite: bool = False,
    ) -> Exported:
        """Write the model as one file that is compared with it first, as the command ``mmlska export`` does.

        Args:
            out: The file; by default beside the checkpoint.
            format, part, dtype, int8, photos: See :func:`mmlska.export.export`.
            overwrite: Replace a file that mmlska did not write, or that was changed since; never one of the inputs.

        Raises:
            FileExistsError: If the file is one of the inputs or, without ``overwrite``, one that mmlska did not write.
            ImportError: If a package for this format is missing.
            ParityError: If the file differs from the model.
            ValueError: If the model has no weights or cannot be exported, or settings do not go together.
        """
        self._require_weights()
        try:
            out = out or self.checkpoint.with_suffix(format_file(format).SUFFIX)
            inputs = [self.config, self.checkpoint, int8, photos]
            refusing = writing(out, inputs=inputs, overwrite=overwrite, insist='overwrite=True')
            with refusing, safe_reading(self._options['trust']):
                settings = dict(part=part, format=format, dtype=dtype, int8=int8, photos=photos)
                return export(load_config(str(self.config)), self.checkpoint, out, **settings)
        except ImportError as error:
            raise ImportError(import_advice(error)) from error

    def __repr__(self) -> str:
        weights = self.checkpoint if self.checkpoint is not None else 'no weights yet'
        return f'Model({Path(self._recipe).stem}, {self._cfg.model.type}, {weights}, on {self.device})'

    def _require_weights(self) -> None:
        if self.checkpoint is None:
            name = Path(self._recipe).stem
            raise ValueError(
                f'{name} has no weights yet; train it by model.train(data=DIR), or give a checkpoint: '
                f'mmlska.load({name!r}, CHECKPOINT)'
            )

    def _require_images(self) -> None:
        if not self._predicts:
            raise ValueError(
                f'{Path(self._recipe).stem} is a classifier, which can be trained and tested only; '
                f'predict with the config of a detector or segmentor'
            )

    def _as_before(self, cfg: Config, tile: int | None, *, chooses: bool) -> dict[str, Any]:
        """Give a config the anchors that the weights have learnt with, and say in what tiles they have learnt."""
        own: dict[str, Any] = {}
        if chooses and take_anchors(cfg, self._cfg):
            own['keep_anchors'] = True
        tiles = tiles_of(self._cfg)
        return own | (tiles._asdict() if tile is None and tiles else {})

    def _folder(self, work_dir: str | Path | None, data: str | None, resume: bool | str) -> Path:
        """The work directory of a training."""
        if work_dir is not None:
            if holds_run(work_dir) and not resume:
                raise ValueError(f'work_dir {work_dir} holds a training; give another, or resume=True to continue it')
            return Path(work_dir)
        cfg = load_config(self._recipe)
        first = (None if data else cfg.get('work_dir')) or own_work_dir(self._recipe, data)
        runs = runs_of(first, origin_of(cfg, data)) if resume else []
        return runs[0] if runs else next_run(first)

    def _prepared(self, config: str, cfg_options: dict[str, Any] | None, **options: Any) -> Config:
        cfg = prepared_config(config, cfg_options, launcher='none', **{'seed': None, **options})
        # MMEngine keeps loggers, messages and visualisers by name: those of an earlier run in this process would be taken.
        cfg.experiment_name = f'{Path(config).stem}_{next(_runs)}'
        if cfg.get('visualizer'):
            cfg.visualizer.name = cfg.experiment_name
        return cfg

    @contextmanager
    def _running(self) -> Iterator[None]:
        """What MMEngine's Runner runs within: it takes the current GPU, where there is one."""
        if self.device.type == 'cpu' and torch.cuda.is_available():
            raise ValueError(
                "device='cpu' is for predicting where there is a GPU; to train and test on the CPU, set CUDA_VISIBLE_DEVICES='' "
                'before Python starts'
            )
        gpu = torch.cuda.device(self.device) if self.device.type == 'cuda' else nullcontext()
        with gpu, without_known_chatter(), safe_reading(self._options['trust']):
            yield
