"""What a user's config or command line sets, where a base has used its own value before: it wins, or the run stops."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config
from tiny_models import CONFIGS, TINY_MASK_RCNN, TINY_UPERNET

from mmlska.cli.setting_values import setting_value
from mmlska.engine.checks import check_data
from mmlska.engine.config import load_config, read_config
from mmlska.engine.config_parts import datasets_of
from mmlska.engine.console import changed_settings
from mmlska.engine.evaluator_files import check_evaluators
from mmlska.engine.known_keys import check_keys

SCENES = CONFIGS / 'demo/mask_rcnn_van_lska_t_scenes.py'
SHORT = 'train_cfg = dict(max_epochs=1, val_interval=1)\nparam_scheduler = []\ntrain_dataloader = dict(batch_size=4)\n'


@pytest.fixture
def derived(tmp_path):
    """Writes a config of some lines below another, and returns its file."""

    def write(lines: str, base: str | Path = SCENES, name: str = 'own.py') -> Path:
        file = tmp_path / name
        file.write_text(f'_base_ = {str(base)!r}\n{lines}\n')
        return file

    return write


@pytest.fixture
def two_sets(scenes, tmp_path):
    """The folder 'data/scenes', which the demo config names, and one's own beside it."""
    shutil.copytree(scenes, tmp_path / 'data/scenes')
    shutil.copytree(scenes, tmp_path / 'mine')
    return tmp_path


def test_data_root_alone_trains_on_those_data(command, two_sets):
    (two_sets / 'own.py').write_text(f"{TINY_MASK_RCNN}\n{SHORT}data_root = 'mine'\n")
    ended = command('train', 'own.py', '--no-report', '--seed', 0, cwd=two_sets)
    assert ended.code == 0, ended
    mine = f'{two_sets}/mine/'
    assert f'data_root={mine} takes the place of data/scenes/ in data sets and evaluators' in ended.out
    assert f'classes (circle, square, triangle, star, ring), in {mine}\n' in ended.out
    assert 'setting: train_cfg.max_epochs=1 (recipe: 6)' in ended.out
    ran = Config.fromfile(two_sets / 'work_dirs/own/own.py')
    assert {d.data_root for split in ('train', 'val', 'test') for d in datasets_of(ran, split)} == {mine}
    assert ran.val_evaluator.ann_file == f'{mine}annotations/instances_validation.json'


@pytest.mark.parametrize('suffix', ['.py', '.yml'])
def test_data_root_below_a_config_of_ones_own(derived, tmp_path, suffix):
    middle = derived("data_root = 'a/'\ntrain_dataloader = dict(dataset=dict(data_root=data_root))", name='middle.py')
    file = tmp_path / f'top{suffix}'
    file.write_text(
        "_base_ = 'middle.py'\ndata_root = 'b/'" if suffix == '.py' else '_base_: middle.py\ndata_root: b/\n'
    )
    assert middle.exists()
    cfg = load_config(str(file))
    assert {cfg[f'{split}_dataloader'].dataset.data_root for split in ('train', 'val', 'test')} == {'b/'}
    assert cfg.test_evaluator.ann_file == 'b/annotations/instances_validation.json'


def test_data_root_that_the_file_uses_itself_says_what_stays_in_the_base(derived):
    cfg, told = read_config(
        str(derived("data_root = 'a/'\ntrain_dataloader = dict(dataset=dict(data_root=data_root))"))
    )
    assert [cfg[f'{split}_dataloader'].dataset.data_root for split in ('train', 'val')] == ['a/', 'data/scenes/']
    assert told == [
        'val and test data stay in data/scenes/, where the base has them; set data_root in their data sets for others'
    ]


@pytest.mark.parametrize(
    'lines',
    [
        "val_evaluator = test_evaluator = dict(ann_file=data_root + 'annotations/instances_validation.json')",
        "train_dataloader = dict(dataset=dict(ann_file=data_root + 'annotations/instances_training.json'))",
        "val_evaluator = dict(ann_file=f'{data_root}annotations/instances_validation.json')",
        "load_from = data_root + 'weights.pth'",
    ],
)
def test_data_root_reaches_the_data_sets_where_the_file_uses_it_for_something_else(
    derived, monkeypatch, two_sets, lines
):
    monkeypatch.chdir(two_sets)
    cfg, told = read_config(str(derived(f"data_root = 'mine/'\n{lines}")))
    assert [cfg[f'{split}_dataloader'].dataset.data_root for split in ('train', 'val', 'test')] == [
        f'{two_sets}/mine/'
    ] * 3
    assert cfg.train_dataloader.dataset.ann_file == 'annotations/instances_training.json'
    check_data(cfg, ('train', 'val', 'test'))
    assert told == [f'data_root={two_sets}/mine/ takes the place of data/scenes/ in data sets and evaluators']


