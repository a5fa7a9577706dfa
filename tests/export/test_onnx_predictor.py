"""OnnxPredictor gives what Predictor gives, alone."""

import ast
import json
import subprocess
import sys
import venv
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmlska.export import OnnxPredictor, onnx_predictor
from mmlska.infer import Predictor
from mmlska.infer.sources import IMAGE_SUFFIXES

pytestmark = pytest.mark.slow
FILE = Path(onnx_predictor.__file__)


@pytest.mark.parametrize('name', ['retinanet', 'upernet', 'fpn'])
def test_same_as_predictor(name, exported, tiny_models, photos):
    expected = Predictor(*tiny_models[name], device='cpu')(photos.paths)
    actual = OnnxPredictor(exported[name].path)(photos.paths)
    for a, b in zip(expected, actual, strict=True):
        a, b = a.to_dict(0.3), b.to_dict(0.3)
        assert a.keys() == b.keys()
        if name == 'retinanet':
            assert len(a['instances']) == len(b['instances']) > 0
            for x, y in zip(a['instances'], b['instances']):
                assert x.keys() == y.keys()
                assert (x['label'], x['class']) == (y['label'], y['class'])
                assert x['score'] == pytest.approx(y['score'], abs=1e-4)
                assert x['box'] == pytest.approx(y['box'], abs=0.02)
            json.dumps(b)
        else:
            assert a['mask'].shape == b['mask'].shape
            assert (a['mask'] == b['mask']).mean() > 0.999
        assert {k: a[k] for k in ('name', 'height', 'width', 'classes')} == {
            k: b[k] for k in ('name', 'height', 'width', 'classes')
        }


@given(
    height=st.integers(1, 900),
    width=st.integers(1, 900),
    rule=st.sampled_from(
        [
            dict(scale=(1333, 800), keep_ratio=True),
            dict(scale=(512, 512), keep_ratio=True),
            dict(scale=(300, 200)),
            dict(scale_factor=1.0),
            dict(scale_factor=0.7, keep_ratio=True),
        ]
    ),
)
def test_size_is_mmcvs(height, width, rule):
    from mmcv.transforms import Resize

    from mmlska.export.metadata import _resize

    results = Resize(**rule).transform(dict(img=np.zeros((height, width, 1), np.uint8), img_shape=(height, width)))
    assert onnx_predictor._new_size((height, width), **_resize(dict(rule))) == results['img_shape'][::-1]


