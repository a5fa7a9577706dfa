"""Every contender of a case computes what the published code computes."""

import pytest
import torch
from small_cases import CPU, EAGER, case, measure_case

from mmlska.benchmark.cases import backbone_case, model_case, op_case
from mmlska.benchmark.contenders import CONTENDERS, DEPLOYMENT, PASSES, OnnxSession
from mmlska.benchmark.measure import errors
from mmlska.benchmark.report import table
from mmlska.models import VAN_LSKA

OPS = ('lska', 'lka', 'lska_trivial', 'lka_trivial', 'depthwise_gelu', 'mlp')


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('op', OPS)
def test_every_contender_of_an_operator_is_right(op, dtype):
    built = case(op, dtype=dtype)
    for name in EAGER:
        assert 0 < max(errors(built, name)) < built.tolerance, name


@pytest.mark.slow
def test_compiled_contender(compiler):
    built = case(names=CONTENDERS, passes='forward')
    assert max(errors(built, 'published-compiled')) < 1e-5


@pytest.mark.parametrize('passes', PASSES)
def test_every_contender_of_a_backbone_is_right(passes):
    built = backbone_case(
        't', (64, 96), batch=1, k_size=7, attention='lska', dtype=torch.float32, passes=passes, device=CPU, names=EAGER
    )
    for name in EAGER:
        assert max(errors(built, name)) < 1e-3, name


def test_whole_model():
    built = model_case('configs/fpn_van_lska_t.py', (64, 64), batch=1, dtype=torch.float32, device=CPU, names=EAGER)
    for name in EAGER:
        assert max(errors(built, name)) < 1e-3, name
    with pytest.raises(ValueError, match='two-stage detector'):
        model_case('configs/mask_rcnn_van_lska_t.py', (64, 64), batch=1, dtype=torch.float32, device=CPU, names=EAGER)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['fpn', 'retinanet'])
def test_onnxruntime_is_right_in_inference(name, tiny_models):
    names = ('published', *DEPLOYMENT)
    config = str(tiny_models[name].config)
    built = model_case(config, (64, 97), batch=2, dtype=torch.float32, device=CPU, names=names)
    assert set(built.contenders) == set(names)
    for contender in DEPLOYMENT:
        assert 0 < max(errors(built, contender)) < 1e-4, contender
    wrong = built.contenders['onnxruntime']
    built.contenders['onnxruntime'] = wrong._replace(x=wrong.x + 1)
    assert 'relative error' in measure_case(built)['contenders']['onnxruntime']['failed']


@pytest.mark.slow
def test_onnxruntime_has_all_maps_of_a_backbone():
    backbone = VAN_LSKA(dict(embed_dims=[8] * 4, depths=[1] * 4, ffn_ratios=[2] * 4), k_size=7).eval()
    x = torch.randn(1, 3, 65, 96)
    with torch.no_grad():
        wanted = backbone(x)
    for found, expected in zip(OnnxSession(backbone, x)(x), wanted, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_deployment_is_left_out_of_what_it_is_not_for():
    rest = dict(batch=1, device=CPU, names=('published', *DEPLOYMENT))
    built = backbone_case(
        't', (32, 32), k_size=7, attention='lska', dtype=torch.float32, passes='forward+backward', **rest
    )
    assert set(built.contenders) == {'published'}
    built = op_case('lska', 8, (9, 7), k_size=7, dtype=torch.float32, passes='forward', **rest)
    assert set(built.contenders) == {'published'}


def test_dense_flops_of_a_backbone_and_of_an_mlp():
    rest = dict(batch=1, k_size=7, dtype=torch.float32, device=CPU, names=('mmlska',))
    flops = {
        passes: backbone_case('t', (64, 64), attention='lska', passes=passes, **rest).dense_flops for passes in PASSES
    }
    assert flops['forward+backward'] == 3 * flops['forward']
    # 7x7 and 3x3 between the stages, and in each block three 1x1s as wide as it and two that are `ratio` times as wide on one side.
    sizes, dims, depths, ratios = (16, 8, 4, 2), (32, 64, 160, 256), (3, 3, 5, 2), (8, 8, 4, 4)
    embeds = [3 * 49 * 32, *(9 * a * b for a, b in zip(dims, dims[1:]))]
    blocks = [depth * (3 + 2 * ratio) * dim**2 for dim, depth, ratio in zip(dims, depths, ratios)]
    assert flops['forward'] == sum(2 * size**2 * (e + b) for size, e, b in zip(sizes, embeds, blocks))
    mlp = op_case('mlp', 8, (9, 7), passes='forward', ratio=3, **rest)
    assert mlp.dense_flops == 2 * 2 * 63 * 8 * 24
    record = measure_case(mlp)
    assert 0 < record['dense_ms'] < 1
    assert f' {record["dense_ms"]:.2f} |' in table(
        {'records': [dict(record, contenders={**record['contenders'], 'published': {}})]}
    )
    assert 'dense_ms' not in measure_case(case(names=('mmlska',)))