def test_a_data_set_with_a_folder_of_its_own_keeps_it(derived):
    file = derived("data_root = 'a/'\ntrain_dataloader = dict(dataset=dict(data_root='more/'))")
    cfg = load_config(str(file))
    assert (cfg.train_dataloader.dataset.data_root, cfg.val_dataloader.dataset.data_root) == ('more/', 'a/')


@pytest.mark.parametrize(
    ('lines', 'place', 'value', 'said'),
    [
        ('epochs = 3', 'train_cfg.max_epochs', 3, 'set by epochs: train_cfg.max_epochs, '),
        ("metainfo = dict(classes=('a b', 'c'))", 'val_dataloader.dataset.metainfo.classes', ('a b', 'c'), 'set by metainfo: '),
        ("train_pipeline = [dict(type='PackDetInputs')]", 'train_dataloader.dataset.pipeline', [dict(type='PackDetInputs')], 'set by tr'),
    ],
)  # fmt: skip
@pytest.mark.parametrize('how', ['file', 'option'])
def test_variables_of_the_base_reach_what_it_made_of_them(derived, lines, place, value, said, how):
    if how == 'file':
        cfg, told = read_config(str(derived(lines)))
    else:
        given: dict = {}
        exec(lines, given)  # the same words as in a file
        given.pop('__builtins__')
        cfg, told = read_config(str(SCENES), given)
    assert told[0].startswith(said)
    assert _at(cfg, place) == value


def test_a_setting_wins_over_a_variable_and_one_that_the_file_reads_is_its_own(derived):
    cfg, _ = read_config(str(SCENES), {'epochs': 9, 'train_cfg.max_epochs': 4})
    assert (cfg.train_cfg.max_epochs, cfg.param_scheduler[1].end) == (4, 9)
    cfg, told = read_config(str(derived('epochs = 9\ntrain_cfg = dict(max_epochs=epochs)')))
    assert (cfg.train_cfg.max_epochs, cfg.param_scheduler[1].end, told) == (9, 6, [])


def _at(node, place: str):
    for key in place.split('.'):
        node = node[int(key) if isinstance(node, list) else key]
    return node


@pytest.mark.parametrize(
    ('line', 'advice'),
    [
        ('num_classes = 3', 'set model.roi_head.mask_head.num_classes, model.roi_head.bbox_head.num_classes'),
        ('max_epochs = 5', 'set train_cfg.max_epochs'),
        ("classes = ('a b', 'c')", 'set metainfo=dict(classes=...) in each data set'),
        ('batch_size = 4', 'set train_dataloader.batch_size'),
        ('lr = 0.01', 'set optim_wrapper.optimizer.lr'),
        ('img_scale = (640, 640)', 'set scale of the Resize steps in each pipeline'),
        ('data = dict(samples_per_gpu=2)', 'set train_dataloader, val_dataloader and test_dataloader'),
        ('modle = dict(backbone=dict(depths=1))', 'did you mean model?'),
        ("train_dataloder = dict(batch_size=1)", 'did you mean train_dataloader?'),
    ],
)  # fmt: skip
def test_a_variable_without_effect_is_refused(refused, derived, line, advice):
    last = refused('train', derived(line, CONFIGS / 'mask_rcnn_van_lska_t.py'))
    assert f'setting {line.partition(" = ")[0]}=' in last
    assert 'has no effect' in last
    assert advice in last