def test_imports_nothing_but_three_packages():
    names = set()
    for node in ast.walk(ast.parse(FILE.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module.split('.')[0])
    assert names - set(sys.stdlib_module_names) == {'cv2', 'numpy', 'onnxruntime'}


ALONE = """
import importlib.util, json, sys
for name in ('torch', 'mmengine', 'mmcv', 'mmlska'):
    assert importlib.util.find_spec(name) is None, name
from onnx_predictor import OnnxPredictor
result = OnnxPredictor(sys.argv[1])(sys.argv[2])[0].to_dict(0.3)
if 'mask' in result:
    result['mask'] = result['mask'].tolist()
print(json.dumps(result))
"""


def test_in_an_environment_of_its_own(exported, photos, tmp_path):
    """onnxruntime, numpy and OpenCV alone."""
    venv.create(tmp_path / 'venv', with_pip=True)
    python = tmp_path / 'venv' / ('Scripts' if sys.platform == 'win32' else 'bin') / 'python'
    packages = ['onnxruntime', 'numpy', 'opencv-python-headless']
    install = subprocess.run(
        [python, '-m', 'pip', 'install', '-q', *packages], capture_output=True, text=True, check=False
    )
    if install.returncode:
        pytest.skip(f'pip cannot install {" ".join(packages)} here: {install.stderr.strip().splitlines()[-1]}')
    (tmp_path / 'onnx_predictor.py').write_bytes(FILE.read_bytes())
    (tmp_path / 'run.py').write_text(ALONE)
    for name in ('retinanet', 'upernet'):
        result = subprocess.run(
            [python, 'run.py', exported[name].path, photos.paths[0]],
            cwd=tmp_path,
            env={'PATH': '/usr/bin:/bin'},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        here = OnnxPredictor(exported[name].path)(photos.paths[0])[0].to_dict(0.3)
        there = json.loads(result.stdout)
        if name == 'upernet':
            assert (np.array(there['mask']) == here['mask']).mean() > 0.999
        else:
            assert [i['label'] for i in there['instances']] == [i['label'] for i in here['instances']]


def test_files_of_other_models(exported, photos, tmp_path):
    with pytest.raises(FileNotFoundError, match='ONNX file nothing.onnx does not exist'):
        OnnxPredictor('nothing.onnx')
    (tmp_path / 'text.onnx').write_text('no graph')
    with pytest.raises(ValueError, match='text.onnx is not an ONNX file that onnxruntime can run'):
        OnnxPredictor(tmp_path / 'text.onnx')
    with pytest.raises(
        ValueError, match='backbone.onnx holds backbone alone, which predicts nothing; export with --part model'
    ):
        OnnxPredictor(exported['backbone'].path)
    with pytest.raises(
        ValueError, match='a two-stage detector has no whole ONNX file: test and predict with its checkp'
    ):
        OnnxPredictor(exported['mask_rcnn'].path)
    other = onnx.load(exported['fpn'].path)
    del other.metadata_props[:]
    onnx.save(other, tmp_path / 'other.onnx')
    with pytest.raises(ValueError, match='other.onnx was not written by mmlska'):
        OnnxPredictor(tmp_path / 'other.onnx')


def test_folders_as_predictor_takes_them(exported, photos, tmp_path):
    assert onnx_predictor.IMAGE_SUFFIXES == IMAGE_SUFFIXES  # which a file that stands alone cannot import
    predictor = OnnxPredictor(exported['upernet'].path)
    for name in ('b.JPG', 'a.png'):
        (tmp_path / name).write_bytes(photos.paths[0].read_bytes())
    (tmp_path / 'notes.txt').write_text('no image')
    (tmp_path / 'folder.png').mkdir()
    assert [p.name for p in predictor(tmp_path)] == [str(tmp_path / name) for name in ('a.png', 'b.JPG')]
    assert [p.name for p in predictor([photos.paths[1], str(tmp_path)])][1:] == [p.name for p in predictor(tmp_path)]
    with pytest.raises(FileNotFoundError, match=r'folder .*folder.png has no images \(.jpg .*; give another folder'):
        predictor(tmp_path / 'folder.png')


def test_image_too_elongated_to_be_resized(exported, tmp_path):
    cv2.imwrite(str(tmp_path / 'line.png'), np.full((1, 4000, 3), 90, np.uint8))
    predictor = OnnxPredictor(exported['upernet'].path)
    with pytest.raises(ValueError, match=r'line.png has 4000x1 pixels, .* resizing to 160x0 leaves none; crop'):
        predictor(tmp_path / 'line.png')
    with pytest.raises(ValueError, match='image array has 1x4000 pixels'):
        predictor(np.full((4000, 1, 3), 90, np.uint8))


def test_images_that_are_none(exported, tmp_path):
    predictor = OnnxPredictor(exported['fpn'].path)
    (tmp_path / 'broken.png').write_bytes(b'nothing')
    with pytest.raises(ValueError, match='broken.png is not an image'):
        predictor(tmp_path / 'broken.png')
    with pytest.raises(FileNotFoundError, match='nothing.png does not exist'):
        predictor(['nothing.png'])
    with pytest.raises(ValueError, match='give uint8'):
        predictor(np.zeros((3, 3), np.uint8))
    assert predictor(np.full((1, 1, 3), 9, np.uint8))[0].index_mask.shape == (1, 1)
    assert predictor(cv2.merge([np.full((20, 30), 9, np.uint8)] * 3))[0].to_dict()['width'] == 30
