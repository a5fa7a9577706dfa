"""Model, data and settings are compared before a training starts: one line for what does not fit, and no work directory."""

import pytest
import torch
from mmengine.config import Config
from own_sets import annotation, coco, photo
from tiny_models import CONFIGS
from two_class_set import DETECTOR, IMAGES, LABELS, change

from mmlska.engine.config import load_config
from mmlska.engine.metric_checks import check_followed_metrics

ONE = "metainfo.update(classes=('cat',))\n"


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        (
            "metainfo['classes'] = ('cat', 'dog')\nmodel['roi_head']['bbox_head']['num_classes'] = 5\n",
            'num_classes=5, but the train data has 2',
        ),
        (ONE, 'set --cfg-options model.roi_head.mask_head.num_classes=1 model.roi_head.bbox_head.num_classes=1'),
        (
            "metainfo.update(classes='cat')\n",
            "metainfo.classes='cat' is a text and not a list of names; write metainfo=dict(classes=('cat',))",
        ),
        ("metainfo.update(classes=('cat', 'cat'))\n", "has 'cat' twice"),
        ('metainfo.update(classes=(1, 2))\n', "is no list of names; write them as ('cat', 'dog')"),
        ("metainfo.update(CLASSES=metainfo.pop('classes'))\n", 'metainfo.CLASSES is not read; write metainfo.classes'),
        (
            "metainfo.update(classes=('person', 'car'))\n",
            'none of which the config knows (person, car); set metainfo.classes of the',
        ),
        ("metainfo.update(classes=('cat', 'dgo'))\n", 'has the classes cat, dog, but not dgo of the config'),
        ("metainfo.update(classes=('dog', 'cat'))\n", "set metainfo.classes=('cat', 'dog')"),
        (
            "val_dataloader['dataset'] = dict(_data, ann_file='val.json', metainfo=dict(classes=('dog',)))\n",
            'val data has 1 class (dog), the train data 2',
        ),
    ],
)
def test_classes_of_config_heads_and_files(refuses, text, said):
    assert said in refuses('det.py', text)


@pytest.mark.parametrize(
    ('names', 'said'),
    [
        (('acorn', 'leaf'), 'has the classes acorn, leaf, none of which the config knows (person, bicycle, '),
        (
            ('cat', 'dog'),
            'has the classes cat, dog, but not person, bicycle, car, motorcycle, airplane, ... of the config',
        ),
    ],
)
def test_data_without_metainfo(refuses, folder, names, said):
    (folder / 'det.py').write_text(DETECTOR.replace(', metainfo=metainfo', ', metainfo=dict(_delete_=True)'))
    coco(folder / 'set/train.json', IMAGES, LABELS, enumerate(names, start=1))
    line = refuses('det.py')
    assert said in line
    assert f'metainfo.classes={names}' in line


@pytest.mark.parametrize(
    ('config', 'text', 'said'),
    [
        (
            'det.py',
            "model['neck'] = dict(in_channels=[8, 8, 8, 16])\n",
            'set --cfg-options model.neck.in_channels=[8,8,8,8]',
        ),
        ('det.py', "model['backbone'] = dict(arch='s', init_cfg=None)\n", 'model.neck.in_channels=[64,128,320,512]'),
        ('det.py', "model['backbone']['out_indices'] = (1, 2, 3)\n", 'the backbone gives 3 maps of [8, 8, 8] channels'),
        ('det.py', "model['neck']['num_outs'] = 4\n", 'has anchors for 5 maps'),
        ('det.py', "model['neck']['out_channels'] = 32\n", 'model.rpn_head.in_channels=64 does not fit'),
        ('seg.py', "model['decode_head']['in_channels'] = [8, 8, 8, 16]\n", 'model.decode_head.in_channels=[8,8,8,8]'),
        (
            'seg.py',
            "model['auxiliary_head']['in_index'] = 4\n",
            'model.auxiliary_head.in_index=4 asks for a map that is not there',
        ),
        (
            'seg.py',
            "model['auxiliary_head']['in_channels'] = 16\n",
            'set --cfg-options model.auxiliary_head.in_channels=8',
        ),
        (
            'seg.py',
            "train_dataloader['batch_size'] = 1\n",
            'model.decode_head (UPerHead) cannot train with train_dataloader.batch_size=1',
        ),
    ],
)
def test_parts_of_a_model_that_do_not_fit(refuses, config, text, said):
    assert said in refuses(config, text)


