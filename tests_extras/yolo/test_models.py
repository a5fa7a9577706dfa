"""YOLOv8 and YOLO11, all scales, four places: n goes the whole way from training to ONNX, the others build and run."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from ultralytics import YOLO

import mmlska.yolo as lska_yolo
from mmlska.models.attention import LSKA
from mmlska.yolo.trainers import DetectionTrainer
from tests_extras.helpers import QUICK, fresh

FAMILIES = ('yolov8', 'yolo11')
PLACES = list(lska_yolo.PLACES)


@pytest.fixture(autouse=True, scope='module')
def registered():
    lska_yolo.register()


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('scale', 'nsmlx')
@pytest.mark.parametrize('family', FAMILIES)
def test_builds_and_runs(family, scale, place):
    model = YOLO(f'{family}{scale}-lska-{place}.yaml').model.eval()
    assert any(isinstance(m, LSKA) for m in model.modules())
    with torch.no_grad():
        out = model(torch.rand(1, 3, 64, 64))[0]
    assert out.shape == (1, 84, 84)
    assert out.isfinite().all()


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('name', ['yolov8n', 'yolo11n', 'yolo11m'])
def test_every_stock_tensor_is_transferred(name, place, capsys):
    model, stock = YOLO(f'{name}-lska-{place}.yaml'), YOLO(f'{name}.yaml')
    total = len(stock.model.state_dict())
    assert lska_yolo.transfer(model, stock) == total
    assert f'transferred {total}/{total} stock tensors\n' in capsys.readouterr().out
    ours = {k: v for k, v in model.model.state_dict().items() if '.lska.' not in k}
    sums = sorted(v.double().sum().item() for v in stock.model.state_dict().values())
    kept = sorted(v.double().sum().item() for k, v in ours.items() if type_of(model, k) is not LSKA)
    assert kept == sums


def type_of(model, key):
    return type(model.model.model[int(key.split('.')[1])])


def test_transfer_names_what_it_leaves(tmp_path, capsys):
    stock = YOLO('yolo11n.yaml')
    stock.save(tmp_path / 'stock.pt')
    d = lska_yolo.with_lska(stock.model.yaml, 'head')
    model = type(stock.model)({**d, 'nc': 3}, verbose=False)
    total = len(stock.model.state_dict())
    # The width of the classifier's branch depends on the number of classes; the stock head is layer 23.
    own = {k.replace('model.26.', 'model.23.'): v.shape for k, v in model.state_dict().items()}
    left = [k for k, v in stock.model.state_dict().items() if own[k] != v.shape]
    assert left
    assert all(k.startswith('model.23.cv3.') for k in left)
    assert lska_yolo.transfer(model, tmp_path / 'stock.pt') == total - len(left)
    assert f'left: {left[0]}, {left[1]}, {left[2]} and {len(left) - 3} more\n' in capsys.readouterr().out
    with pytest.raises(ValueError, match='give the stock model of the same family and scale'):
        lska_yolo.transfer(model, YOLO('yolov8n.yaml'))
    with pytest.raises(FileNotFoundError, match='weights none.pt do not exist'):
        lska_yolo.transfer(model, 'none.pt')


FRESH = """
import json, sys
import numpy as np
from ultralytics import YOLO

found = {}
for path in sys.argv[1:]:
    model = YOLO(path)
    (result,) = model.predict(np.full((64, 64, 3), 90, np.uint8), imgsz=64, device='cpu', verbose=False, conf=0.0, max_det=5)
    found[path] = [len(result.boxes), sum(type(m).__name__ == 'LSKA' for m in model.model.modules())]
print(json.dumps(found))
"""


@pytest.fixture(scope='module')
def trained(yolo_data, tmp_path_factory):
    """A checkpoint of each family and place after one training step."""
    folder, paths = tmp_path_factory.mktemp('runs'), {}
    for family in FAMILIES:
        for place in PLACES:
            model = YOLO(f'{family}n-lska-{place}.yaml')
            model.train(
                data=str(yolo_data), trainer=DetectionTrainer, project=str(folder), name=f'{family}-{place}', **QUICK
            )
            assert model.trainer.ema.updates == 1  # the optimizer has taken its step
            paths[family, place] = model.trainer.last
    return paths


@pytest.mark.slow
def test_checkpoints_load_and_predict_in_a_fresh_process(trained, tmp_path):
    found = json.loads(fresh('-c', FRESH, *trained.values(), cwd=tmp_path).splitlines()[-1])
    for (family, place), path in trained.items():
        boxes, attentions = found[str(path)]
        assert boxes == 5
        assert attentions == sum(isinstance(m, LSKA) for m in YOLO(f'{family}n-lska-{place}.yaml').model.modules())


@pytest.mark.slow
@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('family', FAMILIES)
def test_onnx_computes_the_same(trained, family, place):
    model = YOLO(trained[family, place])
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.model.eval()(x)[0].numpy()
    file = model.export(format='onnx', imgsz=64, simplify=False, device='cpu', verbose=False)
    session = onnxruntime.InferenceSession(file, providers=['CPUExecutionProvider'])
    (out,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(out, expected, rtol=1e-3, atol=2e-3)  # boxes in pixels of a 64 px image


@pytest.mark.slow
def test_workers_of_distributed_training_register(yolo_data, tmp_path):
    """What Ultralytics starts for each GPU: a script that reads the trainer from a pickle; here in one process without a GPU."""
    from ultralytics.utils.dist import ddp_cleanup, generate_ddp_file

    overrides = dict(QUICK, model='yolo11n-lska-head.yaml', data=str(yolo_data), project=str(tmp_path), name='ddp')
    trainer = DetectionTrainer(overrides=overrides)
    script = generate_ddp_file(trainer)
    try:
        fresh(script, cwd=tmp_path)
    finally:
        ddp_cleanup(trainer, script)
    weights = list(tmp_path.glob('ddp*/weights/last.pt'))
    assert any(isinstance(m, LSKA) for m in YOLO(weights[-1]).model.modules())
