"""Sizes in the network's input, and the advice to cut tiles."""

import numpy as np
import pytest
from mmengine.config import Config
from own_sets import RETINANET, SIZE, UPERNET, annotation, coco, image, photo

from mmlska.engine.config import load_config
from mmlska.engine.tiling import Tiles, use_tiles
from mmlska.own_data.check import check_folder
from mmlska.own_data.input_scale import InputScale, input_scale, network_sizes
from mmlska.own_data.report import first_of
from mmlska.own_data.tile_advice import SMALL_OBJECTS, tile_advice, tile_size, tiles_in

STEPS = {
    'fit': (dict(type='Resize', scale=(1333, 800), keep_ratio=True), (0.2, 0.2)),
    'fit, sides swapped': (dict(type='Resize', scale=(800, 1333), keep_ratio=True), (0.2, 0.2)),
    'stretch': (dict(type='Resize', scale=(1000, 1000)), (0.25, 0.25)),
    'stretch to a side': (dict(type='Resize', scale=500, keep_ratio=False), (0.125, 0.125)),
    'factor': (dict(type='Resize', scale_factor=0.5), (0.5, 0.5)),
    'factors': (dict(type='Resize', scale_factor=(0.5, 0.25)), (0.5, 0.25)),
    'factors that keep the ratio': (dict(type='Resize', scale_factor=(0.5, 0.25), keep_ratio=True), (0.25, 0.25)),
    'range around 1': (dict(type='RandomResize', scale=(2000, 2000), ratio_range=(0.7, 1.4), keep_ratio=True), 0.5),
    'range below 1': (dict(type='RandomResize', scale=(2000, 2000), ratio_range=(0.4, 0.6), keep_ratio=True), 0.25),
    'two scales': (dict(type='RandomResize', scale=[(1000, 400), (3000, 800)], keep_ratio=True), 0.15),
    'many scales': (
        dict(type='RandomChoiceResize', scales=[(480, 9999), (9999, 400), (9999, 800)], keep_ratio=True),
        0.12,
    ),
    'sides to choose from': (dict(type='RandomChoiceResize', scales=[(900, 900), (400, 400), (800, 800)]), (0.2, 0.2)),
    'inside a choice': (
        dict(
            type='RandomChoice',
            transforms=[[dict(type='RandomFlip', prob=0.5), dict(type='Resize', scale_factor=0.5)], []],
        ),
        0.5,
    ),
    'of a scope': (dict(type='mmdet.Resize', scale_factor=0.5), 0.5),
    'none': (dict(type='RandomFlip', prob=0.5), 1),
}


@pytest.mark.parametrize('name', STEPS)
def test_sizes_for_each_kind_of_step(name):
    step, factors = STEPS[name]
    cfg = Config(dict(train_dataloader=dict(dataset=dict(type='RepeatDataset', dataset=dict(pipeline=[step])))))
    sizes = network_sizes(cfg, [((4000, 4000), [[7, 7, 40, 80], [0, 0, 10, 10]]), ((4000, 4000), [])])
    across, down = factors if isinstance(factors, tuple) else (factors, factors)
    assert sizes == pytest.approx(np.array([(40 * across, 80 * down), (10 * across, 10 * down)]))


@pytest.mark.parametrize('ratios', [None, (0.7, 1.4), (0.4, 0.6)])
def test_tiles_keep_the_size_of_objects(ratios):
    """But for what a random scale makes of them."""
    cfg = load_config(RETINANET)
    step = dict(type='RandomResize', scale=(640, 640), ratio_range=ratios, keep_ratio=True)
    cfg.train_dataloader.dataset.pipeline[2] = step
    use_tiles(cfg, Tiles(640, 80))
    factor = 0.5 if ratios == (0.4, 0.6) else 1
    assert network_sizes(cfg, [((4000, 3000), [(9, 9, 40, 20)])]) == pytest.approx(np.array([(40, 20)]) * factor)


RESIZED = ('fit', 'stretch', 'factors', 'factors that keep the ratio', 'range around 1', 'sides to choose from')


@pytest.mark.parametrize('size', [(400, 300), (300, 400)])
@pytest.mark.parametrize('name', RESIZED)
def test_sizes_are_those_after_the_step_itself(name, size):
    """Of one that draws sizes those of the middle count."""
    from mmengine.registry import TRANSFORMS, init_default_scope

    init_default_scope('mmdet')
    step = dict(STEPS[name][0])
    if 'ratio_range' in step:
        step['ratio_range'] = (1.0, 1.0)
    if 'scales' in step:
        step['scales'] = [step['scales'][2]]
    transform = TRANSFORMS.build(step)
    results = transform(dict(img=np.zeros((size[1], size[0], 3), np.uint8), img_shape=size[::-1]))
    cfg = Config(dict(train_dataloader=dict(dataset=dict(pipeline=[STEPS[name][0]]))))
    (whole,) = network_sizes(cfg, [(size, [(0, 0, *size)])])
    assert whole == pytest.approx(results['img_shape'][::-1], abs=0.51)


def test_no_boxes_have_a_shape_too():
    assert network_sizes(load_config(RETINANET), []).shape == (0, 2)


def test_the_recipes_scale():
    assert input_scale(load_config(RETINANET)) == InputScale((1333, 800), keep_ratio=True)


LARGE = (4000, 3000)  # scaled by 800 / 3000 = 0.27


def objects(*sides):
    return [(10, 10, side, side) for side in sides]


