"""Export a config and its checkpoint: what ``mmlska export`` calls."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from mmengine.config import Config
from torch import nn

from ..engine.image_reading import band_reader
from ..files import write_atomically
from ..infer.model import load_model
from .formats import Job, format_file
from .graphs import graph_of
from .metadata import input_rule, network_of
from .parity import LIMITS, Parity, read_photos

DTYPES = ('fp32', 'fp16')


class ParityError(ValueError):
    """An exported file differs from its model; it was not written."""


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: Where it is.
        kind: What it holds: 'backbone', 'backbone and neck', 'segmentor' or 'RetinaNet'.
        parity: How near it is to the model.
        note: What else there is to know, one sentence, or ''.
    """

    path: Path
    kind: str
    parity: Parity
    note: str


def export(
    cfg: Config,
    checkpoint: str | Path,
    out: str | Path,
    *,
    part: str = 'model',
    format: str = 'onnx',
    dtype: str = 'fp32',
    int8: str | Path | None = None,
    photos: str | Path | None = None,
) -> Exported:
    """Write a model as one file, and compare it with the model on photos before it gets its name.

    Args:
        cfg: The config.
        checkpoint: Checkpoint of a training with that config.
        out: The file.
        part: 'backbone' for its feature maps, or 'model': segmentors and RetinaNet whole, other detectors as backbone and neck.
        format: 'onnx'; 'torch_export' for torch.export.load; 'aot_inductor' for a package compiled for this machine. The latter two
            hold RetinaNet without the decoding of its boxes.
        dtype: 'fp32', or 'fp16' for weights and most operations in half precision (ONNX).
        int8: A folder of images to calibrate convolutions in int8 on (ONNX).
        photos: A folder of images to compare on; see :func:`mmlska.export.parity.read_photos`.

    Raises:
        FileNotFoundError: If config, checkpoint, calibration images or photos are missing.
        ParityError: If the file differs from the model by more than :data:`mmlska.export.parity.LIMITS`.
        ValueError: If the model cannot be exported, or settings do not go together.
    """
    out = Path(out)
    writer = format_file(format)
    precision = _check(writer, out, format, dtype, int8)
    model, dataset_meta = load_model(cfg, checkpoint)
    rule = input_rule(cfg)
    graph, names, kind = graph_of(model, part)
    reader = band_reader(cfg)
    photos, source = read_photos(photos, reader, rule)
    head = getattr(model, 'decode_head', None)
    facts = dict(
        kind=kind,
        model=type(model).__name__,
        network=network_of(cfg),
        config=Path(cfg.filename or '').name,
        classes=list(dataset_meta['classes']),
        palette=dataset_meta['palette'],
        input=rule,
        threshold=getattr(head, 'threshold', None),
        dtype=precision,
    )
    job = Job(model, graph, names, facts, int8, _reference(model, kind), photos, source, reader)
    parities: list[Parity] = []

    def write(unfinished: str) -> None:
        parity = writer.write(Path(unfinished), job)
        limit = LIMITS[precision]
        if not parity.largest <= limit:
            older = ', the older file there is untouched' if out.exists() else ''
            raise ParityError(
                f'{out} was not written{older}: the new one differs from the model by more than {limit:g}: {parity.describe()}; '
                f'please report this'
            )
        parities.append(parity)

    write_atomically(out, write)
    return Exported(out, kind, parities[0], _note(model, kind, writer.DECODES_BOXES))


def _check(writer: ModuleType, out: Path, format: str, dtype: str, int8: str | Path | None) -> str:
    """The precision of the file, 'fp32', 'fp16' or 'int8', if the settings go together."""
    if dtype not in DTYPES:
        raise ValueError(f'dtype={dtype!r} is unknown; choose one of {", ".join(map(repr, DTYPES))}')
    if out.suffix != writer.SUFFIX:
        raise ValueError(f'{out} ends in {out.suffix!r}; a file of format {format} ends in {writer.SUFFIX}')
    precision = 'int8' if int8 else dtype
    if precision not in writer.PRECISIONS:
        raise ValueError(f'format={format!r} knows {", ".join(writer.PRECISIONS)} only; fp16 and int8 are for onnx')
    if int8 and dtype != 'fp32':
        raise ValueError('int8 starts from fp32; leave dtype as it is')
    return precision


def _reference(model: nn.Module, kind: str):
    """The model as it was trained: neither folded nor changed for export."""

    def flat(image: torch.Tensor) -> list[torch.Tensor]:
        if kind == 'backbone':
            return list(model.backbone(image))
        if kind == 'backbone and neck':
            return list(model.extract_feat(image))
        if kind == 'segmentor':
            return [model.encode_decode(image, [dict(img_shape=tuple(image.shape[2:]))] * len(image))]
        scores, deltas = model.bbox_head(model.extract_feat(image))
        return [*scores, *deltas]

    return flat


def _note(model: nn.Module, kind: str, decodes_boxes: bool) -> str:
    if kind == 'backbone and neck':
        return (
            f'{type(model).__name__} is exported as backbone and neck: its proposals and RoIAlign have no plain ONNX form here, '
            f'so its heads stay in mmdet'
        )
    if kind == 'RetinaNet' and not decodes_boxes:
        return 'the file gives class and box maps; boxes are decoded in the ONNX format only'
    return ''