def test_parts_are_compared_before_a_folder_is_read_into_the_work_directory(refuses):
    line = refuses('det.py', "model['neck'] = dict(in_channels=[8, 8, 8, 16])\n", '--data', 'set')
    assert 'model.neck.in_channels=[8,8,8,8]' in line


@pytest.mark.parametrize(
    ('file', 'lists', 'said'),
    [
        (
            'train',
            dict(annotations=[*LABELS, LABELS[0]]),
            'train.json has two annotations with the id 1; give each its own',
        ),
        ('train', dict(images=[*IMAGES, dict(IMAGES[0], file_name='3.png')]), 'two images with the id 0'),
        ('train', dict(categories=[dict(id=1, name='cat'), dict(id=1, name='dog')]), 'two categories with the id 1'),
        ('val', dict(annotations=[*LABELS[:2], LABELS[1]]), 'val.json has two annotations with the id 2'),
        (
            'val',
            dict(annotations=[]),
            'every metric would be -1; label some images, or train without validation: --cfg-options',
        ),
        (
            'val',
            dict(annotations=[annotation(1, 0, 1, iscrowd=1)]),
            'has crowds (iscrowd) alone, 1 of them, so every metric',
        ),
        (
            'train',
            dict(annotations=[one | dict(iscrowd=1) for one in LABELS]),
            'train.json has 4 annotations of the classes of the config, all of them crowds (iscrowd) or ignored',
        ),
        (
            'train',
            dict(annotations=[LABELS[0] | dict(iscrowd=1), LABELS[1] | dict(ignore=1)]),
            'of which nothing is learned; write 0 there for single objects',
        ),
        ('val', dict(annotations=[annotation(1, 0, 7)]), 'has no annotation of the classes of the config'),
    ],
)
def test_annotation_files(refuses, folder, file, lists, said):
    change(folder / f'set/{file}.json', **lists)
    assert said in refuses('det.py')


@pytest.mark.parametrize(
    ('config', 'text', 'said'),
    [
        (
            'seg.py',
            "param_scheduler = [dict(type='PolyLR', begin=1500, end=4, by_epoch=False)]\n",
            'begins at 1500 iterations and ends at 4 and the training has 4',
        ),
        (
            'seg.py',
            "train_cfg['max_iters'] = 0\n",
            'train_cfg.max_iters=0 is impossible; use a whole number of 1 or more',
        ),
        (
            'det.py',
            "train_dataloader['drop_last'] = True\ntrain_dataloader['batch_size'] = 5\n",
            'make no batch of 5, and drop_last leaves them out',
        ),
        (
            'seg.py',
            "train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=1, val_interval=1)\n"
            "train_dataloader.update(batch_size=3, sampler=dict(type='DefaultSampler', shuffle=True))\n"
            'param_scheduler = []\n',
            'the last batch of an epoch has 1 of 4 images, on which BatchNorm cannot train; set --cfg-options',
        ),
    ],
)
def test_lengths_that_cannot_be(refuses, config, text, said):
    assert said in refuses(config, text)


def test_a_validation_without_labels_in_a_folder(refuses, folder):
    for split, numbers in (('train', range(3)), ('val', [3])):
        for number in numbers:
            photo(folder / f'own/{split}/images/{number}.png')
            labels = folder / f'own/{split}/labels/{number}.txt'
            labels.parent.mkdir(exist_ok=True)
            labels.write_text('0 0.3 0.3 0.6 0.3 0.6 0.6 0.3 0.6' if split == 'train' else '')
    assert 'none of the 1 image for validation has a label' in refuses('det.py', '', '--data', 'own')


