"""Anchors that are chosen from the sizes of the objects, against what mmdet makes of them."""

import copy
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, TASK_UTILS, init_default_scope
from mmengine.structures import InstanceData
from own_sets import RETINANET, ROOT, UPERNET, annotation, coco, image, photo

from mmlska.engine.config import load_config
from mmlska.own_data.anchors import anchor_generator, anchor_shapes, anchor_sizes, best_ious, choose_anchors
from mmlska.own_data.check import check_config, check_folder

SMALL_RETINANET = 'configs/demo/retinanet_van_lska_t_small.py'
SMALL_RCNN = 'configs/demo/mask_rcnn_van_lska_t_fruits.py'
RECIPES = (RETINANET, SMALL_RETINANET, SMALL_RCNN, 'configs/cascade_mask_rcnn_van_lska_t.py')


def boxes(median, count=300, spread=0.3, ratio=1.0, ratio_spread=0.2):
    """(N, 2) sizes around a median side and a median ratio of height by width, the same ones each time."""
    rng = np.random.default_rng(0)
    sides = median * np.exp(rng.normal(0, spread, count))
    roots = np.sqrt(ratio * np.exp(rng.normal(0, ratio_spread, count)))
    return np.stack([sides / roots, sides * roots], axis=1)


def in_order(sizes):
    return np.array(sorted(map(tuple, sizes.round(2).tolist())))


def generator_of(cfg):
    init_default_scope('mmdet')
    return TASK_UTILS.build(dict(anchor_generator(cfg)))


