"""A config and its data are compared before a training starts: files that are not there, the label 0, weights of classes."""

import shutil
from pathlib import Path

import pytest
from mmengine.config import Config
from own_sets import annotation, coco, image, mask, photo, stripes
from tiny_models import TINY_MASK_RCNN, TINY_UPERNET

from mmlska.engine.class_weights import check_class_weights
from mmlska.engine.config import load_config
from mmlska.own_data.config_doubts import config_doubts

DETECTOR = f"""{TINY_MASK_RCNN}
model['roi_head'] = dict(bbox_head=dict(fc_out_channels=16, num_classes=2), mask_head=dict(num_convs=1, num_classes=2))
data_root = 'set/'
_data = dict(ann_file='train.json', data_prefix=dict(img='train/'), data_root=data_root, metainfo=dict(classes=('cat', 'dog')))
train_dataloader = dict(batch_size=2, dataset=_data)
val_dataloader = dict(dataset=dict(_data, ann_file='val.json', data_prefix=dict(img='val/')))
val_evaluator = dict(ann_file='set/val.json')
"""
SEGMENTOR = f"""{TINY_UPERNET}
model['decode_head']['num_classes'] = model['auxiliary_head']['num_classes'] = 3
data_root = 'set/'
_data = dict(_delete_=True, type='BaseSegDataset', data_root=data_root, metainfo=dict(classes=('background', 'cat', 'dog')),
             data_prefix=dict(img_path='train', seg_map_path='masks'), img_suffix='.png', seg_map_suffix='.png',
             pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')])
train_dataloader['dataset'] = _data
val_dataloader = test_dataloader = dict(dataset=_data)
train_cfg = dict(max_iters=2, val_interval=2)
"""
LOADER = "_data['pipeline'][1]"


@pytest.fixture
def folder(tmp_path) -> Path:
    """Six photos to train on and two others of the same names to validate on, with masks; a config of a detector and a segmentor."""
    for split, count in (('train', 6), ('val', 2)):
        for number in range(count):
            photo(tmp_path / f'set/{split}/{number}.png')
            mask(tmp_path / f'set/masks/{number}.png', stripes([0, 1, 2]))
        images, labels = zip(*((image(i, f'{i}.png'), annotation(i + 1, i, 1 + i % 2)) for i in range(count)))
        coco(tmp_path / f'set/{split}.json', images, labels)
    (tmp_path / 'det.py').write_text(DETECTOR)
    (tmp_path / 'seg.py').write_text(SEGMENTOR)
    return tmp_path


@pytest.fixture
def refuses(refused, folder):
    """The line with which a training of a config with more settings is refused, paths within the folder; it leaves no work directory."""

    def run(config: str, text: str = '', *options) -> str:
        with open(folder / config, 'a') as file:
            file.write(text)
        line = refused('train', config, *options, cwd=folder)
        assert not (folder / 'work_dirs').exists()
        return line.replace(f'{folder}/', '')

    return run


@pytest.mark.parametrize(
    ('config', 'text', 'said'),
    [
        (
            'det.py',
            "val_dataloader['dataset']['ann_file'] = 'train.json'\nval_evaluator['ann_file'] = 'set/train.json'\n",
            'val data: 4 of 6 images of set/train.json are not there, such as set/val/2.png; data_root, ann_file and the folder',
        ),
        (
            'det.py',
            "train_dataloader['dataset'] = dict(_data, data_prefix=dict(img='val/'))\n",
            'train data: 4 of 6 images of set/train.json are not there, such as set/val/2.png',
        ),
        (
            'seg.py',
            "_data['seg_map_suffix'] = '_mask.png'\n",
            'train data: 6 of 6 label maps are not there, such as set/masks/0_mask.png; seg_map_path in data_prefix and',
        ),
        ('seg.py', "_data['seg_map_suffix'] = '.tif'\n", 'such as set/masks/0.tif (0.png is)'),
        (
            'seg.py',
            "_data['img_suffix'] = '.jpg'\n",
            "img_suffix is '.jpg' and set/train has 6 images that end in .png; set img_suffix='.png'",
        ),
    ],
)
def test_photos_and_label_maps_that_are_not_there(refuses, config, text, said):
    line = refuses(config, text)
    assert said in line
    assert '--skip-bad-images' not in line


