"""tools/test.py --onnx and tools/test_exports.py: the metrics of a file beside those of its checkpoint."""

import json
import runpy
import sys
from pathlib import Path

import onnx
import pytest

from mmlska.engine.config import load_config
from mmlska.engine.launch import prepare
from mmlska.export.evaluate import build_evaluation
from mmlska.export.metrics import table

pytestmark = pytest.mark.slow


def metrics(model, tmp_path, checkpoint=None, **options):
    cfg = load_config(str(model.config))
    prepare(cfg, str(model.config), work_dir=str(tmp_path), launcher='none', seed=0)
    return build_evaluation(cfg, checkpoint, **options).test()


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


def test_what_exporting_costs(tiny_models, photos, tmp_path, monkeypatch, capsys):
    """The tool evaluates the checkpoint and each of its files, and adds the config to the results."""
    root, model = Path(__file__).resolve().parents[2], tiny_models['upernet']
    page, out = tmp_path / 'page.md', tmp_path / 'export.json'
    page.write_text('<!-- export table -->\n<!-- end -->\n')
    out.write_text(json.dumps({'other': {'formats': {'torch': {'metrics': {'mIoU': 50.0}}}}}))
    options = ['--int8', photos.folder, '--photos', photos.folder, '--work-dir', tmp_path / 'work']
    command = ['tools/test_exports.py', model.config, model.checkpoint, *options, '--out', out, '--readme', page]
    monkeypatch.setattr(sys, 'argv', list(map(str, command)))
    runpy.run_path(str(root / 'tools/test_exports.py'), run_name='__main__')
    results = json.loads(out.read_text())
    assert list(results) == ['other', 'tiny_upernet']
    entry = results['tiny_upernet']
    assert {'date', 'hardware', 'versions', 'sha256'} < set(entry)
    assert entry['command'].startswith('python tools/test_exports.py')
    formats = entry['formats']
    assert list(formats) == ['torch', 'fp32', 'fp16', 'int8']
    assert formats['fp32']['metrics'] == pytest.approx(formats['torch']['metrics'], abs=0.1, nan_ok=True)
    half = onnx.load(tmp_path / 'work/fp16.onnx')
    assert {i.data_type for i in half.graph.initializer if len(i.dims) == 4} == {onnx.TensorProto.FLOAT16}
    assert 1e-6 < formats['fp16']['difference'] < 5e-2
    assert formats['fp16']['bytes'] < 0.8 * formats['fp32']['bytes']
    assert formats['fp32']['difference'] < formats['fp16']['difference'] < formats['int8']['difference']
    assert table(results) in page.read_text()
    assert '`tiny_upernet` | ONNX int8 |' in capsys.readouterr().out


def test_the_table_of_the_page_is_that_of_its_results_file():
    root = Path(__file__).resolve().parents[2]
    page = (root / 'docs/inference.md').read_text(encoding='utf-8')
    results = json.loads((root / 'docs/results/export.json').read_text(encoding='utf-8'))
    assert f'<!-- export table -->\n{table(results)}\n<!-- end -->' in page
    for entry in results.values():  # what the page and the README promise
        found = {name: values['metrics'] for name, values in entry['formats'].items()}
        assert found['fp32'] == pytest.approx(found['torch'], abs=0.1)


def test_wrong_files(tiny_models, exported, tmp_path):
    with pytest.raises(ValueError, match='holds RetinaNet, the config EncoderDecoder'):
        metrics(tiny_models['upernet'], tmp_path, onnx=str(exported['retinanet'].path))
    # Both segmentors of the same classes:
    with pytest.raises(ValueError, match='FPNHead, but the config is .*, UPerHead; give the config'):
        metrics(tiny_models['upernet'], tmp_path, onnx=str(exported['fpn'].path))
    with pytest.raises(ValueError, match='holds EncoderDecoder, the config MaskRCNN'):
        metrics(tiny_models['mask_rcnn'], tmp_path, onnx=str(exported['upernet'].path))
    with pytest.raises(ValueError, match='give either a checkpoint, such as .*, or --onnx FILE'):
        metrics(tiny_models['upernet'], tmp_path)
    with pytest.raises(ValueError, match='give either a checkpoint, such as .*, or --onnx FILE'):
        metrics(tiny_models['upernet'], tmp_path, str(tiny_models['upernet'].checkpoint), onnx='x.onnx')