def placed_share(cfg, assigner, sizes, side=640):
    """The share of the boxes, at places by chance, that MaxIoUAssigner finds an anchor of the positive threshold for."""
    generator, rng = generator_of(cfg), np.random.default_rng(1)
    maps = [(side // stride[0], side // stride[0]) for stride in generator.strides]
    priors = InstanceData(priors=torch.cat(generator.grid_priors(maps, device='cpu')))
    rule, reached = TASK_UTILS.build(dict(assigner)), []
    for size in sizes:
        corner = rng.uniform(40, side - 40 - size)
        box = torch.tensor([[*corner, *(corner + size)]], dtype=torch.float32)
        found = rule.assign(priors, InstanceData(bboxes=box, labels=torch.zeros(1, dtype=torch.long)))
        reached.append(bool(found.max_overlaps.max() >= assigner['pos_iou_thr']))
    return float(np.mean(reached))


@pytest.mark.parametrize('config', RECIPES)
def test_shapes_are_those_of_mmdet(config):
    cfg = load_config(config)
    generator = generator_of(cfg)
    theirs = torch.cat(generator.base_anchors)
    ours = anchor_shapes(generator.base_sizes, generator.scales.tolist(), anchor_generator(cfg).ratios)
    expected = (theirs[:, 2:] - theirs[:, :2]).numpy()
    assert in_order(ours) == pytest.approx(in_order(expected), abs=0.02)
    squares = sorted(expected[np.isclose(expected[:, 0], expected[:, 1])][:, 0])
    assert anchor_sizes(cfg) == pytest.approx(squares, rel=1e-5)


@pytest.mark.parametrize('shift', [(0, 0), (3, 1)])
def test_ious_are_those_of_mmdet(shift):
    cfg = load_config(RETINANET)
    generator, sizes = generator_of(cfg), boxes(40, spread=1)
    theirs = torch.cat(generator.base_anchors)
    half = torch.tensor(sizes / 2, dtype=torch.float32)
    moved = torch.tensor(shift, dtype=torch.float32)
    overlaps = TASK_UTILS.build(dict(type='BboxOverlaps2D'))
    expected = overlaps(torch.cat([moved - half, moved + half], dim=1), theirs).max(1).values
    anchors = (theirs[:, 2:] - theirs[:, :2]).numpy()
    ours = best_ious(sizes, anchors, np.ones(len(anchors)), shift)
    assert ours == pytest.approx(expected.numpy(), abs=1e-5)


@pytest.mark.parametrize(
    ('config', 'median', 'ratio'), [(SMALL_RETINANET, 14, 1), (SMALL_RETINANET, 12, 1.5), (SMALL_RCNN, 90, 0.2)]
)
def test_the_share_is_what_the_assigner_finds(config, median, ratio):
    cfg = load_config(config)
    before, sizes = copy.deepcopy(cfg), boxes(median, 300, 0.2, ratio, 0.1)
    text = choose_anchors(cfg, sizes)
    assert text.startswith('anchors: ')
    then, first = map(int, re.search(r'(\d+) % of the objects then reach .*, (\d+) % before', text).groups())
    assigner = (cfg.model.train_cfg.get('rpn') or cfg.model.train_cfg).assigner
    assert placed_share(cfg, assigner, sizes) == pytest.approx(then / 100, abs=0.06)
    assert placed_share(before, assigner, sizes) == pytest.approx(first / 100, abs=0.06)
    assert then > first + 10


def test_small_objects_get_a_smaller_scale():
    cfg = load_config(SMALL_RETINANET)
    text = choose_anchors(cfg, boxes(14))
    anchors = cfg.model.bbox_head.anchor_generator
    assert anchors.octave_base_scale < 3
    assert text.startswith(
        f'anchors: octave_base_scale 3 -> {anchors.octave_base_scale}, ratios [0.5, 1.0, 2.0] kept: '
    )
    low, middle, high = (round(float(q)) for q in np.quantile(np.sqrt(boxes(14).prod(1)), (0.05, 0.5, 0.95)))
    assert f"(nine of ten objects are of {low} to {high} px, median {middle}, in the network's input)" in text


def test_large_objects_get_a_larger_scale():
    cfg = load_config(SMALL_RETINANET, {'model.bbox_head.anchor_generator.strides': [8, 16]})
    choose_anchors(cfg, boxes(250))
    assert cfg.model.bbox_head.anchor_generator.octave_base_scale > 6


def test_nothing_is_smaller_than_the_finest_step():
    cfg = load_config(SMALL_RETINANET)
    choose_anchors(cfg, boxes(5, spread=0.1))
    assert cfg.model.bbox_head.anchor_generator.octave_base_scale == 1


@pytest.mark.parametrize('config', RECIPES)
def test_anchors_that_fit_are_kept(config):
    cfg = load_config(config)
    before = copy.deepcopy(cfg.to_dict())
    middle = float(np.sqrt(anchor_sizes(cfg)[0] * anchor_sizes(cfg)[-1]))
    text = choose_anchors(cfg, boxes(middle, spread=0.5, ratio_spread=0.5))
    assert re.match(r'anchors of the config (fit|kept): \d+ % of the objects reach an IoU of 0.[57] with one', text)
    assert cfg.to_dict() == before


def test_flat_objects_get_flat_anchors():
    cfg = load_config(RETINANET)
    text = choose_anchors(cfg, boxes(120, ratio=0.2))
    anchors = cfg.model.bbox_head.anchor_generator
    assert f'ratios [0.5, 1.0, 2.0] -> {anchors.ratios}: ' in text
    assert anchors.octave_base_scale >= 4
    assert anchors.ratios == sorted(anchors.ratios)
    assert 0.1 < anchors.ratios[0] < 0.2 < anchors.ratios[2] < 0.35
    assert anchors.ratios[1] == pytest.approx(0.2, abs=0.03)


def test_objects_of_one_shape_get_ratios_that_differ():
    cfg = load_config(RETINANET)
    choose_anchors(cfg, np.full((50, 2), (200, 40)))
    assert cfg.model.bbox_head.anchor_generator.ratios == [0.16, 0.2, 0.25]


def test_two_scales_where_sizes_spread_over_more_than_the_levels():
    wide = np.exp(np.random.default_rng(0).uniform(np.log(16), np.log(700), 400))
    options = {'model.rpn_head.anchor_generator.strides': [4, 8, 16, 32]}
    cfg = load_config(SMALL_RCNN, options)
    text = choose_anchors(cfg, np.stack([wide, wide], axis=1))
    low, high = cfg.model.rpn_head.anchor_generator.scales
    assert high == 2 * low
    assert f'scales [4] -> [{low}, {high}]' in text
    narrow = load_config(SMALL_RCNN, options)
    choose_anchors(narrow, boxes(60))
    assert len(narrow.model.rpn_head.anchor_generator.scales) == 1


@pytest.mark.parametrize(('config', 'median'), [(SMALL_RETINANET, 12), (SMALL_RCNN, 700)])
def test_the_model_has_as_many_anchors_as_before(config, median):
    cfg = load_config(config)
    before = generator_of(cfg).num_base_priors
    assert choose_anchors(cfg, boxes(median, spread=0.2)).startswith('anchors: ')
    assert generator_of(cfg).num_base_priors == before
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    head = model.rpn_head if hasattr(model, 'rpn_head') else model.bbox_head
    layer = head.rpn_cls if hasattr(head, 'rpn_cls') else head.retina_cls
    assert layer.out_channels == before[0] * head.cls_out_channels


def test_a_choice_survives_the_text_of_a_config():
    cfg = load_config(SMALL_RETINANET)
    choose_anchors(cfg, boxes(14, ratio=0.2))
    again = Config.fromstring(cfg.pretty_text, '.py')
    assert again.model.bbox_head.anchor_generator == cfg.model.bbox_head.anchor_generator
    anchors = cfg.model.bbox_head.anchor_generator
    values = [anchors.octave_base_scale, *anchors.ratios]
    assert {type(value) for value in values} <= {int, float}
    assert type(anchors.ratios) is list


def test_a_choice_is_the_same_each_time_and_in_each_order():
    many = boxes(14, count=100_000)
    ordered = many[np.argsort(many[:, 0])]
    first, second, third = (load_config(SMALL_RETINANET) for _ in range(3))
    text = choose_anchors(first, many)
    assert choose_anchors(second, many) == text
    choose_anchors(third, ordered)
    assert third.model.bbox_head.anchor_generator == first.model.bbox_head.anchor_generator
    assert first.model.bbox_head.anchor_generator.octave_base_scale < 3


ANCHOR_FREE = dict(type='FCOSHead', strides=[8, 16])
SSD = dict(type='SSDHead', anchor_generator=dict(type='SSDAnchorGenerator', strides=[8, 16], ratios=[[2], [2, 3]]))
YOLO = dict(
    type='YOLOV3Head', anchor_generator=dict(type='YOLOAnchorGenerator', base_sizes=[[(9, 9)]], strides=[8], ratios=[1])
)
NO_STRIDES = dict(type='RetinaHead', anchor_generator=dict(type='AnchorGenerator', scales=[8], ratios=[1.0]))


@pytest.mark.parametrize('head', [ANCHOR_FREE, SSD, YOLO, NO_STRIDES, None])
def test_other_heads_are_left_alone(head):
    cfg = Config(dict(model=dict(type='X', bbox_head=copy.deepcopy(head), train_cfg=None)))
    assert choose_anchors(cfg, boxes(14)) == ''
    assert anchor_sizes(cfg) == []
    assert cfg.model.to_dict() == dict(type='X', bbox_head=head, train_cfg=None)


def test_an_assigner_that_does_not_go_by_iou_is_left_alone():
    cfg = load_config(SMALL_RETINANET)
    cfg.model.train_cfg.assigner = dict(type='ATSSAssigner', topk=9)
    assert choose_anchors(cfg, boxes(14)) == ''
    assert cfg.model.bbox_head.anchor_generator.octave_base_scale == 3


def test_a_segmentor_has_no_anchors():
    assert choose_anchors(load_config(UPERNET), boxes(14)) == ''


def test_weights_keep_their_anchors():
    cfg = load_config(SMALL_RETINANET, {'load_from': 'x.pth'})
    text = choose_anchors(cfg, boxes(14))
    assert text == 'anchors of the config kept, as training continues from the weights of load_from'
    assert cfg.model.bbox_head.anchor_generator.octave_base_scale == 3


def test_few_objects_choose_nothing():
    cfg = load_config(SMALL_RETINANET)
    sizes = np.concatenate([boxes(14, count=19), [(0, 5), (np.nan, 5)]])
    assert choose_anchors(cfg, sizes) == 'anchors of the config kept: 19 objects would be too few to choose others by'
    assert cfg.model.bbox_head.anchor_generator.octave_base_scale == 3
    assert choose_anchors(cfg, boxes(14, count=20)).startswith('anchors: ')


def small_set(root, count=24):
    """Objects of 2.5 px in photos of 80x60, which the small RetinaNet scales by 4."""
    for i in range(4):
        photo(root / f'images/a{"x" * i}.jpg')
    images = [image(i, f'a{"x" * i}.jpg') for i in range(4)]
    labels = [annotation(i + 1, i % 4, 1, (3 * (i // 4) + 5, 9, 2.5, 2.5)) for i in range(count)]
    coco(root / 'all.json', images, labels, [(1, 'cat')])
    return root


def test_a_check_of_a_folder_says_what_training_would_choose(tmp_path):
    cfg = load_config(SMALL_RETINANET)
    report = check_folder(str(small_set(tmp_path / 'd')), cfg=cfg).report
    assert cfg.model.bbox_head.anchor_generator.octave_base_scale == 3
    assert report.anchor_sizes == pytest.approx(anchor_sizes(cfg))
    chosen = load_config(SMALL_RETINANET)
    assert report.anchor_choice == choose_anchors(chosen, np.full((24, 2), 10.0))
    assert chosen.model.bbox_head.anchor_generator.octave_base_scale < 3
    assert f'  training by --data: {report.anchor_choice}' in report.text().splitlines()
    assert report.as_dict()['anchor_choice'] == report.anchor_choice
    assert not [f for f in report.findings if 'anchor' in f.kind]


def test_a_check_of_a_folder_warns_where_nothing_can_be_chosen(tmp_path):
    report = check_folder(str(small_set(tmp_path / 'd', 12)), cfg=load_config(SMALL_RETINANET)).report
    (finding,) = (f for f in report.findings if 'anchor' in f.kind)
    assert finding.kind == 'boxes under half the smallest anchor (24 px)'
    assert 'too few' in report.anchor_choice


def test_crowds_and_held_out_parts_do_not_choose(tmp_path):
    root = small_set(tmp_path / 'd')
    (root / 'all.json').rename(root / 'train.json')
    photo(root / 'images/v.jpg', quality=40)
    crowd = [annotation(i + 1, 9, 1, (1, 1, 50, 50)) for i in range(500)]
    coco(root / 'val.json', [image(9, 'v.jpg')], crowd, [(1, 'cat')])
    text = (root / 'train.json').read_text()
    (root / 'train.json').write_text(text.replace('"iscrowd": 0', '"iscrowd": 1', 2))
    report = check_folder(str(root), cfg=load_config(SMALL_RETINANET)).report
    assert sum(len(found) for _, found in report.learned) == 22
    assert 'median 10,' in report.anchor_choice


def test_a_check_of_a_config_advises_other_scales(tmp_path):
    root = small_set(tmp_path / 'd')
    (tmp_path / 'c.py').write_text(f"""
_base_ = {str(ROOT / SMALL_RETINANET)!r}
data_root = {f'{root}/'!r}
dataset = dict(type='CocoDataset', data_root=data_root, metainfo=dict(classes=('cat',)), ann_file='all.json',
               data_prefix=dict(img='images/'))
train_dataloader = dict(dataset=dict(**dataset))
val_dataloader = test_dataloader = dict(dataset=dict(**dataset))
""")
    report = check_config(load_config(str(tmp_path / 'c.py'))).report
    (finding,) = (f for f in report.findings if 'anchor' in f.kind)
    assert (finding.level, finding.kind) == ('warning', 'boxes under half the smallest anchor (24 px)')
    assert finding.places == ['24 of 24; change scales of the anchor_generator or the scale of Resize']
    assert report.anchor_choice == ''
