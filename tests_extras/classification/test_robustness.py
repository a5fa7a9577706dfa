"""A classifier of MMPretrain that goes through the five robustness sets by the tool."""

import json

import pytest

from mmlska.classification.robustness import SETS
from mmlska.classification.standin import write_standin
from tests_extras.classification.test_classifier_configs import SMALL_CONFIG
from tests_extras.helpers import ROOT, fresh


@pytest.mark.slow
def test_a_trained_classifier_goes_through_all_sets(crops, tmp_path):
    tree = write_standin(tmp_path / 'tree', per_class=1, size=40)
    config = tmp_path / 'small.py'
    config.write_text(SMALL_CONFIG.format(base=str(ROOT / 'configs/van_lska_t_imagenet.py'), data=f'{crops}/'))
    fresh(ROOT / 'tools/train.py', config, '--work-dir', 'run', '--seed', 0, cwd=tmp_path)
    command = [ROOT / 'tools/test_imagenet_robustness.py', config, 'run/epoch_1.pth', '--root', tree, '--workers', 0]
    command += ['--out', 'robustness.json']
    printed = fresh(*command, cwd=tmp_path)
    results = json.loads((tmp_path / 'robustness.json').read_text())
    assert len(results['conditions']) == 149
    assert {key.split('/')[0] for key in results['conditions']} == set(SETS)
    columns = ['accuracy', 'mCE', 'mCE of the extra four', 'C-bar error', 'A accuracy', 'R accuracy', 'Sketch accuracy']
    assert list(results['summary']) == columns
    assert '| model | ' + ' | '.join(columns) + ' |' in printed
    assert 'warning: imagenet-a has 3 classes, 200 belong there' in printed
    assert fresh(*command, cwd=tmp_path).splitlines()[-1] == 'results: robustness.json'