def test_a_single_photo_that_is_not_there(refuses, folder, command):
    (folder / 'set/train/3.png').unlink()
    line = refuses('det.py')
    assert '/3.png is not there and cannot be used (missing: 1 of 6 images of set/train.json): put it there' in line
    assert 'or give --skip-bad-images N' in line
    options = ('--no-report', '--cfg-options', 'val_dataloader=None', 'val_evaluator=None', 'val_cfg=None')
    names = ('experiment_name=gone', 'visualizer.name=gone', 'train_dataloader.num_workers=0')
    ended = command(
        'train', 'det.py', '--epochs', 1, '--skip-bad-images', 1, *options, *names, cwd=folder
    )  # as it says
    assert ended.code == 0, ended


def test_a_photo_that_is_not_there_in_a_test(tiny_models, scenes, tmp_path, refused):
    shutil.copytree(scenes, tmp_path / 'scenes')
    gone = next(tmp_path.glob('scenes/images/validation/*'))
    gone.unlink()
    model, root = tiny_models['retinanet'], f'data_root={tmp_path}/scenes/'
    line = refused('test', model.config, model.checkpoint, '--cfg-options', root, cwd=tmp_path)
    assert 'test data: 1 of 2 images' in line
    assert gone.name in line


@pytest.mark.parametrize(
    ('config', 'text', 'said'),
    [
        (
            'det.py',
            "val_dataloader['dataset'] = dict(_data, ann_file='val.json', data_prefix=dict(img='valid/'))\n",
            'set/valid does not exist: set holds masks, train, train.json, val, val.json (did you mean val?); correct data_prefix.img',
        ),
        (
            'det.py',
            "train_dataloader['dataset'] = dict(_data, ann_file='annotations/train.json')\n",
            'set/annotations/train.json does not exist: set holds masks, train, train.json, val, val.json (did you mean train.json?)',
        ),
        (
            'seg.py',
            "_data['ann_file'] = 'splits/train.txt'\n",
            "correct ann_file of the train data set, or data_root, or leave it out (ann_file='') to take all images",
        ),
        (
            'seg.py',
            "_data['data_prefix']['seg_map_path'] = 'train/mask'\n",
            'correct data_prefix.seg_map_path of the train',
        ),
        (
            'det.py',
            "data_root = _data['data_root'] = val_dataloader['dataset']['data_root'] = 'sets/'\n"
            "val_evaluator['ann_file'] = 'sets/val.json'\n",
            'and its data_root does not exist (did you mean set?)',
        ),
    ],
)
def test_folders_of_the_user_are_not_made_by_a_generator(refuses, config, text, said):
    line = refuses(config, text)
    assert said in line
    assert 'make-scenes' not in line


def test_data_of_a_recipe_are_told_how_to_get(refused, tmp_path):
    line = refused('train', 'upernet_van_lska_t_scenes', '--cfg-options', f'data_root={tmp_path}/none', cwd=tmp_path)
    assert f'make it with: mmlska make-scenes {tmp_path}/none; data elsewhere' in line


ZERO = 'set the same in both: False if label 0 is a class, True if it is none'


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        (
            f"{LOADER}['reduce_zero_label'] = True\n",
            f'is False in the data set (BaseSegDataset) and True in LoadAnnotations of its pipeline; {ZERO}',
        ),
        (
            f"_data['reduce_zero_label'] = True\n{LOADER}['reduce_zero_label'] = False\n",
            'is True in the data set (BaseSegDataset) and False',
        ),
        (
            f"{LOADER}['reduce_zero_label'] = True\n_inner = dict(_data)\n_inner.pop('_delete_')\n"
            "train_dataloader['dataset'] = dict(_delete_=True, type='RepeatDataset', times=2, dataset=_inner)\n",
            'is False in the data set (BaseSegDataset) and True',
        ),
        (
            "_data['type'] = 'ADE20KDataset'\n_data['metainfo'] = dict(classes=('wall', 'sky', 'car'))\n"
            f"{LOADER}['reduce_zero_label'] = False\n",
            'is True in the data set (ADE20KDataset) and False',
        ),
    ],
)
def test_data_set_and_pipeline_read_the_label_0_alike(refuses, text, said):
    assert f'train data: reduce_zero_label {said}' in refuses('seg.py', text)


