"""An epoch is a pass over the data whatever --epochs says, and a longer training continues where the shorter one stopped."""

import itertools

import pytest
import torch
from own_sets import simple
from tiny_models import TINY_MASK_RCNN, TINY_UPERNET

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
