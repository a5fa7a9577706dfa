"""Rows with LSKA in Ultralytics' parser: how they are read, and when they are refused."""

import inspect
import re

import pytest
import torch
import yaml
from ultralytics import YOLO
from ultralytics.nn import tasks

import mmlska.yolo as lska_yolo
from mmlska.models.attention import LSKA
from mmlska.yolo.configs import stock_and_place
from mmlska.yolo.registration import extended_parser
from mmlska.yolo.rows import ROWS
from tests_extras.helpers import fresh


@pytest.fixture(autouse=True)
def registered():
    lska_yolo.register()
    yield
    lska_yolo.unregister()


def build(*rows, scale='n', width=0.25):
    """Layers of a small model: a stock convolution of 64 (16 at width 0.25) channels, then the rows."""
    d = dict(nc=2, scales={scale: [0.5, width, 1024]}, scale=scale, head=[])
    d['backbone'] = [[-1, 1, 'Conv', [64, 3, 2]], *rows]
    return tasks.parse_model(d, 3, verbose=False)[0]


def test_registering_twice_and_back():
    stock = lska_yolo.registration._stock['parse_model']
    parser = tasks.parse_model
    lska_yolo.register()
    assert tasks.parse_model is parser
    lska_yolo.unregister()
    lska_yolo.unregister()
    assert tasks.parse_model is stock
    assert not any(hasattr(tasks, name) for name in ROWS)
    assert not lska_yolo.is_registered()
    with pytest.raises(KeyError, match='LSKA'):
        build([-1, 1, 'LSKA', [23]])


def test_importing_the_package_imports_no_ultralytics(tmp_path):
    code = 'import sys, mmlska; assert "ultralytics" not in sys.modules and "mmlska.yolo" not in sys.modules'
    fresh('-c', code, cwd=tmp_path)


@pytest.mark.parametrize(
    ('args', 'k_size'), [([], 11), ([23], 23), ([7], 7), ([64], 11), ([64, 23], 23), ([16, 35], 35), ([64, 11], 11)]
)
def test_tutorial_rows_of_lska(args, k_size):
    layer = build([-1, 1, 'LSKA', args])[1]
    assert type(layer) is LSKA
    assert (layer.dim, layer.k_size) == (16, k_size)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (
            [128, 11],
            r'LSKA row with \[128, 11\] after a layer of 16 channels: LSKA keeps the channels, 128 scale to 32',
        ),
        ([9], 'k_size=9 cannot be split'),
        ([64, 24], 'k_size=24 cannot be split'),
        ([64, 11, 3], r'write \[\], \[k_size\] or \[channels, k_size\]'),
        (['same'], r'write \[\], \[k_size\] or \[channels, k_size\]'),
    ],
)
def test_rows_that_fit_nothing(args, message):
    with pytest.raises(ValueError, match=message):
        build([-1, 1, 'LSKA', args])


@pytest.mark.parametrize('name', [name for name in ROWS if name != 'LSKA'])
@pytest.mark.parametrize('scale', ['n', 'x'])
def test_blocks_scale_like_their_stock_twins(name, scale):
    stock = 'Bottleneck' if name == 'LSKABottleneck' else name.removesuffix('_LSKA')
    repeats = 4 if name.startswith('C') else 1
    pair = [build([-1, repeats, n, [64]], scale=scale, width=0.5)[1] for n in (name, stock)]
    ours, twin = (m.state_dict() for m in pair)
    assert {k for k in twin if '.attn.' not in k} == {k for k in ours if 'lska' not in k and '.attn.' not in k}
    assert {k: v.shape for k, v in twin.items() if '.attn.' not in k}.items() <= {
        k: v.shape for k, v in ours.items()
    }.items()
    x = torch.rand(1, 32, 9, 7)
    assert pair[0](x).shape == pair[1](x).shape
    assert all(p.grad is None for p in pair[0].parameters())
    pair[0](x).sum().backward()
    assert all(p.grad is not None for p in pair[0].parameters())


