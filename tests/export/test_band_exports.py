"""Models of images of any channels and bits: exported, and run by OnnxPredictor as by mmlska."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import onnx
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS, init_default_scope

from mmlska.bands import BandReader
from mmlska.engine.config import load_config
from mmlska.engine.launch import prepare as prepare_config
from mmlska.export import OnnxPredictor, export, onnx_bands, onnx_predictor
from mmlska.export.evaluate import build_evaluation
from mmlska.export.onnx_predictor import METADATA
from mmlska.infer import load_model

tifffile = pytest.importorskip('tifffile', reason='no tifffile; pip install "mmlska[bands]"')
FILE = Path(onnx_bands.__file__)
MEANS = [900.0, 1200.0, 700.0, 2500.0, 40.0]
FIVE = dict(channels=5, dtype='uint16', fill=MEANS, shown=[3, 2, 1])
GREY = dict(channels=1, dtype='uint8', fill=[], shown=[])


class Model(NamedTuple):
    config: Path
    checkpoint: Path
    image: Path


def write_image(path: Path, shape: tuple[int, int], seed: int, **options) -> np.ndarray:
    """Five bands of 16 bits with smooth blobs, some pixels 0, which is no data."""
    rng = np.random.default_rng(seed)
    small = rng.uniform(0, 1, (5, 6, 5)).astype(np.float32)
    values = cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1) * np.float32(MEANS) * 2 + 1
    values = values.astype(np.uint16)
    values[3:6, 4:9] = 0
    gdal = [(42113, 's', 0, '0', True)]
    tifffile.imwrite(
        path, values.transpose(2, 0, 1), planarconfig='separate', photometric='minisblack', extratags=gdal, **options
    )
    return values


def bands_model(tiny, folder: Path, reading: dict) -> tuple[Path, Path]:
    """A tiny model for other images: its first convolution is new, with values that tell channels apart."""
    cfg = Config.fromfile(tiny.config)
    count = reading['channels']
    mean, std = (MEANS[:count], [m / 2 for m in MEANS[:count]]) if count == 5 else ([110.0], [50.0])
    steps = cfg.test_dataloader.dataset.pipeline
    steps[0] = dict(type='LoadBands', **reading)
    cfg.test_pipeline = steps
    cfg.model.backbone.in_channels = count
    old = cfg.model.data_preprocessor
    kept = {key: value for key, value in old.items() if key not in ('type', 'mean', 'std', 'bgr_to_rgb')}
    wraps = f'{cfg.default_scope}.{old.type}'
    cfg.model.data_preprocessor = dict(type='BandsPreprocessor', wraps=wraps, mean=mean, std=std, **kept)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(1)
    net = MODELS.build(cfg.model)
    saved = torch.load(tiny.checkpoint, weights_only=False)
    own = net.state_dict()
    state = {k: v for k, v in saved['state_dict'].items() if own[k].shape == v.shape}
    (stem,) = own.keys() - state.keys()
    state[stem] = torch.randn(own[stem].shape) * 0.2
    net.load_state_dict(state)
    path = folder / f'{tiny.config.stem}_{count}.py'
    cfg.dump(path)
    torch.save(dict(meta=saved['meta'], state_dict=net.state_dict()), path.with_suffix('.pth'))
    return path, path.with_suffix('.pth')


@pytest.fixture(scope='module')
def models(tiny_models, tmp_path_factory) -> dict[tuple[str, int], Model]:
    folder = tmp_path_factory.mktemp('bands')
    (folder / 'images').mkdir()
    write_image(folder / 'images/five.tif', (97, 130), 0)
    cv2.imwrite(
        str(folder / 'grey.png'), cv2.resize(np.random.default_rng(1).integers(0, 255, (7, 9), np.uint8), (130, 97))
    )
    found = {}
    for name, reading in (('upernet', FIVE), ('retinanet', FIVE), ('upernet', GREY), ('retinanet', GREY)):
        image = folder / ('images/five.tif' if reading is FIVE else 'grey.png')
        found[name, reading['channels']] = Model(*bands_model(tiny_models[name], folder, reading), image)
    return found


@pytest.fixture(scope='module')
def files(models, tmp_path_factory) -> dict[tuple[str, int], Path]:
    folder = tmp_path_factory.mktemp('bands_onnx')
    found = {}
    for (name, count), model in models.items():
        done = export(load_config(str(model.config)), model.checkpoint, folder / f'{name}_{count}.onnx')
        assert done.parity.largest < 1e-4
        assert done.parity.source.endswith(f'made into {count} channel{"s" if count > 1 else ""}')
        assert count == 5 or done.parity.source != 'generated scenes'
        found[name, count] = done.path
    return found


def of_mmlska(model: Model, image: Path):
    """The model's own prediction, by the test pipeline of its config."""
    cfg = load_config(str(model.config))
    net, _ = load_model(cfg, model.checkpoint)
    steps = [step for step in cfg.test_dataloader.dataset.pipeline if 'Annotations' not in step['type']]
    data = Compose(steps)(dict(img_path=str(image), img_id=0))
    with torch.no_grad():
        return net.test_step(pseudo_collate([data]))[0]


