"""An epoch is a pass over the data whatever --epochs says, and a longer training continues where the shorter one stopped."""

import itertools
import json

import pytest
import torch
from own_sets import mask_set, simple
from tiny_models import TINY_MASK_RCNN, TINY_UPERNET

from mmlska.engine.launch import prepared_config
from mmlska.engine.lock import unlock_work_dir
from mmlska.engine.work_dir import ORIGIN, recorded_options
from mmlska.own_data.training import use_data_and_options

_numbers = itertools.count()
DETECTOR = f"{TINY_MASK_RCNN}model['roi_head'] = dict(bbox_head=dict(fc_out_channels=16), mask_head=dict(num_convs=1))"


@pytest.fixture
def train(command, tmp_path):
    """Train so many epochs in one work directory; return what the command left."""

    def run(text: str, *args, batch=2):
        number = next(_numbers)  # MMEngine keeps loggers, messages and visualisers of a process by name
        config = tmp_path / 'recipe.py'
        config.write_text(f"{text}\nexperiment_name = 'epochs_{number}'\nvisualizer = dict(name='epochs_{number}')\n")
        settings = (
            f'train_dataloader.batch_size={batch}',
            'model.backbone.init_cfg=None',
            'default_hooks.logger.interval=1',
        )
        return command(
            *('train', config, '--work-dir', tmp_path / 'work', '--seed', 0, '--cfg-options', *settings, *args)
        )

    return run


@pytest.fixture
def saved(tmp_path):
    """The state in a checkpoint of the work directory."""
    return lambda name: torch.load(tmp_path / 'work' / name, weights_only=False)


def place(checkpoint: dict) -> tuple[int, int]:
    return checkpoint['meta']['epoch'], checkpoint['meta']['iter']


def test_a_longer_training_of_a_detector_continues(train, saved, tmp_path):
    data = ('--data', simple(tmp_path / 'set', 5), '--no-report')  # four to train on, two steps of two
    assert '4 iterations, 2 passes over the images' in train(DETECTOR, *data, '--epochs', 2).out
    assert place(saved('epoch_2.pth')) == (2, 4)
    ended = train(DETECTOR, *data, '--epochs', 5, '--resume')
    assert ended.code == 0, ended
    assert '10 iterations, 5 passes over the images' in ended.out
    longer = saved('epoch_5.pth')
    assert place(longer) == (5, 10)
    warm_up, cosine = longer['param_schedulers']
    assert (warm_up['end'], cosine['end'], cosine['T_max']) == (1, 10, 10)
    assert all(1e-5 < group['lr'] < 0.05 * group['initial_lr'] for group in longer['optimizer']['param_groups'])

    ended = train(DETECTOR, *data, '--epochs', 5, '--resume')
    assert ended.code == 0
    assert (
        'training is finished, it has its 5 epochs already: nothing to train; for more give --epochs above' in ended.out
    )
    ended = train(DETECTOR, *data, '--epochs', 3, '--resume')
    assert ended.code == 2
    assert 'has 5 epochs already and this one would have 3 epochs: nothing to train' in ended.last
    assert place(saved('epoch_5.pth')) == (5, 10)

    # Twice as many images in batches four times as large; the next resume continues from the newer checkpoint.
    data = ('--data', simple(tmp_path / 'more', 10), '--no-report')
    ended = train(DETECTOR, *data, '--epochs', 6, '--resume', batch=8)
    assert ended.code == 0, ended
    assert 'a pass over the data has 1 iteration now and had 2' in ended.out
    assert place(saved('epoch_6.pth')) == (6, 6)
    ended = train(DETECTOR, *data, '--epochs', 6, '--resume', batch=8)
    assert 'it has its 6 epochs already' in ended.out


def test_a_longer_training_that_counts_iterations_continues(train, saved, scenes):
    data = ('--no-report', f'data_root={scenes}/')  # four images, two steps of two
    epochs = [('--epochs', number) for number in (3, 5, 4)]
    ended = train(TINY_UPERNET, data[1], data[0], *epochs[0])
    assert ended.code == 0, ended
    assert '6 iterations, 3 passes over the images' in ended.out
    header, row = ended.out.splitlines()[-3:-1]
    assert (header.split()[:2], row.split()[:2]) == (['epoch', 'iteration'], ['3', '6'])
    ended = train(TINY_UPERNET, data[1], data[0], *epochs[1], '--resume', batch=4)
    assert ended.code == 0, ended
    assert 'iteration 6 becomes 3' in ended.out
    longer = saved('iter_5.pth')
    assert longer['meta']['iter'] == 5
    assert longer['param_schedulers'][-1]['end'] == 5
    ended = train(TINY_UPERNET, data[1], data[0], *epochs[2], '--resume', batch=4)
    assert ended.code == 2
    assert 'has 5 iterations (5 epochs) already and this one would have 4 iterations (4 epochs)' in ended.last


