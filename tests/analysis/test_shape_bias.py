"""Which cue decisions follow: counts, intervals, published file names, scenes, and the chart."""

import json

import cv2
import numpy as np
import pytest

from mmlska.analysis.shape_bias import (
    CUE_CONFLICT_CLASSES,
    CueObject,
    decide_boxes,
    decide_map,
    parse_cue_conflict_name,
    read_conflict_scenes,
    read_decisions,
    shape_bias_from_decisions,
    tally,
    texture_warning,
    training_textures,
    undecided_images,
    wilson_interval,
)
from mmlska.analysis.shape_bias_chart import draw_shape_bias
from mmlska.datasets.scenes import SHAPES, TEXTURES, make_scene, write_scenes


@pytest.fixture(scope='module')
def conflict(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'conflict'
    write_scenes(root, num_train=0, num_val=3, size=96, num_classes=5, texture='conflict')
    return root


# Values of Wilson's formula as tabulated: Newcombe, Statistics in Medicine 17 (1998), table I.
@pytest.mark.parametrize(
    ('successes', 'total', 'low', 'high'),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_as_tabulated(successes, total, low, high):
    assert wilson_interval(successes, total) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_at_its_ends():
    assert wilson_interval(0, 0) == (0, 1)
    assert wilson_interval(5, 5)[1] == 1
    with pytest.raises(ValueError, match='3 successes of 2'):
        wilson_interval(3, 2)


def test_tally_by_class_and_without_agreeing_cues():
    decisions = [
        ('star', 'ring', 'star'),
        ('star', 'ring', 'ring'),
        ('ring', 'star', 'cross'),
        ('ring', 'ring', 'ring'),
    ]
    result = tally([*decisions, ('ring', 'star', None)])
    assert [result[key] for key in ('shape', 'texture', 'other', 'none')] == [1, 1, 1, 1]
    assert result['shape_bias'] == 0.5
    assert result['per_class']['star']['shape_bias'] == 0.5
    assert result['per_class']['ring']['shape_bias'] is None
    assert result['per_class']['ring']['interval'] == [0, 1]
    assert tally([])['shape_bias'] is None


@pytest.mark.parametrize('name', ['cat.png', 'cat1.png', 'cat1-lorry3.png', 'cat1-truck.png', 'CAT1-truck3.png', ''])
def test_other_file_names_are_refused(name):
    with pytest.raises(ValueError, match='names are like cat1-truck3.png'):
        parse_cue_conflict_name(name)


def test_decisions_in_the_published_csv_format(tmp_path):
    rows = ['subj,session,trial,rt,object_response,category,condition,imagename']
    rows += ['net,1,1,NaN,cat,cat,0,0001_cue_net_00_cat_00_cat1-truck3.png']
    rows += ['net,1,2,NaN,bird,dog,0,0002_cue_net_00_dog_00_dog10-bird2.png']
    rows += ['net,1,3,NaN,na,oven,0,0003_cue_net_00_oven_00_oven2-clock7.png']
    file = tmp_path / 'net.csv'
    file.write_text('\n'.join(rows))
    names, decisions = read_decisions(file)
    result = shape_bias_from_decisions(names, decisions)
    assert [result[key] for key in ('shape', 'texture', 'other', 'none')] == [1, 1, 0, 1]
    for name in ('cat/cat1-truck3.png', 'dog/dog10-bird2.png', 'dog/dog10-car2.png'):
        (tmp_path / 'images' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'images' / name).touch()
    assert undecided_images(tmp_path / 'images', names) == ['dog10-car2.png']


def test_wrong_decisions_are_named(tmp_path):
    assert len(CUE_CONFLICT_CLASSES) == 16
    with pytest.raises(ValueError, match="decision 'tabby' is no class"):
        shape_bias_from_decisions(['cat1-truck3.png'], ['tabby'])
    with pytest.raises(ValueError, match='1 file names and 0 decisions'):
        shape_bias_from_decisions(['cat1-truck3.png'], [])
    (tmp_path / 'a.csv').write_text('imagename,answer\n')
    with pytest.raises(ValueError, match='no column object_response'):
        read_decisions(tmp_path / 'a.csv')
    (tmp_path / 'b.csv').write_text('imagename,object_response\n')
    with pytest.raises(ValueError, match='has no decisions'):
        read_decisions(tmp_path / 'b.csv')
    with pytest.raises(FileNotFoundError, match='do not exist'):
        read_decisions(tmp_path / 'c.csv')
    with pytest.raises(ValueError, match='has no .png images'):
        undecided_images(tmp_path, [])


def test_scenes_are_read_as_they_were_made(conflict):
    scenes = read_conflict_scenes(conflict)
    assert list(scenes) == ['000000.png', '000001.png', '000002.png']
    options = dict(split='validation', seed=0, size=96, num_classes=5, difficulty='medium', texture='conflict')
    for index, objects in enumerate(scenes.values()):
        made = make_scene(index, **options).instances
        assert len(objects) == len(made)
        for item, instance in zip(objects, made):
            assert item.shape == SHAPES[instance.category]
            assert TEXTURES[SHAPES.index(item.texture)] == TEXTURES[instance.texture]
            assert item.shape != item.texture
            assert np.array_equal(item.mask, instance.mask)
            rows, columns = np.nonzero(instance.mask)
            assert item.box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_other_folders_are_refused(scenes, tmp_path):
    with pytest.raises(FileNotFoundError, match='mmlska make-scenes .* --conflict'):
        read_conflict_scenes(tmp_path)
    with pytest.raises(ValueError, match="have textures 'random'"):
        read_conflict_scenes(scenes)


def objects_at(*boxes):
    found = []
    for left, top, right, bottom in boxes:
        mask = np.zeros((20, 20), bool)
        mask[top:bottom, left:right] = True
        found.append(CueObject('star', 'ring', np.array([left, top, right, bottom], float), mask))
    return found


def test_the_best_scored_box_decides():
    objects = objects_at((0, 0, 10, 10), (10, 10, 20, 20), (0, 12, 6, 18))
    boxes = np.array([[0, 0, 10, 9], [0, 0, 10, 10], [10, 10, 20, 14]], float)
    decisions = decide_boxes(objects, boxes, np.array([3, 1, 2]), np.array([0.4, 0.7, 0.9]))
    assert decisions == [1, None, None]  # the third box overlaps by 0.4 only
    assert decide_boxes(objects, np.zeros((0, 4)), np.zeros(0, int), np.zeros(0)) == [None] * 3
    assert decide_boxes([], boxes, np.array([3, 1, 2]), np.ones(3)) == []


def test_a_box_decides_for_the_object_that_it_fits_best():
    objects = objects_at((0, 0, 10, 10), (0, 0, 10, 8))
    boxes = np.array([[0, 0, 10, 8], [0, 0, 10, 10]], float)
    assert decide_boxes(objects, boxes, np.array([4, 2]), np.array([0.9, 0.8])) == [2, 4]


def test_the_majority_of_the_pixels_decides():
    prediction = np.zeros((20, 20), int)
    prediction[:10, :6] = 3
    assert decide_map(objects_at((0, 0, 10, 10), (10, 10, 20, 20)), prediction) == [3, 0]


CONFIG = """
test_dataloader = dict(
    dataset=dict(data_root='elsewhere'))
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        data_root={!r},
        type='BaseSegDataset'))
val_dataloader = dict(
    dataset=dict(data_root='nowhere'))
"""


def test_textures_of_the_training_come_from_the_checkpoint(conflict, scenes, tmp_path):
    def saved(root):
        return {'meta': {'cfg': CONFIG.format(f'{root}/')}, 'state_dict': {}}

    write_scenes(tmp_path / 'class', num_train=1, num_val=1, size=32, texture='class')
    assert training_textures(saved(tmp_path / 'class')) == {'class'}
    assert texture_warning({'class'}) is None
    assert texture_warning({'class', 'random'}) is None
    assert "textures 'random'" in texture_warning(training_textures(saved(scenes)))
    assert "textures 'conflict'" in texture_warning(training_textures(saved(conflict)))
    for unknown in ({}, {'meta': None}, {'meta': {'cfg': 'x = 1'}}, saved(tmp_path / 'gone')):
        assert 'could not be checked' in texture_warning(training_textures(unknown))


def test_chart_has_every_model_and_class(tmp_path):
    decisions = [('star', 'ring', 'star')] * 8 + [('ring', 'star', 'star')] * 5
    results = {'K = 7': tally(decisions), 'K = 53': tally(decisions[:4]), 'nothing': {**tally([]), 'warning': 'untied'}}
    path = draw_shape_bias(json.loads(json.dumps(results)), tmp_path / 'sub' / 'chart.png')
    picture = cv2.imread(str(path))
    assert picture.shape[1] == 1080
    assert picture.shape[0] > 300
    blue, orange = (np.all(picture == color, 2).sum() for color in ((178, 114, 0), (0, 94, 213)))
    assert blue > 200
    assert orange > 200
    with pytest.raises(ValueError, match='no results to draw'):
        draw_shape_bias({}, tmp_path / 'none.png')
