"""The five robustness sets' layouts, mCE, and what a classifier answers on them."""

import json
import shutil

import pytest
import torch

from mmlska.classification.robustness import (
    C_BAR,
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    class_order,
    find_conditions,
    incomplete,
    mean_corruption_error,
    measure,
    run,
    summarise,
)
from mmlska.classification.standin import SUBSET, WNIDS, write_standin


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
    return write_standin(tmp_path_factory.mktemp('tree'), per_class=1, size=40)


def oracle(right=True, answer=None):
    """A classifier that reads the folder's name, or always gives one answer."""

    def predict(paths, cropped):
        for path in paths:
            scores = torch.zeros(1, len(WNIDS))
            chosen = WNIDS.index(path.parent.name) if answer is None else answer
            scores[0, chosen if right else (chosen + 1) % len(WNIDS)] = 1
            yield scores

    return predict


def test_alexnets_own_row_is_100():
    assert round(mean_corruption_error(CORRUPTIONS), 1) == 100.0
    row = {
        f'imagenet-c/{name}/{s}': error
        for name, error in {**CORRUPTIONS, **EXTRA_CORRUPTIONS}.items()
        for s in range(1, 6)
    }
    summary = summarise(row)
    assert summary == pytest.approx({'mCE': 100.0, 'mCE of the extra four': 100.0})
    assert len(CORRUPTIONS) == 15
    assert len(C_BAR) == 10
    halved = summarise({key: error / 2 for key, error in row.items()})
    assert halved['mCE'] == pytest.approx(50.0)
    assert mean_corruption_error({**CORRUPTIONS, 'fog': 0.0}) == pytest.approx(100 * 14 / 15)
    with pytest.raises(ValueError, match='mCE needs all 15 corruptions; missing: fog'):
        mean_corruption_error({k: v for k, v in CORRUPTIONS.items() if k != 'fog'})


def test_alexnets_errors_are_those_of_the_table():
    # Hendrycks and Dietterich, table 1, rounded there to whole percents.
    rounded = [round(error) for error in CORRUPTIONS.values()]
    assert rounded == [89, 89, 92, 82, 83, 79, 80, 87, 83, 82, 56, 85, 65, 72, 61]


def test_every_layout_is_found(tree):
    conditions = find_conditions(tree)
    keys = [c.key for c in conditions]
    assert len(keys) == len(set(keys)) == 1 + 5 * 19 + 5 * 10 + 3
    assert 'imagenet-c-bar/sparkles/10.0' in keys
    assert {c.key for c in conditions if c.subset} == {'imagenet-a', 'imagenet-r'}
    assert {c.key.split('/')[0] for c in conditions if c.cropped} == {'imagenet-c', 'imagenet-c-bar'}
    assert class_order(tree / 'imagenet/val') == class_order(tree / 'imagenet-sketch') == list(WNIDS)


def test_layouts_as_the_archives_unpack(tree, tmp_path):
    """ImageNet-C's archives are noise.tar, blur.tar, ...; that of Sketch holds a folder 'sketch'."""
    shutil.copytree(tree / 'imagenet-c', tmp_path / 'imagenet-c/noise')
    shutil.copytree(tree / 'imagenet-sketch', tmp_path / 'imagenet-sketch/sketch')
    found = find_conditions(tmp_path, ['imagenet-c', 'imagenet-sketch'])
    assert len(found) == 96
    shutil.rmtree(tmp_path / 'imagenet-c/noise/spatter')  # one of the extra four
    assert len(find_conditions(tmp_path, ['imagenet-c'])) == 90
    shutil.rmtree(tmp_path / 'imagenet-c/noise/fog/3')
    with pytest.raises(FileNotFoundError, match='fog has 4 severities; 5 belong there'):
        find_conditions(tmp_path, ['imagenet-c'])
    shutil.rmtree(tmp_path / 'imagenet-c/noise/fog')
    with pytest.raises(FileNotFoundError, match='fog does not exist; unpack all of imagenet-c there'):
        find_conditions(tmp_path, ['imagenet-c'])
    with pytest.raises(FileNotFoundError, match='imagenet-r does not exist; unpack imagenet-r there'):
        find_conditions(tmp_path, ['imagenet-r'])
    with pytest.raises(ValueError, match="no robustness set 'imagenet-d'; choose among imagenet, imagenet-c"):
        find_conditions(tmp_path, ['imagenet-d'])


def test_subsets_answer_among_their_own_classes(tree):
    conditions = {c.key: c for c in find_conditions(tree)}
    for key in ('imagenet-a', 'imagenet-r'):
        assert measure(conditions[key], WNIDS, oracle()) == dict(error=0.0, images=3, classes=3)
        assert measure(conditions[key], WNIDS, oracle(right=False))['error'] == pytest.approx(200 / 3)

    def prefers_outsiders(paths, cropped):
        """The highest score goes to a class that the subset lacks, the second to the truth."""
        for path in paths:
            scores = torch.zeros(1, 5)
            scores[0, 1], scores[0, WNIDS.index(path.parent.name)] = 2.0, 1.0
            yield scores

    assert WNIDS[1] not in SUBSET
    assert measure(conditions['imagenet-a'], WNIDS, prefers_outsiders)['error'] == 0
    assert measure(conditions['imagenet-sketch'], WNIDS, prefers_outsiders)['error'] == pytest.approx(80)
    assert measure(conditions['imagenet-sketch'], WNIDS, oracle(answer=2))['error'] == pytest.approx(80)


def test_subsets_that_are_not_whole_are_named(tree, tmp_path):
    assert incomplete({'imagenet-r': dict(classes=200), 'imagenet-sketch': dict(classes=5)}) == []
    assert incomplete({'imagenet-r': dict(error=1.0)})[0].startswith('imagenet-r has an unknown number of classes')
    conditions = find_conditions(tree, ['imagenet-a', 'imagenet-sketch'])
    results = run(conditions, WNIDS, oracle(), tmp_path / 'results.json', dict(config='a'))
    (line,) = incomplete(results['conditions'])
    assert line.startswith('imagenet-a has 3 classes, 200 belong there')


def test_models_that_do_not_fit(tree):
    (sketch,) = find_conditions(tree, ['imagenet-sketch'])
    with pytest.raises(ValueError, match='has n09000004, which is none of the 4 classes'):
        measure(sketch, WNIDS[:4], oracle())
    with pytest.raises(ValueError, match='the model has 5 classes, ImageNet as found has 6'):
        measure(sketch, (*WNIDS, 'n99999999'), oracle())


def test_a_run_goes_on_where_it_stopped(tree, tmp_path):
    conditions, out, calls = (
        find_conditions(tree, ['imagenet', 'imagenet-a', 'imagenet-r']),
        tmp_path / 'results.json',
        [],
    )

    def fails_at_the_third(paths, cropped):
        calls.append(len(paths))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return oracle()(paths, cropped)

    with pytest.raises(KeyboardInterrupt):
        run(conditions, WNIDS, fails_at_the_third, out, dict(config='a'))
    assert list(json.loads(out.read_text())['conditions']) == ['imagenet', 'imagenet-a']
    results = run(conditions, WNIDS, fails_at_the_third, out, dict(config='a'))
    assert calls == [5, 3, 3, 3]
    assert results['summary'] == {'accuracy': 100.0, 'A accuracy': 100.0, 'R accuracy': 100.0}
    assert list(tmp_path.iterdir()) == [out]
    with pytest.raises(ValueError, match='holds results of .*; give another --out or delete it'):
        run(conditions, WNIDS, oracle(), out, dict(config='b'))