@pytest.mark.parametrize(
    ('option', 'advice'),
    [
        ('modle.backbone.arch=s', 'the config has no modle; did you mean model?'),
        ('num_classes=3', 'set model.roi_head.'),
        ('train_dataloader.bach_size=2', 'did you mean batch_size?'),
        ('optim_wrapper.optimizer.lrr=0.1', 'AdamW takes no lrr; did you mean lr?'),
        ('optim_wrapper.clip_gard.max_norm=3', 'did you mean clip_grad?'),
        ('optim_wrapper.paramwise_cfg.norm_decay_mul=0', 'did you mean norm_decay_mult?'),
        ('train_cfg.max_epoch=5', 'did you mean max_epochs?'),
        ('train_cfg.max_iters=5', 'this training counts epochs and has max_epochs=6; set train_cfg.max_epochs alone'),
        ('default_hooks.checkpont.interval=2', 'did you mean checkpoint?'),
        ('default_hooks.logger.intervl=3', 'LoggerHook takes no intervl; did you mean interval?'),
        ('param_scheduler.0.edn=4', 'LinearLR takes no edn; did you mean end?'),
        ('param_scheduler.9.end=4', 'param_scheduler is a list of 2;'),
        ('train_cfg.max_epochs.x=4', 'train_cfg.max_epochs is 6 and has no parts'),
        ('randomness.sed=4', 'did you mean seed?'),
        ('env_cfg.cudnn_benchmrk=1', 'did you mean cudnn_benchmark?'),
        ('model.test_cfg.rcnn.score_th=.1', 'did you mean score_thr?'),
        ('model.backbone.drop_pathrate=.1', 'VAN_LSKA takes no drop_pathrate; did you mean drop_path_rate?'),
        ('val_evaluator.metrc=bbox', 'CocoMetric takes no metrc; did you mean metric?'),
        ('train_dataloader.dataset.pipeline.1.with_bbx=1', 'LoadAnnotations takes no with_bbx; did you mean with_bbox?'),
        ('train_dataloader.dataset.filter_cfg.min_siz=3', 'did you mean min_size?'),
        ('optim_wrapper.optimizer.type=AdmaW', "optim_wrapper.optimizer.type='AdmaW' is not known; did you mean AdamW?"),
        ('optim_wrapper.optimizer.type=Mine', 'give AdamW, SGD or another name of torch.optim'),
        ('param_scheduler.1.type=MultiSetpLR', 'did you mean MultiStepLR?'),
        ('val_evaluator.type=CocoMetrik', "val_evaluator.type='CocoMetrik' is not known; did you mean CocoMetric?"),
        ('model.roi_head.bbox_head.type=Shared2FCBBoxHaed', 'did you mean Shared2FCBBoxHead?'),
        ("a.b.=1", 'a.b.=1 is no setting; write KEY=VALUE'),
        ("data_root=[a", 'has a bracket that is not closed'),
    ],
)  # fmt: skip
def test_an_unknown_key_is_refused_before_anything_is_built(refused, tmp_path, option, advice):
    assert advice in refused('train', SCENES, '--cfg-options', option, cwd=tmp_path)
    assert not list(tmp_path.iterdir())


def test_classes_with_further_arguments_keep_them(tmp_path):
    cfg = load_config(str(SCENES))
    cfg.custom_hooks = [dict(type='EMAHook', momentum=1e-4, priority='LOW'), dict(type='NoSuchHook', anything=1)]
    cfg.model.backbone.norm_cfg = dict(type='BN', requires_grad=True)
    cfg.optim_wrapper.paramwise_cfg = dict(custom_keys={'norm': dict(lr_mult=1), 'norm1': dict(lr_mult=2)})
    check_keys(cfg)


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ("['traffic light','stop sign']", ['traffic light', 'stop sign']),
        ('[traffic light, stop sign]', ['traffic light', 'stop sign']),
        ("('fire hydrant',)", ('fire hydrant',)),
        ("'salt, pepper'", 'salt, pepper'),
        ('my photos/a,b=c/', 'my photos/a,b=c/'),
        ("[it's,O'Neil]", ["it's", "O'Neil"]),
        ('"[(a b,1),(c,-2.5e-4)]"', [('a b', 1), ('c', -2.5e-4)]),
        ("'12'", '12'),
        ('1e-3', 1e-3),
        ('None', None),
        ("dict(type='LN', eps=1e-6)", dict(type='LN', eps=1e-6)),
    ],
)
def test_values_on_the_command_line_keep_blanks_and_kinds(text, value):
    found = setting_value(text)
    assert found == value
    assert type(found) is type(value)


def test_classes_with_blanks_reach_training(command, two_sets):
    """The data have other names, which the message lists beside those that were given."""
    file = two_sets / 'own.py'
    file.write_text(TINY_MASK_RCNN)
    ended = command('train', file, '--cfg-options', "metainfo.classes=['traffic light','stop sign']", cwd=two_sets)
    assert ended.code == 2
    assert 'none of which the config knows (traffic light, stop sign)' in ended.last


@pytest.mark.parametrize('command_name', ['train', 'test'])
def test_evaluator_and_data_set_have_the_same_labels(refused, two_sets, tiny_models, command_name):
    file = two_sets / 'own.py'
    file.write_text(
        f"{TINY_MASK_RCNN}\nval_evaluator = test_evaluator = dict(ann_file='mine/annotations/instances_training.json')"
    )
    checkpoint = [tiny_models['mask_rcnn'].checkpoint] if command_name == 'test' else []
    last = refused(command_name, file, *checkpoint, cwd=two_sets)
    split = 'val' if command_name == 'train' else 'test'
    assert f'{split}_evaluator.ann_file is mine/annotations/instances_training.json and the data set' in last
    assert 'scenes/annotations/instances_validation.json; set both to the same file' in last


