"""Exported files hold what the model says, in plain operators, for any batch and size."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from mmlska.engine.config import load_config
from mmlska.export import ParityError, export, exporter
from mmlska.export.metadata import input_rule
from mmlska.export.onnx_predictor import open_session
from mmlska.export.parity import compare, difference, read_photos

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'

pytestmark = pytest.mark.slow  # the first to ask for the exported files waits for them


def test_all_pass_parity(exported):
    kinds = dict(
        retinanet='RetinaNet', upernet='segmentor', fpn='segmentor', mask_rcnn='backbone and neck', backbone='backbone'
    )
    assert {name: file.kind for name, file in exported.items()} == kinds
    for file in exported.values():
        assert file.path.is_file()
        assert file.parity.largest < 1e-4
        assert len(file.parity.differences) == 3
    assert exported['retinanet'].parity.detections > 20
    assert 'exported as backbone and neck' in exported['mask_rcnn'].note
    assert [p for p in exported['fpn'].path.parent.iterdir() if p.name.startswith('.')] == []


@pytest.mark.parametrize('arch', ['t', 's', 'b'])
def test_backbones_of_every_size(arch, photos, tmp_path):
    """T with the weights of the package; S and B as they are initialised, their norms' statistics drawn."""
    cfg = load_config(str(CONFIGS / f'fpn_van_lska_{arch}.py'))
    init_default_scope(cfg.default_scope)
    cfg.model.pretrained = cfg.model.backbone.init_cfg = None
    if arch == 't':
        cfg.model.backbone.init_cfg = dict(
            type='Pretrained', checkpoint='mmlska://van_lska_t_k23_tiny_imagenet', prefix='backbone.'
        )
    model = MODELS.build(cfg.model)
    model.init_weights()
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d) and arch != 't':
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 2)
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'model.pth')
    cfg.model.backbone.init_cfg = None
    file = export(cfg, tmp_path / 'model.pth', tmp_path / 'backbone.onnx', part='backbone', photos=photos.folder)
    assert file.parity.largest < 1e-4
    channels = [32, 64, 160, 256] if arch == 't' else [64, 128, 320, 512]
    outputs = open_session(file.path).run(None, {'image': np.zeros((1, 3, 33, 64), np.float32)})
    assert [o.shape[1:] for o in outputs] == [(c, -(-33 // s), 64 // s) for c, s in zip(channels, (4, 8, 16, 32))]


def test_operators_are_plain_and_sizes_free(exported):
    for file in exported.values():
        model = onnx.load(file.path)
        assert {(o.domain, o.version) for o in model.opset_import} == {('', 18)}
        assert {node.domain for node in model.graph.node} <= {'', 'ai.onnx'}
        shape = model.graph.input[0].type.tensor_type.shape.dim
        assert [d.dim_param or d.dim_value for d in shape] == ['batch', 3, 'height', 'width']
        # no file names of the machine that exported
        assert b'/mmlska/' not in model.SerializeToString()


def test_metadata(exported, tiny_models):
    facts = json.loads({p.key: p.value for p in onnx.load(exported['upernet'].path).metadata_props}['mmlska'])
    assert facts['classes'] == ['background', 'circle', 'square', 'triangle', 'star', 'ring']
    assert facts['input']['mean'] == [123.675, 116.28, 103.53]
    assert facts['input']['channels'] == 'RGB'
    assert facts['input']['resize'] == dict(scale=[160, 112], scale_factor=None, keep_ratio=True)
    assert (facts['model'], facts['dtype']) == ('EncoderDecoder', 'fp32')


@pytest.mark.parametrize('shape', [(1, 3, 1, 1), (3, 3, 31, 33), (2, 3, 64, 160)])
def test_batches_and_sizes_that_parity_does_not_try(exported, tiny_models, shape):
    from mmlska.infer import load_model

    image = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    for name in ('upernet', 'fpn'):
        model, _ = load_model(load_config(str(tiny_models[name].config)), tiny_models[name].checkpoint)
        with torch.inference_mode():
            expected = model.encode_decode(image, [dict(img_shape=shape[2:])] * shape[0]).numpy()
        (actual,) = open_session(exported[name].path).run(None, {'image': image.numpy()})
        assert difference(expected, actual) < 1e-4
    outputs = open_session(exported['backbone'].path).run(None, {'image': image.numpy()})
    assert [o.shape[2:] for o in outputs] == [(-(-shape[2] // s), -(-shape[3] // s)) for s in (4, 8, 16, 32)]
    feeds = {'image': image.numpy(), 'shape': np.array([shape[2:]] * shape[0], np.int64)}
    boxes, scores, labels, index = open_session(exported['retinanet'].path).run(None, feeds)
    assert len(boxes) == len(scores) == len(labels) == len(index)
    assert set(index.tolist()) <= set(range(shape[0]))


def test_int8(tiny_models, photos, tmp_path):
    model = tiny_models['retinanet']
    cfg = load_config(str(model.config))
    quantised = export(cfg, model.checkpoint, tmp_path / 'int8.onnx', int8=photos.folder, photos=photos.folder)
    operators = [node.op_type for node in onnx.load(quantised.path).graph.node]
    assert operators.count('QuantizeLinear') > 10
    assert 'NonMaxSuppression' in operators
    assert 1e-5 < quantised.parity.largest < 1


def test_torch_export(tiny_models, photos, tmp_path):
    model = tiny_models['upernet']
    cfg = load_config(str(model.config))
    file = export(cfg, model.checkpoint, tmp_path / 'fpn.pt2', format='torch_export', photos=photos.folder)
    assert file.parity.largest < 1e-4
    assert torch.export.load(file.path).module()(torch.rand(1, 3, 40, 72)).shape == (1, 6, 40, 72)


def test_aot_inductor(tiny_models, photos, tmp_path, compiler):
    model = tiny_models['upernet']
    cfg = load_config(str(model.config))
    file = export(
        cfg, model.checkpoint, tmp_path / 'backbone.pt2', part='backbone', format='aot_inductor', photos=photos.folder
    )
    assert file.parity.largest < 1e-4
    outputs = torch._inductor.aoti_load_package(str(file.path))(torch.rand(1, 3, 40, 72))
    assert [tuple(o.shape[2:]) for o in outputs] == [(10, 18), (5, 9), (3, 5), (2, 3)]
    assert list(tmp_path.iterdir()) == [file.path]


@pytest.mark.parametrize('older', [False, True])
def test_a_file_that_differs_is_not_written(tiny_models, photos, tmp_path, monkeypatch, older):
    """A backbone whose export drops the last norm."""
    real = exporter.graph_of

    def wrong(*args):
        graph, *rest = real(*args)
        graph.backbone.norm4 = torch.nn.Identity()
        return graph, *rest

    monkeypatch.setattr(exporter, 'graph_of', wrong)
    model = tiny_models['upernet']
    if older:
        (tmp_path / 'wrong.onnx').write_bytes(b'older')
    untouched = ', the older file there is untouched' if older else ''
    with pytest.raises(
        ParityError, match=f'wrong.onnx was not written{untouched}: the new one differs from the model by'
    ):
        export(
            load_config(str(model.config)),
            model.checkpoint,
            tmp_path / 'wrong.onnx',
            part='backbone',
            photos=photos.folder,
        )
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b'older'] * older


def test_a_model_that_diverged_is_named(tiny_models):
    rule = input_rule(load_config(str(tiny_models['fpn'].config)))
    images, _ = read_photos(None)
    with pytest.raises(ValueError, match="the model's own outputs hold NaN or infinity"):
        compare(lambda batch: [batch], lambda image: [image / 0], images, rule)


def test_wrong_settings(tiny_models, photos, tmp_path):
    model = tiny_models['fpn']
    cfg = load_config(str(model.config))
    for options, message in [
        (dict(out='x.pt'), r"x.pt ends in '.pt'; a file of format onnx ends in .onnx"),
        (dict(out='x.onnx', format='tflite'), "format='tflite' is unknown; choose one of 'onnx'"),
        (dict(out='x.pt2', format='torch_export', dtype='fp16'), "format='torch_export' knows fp32 only"),
        (dict(out='x.onnx', dtype='fp16', int8='folder'), 'int8 starts from fp32'),
        (dict(out='x.onnx', part='head'), "part='head' is unknown"),
    ]:
        with pytest.raises(ValueError, match=message):
            export(cfg, model.checkpoint, tmp_path / options.pop('out'), **options)
    with pytest.raises(ValueError, match='does not fit tiny_fpn.py'):
        export(cfg, tiny_models['retinanet'].checkpoint, tmp_path / 'x.onnx')


def test_pipelines_that_no_rule_describes(tiny_models):
    cfg = load_config(str(tiny_models['fpn'].config))
    pipeline = cfg.test_dataloader.dataset.pipeline
    pipeline.insert(1, dict(type='RandomFlip', prob=1.0))
    with pytest.raises(ValueError, match='the test pipeline has the steps RandomFlip; an exported model'):
        input_rule(cfg)
    pipeline[1] = dict(type='Resize', scale=(4, 4), interpolation='nearest')
    with pytest.raises(ValueError, match="interpolation='nearest'"):
        input_rule(cfg)


def test_photos_are_generated_where_there_are_none(monkeypatch):
    monkeypatch.setattr('mmlska.export.parity.find_path', lambda path: None)
    images, source = read_photos(None)
    assert source == 'generated scenes'
    assert {image.shape for image in images} == {(256, 256, 3)}
