"""Settings for grey photos that do not agree: refused before a training, with what fits, by the data as the pipelines give them."""

import re
import shlex

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from tiny_models import TINY_MASK_RCNN, TINY_UPERNET

from mmlska.engine.config import load_config

ONE = 'model["backbone"].update(in_channels=1)\n'
GREY_MEAN = 'model["data_preprocessor"] = dict(mean=[100.0], std=[60.0], bgr_to_rgb=False)\n'


def pipelines(*splits: str, kind: str = 'Det') -> str:
    """Pipelines that read grey photos for these splits."""
    labels = 'with_bbox=True, with_mask=True' if kind == 'Det' else 'reduce_zero_label=True'
    pack = "meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')" if kind == 'Det' else ''
    steps = (
        "[dict(type='LoadImageFromFile', color_type='grayscale'), "
        f"dict(type='LoadAnnotations', {labels}), dict(type='Resize', scale=(96, 96)), dict(type='Pack{kind}Inputs', {pack})]"
    )
    return ''.join(f'{split}_dataloader = dict(dataset=dict(pipeline={steps}))\n' for split in splits)


@pytest.fixture
def config_of(tmp_path, scenes):
    def write(text: str, base: str = TINY_MASK_RCNN):
        file = tmp_path / 'c.py'
        length = 'max_epochs=1' if base == TINY_MASK_RCNN else 'max_iters=1, val_interval=1'
        file.write_text(f'{base}\ntrain_cfg = dict({length})\ndata_root = {f"{scenes}/"!r}\n{text}')
        return file

    return write


DISAGREE = {
    'grey photos, mean of three': (
        pipelines('train', 'val', 'test'),
        'train data: its pipeline gives images of 1 channel',
        'mean has 3',
    ),
    'one channel, mean of three': (
        pipelines('train', 'val', 'test') + ONE,
        'gives images of 1 channel',
        'mean has 3 values',
    ),
    'one channel, photos in colours': (
        ONE,
        'gives images of 3 channels',
        'in_channels is 1; for grey images set color_type=',
    ),
    'the same, mean of one': (ONE + GREY_MEAN, 'gives images of 3 channels', 'in_channels is 1'),
    'grey for training alone': (
        pipelines('train') + ONE + GREY_MEAN,
        'val data: its pipeline gives images of 3',
        'train data gives 1',
    ),
    'grey for validation alone': (
        pipelines('val'),
        'val data: its pipeline gives images of 1 channel',
        'the train data gives 3',
    ),
    'grey, order of three colours': (
        pipelines('train', 'val', 'test') + ONE + 'model["data_preprocessor"] = dict(mean=[100.0], std=[60.0])\n',
        'gives images of 1 channel, and model.data_preprocessor.bgr_to_rgb takes 3',
        'model.data_preprocessor.bgr_to_rgb=False',
    ),
}


@pytest.mark.parametrize('case', DISAGREE)
def test_channels_that_do_not_agree_are_refused_before_the_training(case, config_of, refused, tmp_path):
    text, *wanted = DISAGREE[case]
    config = config_of(text)
    line = refused('train', config, '--work-dir', tmp_path / 'work')
    assert all(part in line for part in wanted), line
    assert not list((tmp_path / 'work').glob('*/vis_data'))


@pytest.mark.parametrize('case', ['one channel, mean of three', 'grey for validation alone'])
def test_check_of_a_config_names_channels_that_do_not_agree(case, config_of, command):
    text, *wanted = DISAGREE[case]
    ended = command('check', config_of(text))
    assert ended.code == 1
    assert all(part in ended.out for part in wanted), ended.out


def test_a_segmentor_of_one_channel_and_photos_in_colours(config_of, refused, tmp_path):
    line = refused('train', config_of(ONE, TINY_UPERNET), '--work-dir', tmp_path / 'work')
    assert 'gives images of 3 channels, and model.backbone.in_channels is 1' in line


def test_the_advice_works(config_of, refused, command, tmp_path):
    config = config_of(pipelines('train', 'val', 'test'))
    line = refused('train', config, '--work-dir', tmp_path / 'work')
    options = shlex.split(re.search(r'--cfg-options (.*?);', line)[1])
    ended = command('train', config, '--work-dir', tmp_path / 'work', '--no-report', '--cfg-options', *options)
    assert ended.code == 0, ended.err


def test_segmentors_that_repeat_a_grey_channel_train_on(config_of, command, tmp_path):
    """mmseg's preprocessor with a mean of three makes three channels of one."""
    config = config_of(pipelines('train', 'val', 'test', kind='Seg'), TINY_UPERNET)
    ended = command('train', config, '--work-dir', tmp_path / 'work', '--no-report')
    assert ended.code == 0, ended.err
    assert command('check', config).code == 0


@pytest.mark.parametrize('tool', ['test', 'test --tta', 'browse-errors'])
def test_tools_refuse_a_model_of_one_channel_for_photos_in_colours(tool, tiny_models, refused, tmp_path):
    cfg = load_config(str(tiny_models['retinanet'].config))
    cfg.model.backbone.in_channels = 1
    cfg.dump(tmp_path / 'one.py')
    name, *options = tool.split()
    out = ('--out', tmp_path / 'out') if name == 'browse-errors' else ('--work-dir', tmp_path / 'work')
    line = refused(name, tmp_path / 'one.py', tiny_models['retinanet'].checkpoint, *options, *out)
    assert 'test data: its pipeline gives images of 3 channels' in line or 'in_channels' in line


def test_predict_says_what_a_grey_loader_lacks(tiny_models, refused, scenes, tmp_path):
    cfg = load_config(str(tiny_models['retinanet'].config))
    cfg.test_dataloader.dataset.pipeline[0].color_type = 'grayscale'
    cfg.dump(tmp_path / 'grey.py')
    options = ('--config', tmp_path / 'grey.py', '--checkpoint', tiny_models['retinanet'].checkpoint)
    line = refused('predict', scenes / 'images/validation', *options, '--out', tmp_path / 'out')
    assert "leave color_type='grayscale' of LoadImageFromFile out" in line


def test_export_names_the_loader_of_a_model_of_one_channel(tiny_models, refused, tmp_path):
    cfg = load_config(str(tiny_models['retinanet'].config))
    cfg.model.backbone.in_channels = 1
    cfg.dump(tmp_path / 'one.py')
    init_default_scope(cfg.default_scope)
    state = dict(meta=dict(dataset_meta=dict(cfg.metainfo)), state_dict=MODELS.build(cfg.model).state_dict())
    torch.save(state, tmp_path / 'one.pth')
    line = refused('export', tmp_path / 'one.py', tmp_path / 'one.pth', '--out', tmp_path / 'm.onnx')
    assert "for grey photos set color_type='grayscale' in LoadImageFromFile" in line