@pytest.mark.slow
@pytest.mark.parametrize('count', [5, 1])
@pytest.mark.parametrize('name', ['upernet', 'retinanet'])
def test_same_as_the_model(name, count, models, files):
    model = models[name, count]
    expected = of_mmlska(model, model.image)
    (actual,) = OnnxPredictor(files[name, count])(model.image)
    assert actual.image.shape == (97, 130, count)
    if name == 'upernet':
        mask = expected.pred_sem_seg.data[0].numpy()
        assert len(np.unique(mask)) > 1
        assert (actual.index_mask == mask).mean() > 0.999
    else:
        wanted = expected.pred_instances
        assert len(wanted) == len(actual.instances['scores']) > 5
        np.testing.assert_allclose(actual.instances['scores'], wanted.scores.numpy(), atol=1e-4)
        for box, label in zip(wanted.bboxes.numpy(), wanted.labels.numpy()):  # equal scores may change places
            same = np.abs(actual.instances['boxes'] - box).max(axis=1) < 0.05
            assert label in actual.instances['labels'][same]


@pytest.mark.slow
def test_channels_are_told_apart(models, files):
    """So that the comparison above could fail: an image of two channels exchanged is another one."""
    predictor = OnnxPredictor(files['upernet', 5])
    image = models['upernet', 5].image
    values = BandReader(5, 'uint16', MEANS).read(image)
    mine, array = predictor([image, values])
    (other,) = predictor(np.ascontiguousarray(values[..., ::-1]))
    assert (mine.index_mask == array.index_mask).all()
    assert (mine.index_mask != other.index_mask).mean() > 0.01
    assert array.to_dict()['height'] == 97


@pytest.mark.slow
def test_the_file_says_what_it_takes(files):
    model = onnx.load(files['upernet', 5])
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in shape] == ['batch', 5, 'height', 'width']
    rule = json.loads({p.key: p.value for p in model.metadata_props}[METADATA])['input']
    assert (rule['channels'], rule['mean']) == ('bands', MEANS)
    assert rule['bands'] == dict(count=5, dtype='uint16', fill=MEANS)


@pytest.mark.slow
def test_other_formats_and_precisions(models, tmp_path):
    model = models['upernet', 5]
    cfg = load_config(str(model.config))
    folder = model.image.parent
    done = export(cfg, model.checkpoint, tmp_path / 'a.pt2', format='torch_export')
    assert done.parity.largest < 1e-4
    assert torch.export.load(done.path).module()(torch.rand(1, 5, 40, 72)).shape == (1, 6, 40, 72)
    done = export(cfg, model.checkpoint, tmp_path / 'a.onnx', int8=folder, photos=folder)
    assert done.parity.source == f'1 images of {folder}'
    assert 1e-5 < done.parity.largest < 1
    half = export(cfg, model.checkpoint, tmp_path / 'b.onnx', dtype='fp16', part='backbone', photos=folder)
    assert 1e-6 < half.parity.largest < 5e-2
    with pytest.raises(ValueError, match='grey.png has 1 channel of 8 bits, and the model reads 5 channels of 16 bits'):
        export(cfg, model.checkpoint, tmp_path / 'c.onnx', photos=models['upernet', 1].image)


@pytest.mark.slow
def test_a_package_for_this_machine(models, tmp_path, compiler):
    model = models['upernet', 5]
    out = tmp_path / 'backbone.pt2'
    done = export(load_config(str(model.config)), model.checkpoint, out, part='backbone', format='aot_inductor')
    assert done.parity.largest < 1e-4
    outputs = torch._inductor.aoti_load_package(str(out))(torch.rand(1, 5, 40, 72))
    assert [tuple(o.shape[2:]) for o in outputs] == [(10, 18), (5, 9), (3, 5), (2, 3)]


