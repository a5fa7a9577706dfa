"""Scores of a trained MMPretrain classifier for files of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor
from torch.utils.data import DataLoader

from ..engine.config import find_checkpoint_file
from ..engine.device import find_device
from ..images import read_header
from ..weights import load_whole_model, safe_reading


def _load(pipeline: Compose, paths: Sequence[Path]) -> list[dict]:
    return [pipeline(dict(img_path=str(path))) for path in paths]


def build_predict(
    cfg: Config,
    checkpoint: str,
    *,
    batch_size: int = 64,
    num_workers: int = 2,
    device: str = 'auto',
    trust: bool | None = None,
) -> Callable[[Sequence[Path], bool], Iterator[Tensor]]:
    """Load a classifier and return the function that :func:`mmlska.classification.robustness.measure` takes.

    Args:
        cfg: A config of MMPretrain's scope, such as configs/van_lska_t_imagenet.py; images go through its test pipeline.
        checkpoint: The checkpoint file, of any published layout.
        batch_size: Images in a batch.
        num_workers: Processes that read images; 0 for none.
        device: One of :func:`mmlska.engine.device.find_device`.
        trust: Let checkpoints run code; only those whose maker you know. By default as :func:`mmlska.weights.safe_reading` says, else no.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If the config is not of a classifier.
        WeightsError: If the checkpoint cannot be read, or belongs to another model than the config's.
    """
    if cfg.get('default_scope') != 'mmpretrain':
        raise ValueError(
            f'the config is of {cfg.get("default_scope")}; give one of a classifier, such as van_lska_t_imagenet.py'
        )
    checkpoint = find_checkpoint_file(checkpoint)
    place = find_device(device)
    init_default_scope('mmpretrain')
    with safe_reading(trust):
        model = MODELS.build(cfg.model)
    load_whole_model(model, checkpoint, Path(cfg.filename or 'the config').name, trust=trust)
    model.eval().to(place)
    dataset = cfg.test_dataloader.dataset
    while 'pipeline' not in dataset:
        dataset = dataset.dataset
    steps = list(dataset.pipeline)
    # Crops of 224 pixels as ImageNet-C has them are not enlarged again.
    crops = any(step['type'] == 'CenterCrop' for step in steps)
    without_resize = [step for step in steps if not (crops and step['type'] == 'ResizeEdge')]

    @torch.no_grad()
    def predict(paths: Sequence[Path], cropped: bool) -> Iterator[Tensor]:
        for path in paths:  # Checked here: an error in a data worker would arrive as a page of traceback.
            read_header(path)
        load = partial(_load, Compose(without_resize if cropped else steps))
        for samples in DataLoader(paths, batch_size, num_workers=num_workers, collate_fn=load):
            data = dict(inputs=[s['inputs'] for s in samples], data_samples=[s['data_samples'] for s in samples])
            data = model.data_preprocessor(data, False)
            yield model(data['inputs'], data['data_samples'], mode='tensor').float().cpu()

    return predict
