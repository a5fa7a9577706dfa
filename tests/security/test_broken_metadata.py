"""ONNX files whose metadata were changed, and predictions of NaN: named in one line, or left out, never half a result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from mmengine.config import Config
from onnx import TensorProto, helper

from mmlska.analysis.error_gallery import summary
from mmlska.analysis.errors import find_errors
from mmlska.analysis.gallery import render_page, write_gallery
from mmlska.analysis.predictions import BoxImage, MapImage, Predictions
from mmlska.export.evaluate import use_onnx
from mmlska.export.onnx_predictor import METADATA, OnnxPredictor

REPOSITORY = Path(__file__).parents[2]
PHOTO = np.full((20, 30, 3), 90, np.uint8)


def facts(**changes) -> dict:
    """What tools/export.py writes, with changes by dotted key; ... takes a key away."""
    rule = dict(resize=None, mean=[120.0] * 3, std=[60] * 3, channels='RGB', pad_divisor=8, pad_value=0)
    content = dict(kind='segmentor', model='EncoderDecoder', classes=['a', 'b', 'c'], input=rule, threshold=None)
    for key, value in changes.items():
        *path, last = key.split('.')
        owner = content
        for name in path:
            owner = owner[name]
        owner[last] = value
        if value is ...:
            del owner[last]
    return content


def tensor(name: str, kind: int, *shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def segmentor(path: Path, text: str | dict, channels: int = 3, name: str = 'logits') -> Path:
    """A segmentor of one convolution."""
    weight = onnx.numpy_helper.from_array(np.ones((channels, 3, 1, 1), np.float32), 'w')
    graph = helper.make_graph(
        [helper.make_node('Conv', ['image', 'w'], [name])],
        'g',
        [tensor('image', TensorProto.FLOAT, 1, 3, 'h', 'w')],
        [tensor(name, TensorProto.FLOAT, 1, channels, 'h', 'w')],
        [weight],
    )
    return save(path, graph, text)


def detector(path: Path, text: str | dict, labels: tuple[int, ...] = (0, 2)) -> Path:
    """A detector that finds the same wherever it looks."""
    count = len(labels)
    values = dict(
        boxes=np.tile(np.float32([1, 2, 3, 4]), (count, 1)),
        scores=np.linspace(0.9, 0.5, count, dtype=np.float32),
        labels=np.array(labels, np.int64),
    )
    nodes = [
        helper.make_node('Constant', [], [name], value=onnx.numpy_helper.from_array(value, name))
        for name, value in values.items()
    ]
    kinds = dict(boxes=TensorProto.FLOAT, scores=TensorProto.FLOAT, labels=TensorProto.INT64)
    graph = helper.make_graph(
        nodes,
        'g',
        [tensor('image', TensorProto.FLOAT, 1, 3, 'h', 'w'), tensor('shape', TensorProto.INT64, 1, 2)],
        [tensor(name, kinds[name], *value.shape) for name, value in values.items()],
    )
    return save(path, graph, text)


def save(path: Path, graph: onnx.GraphProto, text: str | dict) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10)
    helper.set_model_props(model, {METADATA: text if isinstance(text, str) else json.dumps(text)})
    onnx.save(model, path)
    return path


def test_good_files(tmp_path):
    found = OnnxPredictor(segmentor(tmp_path / 'a.onnx', facts()))(PHOTO)[0]
    assert found.index_mask.shape == (20, 30)
    resize = dict(RESIZE, interpolation='bilinear')  # of a later version perhaps
    changed = facts(kind='RetinaNet', **{'input.resize': resize, 'input.mean': [0], 'input.pad_divisor': 32})
    found = OnnxPredictor(detector(tmp_path / 'b.onnx', changed))(PHOTO)[0].to_dict()
    assert [item['class'] for item in found['instances']] == ['a', 'c']
    assert found['instances'][0]['box'] == [0.5, 1, 1.5, 2]


RESIZE = dict(scale=[60, 40], scale_factor=None, keep_ratio=True)
HUGE = 10**400
BROKEN = {
    'kind': [None, 7, ['segmentor'], ...],
    'model': [None, {}, ...],
    'classes': [[], 'abc', None, [1, 2, 3], ['a', None], {'a': 1}, ...],
    'threshold': ['0.5', -1, float('nan'), [0.5], True, ...],
    'input': [None, [], 'rule', 3, ...],
    'input.resize': [3, 'big', [60, 40], True, ...],
    'input.mean': [None, [], [1, 2], [1, 2, 3, 4], 'abc', [float('nan')] * 3, [1, 2, float('inf')], [HUGE] * 3, ...],
    'input.std': [[0, 1, 1], [1, 1, -1], [float('nan')] * 3, [1e-300] * 3, [True] * 3, 60, ...],
    'input.channels': ['rgb', None, 3, ['RGB'], ...],
    'input.pad_divisor': [0, -8, 2.5, '8', None, True, 10**9, HUGE, float('nan'), ...],
    'input.pad_value': [None, float('inf'), '0', [0, 0, 0], HUGE, ...],
    'input.resize.scale': [[60], [60, 0], [60, -40], [6e1, 40], ['60', '40'], [60, 10**9], 60, {}, ...],
    'input.resize.scale_factor': [[0, 0], [float('nan')] * 2, [1e9, 1], 'x', ...],
    'input.resize.keep_ratio': [None, 1, 'yes', ...],
}
CASES = [(key, value) for key, values in BROKEN.items() for value in values]


@pytest.mark.parametrize(('key', 'value'), CASES, ids=[f'{key}-{str(value)[:24]}' for key, value in CASES])
def test_each_key_is_named(tmp_path, key, value):
    path = tmp_path / 'a.onnx'
    segmentor(path, facts(**({'input.resize': dict(RESIZE)} if 'resize.' in key else {}), **{key: value}))
    named = f'no {key}' if value is ... else f'{key}=.*'
    with pytest.raises(ValueError, match=rf'a\.onnx has {named} in its metadata, .* belongs there; export') as error:
        OnnxPredictor(path)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    'resize',
    [
        {},
        dict(scale=None, scale_factor=None, keep_ratio=True),
        dict(scale=[9, 9], scale_factor=[1, 1], keep_ratio=True),
    ],
    ids=['nothing', 'neither', 'both'],
)
def test_one_of_scale_and_factor(tmp_path, resize):
    path = segmentor(tmp_path / 'a.onnx', facts(**{'input.resize': resize}))
    with pytest.raises(ValueError, match=r'a\.onnx has (no )?input\.resize.* in its metadata'):
        OnnxPredictor(path)


@pytest.mark.parametrize('text', ['', '{', '[' * 100_000, '{"kind": ' + '9' * 5000 + '}', 'null', '[]', '3', '"x"'])
def test_metadata_that_are_no_object(tmp_path, text):
    path = segmentor(tmp_path / 'a.onnx', text)
    with pytest.raises(ValueError, match=r'a\.onnx has (metadata that are not JSON|no kind in its metadata)') as error:
        OnnxPredictor(path)
    assert str(error.value).isprintable()


def test_metadata_that_are_no_text(tmp_path):
    content = segmentor(tmp_path / 'a.onnx', facts()).read_bytes()
    for old, new in ((b'mmlska', b'mml\xffka'), (b'EncoderDecoder', b'EncoderDec\xffder')):
        (tmp_path / 'a.onnx').write_bytes(content.replace(old, new))
        with pytest.raises(ValueError, match=r'a\.onnx has metadata that are no text \(invalid start byte\); export'):
            OnnxPredictor(tmp_path / 'a.onnx')


def test_fewer_classes_than_are_predicted(tmp_path):
    wanted = r'a\.onnx predicts the label {}, and classes in its metadata names 2; export the model again'
    short = OnnxPredictor(segmentor(tmp_path / 'a.onnx', facts(classes=['a', 'b'])))
    with pytest.raises(ValueError, match=wanted.format(2)):
        short(PHOTO)
    for labels in ((0, 2), (-1, 0), (2**62, 1)):
        path = detector(tmp_path / 'a.onnx', facts(kind='RetinaNet', classes=['a', 'b']), labels)
        with pytest.raises(ValueError, match=wanted.format('(-1|2|4611686018427387904)')):
            OnnxPredictor(path)(PHOTO)


def test_one_logit_needs_a_threshold(tmp_path):
    path = tmp_path / 'a.onnx'
    with pytest.raises(ValueError, match=r'a\.onnx has threshold=None in its metadata, and one logit'):
        OnnxPredictor(segmentor(path, facts(), channels=1))(PHOTO)
    assert OnnxPredictor(segmentor(path, facts(threshold=0.3), channels=1))(PHOTO)[0].index_mask.shape == (20, 30)


def test_a_graph_that_is_none_of_ours(tmp_path):
    path = segmentor(tmp_path / 'a.onnx', facts(kind='RetinaNet'))
    with pytest.raises(ValueError, match=r"a\.onnx is no RetinaNet .* inputs 'image' and the outputs 'logits'; export"):
        OnnxPredictor(path)
    path = segmentor(tmp_path / 'a.onnx', facts(), name='maps')
    with pytest.raises(ValueError, match=r"a\.onnx is no segmentor .* outputs 'maps'"):
        OnnxPredictor(path)


@pytest.mark.parametrize('keep_ratio', [False, True])
def test_images_do_not_become_gigabytes(tmp_path, keep_ratio):
    resize = dict(scale=[100_000, 100_000], scale_factor=None, keep_ratio=keep_ratio)
    predictor = OnnxPredictor(segmentor(tmp_path / 'a.onnx', facts(**{'input.resize': resize})))
    with pytest.raises(
        ValueError, match=r'image array becomes 1000\d\dx\d+ pixels by the rule .*, more than 64 million'
    ):
        predictor(PHOTO)


@pytest.mark.parametrize('key', ['input.pad_divisor', 'classes', 'model'])
def test_the_same_by_use_onnx(tmp_path, key):
    path = segmentor(tmp_path / 'a.onnx', facts(**{key: 0}))
    with pytest.raises(ValueError, match=rf'a\.onnx has {key}=0 in its metadata'):
        use_onnx(Config(dict(default_scope='mmseg', model=dict(type='EncoderDecoder'))), str(path))


@pytest.mark.slow(12)
def test_tools_test_says_it_in_one_line(tiny_models, tmp_path):
    """Also of weights in another file: canary is one outside its folder, which onnxruntime would have read."""
    secret = tmp_path / 'secret'
    secret.write_bytes(bytes(1000))
    (tmp_path / 'in').mkdir()
    outside = segmentor(tmp_path / 'in/outside.onnx', facts())
    model = onnx.load(outside)
    (weight,) = model.graph.initializer
    weight.ClearField('raw_data')
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key='location', value='../secret')
    outside.write_bytes(model.SerializeToString())
    broken = segmentor(tmp_path / 'broken.onnx', facts(**{'input.pad_divisor': 0}))
    for path, said in ((outside, 'outside.onnx is not an ONNX file'), (broken, 'broken.onnx has input.pad_divisor=0')):
        command = [sys.executable, REPOSITORY / 'tools/test.py', tiny_models['fpn'].config, '--onnx', path]
        result = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert result.returncode == 2, result.stderr
        assert result.stderr.strip().splitlines()[-1].startswith('test.py: error: ')
        assert said in result.stderr
        assert 'Traceback' not in result.stderr


# The gallery of errors.


def predictions(folder: Path, boxes, scores, truths=((1, 1, 9, 9),), label: int = 0) -> Predictions:
    cv2.imwrite(str(folder / 'a.png'), PHOTO)
    boxes, truths = np.array(boxes, float).reshape(-1, 4), np.array(truths, float).reshape(-1, 4)
    found, wanted = np.full(len(boxes), label), np.zeros(len(truths), int)
    image = BoxImage(
        str(folder / 'a.png'), boxes, found, np.array(scores, float), truths, wanted, np.zeros(len(truths), bool)
    )
    return Predictions('detection', ('one', 'two'), ((255, 0, 0), (0, 255, 0)), [image], {})


NAN, INF = float('nan'), float('inf')
NOT_FINITE = {
    'box of nan': ([NAN] * 4, 0.9),
    'one side of nan': ([1, 1, NAN, 9], 0.9),
    'endless box': ([-INF, -INF, INF, INF], 0.9),
    'box of 1e300': ([1, 1, 1e300, 1e300], 0.9),
    'score of nan': ([1, 1, 9, 9], NAN),
    'endless score': ([1, 1, 9, 9], INF),
}


def strict(text: str):
    """As a browser reads JSON, which has no NaN."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f'{name} is no JSON'))