EARLY = "custom_hooks = [dict(type='EarlyStoppingHook', monitor={!r}, rule='greater')]\n"
BEST = 'default_hooks = dict(checkpoint=dict(save_best={!r}))\n'
PLATEAU = "param_scheduler = [dict(type='ReduceOnPlateauLR', monitor='bbox_mAP')]\n"


@pytest.mark.parametrize(
    ('config', 'text', 'said'),
    [
        ('seg.py', BEST.format('bbox_mAP'), 'IoUMetric of val_evaluator gives mIoU, aAcc, mAcc; set --cfg-options default_'),
        ('seg.py', BEST.format('mDice'), 'checkpoint.save_best=mIoU, or val_evaluator.iou_metrics=[mIoU,mDice]'),
        ('seg.py', BEST.format(['mIoU', 'miou']), "checkpoint.save_best.1='miou' is no metric of the validation"),
        ('seg.py', EARLY.format('macc'), 'set --cfg-options custom_hooks.0.monitor=mAcc'),
        ('det.py', BEST.format('bbox_mAP'), 'set --cfg-options default_hooks.checkpoint.save_best=coco/bbox_mAP'),
        ('det.py', BEST.format('coco/mask_mAP'), 'gives coco/bbox_mAP, coco/bbox_mAP_50, '),
        ('det.py', EARLY.format('segm_map_50'), 'set --cfg-options custom_hooks.0.monitor=coco/segm_mAP_50'),
        ('det.py', PLATEAU, 'set --cfg-options param_scheduler.0.monitor=coco/bbox_mAP'),
        (
            'seg.py',
            "val_evaluator = dict(iou_metrics=['mFscore'])\n" + BEST.format('mFscore'),
            'MMEngine does not know whether more of it is better; set --cfg-options default_hooks.checkpoint.rule=greater',
        ),
    ],
)  # fmt: skip
def test_metrics_that_a_training_follows(refuses, config, text, said):
    assert said in refuses(config, text)


@pytest.mark.parametrize(
    'settings',
    [
        {'default_hooks.checkpoint.save_best': ['coco/segm_mAP', 'coco/bbox_mAP_s']},
        {'default_hooks.checkpoint.save_best': 'coco/cat_precision', 'val_evaluator.classwise': True},
        {'default_hooks.checkpoint.save_best': 'mine/AR@1000', 'val_evaluator.prefix': 'mine', 'val_evaluator.metric': 'proposal'},
        {'default_hooks.checkpoint.save_best': 'map', 'val_evaluator.type': 'MyMetric'},
        {'default_hooks.checkpoint.save_best': 'anything', 'val_dataloader': None},
        {'default_hooks.checkpoint': None},
    ],
)  # fmt: skip
def test_metrics_that_are_given_or_not_known_are_followed(settings):
    check_followed_metrics(load_config('mask_rcnn_van_lska_t_scenes', settings))


def test_metrics_of_the_package_are_given():
    for path in sorted(CONFIGS.glob('**/*_van_lska_*.py')):
        check_followed_metrics(load_config(str(path)))


EPOCHS = (
    "train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=2, val_interval=1)\nparam_scheduler = []\n"
)


def test_an_epoch_and_a_validation_end(command, folder):
    with open(folder / 'seg.py', 'a') as file:
        file.write(f"{EPOCHS}val_dataloader['sampler'] = dict(type='InfiniteSampler', shuffle=True)\n")
    ended = command('train', 'seg.py', '--no-report', '--cfg-options', 'model.backbone.init_cfg=None', cwd=folder)
    assert ended.code == 0, ended
    line = 'sampler.type=DefaultSampler: {}, and InfiniteSampler never ends\n'
    assert f'train_dataloader.{line.format("the training counts epochs")}' in ended.out
    assert f'val_dataloader.{line.format("a validation has to end")}' in ended.out
    rows = [line.split()[0] for line in ended.out.splitlines() if line.strip().startswith(('1 ', '2 '))]
    assert rows == ['1', '2']
    assert (folder / 'work_dirs/seg/iter_4.pth').is_file()
    cfg = Config.fromfile(folder / 'work_dirs/seg/seg.py')
    assert cfg.train_dataloader.sampler == dict(type='DefaultSampler', shuffle=True)
    assert cfg.val_dataloader.sampler == dict(type='DefaultSampler', shuffle=False)