def test_an_evaluator_of_the_base_follows_the_data_set(derived):
    file = derived("val_dataloader = dict(dataset=dict(data_root='mine/', ann_file='val.json'))")
    cfg, told = read_config(str(file))
    assert cfg.val_evaluator.ann_file == 'mine/val.json'
    # Where the checkout has these data, with the folder above them.
    assert cfg.test_evaluator.ann_file.endswith('data/scenes/annotations/instances_validation.json')
    assert re.match('val_evaluator.ann_file=mine/val.json, as the data set; it was .*data/scenes/', told[0])
    assert re.match(r'test_dataloader has the data of the base still \(.*data/scenes/, annotations/', told[1])
    cfg, told = read_config(str(SCENES), {'test_dataloader.dataset.ann_file': 'b.json'})
    assert cfg.test_evaluator.ann_file.endswith('data/scenes/b.json')
    assert cfg.val_evaluator.ann_file.endswith('data/scenes/annotations/instances_validation.json')


def test_panoptic_data_sets_and_instances_have_files_of_their_own():
    data = dict(dataset=dict(type='CocoPanopticDataset', ann_file='panoptic.json'))
    metrics = [
        dict(type='CocoPanopticMetric', ann_file='panoptic.json'),
        dict(type='CocoMetric', ann_file='boxes.json'),
    ]
    check_evaluators(Config(dict(val_dataloader=data, val_evaluator=metrics)), ('val',))
    metrics[0]['ann_file'] = 'other.json'
    with pytest.raises(ValueError, match='val_evaluator.0.ann_file is other.json'):
        check_evaluators(Config(dict(val_dataloader=data, val_evaluator=metrics)), ('val',))


def test_a_head_may_take_a_key_of_its_loss_out():
    cfg = load_config('retinanet_van_lska_t')
    cfg.model.bbox_head.loss_cls.bg_cls_weight = 0.1
    check_keys(cfg)


def test_masks_are_compared_where_a_model_has_some(refused, two_sets):
    (two_sets / 'own.py').write_text(f"{TINY_MASK_RCNN}\nmodel['roi_head'] = dict(mask_head=None)")
    last = refused('train', 'own.py', cwd=two_sets)
    assert "val_evaluator.metric has 'segm' and the model MaskRCNN predicts no masks" in last


def test_segmentors_are_told_what_differs(command, scenes, tmp_path):
    (tmp_path / 'seg.py').write_text(f'{TINY_UPERNET}\niterations = 51\ndata_root = {str(scenes)!r}\n')
    ended = command(
        'train', 'seg.py', '--no-report', '--seed', 0, '--cfg-options', 'optim_wrapper.optimizer.lr=1e-3', cwd=tmp_path
    )
    assert ended.code == 0, ended
    assert 'set by iterations: train_cfg.max_iters, train_cfg.val_interval, param_scheduler.1.end\n' in ended.out
    assert 'setting: model.backbone.k_size=7 (recipe: 23)' in ended.out
    assert 'setting: optim_wrapper.optimizer.lr=0.001 (recipe: ' in ended.out
    assert ended.out.count('setting: ') == 10


def test_a_setting_that_the_config_does_not_have_is_left_out(derived):
    file = derived(
        "model = dict(backbone=dict(_delete_=True, type='VAN_LSKA', arch='s'), neck=dict(in_channels=[64, 128, 320, 512]))"
    )
    lines = changed_settings(load_config(str(file)), only='model.backbone.')
    assert "setting: model.backbone.arch='s' (recipe: 't')" in lines
    assert 'setting: model.backbone.k_size left out (recipe: 23)' in lines
    assert not [line for line in lines if '=None' in line]


def test_a_value_in_the_place_of_a_dict_is_one_line(derived, tmp_path):
    middle = derived(
        'model = dict(backbone=dict(arch=dict(_delete_=True, embed_dims=[8], depths=[1], ffn_ratios=[2])))',
        name='middle.py',
    )
    lines = changed_settings(
        load_config(str(derived("model = dict(backbone=dict(_delete_=True, type='VAN_LSKA', arch='s'))", middle)))
    )
    arch = [line for line in lines if 'backbone.arch' in line]
    assert arch == ["setting: model.backbone.arch='s' (recipe: {'embed_dims'..._ratios': [2]})"]