@pytest.mark.parametrize(('box', 'score'), NOT_FINITE.values(), ids=NOT_FINITE)
def test_detections_of_nan_are_left_out_and_counted(tmp_path, box, score):
    found = predictions(tmp_path, [[1, 1, 9, 9], box], [0.8, score])
    errors = find_errors(found)
    index = write_gallery(tmp_path / 'gallery', found, errors, title='A model')
    data = index.read_text().split('id="data">')[1].split('</script>')[0]
    for content in (strict(data), strict((index.parent / 'errors.json').read_text())):
        assert content['left_out'] == 1
        assert content['value'] == 100
        assert [item['kind'] for item in content['images'][0]['detections']] == ['correct']


def test_the_summary_tells_of_them(tmp_path):
    errors = find_errors(predictions(tmp_path, [[NAN] * 4] * 3, [0.9] * 3))
    assert '\n       3 detections of NaN or infinity, left out; has the training diverged?\n' in summary(errors)
    assert 'NaN' not in summary(find_errors(predictions(tmp_path, [[1, 1, 9, 9]], [0.9])))


def test_the_page_is_not_blank(browser, tmp_path):
    found = predictions(tmp_path, [[1, 1, 9, 9], [NAN, 0, INF, 3]], [0.8, 0.9])
    index = write_gallery(tmp_path / 'gallery', found, find_errors(found), title='A model')
    page = browser.new_page()
    page.goto(index.as_uri())
    assert page.locator('#count').text_content() == '1 of 1 images'
    page.close()