@pytest.mark.parametrize(
    ('config', 'text', 'said'),
    [
        (
            'seg.py',
            f"{EPOCHS}train_dataloader['sampler'] = dict(type='MultiSourceSampler', source_ratio=[1, 1])\n",
            'train_dataloader.sampler.type=MultiSourceSampler never ends and the training counts epochs; train by iterations',
        ),
        (
            'seg.py',
            "train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2)\n",
            'this training counts epochs and has max_epochs=2; set train_cfg.max_epochs alone (in a file by',
        ),
        ('seg.py', 'train_cfg = dict(max_epochs=2)\n', 'this training counts iterations and has max_iters=1400'),
        ('det.py', 'train_cfg = dict(max_iters=2)\n', 'this training counts epochs and has max_epochs=6'),
    ],
)
def test_epochs_beside_what_counts_iterations(refuses, config, text, said):
    assert said in refuses(config, text)


def test_iterations_with_a_sampler_that_ends(command, folder):
    loop = "train_cfg=dict(_delete_=True, type='IterBasedTrainLoop', max_iters=5, val_interval=5)"
    settings = (loop, 'model.backbone.init_cfg=None', 'param_scheduler=[]')
    ended = command('train', 'det.py', '--no-report', '--cfg-options', *settings, cwd=folder)
    assert ended.code == 0, ended
    assert (
        'default_hooks.checkpoint counts epochs and the training iterations: there is one checkpoint, at the'
        in ended.out
    )
    checkpoint = torch.load(folder / 'work_dirs/det/epoch_1.pth', weights_only=False)
    assert checkpoint['meta']['iter'] == 5  # of two in a pass


QUICK = ('--no-report', '--cfg-options', 'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=True')


def test_what_the_lines_advise_trains(command, folder):
    """Without validation; without workers, for which the config has settings; in one iteration; then from those weights."""
    change(folder / 'set/val.json', annotations=[])
    loader = 'train_dataloader.update(batch_size=4, prefetch_factor=2)\nmodel["backbone"]["init_cfg"] = None\n'
    (folder / 'det.py').write_text(f"{DETECTOR}{loader}experiment_name = 'advice'\nvisualizer = dict(name='advice')\n")
    without = ('val_dataloader=None', 'val_evaluator=None', 'val_cfg=None')
    ended = command('train', 'det.py', '--epochs', 1, *QUICK, *without, cwd=folder)
    assert ended.code == 0, ended
    assert 'this training has one iteration in all, in which a model learns nothing; give more --epochs' in ended.out
    assert (folder / 'work_dirs/det/epoch_1.pth').is_file()

    other = (
        (folder / 'det.py').read_text().replace('num_classes=2', 'num_classes=1').replace("('cat', 'dog')", "('dog',)")
    )
    (folder / 'det.py').write_text(other)
    before = sorted(folder.rglob('work_dirs/*'))
    ended = command('train', 'det.py', '--epochs', 2, '--resume', *QUICK, *without, cwd=folder)
    assert ended.code == 2
    assert 'epoch_1.pth was trained on 2 classes (cat, dog), this config has 1 class (dog); resume with' in ended.last
    assert sorted(folder.rglob('work_dirs/*')) == before
    start = f'load_from={folder}/work_dirs/det/epoch_1.pth'
    ended = command('train', 'det.py', '--epochs', 1, '--work-dir', 'new', *QUICK, *without, start, cwd=folder)
    assert ended.code == 0, ended