def test_last_argument_is_the_kernel():
    assert build([-1, 1, 'SPPF_LSKA', [64, 5, 3, False, 23]])[1].lska.k_size == 23
    assert build([-1, 2, 'C2f_LSKA', [64, True, 1, 0.5, 35]])[1].m[0].lska.k_size == 35
    with pytest.raises(ValueError, match='C3k2_LSKA has LSKA for its attention'):
        build([-1, 2, 'C3k2_LSKA', [64, False, 0.5, True]])
    with pytest.raises(ValueError, match=r'a C2f_LSKA row needs its channels'):
        build([-1, 2, 'C2f_LSKA', []])


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        ([-1, 2, 'C2f_LSKA', [128, True, 11]], 'has g=11; .* with the kernel 11 it is [128, True, 1, 0.5, 11]'),
        ([-1, 2, 'C2f_LSKA', [128, 23]], 'has shortcut=23; .* with the kernel 23 it is [128, False, 1, 0.5, 23]'),
        ([-1, 1, 'SPPF_LSKA', [128, 5, 11]], 'has n=11; .* with the kernel 11 it is [128, 5, None, False, 11]'),
        ([-1, 2, 'C2PSA_LSKA', [128, 35]], 'has e=35; .* with the kernel 35 it is [128, 0.5, 35]'),
        (
            [-1, 1, 'LSKABottleneck', [64, True, 1, [3, 3], 0.5, 7, 7]],
            'has 1 too many; .* it is [64, True, 1, [3, 3], 0.5, 7]',
        ),
        ([-1, 2, 'C2f_LSKA', [True]], 'row with [True] needs its channels first, such as [512]'),
        (
            [[0, 1], 1, 'LSKA', []],
            'LSKA row that reads from [0, 1]: it takes one layer, such as -1; join several with a',
        ),
        ([[-1], 2, 'C2f_LSKA', [64]], 'C2f_LSKA row that reads from [-1]: it takes one layer'),
        ([7, 1, 'LSKA', []], 'LSKA row that reads from 7: there are 1 layers before it'),
    ],
)
def test_rows_in_another_order_are_refused_with_the_right_one(row, message):
    with pytest.raises(ValueError, match='.*'.join(map(re.escape, message.split('.*')))):
        build(row)


def test_the_row_that_is_advised_builds():
    with pytest.raises(ValueError, match='it is') as refused:
        build([-1, 2, 'C2f_LSKA', [128, True, 11]])
    advised = yaml.safe_load(str(refused.value).rpartition('it is ')[2])
    assert build([-1, 2, 'C2f_LSKA', advised])[1].m[0].lska.k_size == 11


def test_stock_rows_are_read_as_before():
    ours = YOLO('yolo11n.yaml').model
    lska_yolo.unregister()
    stock = YOLO('yolo11n.yaml').model
    assert ours.save == stock.save
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in stock.state_dict().items()}


SOURCE = inspect.getsource(tasks.parse_model)


@pytest.mark.parametrize(
    ('source', 'version', 'message'),
    [
        (SOURCE, '9.0.0', 'does not know Ultralytics 9.0.0: this version was never tried; install one it knows'),
        (SOURCE.replace('if m in base_modules', 'if m in base'), None, 'its parser is built in another way'),
        (SOURCE.replace('max_channels', 'limit'), None, 'its parser is built in another way'),
        ('def parse_model(:', None, 'its parser has no readable source'),
    ],
)
def test_unknown_parsers_are_refused(source, version, message):
    with pytest.raises(RuntimeError, match=message):
        extended_parser(source, version)


def test_a_parser_that_treats_stock_blocks_otherwise_is_refused(monkeypatch):
    lska_yolo.unregister()
    changed = SOURCE.replace(
        'make_divisible(min(c2, max_channels) * width, 8)', 'make_divisible(min(c2, max_channels) * width, 64)'
    )
    assert changed != SOURCE
    monkeypatch.setattr(inspect, 'getsource', lambda _: changed)
    with pytest.raises(RuntimeError, match='it builds .* otherwise than'):
        lska_yolo.register()
    assert not lska_yolo.is_registered()
    assert not hasattr(tasks, 'LSKA')


def test_an_edited_ultralytics_is_refused(monkeypatch):
    lska_yolo.unregister()
    monkeypatch.setattr(tasks, 'LSKA', LSKA, raising=False)
    with pytest.raises(RuntimeError, match='has its own LSKA: its source was edited; reinstall it with'):
        lska_yolo.register()


def test_names_of_yamls():
    assert stock_and_place('yolo11n-lska.yaml') == ('yolo11n.yaml', 'sppf')
    with pytest.raises(ValueError, match="no place 'tail' for LSKA; choose one of bottleneck, sppf, neck, head"):
        YOLO('yolo11n-lska-tail.yaml')


def test_a_written_yaml_builds_the_same_model(tmp_path, monkeypatch):
    path = lska_yolo.write_cfg('yolo11s-lska-neck.yaml', tmp_path)
    assert 'AGPL-3.0' in path.read_text()
    named = {k: v.shape for k, v in YOLO('yolo11s-lska-neck.yaml').model.state_dict().items()}
    assert {k: v.shape for k, v in YOLO(path).model.state_dict().items()} == named
    with pytest.raises(ValueError, match='yolo11s.yaml is not of the form STOCK-lska-PLACE.yaml'):
        lska_yolo.write_cfg('yolo11s.yaml', tmp_path)


def test_other_tasks_take_the_places_too():
    model = YOLO('yolo11n-seg-lska-head.yaml').model
    assert [type(m).__name__ for m in model.model][-4:] == ['LSKA', 'LSKA', 'LSKA', 'Segment']
    with pytest.raises(ValueError, match="this model has no place 'neck'"):
        lska_yolo.with_lska(dict(backbone=[], head=[[-1, 1, 'Classify', ['nc']]]), 'neck')
