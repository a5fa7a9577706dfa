"""tools/test.py --onnx: the metrics of the file are those of its checkpoint."""

import pytest

from mmlska.engine.config import load_config
from mmlska.engine.launch import build_test_runner, prepare

pytestmark = pytest.mark.slow


def metrics(model, tmp_path, checkpoint=None, **options):
    cfg = load_config(str(model.config))
    prepare(cfg, str(model.config), work_dir=str(tmp_path), launcher='none', seed=0)
    return build_test_runner(cfg, checkpoint, **options).test()


@pytest.mark.parametrize('name', ['retinanet', 'upernet', 'fpn'])
def test_same_metrics(name, tiny_models, exported, tmp_path):
    model = tiny_models[name]
    torch_metrics = metrics(model, tmp_path, str(model.checkpoint))
    onnx_metrics = metrics(model, tmp_path, onnx=str(exported[name].path))
    key = 'coco/bbox_mAP_50' if name == 'retinanet' else 'aAcc'
    assert key in torch_metrics
    for key, value in torch_metrics.items():
        if 'time' not in key:
            points = 1 if key.startswith('coco') else 100
            assert onnx_metrics[key] == pytest.approx(value, abs=0.001 * points, nan_ok=True), key


def test_wrong_files(tiny_models, exported, tmp_path):
    with pytest.raises(ValueError, match='holds RetinaNet, the config EncoderDecoder'):
        metrics(tiny_models['upernet'], tmp_path, onnx=str(exported['retinanet'].path))
    with pytest.raises(ValueError, match='holds EncoderDecoder, the config MaskRCNN'):
        metrics(tiny_models['mask_rcnn'], tmp_path, onnx=str(exported['upernet'].path))
    with pytest.raises(ValueError, match='give either a checkpoint or --onnx FILE'):
        metrics(tiny_models['upernet'], tmp_path)
    with pytest.raises(ValueError, match='give either a checkpoint or --onnx FILE'):
        metrics(tiny_models['upernet'], tmp_path, str(tiny_models['upernet'].checkpoint), onnx='x.onnx')