@pytest.mark.parametrize(('values', 'warned'), [((0, 1, 2, 255), True), ((0, 1, 2, 3), False)])
def test_labels_from_0_with_reduce_zero_label(command, folder, values, warned):
    for file in (folder / 'set/masks').iterdir():
        mask(file, stripes(values))
    with open(folder / 'seg.py', 'a') as file:
        file.write(
            "_data['reduce_zero_label'] = True\nmodel['decode_head']['loss_decode'] = dict(class_weight=[0.5, 1, 1])\n"
        )
    names = (f'experiment_name={folder.name}', f'visualizer.name={folder.name}')
    ended = command('train', 'seg.py', '--no-report', '--cfg-options', *names, cwd=folder)
    assert ended.code == 0, ended
    said = 'dog has no pixel in 6 label maps of the train data; if label 0 is background, set reduce_zero_label=False'
    assert (said in ' '.join((ended.out + ended.err).split())) == warned


def test_what_all_files_fail_at_is_a_setting(refused, folder):
    with open(folder / 'seg.py', 'a') as file:
        file.write(f"{LOADER}['imdecode_backend'] = 'none'\n")
    line = refused('train', 'seg.py', cwd=folder)
    assert 'the step LoadAnnotations of the pipeline fails on every image that was tried' in line
    assert '--skip-bad-images' not in line


def test_a_label_of_no_class_in_all_files_is_a_setting(refused, folder):
    for path in (folder / 'set/masks').iterdir():
        mask(path, stripes([0, 1, 7]))
    line = refused('train', 'seg.py', cwd=folder)
    assert '3 other files fail in the same way: a setting is probably wrong' in line
    assert '--skip-bad-images' not in line


@pytest.mark.parametrize(
    ('config', 'text', 'said'),
    [
        (
            'seg.py',
            "model['decode_head']['loss_decode'] = dict(class_weight=[0.5, 1, 1, 1])\n",
            'model.decode_head.loss_decode.class_weight has 4 values, but model.decode_head tells 3 classes apart; give it 3',
        ),
        (
            'seg.py',
            "model['auxiliary_head']['loss_decode'] = [dict(type='CrossEntropyLoss', class_weight=[1, 1])]\n",
            'model.auxiliary_head.loss_decode.0.class_weight has 2 values',
        ),
        (
            'det.py',
            "model['roi_head']['bbox_head']['loss_cls'] = dict(class_weight=[1, 2])\n",
            'model.roi_head.bbox_head tells 3 classes apart, the background last; give it 3 values',
        ),
    ],
)
def test_weights_of_classes(refuses, config, text, said):
    assert said in refuses(config, text)


@pytest.mark.parametrize(
    'head',
    [
        dict(loss_decode=dict(type='CrossEntropyLoss', class_weight=[0.5, 1, 1])),
        dict(loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True, class_weight=[2.0]), out_channels=1),
        dict(loss_cls=dict(type='CrossEntropyLoss', class_weight=[1, 1, 1, 0.1])),
        dict(loss_cls=dict(type='FocalLoss', class_weight=[1])),
        dict(type='mmseg.SideAdapterCLIPHead', loss_decode=dict(type='CrossEntropyLoss', class_weight=[1, 1, 1, 0.1])),
    ],
)
def test_weights_that_fit(head):
    check_class_weights(Config(dict(default_scope='mmdet', model=dict(head=dict(head, num_classes=3)))))


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('val_evaluator = None\n', 'val_evaluator is None and val_dataloader and val_cfg not; set all three to None'),
        (
            'val_dataloader = None\n',
            '(--cfg-options val_dataloader=None val_evaluator=None val_cfg=None), or none of them',
        ),
        ('test_cfg = test_evaluator = None\n', 'test_evaluator and test_cfg are None and test_dataloader not'),
        (
            'optim_wrapper = None\n',
            'the config has no optim_wrapper, without which MMEngine cannot train; add',
        ),
    ],
)
def test_parts_of_a_loop_that_are_off_in_part(refuses, text, said):
    line = refuses('det.py', text)
    assert said in line
    assert len(line) < 300


def test_what_cannot_be_read_is_not_doubted(folder, monkeypatch):
    """A data set of mmseg asserts that its list is there."""
    monkeypatch.chdir(folder)
    cfg = load_config('seg.py')
    cfg.train_dataloader.dataset.ann_file = 'splits/train.txt'
    assert [line for line in config_doubts(cfg) if 'train data' in line] == []
