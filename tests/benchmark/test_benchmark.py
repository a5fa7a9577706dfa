"""The benchmark compares like with like, refuses to time what is wrong, and writes what the README's tables are made of."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from torch import nn

from mmlska.benchmark.cases import backbone_case, model_case, op_case
from mmlska.benchmark.contenders import CONTENDERS, DEPLOYMENT, PASSES, OnnxSession
from mmlska.benchmark.measure import errors, measure_case, ratio
from mmlska.benchmark.published import published_twin
from mmlska.benchmark.report import table
from mmlska.benchmark.timing import copy_bandwidth, time_interleaved
from mmlska.cost import saved_bytes
from mmlska.models import VAN_LSKA
from mmlska.ops.cpu import backend as cpu

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device('cpu')
EAGER = ('published', 'published-channels-last', 'mmlska')
OPS = ('lska', 'lka', 'lska_trivial', 'lka_trivial', 'depthwise_gelu', 'mlp')
needs_cpu = pytest.mark.skipif(cpu.PROBLEM is not None, reason=str(cpu.PROBLEM))


def case(op='lska', size=(9, 7), dtype=torch.float32, passes='forward+backward', names=EAGER):
    return op_case(op, 8, size, batch=2, k_size=7, dtype=dtype, passes=passes, device=CPU, names=names)


@pytest.mark.parametrize('batch', [1, 2])
@pytest.mark.parametrize('attention', ['lska', 'lka', 'lska_trivial'])
def test_published_backbone_has_our_outputs_and_gradients(batch, attention):
    torch.manual_seed(0)
    ours = VAN_LSKA('t', k_size=11, attention=attention, drop_path_rate=0.0).double().train()
    twin, x = published_twin(ours), torch.randn(batch, 3, 65, 97, dtype=torch.float64)
    found, wanted = twin(x), ours(x)
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
        assert a.is_contiguous()
    grads = [torch.randn_like(t) for t in found]
    named = dict(ours.named_parameters())
    theirs = torch.autograd.grad(found, list(twin.parameters()), grads)
    mine = dict(zip(named, torch.autograd.grad(wanted, list(named.values()), grads)))
    for (name, _), grad in zip(twin.named_parameters(), theirs):
        torch.testing.assert_close(grad, mine[name], rtol=1e-7, atol=1e-8, msg=lambda m, name=name: f'{name}: {m}')


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('op', OPS)
def test_every_contender_of_an_operator_is_right(op, dtype):
    built = case(op, dtype=dtype)
    for name in EAGER:
        assert 0 < max(errors(built, name)) < built.tolerance, name


@pytest.mark.slow
def test_compiled_contender():
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
    assert 'relative error' in measure_case(built, CPU, 0.01)['contenders']['onnxruntime']['failed']


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


def test_table_is_grouped_and_has_no_empty_columns():
    def record(k_size, dtype, which):
        contenders = {'published': {'median': 2.0}, 'mmlska': {'median': 1.0}}
        return {
            'op': 'lska',
            'k_size': k_size,
            'input': [1, 8, 4, 4],
            'dtype': dtype,
            'pass': which,
            'contenders': contenders,
            'copy_bytes_per_second': 1e9,
        }

    cases = [(23, 'bfloat16', 'forward'), (23, 'float32', 'forward+backward'), (23, 'float32', 'forward')]
    records = [record(*settings) for settings in [*cases, (7, 'float32', 'forward')]]
    header, _, *rows = table({'records': records}).splitlines()
    assert header == '| case | dtype | pass | published, ms | mmlska, x | mmlska, ms | copy |'
    assert [row.split(' | ')[:3] for row in rows] == [
        ['| lska K=7, 1x8x4x4', 'float32', 'forward'],
        ['| lska K=23, 1x8x4x4', 'float32', 'forward'],
        ['| lska K=23, 1x8x4x4', 'float32', 'forward+backward'],
        ['| lska K=23, 1x8x4x4', 'bfloat16', 'forward'],
    ]


def test_copy_is_a_share_of_the_bandwidth_of_the_records_own_run():
    contenders = {'published': {'median': 2.0}, 'mmlska': {'median': 1.0}}  # 2 * 4 * 125 bytes in a millisecond: 1 MB/s
    record = {'op': 'lska', 'input': [1, 125], 'dtype': 'float32', 'pass': 'forward', 'contenders': contenders}
    runs = [{'copy_bytes_per_second': 2e6}, {'copy_bytes_per_second': 1e7}, {}]
    rows = table({'records': [{**record, **run} for run in runs], 'copy_bytes_per_second': 4e6}).splitlines()[2:]
    assert [row.split(' | ')[-1] for row in rows] == ['50% |', '10% |', ' |']


@pytest.mark.parametrize(('page', 'least'), [('docs/benchmark.md', 3), ('README.md', 1)])
def test_tables_are_those_of_their_results_files(page, least):
    text = (ROOT / page).read_text(encoding='utf-8')
    sections = re.findall(r'(?s)<!-- (op|backbone|model) benchmark cpu(\w*) -->\n(.*?)<!-- end -->', text)
    filled = 0
    for kind, suffix, found in sections:
        files = (ROOT / 'docs/results').glob(f'{kind}_cpu_torch*.json')
        for file in (f for f in files if re.fullmatch(rf'{kind}_cpu_torch[\d.]+{suffix}', f.stem)):
            assert found.strip() == table(json.loads(file.read_text(encoding='utf-8'))), (kind, suffix)
            filled += 1
    assert filled >= least
    assert sum(bool(found) for *_, found in sections) == filled  # no table without a results file


def test_a_wrong_contender_gets_no_time():
    built = case()
    with torch.no_grad():
        built.contenders['mmlska'].parameters[0].add_(1.0)
    record = measure_case(built, CPU, 0.01)
    assert 'relative error' in record['contenders']['mmlska']['failed']
    assert 'median' not in record['contenders']['mmlska']
    assert record['contenders']['published']['median'] > 0
    assert ratio(record, 'mmlska') is None
    assert '| failed |' in table({'records': [record]})


def test_a_contender_that_raises_does_not_stop_the_others():
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError('no such kernel\nmore')

    built = case()
    built.contenders['published-channels-last'] = built.contenders['published']._replace(module=Broken())
    record = measure_case(built, CPU, 0.01, profile=True)
    shares = record['contenders']['mmlska']['operators']
    assert 0.2 < sum(shares.values()) <= 1.01
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert record['contenders']['published-channels-last'] == {'failed': 'RuntimeError: no such kernel'}
    assert record['contenders']['mmlska']['median'] > 0


def test_every_function_is_called_in_turn():
    seen = []
    functions = {name: lambda name=name: seen.append(name) for name in 'abc'}
    timings = time_interleaved(functions, CPU, seconds=0.0)
    assert list(timings) == ['a', 'b', 'c']
    for name, timing in timings.items():
        assert 0 <= timing.quartile_1 <= timing.median <= timing.quartile_3
        assert timing.calls >= 5
        assert seen.count(name) > timing.calls  # the warm-up is not among those counted


@needs_cpu
def test_training_keeps_less_than_45_percent_of_what_the_published_backbone_keeps():
    # 463 MB: the published code without its clones.
    torch.manual_seed(0)
    ours = VAN_LSKA('t').train()
    twin, x = published_twin(ours), torch.randn(1, 3, 512, 512)
    published = saved_bytes(lambda: twin(x), list(twin.parameters()))
    ours.to(memory_format=torch.channels_last)
    kept = saved_bytes(lambda: ours(x.to(memory_format=torch.channels_last)), list(ours.parameters()))
    assert kept < 0.45 * 463e6
    assert kept < 0.43 * published


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
    record = measure_case(mlp, CPU, 0.01)
    assert 0 < record['dense_ms'] < 1
    assert f' {record["dense_ms"]:.2f} |' in table(
        {'records': [dict(record, contenders={**record['contenders'], 'published': {}})]}
    )
    assert 'dense_ms' not in measure_case(case(names=('mmlska',)), CPU, 0.01)


def test_copy_bandwidth_is_that_of_some_computer():
    assert 1e8 < copy_bandwidth(CPU, megabytes=16) < 1e13


def test_tool_writes_results_chart_and_table(tmp_path):
    readme = tmp_path / 'README.md'
    readme.write_text('<!-- op benchmark cpu -->\n<!-- end -->\n')
    command = [
        sys.executable,
        str(ROOT / 'tools/benchmark.py'),
        'op',
        '--device',
        'cpu',
        '--stages',
        '4',
        '--sizes',
        '64x96',
    ]
    command += ['--contenders', *EAGER, '--seconds', '0.01', '--out', str(tmp_path), '--readme', str(readme)]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    filled = readme.read_text()
    readme.write_text('<!-- op benchmark cpu -->\n<!-- end -->\n')
    subprocess.run([*command, '--redraw'], check=True, cwd=tmp_path, capture_output=True)
    assert readme.read_text() == filled  # nothing was timed anew
    (file,) = tmp_path.glob('op_cpu_torch*.json')
    results = json.loads(file.read_text())
    assert {'date', 'hardware', 'versions', 'allocator'} < set(results)
    assert all({'date', 'copy_bytes_per_second'} < set(record) for record in results['records'])
    assert [(r['op'], r['input'], r['pass']) for r in results['records']] == [
        ('lska', [1, 256, 2, 3], 'forward'),
        ('depthwise_gelu', [1, 1024, 2, 3], 'forward'),
        ('mlp', [1, 256, 2, 3], 'forward'),
        ('lska', [1, 256, 2, 3], 'forward+backward'),
        ('depthwise_gelu', [1, 1024, 2, 3], 'forward+backward'),
        ('mlp', [1, 256, 2, 3], 'forward+backward'),
    ]
    assert all('--stages 4' in record['command'] for record in results['records'])
    assert table(results) in readme.read_text()
    ours = results['records'][3]['contenders']['mmlska']
    if cpu.PROBLEM:
        assert 'MMLSKA_STRICT=1 asks for an error' in ours['failed']  # plain PyTorch is not timed under our name
    else:
        assert f' {2 / 7:.2f}x |' in readme.read_text()  # maps that LSKA keeps of the published 7
    chart = cv2.imread(str(file.with_suffix('.png')))
    assert chart.shape[1] > 600
    assert len({tuple(color) for color in chart.reshape(-1, 3)}) > 20

    # Another run, on another day and machine, leaves what the file says of the first one.
    results.update(date='2001-02-03', hardware='an older machine')
    for record in results['records']:
        record.update(date='2001-02-03', copy_bytes_per_second=1.0)
    file.write_text(json.dumps(results))
    again = [*command[: command.index('--readme')], '--append', '--ops', 'depthwise_gelu', '--passes', 'forward']
    subprocess.run(again, check=True, cwd=tmp_path, capture_output=True)
    both = json.loads(file.read_text())
    *first, new = both.pop('records')
    assert first == results.pop('records')
    assert both == results
    assert new['date'] > '2001-02-03'
    assert new['hardware'] != 'an older machine'
    assert new['copy_bytes_per_second'] > 1e8
    assert 'versions' not in new  # those of the file