def test_objects_that_are_small_in_tiles_too_but_not_tiny():
    """Of 8 to 15 px, in the input of 320 px a third of that."""
    images = [((1024, 1024), objects(8, 9, 10, 11, 12, 15))]
    assert tile_advice(images, InputScale((320, 320))) == (
        "--tile 320 would help: 100 % of 6 objects are under 8 px in the network's input of 320x320 "
        '(images of 1024x1024 are scaled by 0.31), in tiles 0 % would be; 16 tiles an image'
    )


def test_the_numbers_of_the_advice():
    images = [(LARGE, objects(20, 30, 40, 50)), (LARGE, objects(10, 61))]
    assert tile_advice(images, InputScale((1333, 800))) == (
        "--tile 800 would help: 83 % of 6 objects are under 16 px in the network's input of 1333x800 "
        '(images of 4000x3000 are scaled by 0.27), in tiles 17 % would be; 30 tiles an image'
    )
    assert 'input of 1333x800, assumed (images' in tile_advice(images)


def test_the_image_of_median_size_is_named():
    images = [(LARGE, objects(20)), ((2000, 1600), objects(20)), ((1800, 1600), objects(20)), ((9000, 9000), [])]
    text = tile_advice(images)
    assert 'images of 2000x1600 are scaled by 0.5)' in text
    assert text.endswith('; 9 tiles an image')


@pytest.mark.parametrize(
    ('images', 'scale'),
    [
        ([], None),
        ([(LARGE, [])], None),
        ([(LARGE, objects(61, 70))], None),  # nothing is small
        ([(LARGE, objects(20, 61, 70, 80, 90))], None),  # a fifth is
        ([(LARGE, objects(20, 7, 7))], None),  # two of three are in tiles too
        ([((900, 900), objects(17))], None),  # scaled by 0.89
        ([(SIZE, objects(1))], None),  # scaled up
        ([(LARGE, objects(12))], InputScale()),
    ],
    ids=['no images', 'no objects', 'large', 'a fifth', 'small in tiles', 'hardly scaled', 'scaled up', 'not scaled'],
)
def test_no_advice(images, scale):
    assert tile_advice(images, scale) == ''


@pytest.mark.parametrize(('side', 'advised'), [(800 / 1000, True), (801 / 1000, False)])
def test_the_border_of_the_scaling(side, advised):
    assert bool(tile_advice([((1000, 1000), objects(17))], InputScale((1000 * side, 1000 * side)))) == advised


def test_at_least_half_the_small_objects_must_gain():
    assert tile_advice([(LARGE, objects(20, 20, 12, 12))]).startswith(
        '--tile 800 would help: 100 % of 4 objects are under 16 px'
    )
    assert 'under 8 px' in tile_advice([(LARGE, objects(20, 12, 12))])
    assert tile_advice([(LARGE, objects(20, 7, 7))]) == ''


def test_scale_factors_name_the_input_of_the_image():
    text = tile_advice([(LARGE, objects(30))], InputScale(None, False, (0.25, 0.25)))
    assert text.startswith('--tile 736 would help')  # 750 px
    assert 'input of 1000x750 (images of 4000x3000 are scaled by 0.25)' in text


@pytest.mark.parametrize('side', [255, 256, 257, 450, 640, 1130, 3000])
@pytest.mark.parametrize('tile', [256, 640, 800])
def test_tiles_cover_an_image(side, tile):
    """As many as it takes, with an eighth shared by neighbours."""
    count, step = tiles_in((side, 1), tile), tile - tile // 8
    assert tile + (count - 1) * step >= side
    assert count == 1 or tile + (count - 2) * step < side


def test_tiles_hold_large_objects():
    for large in (10, 64, 65, 150, 310):
        assert tile_size(300, large) >= 4 * large
        assert tile_size(300, large) % 32 == 0
    assert tile_size(2000, 10) == tile_size(300, 5000) == 1280


def large_photos(root):
    """Two photos of 1600x1200 with objects of 20 px, 13 where the recipes see them."""
    for name in ('a.jpg', 'ab.jpg'):
        photo(root / f'images/{name}', (1600, 1200))
    images = [image(1, 'a.jpg', (1600, 1200)), image(2, 'ab.jpg', (1600, 1200))]
    labels = [annotation(i + 1, 1 + i % 2, 1, (40 * i, 40, 20, 20)) for i in range(10)]
    coco(root / 'all.json', images, labels, [(1, 'cat')])
    return root


def test_a_check_advises_tiles(tmp_path):
    root = str(large_photos(tmp_path / 'd'))

    def advice(**options):
        report = check_folder(root, **options).report
        found = [finding for finding in report.as_dict()['findings'] if finding['kind'] == SMALL_OBJECTS]
        return [(finding['level'], *finding['places']) for finding in found]

    text = (
        "--tile 800 would help: 100 % of 10 objects are under 16 px in the network's input of 1333x800{} "
        '(images of 1600x1200 are scaled by 0.67), in tiles 0 % would be; 6 tiles an image'
    )
    assert advice() == [('warning', text.format(', assumed'))]
    assert advice(cfg=load_config(RETINANET)) == [('warning', text.format(''))]
    assert first_of([text.format(', assumed')]) == text.format(', assumed')  # none of it is cut in the report
    assert advice(cfg=load_config(UPERNET)) == []
    assert advice(cfg=load_config(RETINANET), tiled=True) == []
    report = check_folder(root, cfg=load_config(RETINANET), tiled=True).report
    assert report.box_sizes == [20] * 10
