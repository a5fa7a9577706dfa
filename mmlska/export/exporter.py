"""Export a config and its checkpoint: what ``tools/export.py`` calls."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from ..files import write_atomically
from ..infer.model import load_model
from .graphs import graph_of
from .parity import LIMITS, Parity, compare, compare_detections, read_photos
from .rule import input_rule, network_of

FORMATS = ('onnx', 'torch_export', 'aot_inductor')
DTYPES = ('fp32', 'fp16')
#: So many images of a folder, spread over it, calibrate int8: the ranges of a thousand are hardly wider and take minutes.
CALIBRATION_IMAGES = 100
_SUFFIXES = {'onnx': '.onnx', 'torch_export': '.pt2', 'aot_inductor': '.pt2'}


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
    _check(out, format, dtype, int8)
    model, dataset_meta = load_model(cfg, checkpoint)
    rule = input_rule(cfg)
    graph, names, kind = graph_of(model, cfg, part)
    images, source = read_photos(photos)
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
        dtype='int8' if int8 else dtype,
    )
    reference = _reference(model, kind)
    parities: list[Parity] = []

    def write(unfinished: str) -> None:
        if format == 'onnx':
            given = model, graph, names, facts, int8, images, source, reference
            parity = _write_onnx(Path(unfinished), *given)
        else:
            parity = _write_torch(Path(unfinished), graph, format, rule, images, source, reference)
        limit = LIMITS[facts['dtype']]
        if not parity.largest <= limit:
            older = ', the older file there is untouched' if out.exists() else ''
            raise ParityError(
                f'{out} was not written{older}: the new one differs from the model by more than {limit:g}: {parity.describe()}; '
                f'please report this'
            )
        parities.append(parity)

    write_atomically(out, write)
    return Exported(out, kind, parities[0], _note(model, kind, format))


def _check(out: Path, format: str, dtype: str, int8: str | Path | None) -> None:
    for name, value, allowed in (('format', format, FORMATS), ('dtype', dtype, DTYPES)):
        if value not in allowed:
            raise ValueError(f'{name}={value!r} is unknown; choose one of {", ".join(map(repr, allowed))}')
    if out.suffix != _SUFFIXES[format]:
        raise ValueError(f'{out} ends in {out.suffix!r}; a file of format {format} ends in {_SUFFIXES[format]}')
    if format != 'onnx' and (dtype != 'fp32' or int8):
        raise ValueError(f'format={format!r} knows fp32 only; fp16 and int8 are for onnx')
    if int8 and dtype != 'fp32':
        raise ValueError('int8 starts from fp32; leave dtype as it is')


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


def _write_onnx(
    path: Path, model: nn.Module, graph: nn.Module, names: list[str], facts: dict, int8, images, source: str, reference
) -> Parity:
    import onnxruntime

    from .onnx_file import finish, to_fp16, to_int8, to_onnx, with_detections
    from .onnx_predictor import open_session, prepare

    network = to_onnx(graph, names)
    if int8:
        from ..infer.sources import read_images, resolve

        files = resolve(int8)
        files = files[:: -(-len(files) // CALIBRATION_IMAGES)]
        network = to_int8(network, (prepare(image, facts['input'], name)[0] for name, image in read_images(files)))
    elif facts['dtype'] == 'fp16':
        network = to_fp16(network)
    whole = with_detections(network, model.bbox_head) if facts['kind'] == 'RetinaNet' else network
    path.write_bytes(finish(whole, facts))

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # RetinaNet's maps are outputs of the network alone; of the file itself its detections are compared.
    maps = onnxruntime.InferenceSession(network.SerializeToString(), options, providers=['CPUExecutionProvider'])
    differences = compare(lambda batch: maps.run(names, {'image': batch}), reference, images, facts['input'])
    session, count = open_session(path), None
    if facts['kind'] == 'RetinaNet':
        wanted = ['boxes', 'scores', 'labels', 'image_index']

        def run(batch, shape):
            return session.run(wanted, {'image': batch, 'shape': shape})

        found, count = compare_detections(run, model, images, facts['input'])
        if facts['dtype'] == 'fp32':  # with less precision, other boxes win ties
            differences = {size: max(value, found[size]) for size, value in differences.items()}
    return Parity(differences, count, source)


def _write_torch(path: Path, graph: nn.Module, format: str, rule: dict, images, source: str, reference) -> Parity:
    free = torch.export.Dim.DYNAMIC
    with torch.no_grad():
        program = torch.export.export(
            graph.eval(), (torch.rand(2, 3, 96, 130),), dynamic_shapes=({0: free, 2: free, 3: free},)
        )
    if format == 'torch_export':
        with open(path, 'wb') as file:
            torch.export.save(program, file)
        with open(path, 'rb') as file:
            loaded = torch.export.load(file).module()
    else:
        package = path.with_suffix('.pt2')
        torch._inductor.aoti_compile_and_package(program, package_path=str(package))
        loaded = torch._inductor.aoti_load_package(str(package))

    def run(batch: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            result: Any = loaded(torch.from_numpy(batch))
        return [value.numpy() for value in (result if isinstance(result, (list, tuple)) else [result])]

    return Parity(compare(run, reference, images, rule), None, source)


def _note(model: nn.Module, kind: str, format: str) -> str:
    if kind == 'backbone and neck':
        return (
            f'{type(model).__name__} is exported as backbone and neck: its proposals and RoIAlign have no plain ONNX form here, '
            f'so its heads stay in mmdet'
        )
    if kind == 'RetinaNet' and format != 'onnx':
        return 'the file gives class and box maps; boxes are decoded in the ONNX format only'
    return ''
