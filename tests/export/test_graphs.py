"""What replaces parts of a model before export says the same as they do."""

import pytest
import torch
from mmcv.ops import batched_nms
from mmdet.structures import DetDataSample
from torch import nn

from mmlska.engine.config import load_config
from mmlska.export.graphs import AdaptivePool, RetinaDecode, RetinaMaps, SegmentorGraph, graph_of
from mmlska.infer import load_model


@pytest.fixture(scope='module')
def models(tiny_models):
    return {name: load_model(load_config(str(m.config)), m.checkpoint)[0] for name, m in tiny_models.items()}


@pytest.mark.parametrize('bins', [1, 2, 3, 6])
@pytest.mark.parametrize('size', [(1, 1), (2, 5), (6, 7), (13, 40)])
def test_pool_of_any_size(bins, size):
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(AdaptivePool(bins)(x), nn.AdaptiveAvgPool2d(bins)(x))


@pytest.mark.parametrize('size', [(64, 96), (33, 70)])
def test_decoded_boxes_are_mmdets(models, size):
    """With a real suppression after it, the same detections as mmdet's head, for two images with unlike padding."""
    model = models['retinanet']
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    shapes = [size, (size[0] - 7, size[1] - 20)]
    samples = [DetDataSample(metainfo=dict(img_shape=s, ori_shape=s, scale_factor=(1.0, 1.0))) for s in shapes]
    with torch.inference_mode():
        expected = model.predict(image, samples)
        boxes, _, scores, labels = RetinaDecode(model.bbox_head)(*RetinaMaps(model)(image), torch.tensor(shapes))
    cfg = model.bbox_head.test_cfg
    for i, sample in enumerate(expected):
        real = scores[i] > cfg.score_thr
        found, kept = batched_nms(boxes[i][real], scores[i][real], labels[i][real], dict(cfg.nms))
        found = found[: cfg.max_per_img]
        assert len(sample.pred_instances) == len(found) > 3
        torch.testing.assert_close(found[:, :4], sample.pred_instances.bboxes, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(found[:, 4], sample.pred_instances.scores)
        assert torch.equal(labels[i][real][kept[: len(found)]], sample.pred_instances.labels)


@pytest.mark.parametrize('name', ['upernet', 'fpn'])
def test_segmentor_logits_have_the_size_of_the_image(models, name):
    model = models[name]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    graph, names, kind = graph_of(model, 'model')
    assert (type(graph), names, kind) == (SegmentorGraph, ['logits'], 'segmentor')
    image = torch.rand(1, 3, 45, 70)
    with torch.inference_mode():
        torch.testing.assert_close(
            graph(image), model.encode_decode(image, [dict(img_shape=(45, 70))]), rtol=1e-4, atol=1e-4
        )
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_what_cannot_be_exported(models):
    model = models['fpn']
    with pytest.raises(ValueError, match="part='neck' is unknown; choose one of 'backbone', 'model'"):
        graph_of(model, 'neck')
    with pytest.raises(ValueError, match='Linear has no VAN_LSKA'):
        graph_of(nn.Linear(2, 2), 'model')
    mode = model.test_cfg.mode
    try:
        model.test_cfg.mode = 'slide'
        with pytest.raises(ValueError, match=r"test_cfg.mode is 'slide'"):
            graph_of(model, 'model')
    finally:
        model.test_cfg.mode = mode
