"""A model as an ONNX file of plain operators: network, RetinaNet's suppression, low precision, metadata."""

from __future__ import annotations

import io
import json
import logging
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper
from torch import nn

from ..infer.sources import read_images, resolve
from ..version import __version__
from .detection_parity import compare_detections
from .formats import Job
from .graphs import RetinaDecode
from .metadata import channels_of
from .onnx_predictor import METADATA, open_session, prepare
from .parity import Parity, compare

SUFFIX = '.onnx'
PRECISIONS = ('fp32', 'fp16', 'int8')
DECODES_BOXES = True
#: Of the ONNX standard; no other domain is used.
OPSET = 18
#: So many images of a folder, spread over it, calibrate int8: the ranges of a thousand are hardly wider and take minutes.
CALIBRATION_IMAGES = 100


def write(path: Path, job: Job) -> Parity:
    """Write the graph of a job, of RetinaNet with its decoding, and compare the file with the model."""
    facts, rule = job.facts, job.facts['input']
    network = to_onnx(job.graph, job.names, channels_of(rule))
    if job.int8:
        files = resolve(job.int8)
        files = files[:: -(-len(files) // CALIBRATION_IMAGES)]
        network = to_int8(network, (prepare(image, rule, name)[0] for name, image in read_images(files, job.reader)))
    elif facts['dtype'] == 'fp16':
        network = to_fp16(network)
    has_detections = facts['kind'] == 'RetinaNet'
    path.write_bytes(finish(with_detections(network, job.model.bbox_head) if has_detections else network, facts))

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # RetinaNet's maps are outputs of the network alone; of the file itself its detections are compared.
    maps = onnxruntime.InferenceSession(network.SerializeToString(), options, providers=['CPUExecutionProvider'])
    differences = compare(lambda batch: maps.run(job.names, {'image': batch}), job.reference, job.photos, rule)
    session, count = open_session(path), None
    if has_detections:
        wanted = ['boxes', 'scores', 'labels', 'image_index']

        def run(batch, shape):
            return session.run(wanted, {'image': batch, 'shape': shape})

        found, count = compare_detections(run, job.model, job.photos, rule)
        if facts['dtype'] == 'fp32':  # with less precision, other boxes win ties
            differences = {size: max(value, found[size]) for size, value in differences.items()}
    return Parity(differences, count, job.source)


def to_onnx(graph: nn.Module, output_names: Sequence[str], channels: int = 3) -> onnx.ModelProto:
    """Export a module that takes one image batch; batch, height and width stay free."""
    free = {0: 'batch', 2: 'height', 3: 'width'}
    return _export(graph, (torch.rand(2, channels, 96, 130),), (free,), ['image'], output_names)


def with_detections(maps: onnx.ModelProto, head: nn.Module) -> onnx.ModelProto:
    """Append decoding and non-maximum suppression, as mmdet's RetinaHead does them, to the exported maps of RetinaNet.

    Returns:
        A model that takes ``image`` and ``shape`` (N, 2), height and width without padding, and gives ``boxes`` (M, 4), ``scores`` (M,),
        ``labels`` (M,) and ``image_index`` (M,) of all images together, by image and falling score.
    """
    names = [output.name for output in maps.graph.output]
    half = len(names) // 2
    anchors = head.num_base_priors
    channels = [anchors * head.cls_out_channels] * half + [anchors * 4] * half
    examples = [torch.rand(2, c, 7 + i % half, 9 + i % half) for i, c in enumerate(channels)]
    free = tuple({0: 'batch', 2: f'h{i % half}', 3: f'w{i % half}'} for i in range(len(names)))
    decode = _export(
        RetinaDecode(head).eval(),
        (*examples, torch.tensor([[60, 70], [60, 70]])),
        ((*free, {0: 'batch'}),),  # one argument, *inputs
        [*(f'in_{name}' for name in names), 'shape'],
        ['candidate_boxes', 'boxes_apart', 'candidate_scores', 'candidate_labels'],
    )
    model = onnx.compose.merge_models(
        maps,
        onnx.compose.add_prefix(decode, 'decode_', rename_inputs=False, rename_outputs=False),
        io_map=[(name, f'in_{name}') for name in names],
    )
    _append_nms(model, head.test_cfg)
    return model


def _append_nms(model: onnx.ModelProto, cfg: Any) -> None:
    if cfg.nms.get('type', 'nms') != 'nms' or cfg.nms.get('class_agnostic'):
        raise ValueError(f'test_cfg.nms={dict(cfg.nms)} cannot be exported; use dict(type="nms", iou_threshold=...)')
    constants = dict(
        nms_most=np.array([cfg.max_per_img], np.int64),
        nms_iou=np.array([cfg.nms.iou_threshold], np.float32),
        nms_score=np.array([cfg.get('score_thr', 0)], np.float32),
        nms_axis=np.array([1], np.int64),
        nms_place=np.array([0, 2], np.int64),
        nms_first=np.array(0, np.int64),
    )
    node = helper.make_node
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    model.graph.node.extend(
        [
            node('Unsqueeze', ['candidate_scores', 'nms_axis'], ['nms_scores']),
            node(
                'NonMaxSuppression', ['boxes_apart', 'nms_scores', 'nms_most', 'nms_iou', 'nms_score'], ['nms_selected']
            ),
            node('Gather', ['nms_selected', 'nms_place'], ['nms_where'], axis=1),
            node('Gather', ['nms_selected', 'nms_first'], ['image_index'], axis=1),
            node('GatherND', ['candidate_boxes', 'nms_where'], ['boxes']),
            node('GatherND', ['candidate_scores', 'nms_where'], ['scores']),
            node('GatherND', ['candidate_labels', 'nms_where'], ['labels']),
        ]
    )
    del model.graph.output[:]
    outputs = dict(boxes=(TensorProto.FLOAT, 4), scores=(TensorProto.FLOAT,), labels=(TensorProto.INT64,))
    for name, (kind, *rest) in dict(outputs, image_index=(TensorProto.INT64,)).items():
        model.graph.output.append(helper.make_tensor_value_info(name, kind, ['detections', *rest]))


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights and operations in float16; inputs and outputs stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # one for each weight below float16's range, which becomes its smallest number
        converted = OnnxModel(convert_float_to_float16(model, keep_io_types=True))
    converted.topological_sort()  # the casts of the inputs were appended
    return converted.model


def to_int8(model: onnx.ModelProto, images: Iterable[np.ndarray]) -> onnx.ModelProto:
    """Convolutions in int8, by onnxruntime's static quantisation; a map's range is the mean of those in prepared images (1, C, H, W)."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._images = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._images, None)
            return None if image is None else dict(image=image)

    with tempfile.TemporaryDirectory() as folder, _quiet():
        before, after = Path(folder, 'fp32.onnx'), Path(folder, 'int8.onnx')
        onnx.save(model, before)
        quantize_static(
            str(before),
            str(after),
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=['Conv'],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # A map's range is the mean of the images' own: the widest of all would be an outlier's.
            extra_options=dict(CalibMovingAverage=True),
        )
        return onnx.load(after)


def finish(model: onnx.ModelProto, facts: dict[str, Any]) -> bytes:
    """Write facts into the metadata, check the model and make it the content of a file.

    Raises:
        ValueError: If an operator is not of the ONNX standard.
    """
    foreign = sorted({f'{n.domain}::{n.op_type}' for n in model.graph.node if n.domain not in ('', 'ai.onnx')})
    if foreign or model.functions:
        raise ValueError(f'the graph has operators that are not of the ONNX standard: {", ".join(foreign)}')
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid('', OPSET))
    model.producer_name, model.producer_version = 'mmlska', __version__
    del model.metadata_props[:]
    helper.set_model_props(model, {METADATA: json.dumps(dict(facts, mmlska=__version__))})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _export(graph, examples, dynamic_shapes, input_names, output_names) -> onnx.ModelProto:
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            graph.eval(),
            examples,
            dynamo=True,
            dynamic_shapes=dynamic_shapes,
            input_names=input_names,
            output_names=output_names,
            opset_version=OPSET,
            verbose=False,
        )
    model = onnx.load_from_string(program.model_proto.SerializeToString())
    for node in model.graph.node:
        del node.metadata_props[:]  # file names and source lines of the exporting machine
        node.doc_string = ''
    del model.graph.value_info[:], model.graph.metadata_props[:]
    _name_dims(model, dynamic_shapes)
    return model


def _name_dims(model: onnx.ModelProto, dynamic_shapes) -> None:
    """Call the free sides what they are; outputs get names that promise nothing about their size."""
    shapes = dynamic_shapes[0] if isinstance(dynamic_shapes[0], tuple) else dynamic_shapes
    for value, free in zip(model.graph.input, shapes):
        for axis, name in free.items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    for value in model.graph.output:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param:
                dim.dim_param = 'batch' if axis == 0 else f'{value.name}_{axis}'


@contextmanager
def _quiet():
    """Without the exporters' progress reports; errors still come through."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(level)
