"""What a user's config or command line sets, where a base has used its own value before: it wins, or the run stops."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config
from own_sets import annotation, coco, image, photo, simple
from tiny_models import CONFIGS, TINY_MASK_RCNN, TINY_UPERNET

from mmlska.cli.setting_values import setting_value
from mmlska.engine.config import load_config, read_config
from mmlska.engine.config_parts import datasets_of
from mmlska.engine.evaluator_files import check_evaluators
from mmlska.engine.known_keys import check_keys
from mmlska.engine.launch import prepared_config
from mmlska.engine.lock import unlock_work_dir
from mmlska.own_data.training import use_data_and_options

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


DETECTOR = f"""{TINY_MASK_RCNN}
model['roi_head'] = dict(bbox_head=dict(fc_out_channels=16), mask_head=dict(num_convs=1))
model['backbone']['init_cfg'] = None
train_dataloader = dict(batch_size=2)
"""


@pytest.fixture
def own_data(tmp_path):
    """A folder with photos of cats and dogs, and a config of a tiny detector."""
    (tmp_path / 'own.py').write_text(DETECTOR)
    simple(tmp_path / 'pets', 5)  # four to train on
    return tmp_path


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ('--epochs 2 --cfg-options train_cfg.max_epochs=1', '--epochs 2 and train_cfg.max_epochs=1 of --cfg-options are'),
        ('--epochs 2 --cfg-options train_cfg=dict(max_epochs=4)', 'train_cfg.max_epochs=4 of --cfg-options are two'),
        ('--cfg-options train_cfg.max_epochs=0', 'train_cfg.max_epochs=0 is impossible; use a whole number of 1 or more'),
        ('--cfg-options train_cfg.max_iters=9', 'this training counts epochs and has max_epochs=6; set train_cfg.max_epochs'),
        ('--cfg-options model.roi_head.bbox_head.num_classes=5', 'num_classes=5: pets has 2 classes (cat, dog); leave it'),
        ("--cfg-options train_dataloader.dataset.metainfo.classes=['cat']", '--data trains on all of them'),
        ("--cfg-options metainfo.classes=['cat']", "setting metainfo.classes=['cat']: pets has 2 classes (cat, dog)"),
        ('--cfg-options data_root=other/', "setting data_root='other/': the data are those of --data pets; give one"),
        ('--cfg-options test_dataloader.dataset.data_root=other/', 'the data are those of --data pets'),
        ('--cfg-options val_dataloader.dataset.ann_file=x.json', 'sets this itself; leave it out, or name the data in a'),
        ('--cfg-options val_evaluator.ann_file=x.json', "setting val_evaluator.ann_file='x.json': --data pets sets this"),
        ("--cfg-options train_dataloader.dataset=dict(data_prefix=dict(img='x'))", "dataset.data_prefix.img='x': --data"),
        ('--cfg-options train_dataloader.dataset.indices=2', 'train_dataloader.dataset.indices=2: --data pets sets this'),
    ],
)  # fmt: skip
def test_settings_that_data_would_overrule_are_refused(refused, own_data, options, said):
    before = sorted(path for path in own_data.rglob('*') if '__pycache__' not in path.parts)
    assert said in refused('train', 'own.py', '--data', 'pets', *options.split(), cwd=own_data)
    assert sorted(path for path in own_data.rglob('*') if '__pycache__' not in path.parts) == before


def test_settings_beside_data_are_kept(command, own_data):
    settings = {
        'train_cfg.max_epochs': 3,
        'train_cfg.val_interval': 2,
        'default_hooks.checkpoint.interval': 1,
        'default_hooks.checkpoint.max_keep_ckpts': 9,
        'default_hooks.logger.interval': 1,
        'param_scheduler.0.end': 4,
        'param_scheduler.1.begin': 1,
        'data_root': 'pets',
        'model.roi_head.mask_head.num_classes': 2,
        'train_dataloader.dataset.filter_cfg.min_size': 4,
        'val_evaluator.classwise': True,
        'metainfo.classes': "['cat','dog']",
        'work_dir': 'kept',
    }
    settings = [f'{key}={value}' for key, value in settings.items()]
    ended = command('train', 'own.py', '--data', 'pets', '--no-report', '--cfg-options', *settings, cwd=own_data)
    assert ended.code == 0, ended
    assert '6 iterations, 3 passes over the images' in ended.out
    assert '--data sets' not in ended.out
    ran = Config.fromfile(own_data / 'kept/own.py')
    assert {path.name for path in (own_data / 'kept').glob('epoch_*.pth')} == {f'epoch_{i}.pth' for i in (1, 2, 3)}
    assert (ran.train_cfg.max_epochs, ran.train_cfg.val_interval, ran.default_hooks.logger.interval) == (3, 2, 1)
    warm_up, cosine = ran.param_scheduler
    assert (warm_up.begin, warm_up.end) == (0, 4)  # iterations, as in the recipe
    assert (cosine.begin, cosine.end, cosine.by_epoch) == (2, 6, False)  # after an epoch, to the end
    assert ran.val_evaluator.classwise
    assert ran.train_dataloader.dataset.dataset.filter_cfg.min_size == 4


@pytest.mark.parametrize(
    ('settings', 'ends'),
    [
        (['epochs=4'], [1, 8]),  # a variable of the recipe, which its schedule uses
        (['train_cfg.max_epochs=4'], [1, 8]),
        (['epochs=3', 'train_cfg.max_epochs=4'], [1, 8]),
        (['train_cfg.max_epochs=4', 'param_scheduler.1.end=2'], [1, 4]),
        (["param_scheduler=[dict(type='MultiStepLR', milestones=[1, 3])]", 'epochs=4'], [[2, 6]]),
    ],
)
def test_a_length_among_the_settings_is_that_of_the_training(own_data, monkeypatch, settings, ends):
    monkeypatch.chdir(own_data)
    recipe = CONFIGS / 'demo/retinanet_van_lska_t_small.py'
    options = dict(option.split('=', 1) for option in settings)
    options = {key: setting_value(value) for key, value in options.items()} | {'train_dataloader.batch_size': 2}
    cfg = prepared_config(str(recipe), options, work_dir='work', launcher='none', seed=0)
    lines = use_data_and_options(cfg, 'pets', settings=options)
    unlock_work_dir('work')
    assert '8 iterations, 4 passes over the images' in lines[0]
    assert [s.get('milestones', s.end) for s in cfg.param_scheduler] == ends


def test_what_data_change_all_the_same_is_said(command, tmp_path):
    """Boxes of grey photos for a detector of colours."""
    for i in range(5):
        photo(tmp_path / f'grey/images/{i}.png', mode='L')
    coco(
        tmp_path / 'grey/all.json',
        [image(i, f'{i}.png') for i in range(5)],
        [annotation(i + 1, i, 1) for i in range(5)],
    )
    (tmp_path / 'own.py').write_text(DETECTOR)
    settings = ('model.data_preprocessor.std=[1,1,1]', 'train_cfg.max_epochs=1', 'optim_wrapper.optimizer.lr=1e-5')
    ended = command('train', 'own.py', '--data', 'grey', '--no-report', '--cfg-options', *settings, cwd=tmp_path)
    assert ended.code == 0, ended
    assert '--data sets model.data_preprocessor.std=[' in ended.out
    assert 'not [1, 1, 1] of --cfg-options' in ended.out
    assert ended.out.count('of --cfg-options') == 1


def test_a_length_of_ones_own_config_that_data_change_is_said(own_data, monkeypatch):
    monkeypatch.chdir(own_data)
    with open(own_data / 'own.py', 'a') as file:
        file.write('train_cfg = dict(max_epochs=3)')
    for own, said in (({}, True), (dict(epochs=3), False)):
        cfg = prepared_config('own.py', work_dir='work', launcher='none', seed=0)
        lines = use_data_and_options(cfg, 'pets', own)
        unlock_work_dir('work')
        line = 'train_cfg.max_epochs=3 of own.py became 300, to fit the number of images; --epochs 3 keeps it'
        assert (line in lines) is said
