"""Several models beside each other: their names, their row in the table, what is said of missing decisions."""

import json

import pytest

from mmlska.analysis.shape_bias_comparison import measure_decisions, name_models, table, write_comparison

PAIRS = [('a.py', 'work_dirs/k7/iter_9.pth'), ('b.py', 'best.pth')]


def test_every_model_has_a_name_of_its_own():
    assert name_models(PAIRS, ['data/human.csv']) == ['k7/iter_9', 'best', 'human']
    assert name_models(PAIRS, names=['one', 'two']) == ['one', 'two']
    with pytest.raises(ValueError, match='--names has 1 names for 2 models; give one each'):
        name_models(PAIRS, names=['one'])
    with pytest.raises(ValueError, match="two models are named 'one'; tell them apart with --names"):
        name_models(PAIRS, names=['one', 'one'])


def test_decisions_without_all_images_are_marked(tmp_path):
    file, images = tmp_path / 'human.csv', tmp_path / 'images'
    file.write_text('imagename,object_response\ncat1-truck3.png,cat\ndog1-car3.png,car\n')
    images.mkdir()
    for name in ('cat1-truck3', 'dog1-car3', 'bird2-boat1'):
        (images / f'{name}.png').touch()
    result = measure_decisions(str(file), str(images))
    assert result['warning'].startswith('1 images without a decision, such as ')
    assert 'bird2-boat1' in result['warning']
    assert result['shape_bias'] == 0.5
    assert table({'human': result}).splitlines()[2] == '| human (!) | 50.0 | 9.5 to 90.5 | 1 | 1 | 0 | 0 |'
    assert measure_decisions(str(file))['warning'] is None
    written, chart = write_comparison(tmp_path / 'out', None, {'human': result})
    assert json.loads(written.read_text()) == {'data': None, 'models': {'human': json.loads(json.dumps(result))}}
    assert chart.stat().st_size > 1000
