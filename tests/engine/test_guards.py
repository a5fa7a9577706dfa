"""What stops a training says what, where and what to try."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from small_run import ROOT, runner_of, write_config

from mmlska import VAN_LSKA
from mmlska.engine.guards import TrainingError, activation_bytes
from mmlska.engine.samples import Draw, GuardedDataset


@pytest.fixture(scope='module')
def config(scenes, tmp_path_factory):
    return write_config(scenes, tmp_path_factory.mktemp('config'))


def message_of(runner) -> str:
    with pytest.raises(TrainingError) as caught:
        runner.train()
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_a_loss_that_is_not_finite_names_images_and_module(config, tmp_path):
    runner = runner_of(config, tmp_path)
    before = {name: p.clone() for name, p in runner.model.named_parameters()}
    norm = runner.model.backbone.norm3
    norm.register_forward_hook(lambda module, args, output: output * float('inf'))
    message = message_of(runner)
    assert 'the loss is not finite at iteration 1 (decode.loss_ce=nan' in message
    assert 'first non-finite output: backbone.norm3;' in message
    path = re.search(r'the batch is in (\S+);', message)[1]
    saved = torch.load(path, weights_only=False)
    assert (saved['iter'], saved['module']) == (1, 'backbone.norm3')
    assert saved['batch']['inputs'].shape == (2, 3, 96, 96)
    for sample in saved['batch']['data_samples']:
        assert sample.img_path in message
    assert not list(tmp_path.glob('iter_*.pth'))
    names = [name for name, p in runner.model.named_parameters() if not torch.isfinite(p).all()]
    assert names == []
    assert before.keys() == dict(runner.model.named_parameters()).keys()


def test_a_weight_that_is_not_finite_is_named(config, tmp_path):
    runner = runner_of(config, tmp_path)
    runner.call_hook = call_after(
        runner.call_hook, lambda: runner.model.decode_head.conv_seg.bias.data.fill_(float('nan'))
    )
    assert 'first non-finite output: the weight decode_head.conv_seg.bias itself' in message_of(runner)


def call_after(call_hook, action):
    def called(name, **kwargs):
        call_hook(name, **kwargs)
        if name == 'before_train':
            action()

    return called


def test_out_of_memory_says_what_would_help(config, tmp_path):
    runner = runner_of(config, tmp_path)

    def no_memory(*_):
        raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.')

    runner.model.backbone.norm4.register_forward_hook(no_memory)
    message = message_of(runner)
    assert (
        'out of memory at iteration 1 with batch 2 of 96x96 (CUDA out of memory. Tried to allocate 2.00 GiB)' in message
    )
    size = r'[\d.]+ [KM]iB'
    remedies = (
        rf'weights, gradients and optimizer take {size}',
        rf"the backbone's activations {size}; these would be ",
        rf'{size} with train_dataloader.batch_size=1 and --accumulate 2',
        rf'{size} with images of 64x64',
        rf'{size} with model.backbone.with_cp=True',
        rf'{size} with --dtype bf16',
    )
    for remedy in remedies:
        assert re.search(remedy, message), (remedy, message)


def test_an_operator_that_is_not_deterministic_is_named(config, tmp_path):
    runner = runner_of(config, tmp_path)

    def refuse(*_):
        raise RuntimeError(
            'nll_loss2d does not have a deterministic implementation, but you set ...'
        )  # torch's words on a GPU

    runner.model.backbone.norm4.register_forward_hook(refuse)
    message = message_of(runner)
    assert message.startswith('--deterministic cannot be kept: nll_loss2d has no deterministic implementation here')


def test_counted_activations_follow_size_and_precision():
    net = VAN_LSKA(dict(embed_dims=[16], depths=[2], ffn_ratios=[4]), k_size=11, out_indices=0)
    base = activation_bytes(net, 2, 64, 96)
    assert activation_bytes(net, 1, 64, 96) == pytest.approx(base / 2, rel=0.01)
    assert activation_bytes(net, 2, 128, 96) == pytest.approx(base * 2, rel=0.01)
    assert activation_bytes(net, 2, 64, 96, torch.bfloat16) == pytest.approx(base / 2, rel=0.05)
    assert activation_bytes(net, 2, 64, 96, with_cp=True) < base / 3
    # by hand: the first convolution keeps its input, the images
    assert base > 2 * 3 * 64 * 96 * 4


def break_image(scenes: Path, folder: Path, name: str) -> Path:
    """Copy the scenes and cut one training image in half."""
    shutil.copytree(scenes, folder / 'scenes')
    image = folder / 'scenes/images/training' / name
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 3] if name.endswith('0.png') else b'')
    return image


@pytest.mark.parametrize('workers', [0, 1])
def test_a_broken_image_is_named_or_skipped(workers, scenes, tmp_path):
    image = break_image(scenes, tmp_path, '000001.png')
    config = write_config(tmp_path / 'scenes', tmp_path)
    options = {'train_dataloader.num_workers': workers}
    message = message_of(runner_of(config, tmp_path / 'work', options))
    assert message.startswith(str(image))
    assert re.search(
        r'cannot be used \(.*; the run stops: correct or remove the file, or give --skip-bad-images N', message
    )
    runner = runner_of(config, tmp_path / 'again', options, skip_bad_images=1)
    runner.train()
    assert runner.iter == 6
    if not workers:
        log = next((tmp_path / 'again').glob('*/*.log')).read_text()
        assert log.count(f'{image} or ') == 1  # six steps meet it three times
        assert 'continuing without it, 1 of at most 1' in log


def test_more_broken_images_than_allowed(scenes, tmp_path):
    for name in ('000001.png', '000002.png'):
        if name == '000001.png':
            break_image(scenes, tmp_path, name)
        else:
            (tmp_path / 'scenes/images/training' / name).write_bytes(b'no image')
    config = write_config(tmp_path / 'scenes', tmp_path)
    message = message_of(runner_of(config, tmp_path / 'work', skip_bad_images=1))
    assert '2 such files, --skip-bad-images 1' in message


def test_broken_images_of_a_detector(scenes, tmp_path):
    from mmdet.utils import register_all_modules

    from mmlska.engine.config import load_config

    image = break_image(scenes, tmp_path, '000001.png')
    register_all_modules()
    cfg = load_config(
        str(ROOT / 'configs/demo/mask_rcnn_van_lska_t_scenes.py'), {'data_root': str(tmp_path / 'scenes')}
    )
    data = GuardedDataset(cfg.train_dataloader.dataset, skip_bad=1)
    assert data.metainfo['classes'][0] == 'circle'
    replaced, following = data[Draw(1, 5)], data[Draw(2, 5)]
    assert replaced['data_samples'].img_path == following['data_samples'].img_path != str(image)
    data.skip_bad, data._bad[1] = 0, 0
    with pytest.raises(ValueError, match=rf'{image} cannot be used'):
        data[Draw(1, 5)]


def test_draws_are_indices_that_carry_a_seed():
    import pickle

    draw = pickle.loads(pickle.dumps(Draw(3, seed=9)))
    assert (draw, draw.seed, [5, 6, 7, 8][draw]) == (3, 9, 8)
