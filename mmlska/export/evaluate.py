"""Evaluate an ONNX file on a data set with mmdet's and mmseg's own metrics."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData

from ..bands import PHOTO, Pixels
from ..engine.config import remove_hooks
from ..engine.image_reading import band_reader
from ..engine.launch import build_test_runner
from ..engine.tiling import tiles_of, use_whole_images
from ..images import read_header
from ..log import log
from .metadata import network_of


@MODELS.register_module()
class OnnxModel(BaseModel):
    """An ONNX file in the place of a model in MMEngine's Runner, for testing.

    Only labels and file names of the data set are used: ``OnnxPredictor`` reads and prepares the images itself, so that what is
    evaluated is what runs without OpenMMLab.

    Args:
        file: The ONNX file.
    """

    def __init__(self, file: str) -> None:
        from .onnx_predictor import OnnxPredictor  # needs onnxruntime, which checkpoints are evaluated without

        super().__init__()
        self.predictor = OnnxPredictor(file)

    def test_step(self, data: dict) -> list:
        """Predict the images of a batch of data samples."""
        samples = data['data_samples']
        for sample in samples:
            read_header(sample.img_path)  # the predictor, which stands alone, knows the start of a file only
        for sample, prediction in zip(samples, self.predictor([s.img_path for s in samples])):
            if self.predictor.is_segmentor:
                mask = torch.from_numpy(prediction.index_mask.astype('int64'))[None]
                sample.pred_sem_seg = PixelData(data=mask)
            else:
                keys = ('boxes', 'scores', 'labels')
                boxes, scores, labels = (torch.from_numpy(prediction.instances[key]) for key in keys)
                sample.pred_instances = InstanceData(bboxes=boxes, scores=scores, labels=labels)
        return samples

    val_step = test_step

    def forward(self, *args, **kwargs):
        """Not for training."""
        raise NotImplementedError('an ONNX file can be tested only')


def build_evaluation(cfg: Config, checkpoint: str | None, *, onnx: str | None = None, **options) -> Runner:
    """Build the Runner that evaluates a checkpoint, or an ONNX file in its place.

    Args:
        cfg: A config that went through :func:`mmlska.engine.launch.prepare`.
        checkpoint: As :func:`mmlska.engine.launch.build_test_runner` takes it; None with ``onnx``.
        onnx: What ``mmlska export`` wrote for this config.
        **options: Those of :func:`mmlska.engine.launch.build_test_runner`.

    Raises:
        FileNotFoundError: If data, the checkpoint or the ONNX file are missing.
        ValueError: If both files are given or none, or a setting does not fit the config or the kind of file.
    """
    changed = options.get('tta') or options.get('deploy') or options.get('dtype', 'fp32') != 'fp32'
    if (checkpoint is None) == (onnx is None) or (onnx and changed):
        raise ValueError(
            'give either a checkpoint, such as work_dirs/NAME/epoch_12.pth, or --onnx FILE; --tta, --deploy and --dtype are for '
            'checkpoints'
        )
    if onnx and (tiles := tiles_of(cfg)):
        log(f'{onnx} is tested on whole images at their own size, not in the {tiles} of its training')
    if onnx:
        use_onnx(cfg, onnx)
    return build_test_runner(cfg, checkpoint, **options)


def use_onnx(cfg: Config, file: str) -> None:
    """Make a prepared config test what ``mmlska export`` wrote for it instead of its model.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no ONNX file of mmlska, of a part only, or of a model with other classes, of other images or of another
            kind.
    """
    from .onnx_predictor import OnnxPredictor

    predictor = OnnxPredictor(file)
    wanted = 'segmentor' if cfg.default_scope == 'mmseg' else 'RetinaNet'
    facts, differs = predictor.metadata, ''
    if facts['kind'] != wanted or facts['model'] != cfg.model.type:
        differs = f'holds {facts["model"]}, the config {cfg.model.type}'
    else:
        head = cfg.model.decode_head if wanted == 'segmentor' else cfg.model.bbox_head
        network = network_of(cfg)
        if len(predictor.classes) != head.num_classes:
            differs = f'knows {len(predictor.classes)} classes, the config {head.num_classes}'
        elif facts.get('network', network) != network:  # files of mmlska before it wrote this have no such key
            differs = f'holds {facts["network"]}, but the config is {network}'
    reader, bands = band_reader(cfg), facts['input'].get('bands')
    reads = Pixels(bands['count'], bands['dtype']) if bands else PHOTO
    wanted_pixels = PHOTO if reader is None else reader.pixels
    if not differs and reads != wanted_pixels:
        differs = f'reads images of {reads}, the config of {wanted_pixels}'
    if differs:
        raise ValueError(f'{file} {differs}; give the config it was exported with')
    use_whole_images(cfg)  # the file takes a whole image at the scale of the tiles
    cfg.model = dict(type='OnnxModel', file=str(Path(file).absolute()))
    cfg.load_from = None
    remove_hooks(cfg, 'ChannelsLastHook')