def test_a_training_that_continues_has_the_options_with_which_it_began(train, saved, tmp_path):
    data = ('--data', simple(tmp_path / 'set', 5), '--no-report')
    began = train(DETECTOR, *data, '--epochs', 1, '--val-fraction', 0.4, '--clip-grad', 5)
    assert began.code == 0, began
    kept = dict(epochs=1, val_fraction=0.4, clip_grad=5.0)
    assert json.loads((tmp_path / 'work/training.json').read_text())['options'] == kept

    ended = train(DETECTOR, *data, '--resume')
    assert ended.code == 0, ended
    assert '3 train, 2 val' in ended.out
    line = '--resume: --epochs 1 --val-fraction 0.4 --clip-grad 5.0, as this training began; --epochs N for more\n'
    assert line in ended.out
    assert 'training is finished, it has its 1 epoch already' in ended.out
    ended = train(DETECTOR, *data, '--resume', tmp_path / 'work/epoch_1.pth', '--epochs', 2)
    assert ended.code == 0, ended
    assert '--resume: --val-fraction 0.4 --clip-grad 5.0, as this training began\n' in ended.out
    assert place(saved('epoch_2.pth')) == (2, 4)
    assert json.loads((tmp_path / 'work/training.json').read_text())['options'] == kept | dict(epochs=2)

    # A length among the settings is one too.
    ended = train(DETECTOR, 'train_cfg.max_epochs=3', *data, '--resume')
    assert ended.code == 0, ended
    assert '--epochs' not in ended.out.partition('as this training began')[0]
    assert place(saved('epoch_3.pth')) == (3, 6)
    assert saved('epoch_3.pth')['param_schedulers'][1]['end'] == 6
    assert json.loads((tmp_path / 'work/training.json').read_text())['options'] == kept | dict(epochs=3)


def test_a_length_in_iterations_is_taken_over(train, saved, tmp_path, scenes):
    data = (f'data_root={scenes}/', '--no-report', '--epochs', 1)
    assert train(TINY_UPERNET, *data, '--tile', 64).code == 0
    ended = train(TINY_UPERNET, *data[:2], '--resume')
    assert ended.code == 0, ended
    assert '--resume: --epochs 1 --tile 64, as this training began; --epochs N for more' in ended.out
    assert 'the training is finished' in ended.out

    own = ('--data', mask_set(tmp_path / 'masks'), '--no-report', '--overwrite')
    ended = train(TINY_UPERNET, 'train_cfg.max_iters=3', *own)
    assert '3 iterations, 2 passes over the images' in ended.out
    ended = train(TINY_UPERNET, *own, '--resume')
    assert ended.code == 0, ended
    assert '--resume: train_cfg.max_iters=3, as this training began; --epochs N for more' in ended.out
    assert 'the training is finished, it has its 3 iterations' in ended.out


def test_epochs_of_the_command_line_go_before_iterations_of_the_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'seg.py').write_text(TINY_UPERNET)
    settings = {'train_cfg.max_iters': 3, 'train_cfg.val_interval': 2}
    cfg = prepared_config('seg.py', settings, work_dir='work', launcher='none', seed=0)
    lines = use_data_and_options(cfg, str(mask_set(tmp_path / 'masks')), dict(epochs=4), settings=settings)
    unlock_work_dir('work')
    assert '6 iterations, 4 passes over the images' in lines[0]
    assert '--epochs 4 says how long training is, and not train_cfg.max_iters=3 of --cfg-options' in lines
    assert (cfg.train_cfg.max_iters, cfg.train_cfg.val_interval, cfg.param_scheduler[-1].end) == (6, 2, 6)


@pytest.mark.parametrize('text', ['', '[]', '{"options": 3}', '{"options": {"epochs": "9", "tile": null, "odd": 1}}'])
def test_options_that_cannot_be_read_are_not_taken_over(tmp_path, text):
    (tmp_path / ORIGIN).write_text(text)
    assert recorded_options(tmp_path) == {}


def test_options_of_a_resume_that_is_refused_are_not_kept(train, saved, tmp_path):
    data = ('--data', simple(tmp_path / 'set', 5), '--no-report')
    assert train(DETECTOR, *data, '--epochs', 2).code == 0
    ended = train(DETECTOR, *data, '--epochs', 1, '--resume')
    assert ended.code == 2
    assert 'already' in ended.last
    assert recorded_options(tmp_path / 'work') == dict(epochs=2)


@pytest.mark.parametrize('options', [dict(clip_grad=5, epochs=3), dict(clip_grad=0.5, instances=True)])
def test_options_from_python_are_kept(options, tmp_path):
    (tmp_path / ORIGIN).write_text(json.dumps(dict(options=options | dict(tile=True))))
    assert recorded_options(tmp_path) == options
