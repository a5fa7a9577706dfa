"""tools/erf.py, tools/feature_maps.py and tools/complexity.py as a user runs them, with a look at their pictures."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from evidence import check_picture, small_model
from test_train_test import MASK_RCNN, ROOT, UPERNET, ok, run
from tool_help import options_of

from mmlska.analysis.cost_tables import config_table, design_tables


@pytest.fixture(scope='module')
def detector(scenes, tmp_path_factory):
    """A folder with a small Mask R-CNN of random weights."""
    cwd = tmp_path_factory.mktemp('analysed_detector')
    small_model(MASK_RCNN, scenes, cwd)
    return cwd


@pytest.fixture(scope='module')
def segmentor(scenes, tmp_path_factory):
    """A folder with a small UperNet of random weights, a checkpoint that lacks its head, and a photo."""
    cwd = tmp_path_factory.mktemp('analysed_segmentor')
    _, checkpoint = small_model(UPERNET, scenes, cwd)
    weights = torch.load(cwd / checkpoint)['state_dict']
    part = {name: t for name, t in weights.items() if not name.startswith('decode_head')}
    torch.save(dict(state_dict=part), cwd / 'part.pth')
    shutil.copy(scenes / 'images/validation/000000.png', cwd / 'photo.png')
    return cwd


@pytest.mark.slow
def test_receptive_fields_side_by_side(segmentor):
    args = ['--k-sizes', 7, 23, '--attentions', 'lska', 'lka', '--stage', 1, '--size', 96, '--out', 'erf']
    output = ok(run('erf.py', 'small.py', *args, cwd=segmentor))
    content = json.loads((segmentor / 'erf/erf.json').read_text())
    names = [f'{attention}, K = {k}, random' for attention in ('lska', 'lka') for k in (7, 23)]
    assert list(content['fields']) == names
    assert content['input_size'] == 96
    maps = np.load(segmentor / 'erf/erf.npz')
    for name in names:
        field = content['fields'][name]
        assert field['images'] == 2
        assert field['center'] == [48, 48]
        sides = [c['side'] for c in field['contributions']]
        assert sides == sorted(sides)
        assert f'{name}: 20% in {sides[0]} px' in output
        assert maps[name].shape == (96, 96)
    assert np.count_nonzero(maps[names[0]]) < np.count_nonzero(maps[names[1]])  # a larger kernel reaches further
    check_picture(segmentor / 'erf/erf.png', (700, 800), colors=500)


@pytest.mark.slow
def test_receptive_field_with_and_without_weights(detector, scenes):
    args = ['--checkpoints', 'small.pth', '--size', 64, '--images', scenes / 'images/training', '--num-images', 3]
    ok(run('erf.py', 'small.py', *args, '--out', 'erf', cwd=detector))
    content = json.loads((detector / 'erf/erf.json').read_text())
    assert list(content['fields']) == ['small, random', 'small, trained']
    assert {field['images'] for field in content['fields'].values()} == {3}
    maps = np.load(detector / 'erf/erf.npz')
    assert not np.array_equal(maps['small, random'], maps['small, trained'])
    check_picture(detector / 'erf/erf.png', (700, 400), colors=500)


@pytest.mark.slow
def test_feature_maps_over_a_photo(detector, scenes):
    photo = scenes / 'images/validation/000000.png'
    ok(run('feature_maps.py', 'small.py', photo, '--checkpoint', 'small.pth', '--out', 'maps.png', cwd=detector))
    image = check_picture(detector / 'maps.png', (1400, 600), colors=5000)
    ok(
        run(
            'feature_maps.py', 'small.py', photo, '--stages', 2, '--kinds', 'eigencam', '--out', 'one.png', cwd=detector
        )
    )
    one = check_picture(detector / 'one.png', (500, 300), colors=5000)
    assert one.shape[1] < image.shape[1]


@pytest.mark.slow
def test_costs_of_designs(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('<!-- design table -->\n<!-- end -->\n')
    args = ['--designs', '--archs', 't', '--k-sizes', 7, 23, '--shape', 64, 96]
    files = ['--json', 'cost.json', '--figure', 'cost.png', '--readme', 'page.md']
    output = ok(run('complexity.py', *args, *files, cwd=tmp_path))
    assert '| VAN-T, K = 23 | 3.77 / 0.10 | 3.85 / 0.11 |' in output
    assert re.search(r'\| ResNet-50 \| (23.51|mmdet is not installed) \|', output)
    content = json.loads((tmp_path / 'cost.json').read_text())
    assert [(row['attention'], row['k_size']) for row in content['designs']][:2] == [('lska', 7), ('lska', 23)]
    assert 'latency' not in content
    assert '3.77 / 0.10' in page.read_text()
    check_picture(tmp_path / 'cost.png', (1200, 350), colors=50)


@pytest.mark.slow
def test_costs_of_a_config_by_part(segmentor):
    ok(run('complexity.py', 'small.py', '--shape', 64, 64, '--json', 'cost.json', cwd=segmentor))
    count = json.loads((segmentor / 'cost.json').read_text())['small']
    assert list(count['parts']) == ['backbone', 'decode_head', 'auxiliary_head']


ERRORS = {
    'stage 0': (['erf.py', 'small.py', '--stage', 0], '--stage 0 does not exist; stages count from 1'),
    'stage 5': (['erf.py', 'small.py', '--stage', 5, '--size', 64], 'stage 5 does not exist; the backbone returns 4'),
    'too few checkpoints': (
        ['erf.py', 'small.py', '--k-sizes', 7, 23, '--checkpoints', 'small.pth'],
        '--checkpoints names 1 files for 2 panels: lska, K = 7, lska, K = 23',
    ),
    'no photos': (['erf.py', 'small.py', '--images', 'nowhere'], 'no images found in nowhere; name a folder'),
    'no photo': (['feature_maps.py', 'small.py', 'nothing.jpg'], 'photo nothing.jpg does not exist; name an image'),
    'no image': (['feature_maps.py', 'small.py', 'small.py'], 'small.py is not an image that OpenCV can read'),
    'half a network': (
        ['feature_maps.py', 'small.py', 'photo.png', '--checkpoint', 'part.pth'],
        'part.pth does not fit small.py: ',
    ),
    'half a network for the field': (
        ['erf.py', 'small.py', '--checkpoints', 'part.pth', '--stage', 1, '--size', 32, '--num-images', 1],
        'part.pth does not fit small.py: ',
    ),
    'nothing to do': (['complexity.py'], 'name configs, or give --designs'),
}


@pytest.mark.parametrize('case', ERRORS)
def test_a_wrong_setting_gives_one_line(case, segmentor, refused):
    (tool, *args), message = ERRORS[case]
    assert message in refused(tool, *args, cwd=segmentor)


def test_the_page_says_what_the_results_file_and_the_tools_say(monkeypatch, capsys):
    page = (ROOT / 'docs/analysis.md').read_text(encoding='utf-8')

    def section(name):
        return re.search(rf'(?s)<!-- {name} -->\n(.*?)\n<!-- end -->', page)[1]

    def results(name):
        return json.loads((ROOT / f'docs/results/complexity_{name}.json').read_text())

    assert section('design table') == design_tables(results('attention'))
    assert section('config table') == config_table(results('lka_upernet') | results('lka_fpn'))
    for tool in ('erf.py', 'test_robustness.py', 'feature_maps.py', 'complexity.py'):
        lines = [line for line in page.splitlines() if line.startswith(f'python tools/{tool}')]
        named = set(re.findall(r'--[a-z-]+', ' '.join(lines)))
        assert named
        assert named <= options_of(tool, monkeypatch, capsys)