def test_labels_that_are_not_finite_or_of_no_class(tmp_path):
    with pytest.raises(ValueError, match=r'a\.png has a labelled box of NaN or infinity; look at it with mmlska check'):
        find_errors(predictions(tmp_path, [[1, 1, 9, 9]], [0.9], truths=[[0, 0, INF, 4]]))
    for label in (2, -1, 2**40):
        with pytest.raises(ValueError, match=r'a\.png has a label that is none of the 2 classes'):
            find_errors(predictions(tmp_path, [[1, 1, 9, 9]], [0.9], label=label))
    for value in (2, -1, 300):
        truth, prediction = np.zeros((20, 30), np.int16), np.full((20, 30), value, np.int16)
        image = MapImage(str(tmp_path / 'a.png'), prediction, truth)
        wanted = Predictions('segmentation', ('one', 'two'), ((0, 0, 0),) * 2, [image], {})
        with pytest.raises(ValueError, match=rf'a\.png has the label {value}, the model 2 classes'):
            find_errors(wanted)


def test_nothing_else_brings_nan_into_the_page():
    with pytest.raises(ValueError, match='not JSON compliant'):
        render_page({'lost': NAN})


def test_bombs_and_lies_leave_no_gallery(tmp_path):
    found = predictions(tmp_path, [[1, 1, 9, 9]], [0.8])
    Path(found.images[0].path).write_bytes(b'GIF89a' + bytes(50))
    with pytest.raises(ValueError, match=r'a\.png is not an image that OpenCV can read \(it is none of JPEG'):
        write_gallery(tmp_path / 'gallery', found, find_errors(found), title='A model')
    assert [path.name for path in tmp_path.iterdir()] == ['a.png']