@pytest.mark.slow
@pytest.mark.parametrize('name', ['upernet', 'retinanet'])
def test_same_metrics(name, models, files, scenes, tmp_path):
    """On a data set whose pictures became images of five channels."""
    model = models[name, 5]
    root = tmp_path / 'scenes'
    root.symlink_to(scenes)

    def metrics(checkpoint=None, **options):
        cfg = load_config(str(model.config))
        dataset = cfg.test_dataloader.dataset
        folder = Path(dataset.data_root, dataset.data_prefix.get('img_path') or dataset.data_prefix.img)
        made = tmp_path / 'made'
        made.mkdir(exist_ok=True)
        for number, picture in enumerate(sorted(folder.iterdir())):
            size = cv2.imread(str(picture)).shape[:2]
            write_image(made / picture.name, size, number)  # by its content, whatever its name says
        dataset.data_prefix['img_path' if 'img_path' in dataset.data_prefix else 'img'] = str(made)
        prepare_config(cfg, str(model.config), work_dir=str(tmp_path), launcher='none', seed=0)
        return build_evaluation(cfg, checkpoint, **options).test()

    of_torch, of_onnx = metrics(str(model.checkpoint)), metrics(onnx=str(files[name, 5]))
    assert ('aAcc' if name == 'upernet' else 'coco/bbox_mAP_50') in of_torch
    for key, value in of_torch.items():
        if 'time' not in key:
            points = 1 if key.startswith('coco') else 100
            assert of_onnx[key] == pytest.approx(value, abs=0.001 * points, nan_ok=True), key


@pytest.mark.slow
def test_a_file_for_other_images(models, files, tmp_path):
    model = models['upernet', 1]
    cfg = load_config(str(model.config))
    prepare_config(cfg, str(model.config), work_dir=str(tmp_path), launcher='none', seed=0)
    with pytest.raises(
        ValueError, match='5.onnx reads images of 5 channels of 16 bits, the config of 1 channel of 8 bits; g'
    ):
        build_evaluation(cfg, None, onnx=str(files['upernet', 5]))


@pytest.mark.slow
def test_wrong_images(models, files, tmp_path):
    predictor = OnnxPredictor(files['upernet', 5])
    with pytest.raises(
        ValueError, match='grey.png has 1 channel of uint8, and the model reads 5 channels of uint16; give'
    ):
        predictor(models['upernet', 1].image)
    for values in (np.zeros((9, 8)), np.zeros((9, 8, 3)), np.zeros((0, 8, 5)), np.zeros((9, 8, 5), bool)):
        with pytest.raises(ValueError, match=r'is not an image of this model; give real numbers \(H, W, 5\)'):
            predictor(values)
    (tmp_path / 'broken.tif').write_bytes(models['upernet', 5].image.read_bytes()[:60])
    with pytest.raises(ValueError, match='broken.tif is a TIFF file that is not read: ') as error:
        predictor(tmp_path / 'broken.tif')
    assert '\n' not in str(error.value)
    (tmp_path / 'broken.png').write_bytes(b'\x89PNG\r\n\x1a\n' + bytes(40))
    with pytest.raises(ValueError, match='broken.png is not an image that OpenCV can read'):
        predictor(tmp_path / 'broken.png')


@pytest.mark.slow
def test_grey_models_take_photos_in_colours(files, photos):
    predictor = OnnxPredictor(files['upernet', 1])
    (found,) = predictor(photos.paths[0])
    wanted = cv2.cvtColor(cv2.imread(str(photos.paths[0])), cv2.COLOR_BGR2GRAY)
    assert (found.image[..., 0] == wanted).all()
    (again,) = predictor(wanted)
    assert (again.index_mask == found.index_mask).all()


ALONE = """
import sys
from onnx_predictor import OnnxPredictor
predictor = OnnxPredictor(sys.argv[1])
try:
    print(predictor(sys.argv[2])[0].index_mask.shape)
except ValueError as error:
    print(error)
print('mmlska' in sys.modules, 'torch' in sys.modules)
"""


@pytest.mark.slow
def test_the_two_files_alone(models, files, tmp_path):
    (tmp_path / 'onnx_predictor.py').write_bytes(Path(onnx_predictor.__file__).read_bytes())
    (tmp_path / 'run.py').write_text(ALONE)
    said = []
    for _ in range(2):
        command = [sys.executable, 'run.py', files['upernet', 5], models['upernet', 5].image]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        said.append(result.stdout.splitlines())
        (tmp_path / 'onnx_bands.py').write_bytes(FILE.read_bytes())
    assert said[0] == ['this model needs onnx_bands.py beside onnx_predictor.py; copy it there too', 'False False']
    assert said[1] == ['(97, 130)', 'False False']
