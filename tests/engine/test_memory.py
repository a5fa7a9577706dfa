"""What is said where memory does not suffice."""

import re

import pytest
import torch
from small_run import message_of, runner_of

from mmlska import VAN_LSKA
from mmlska.engine.memory import activation_bytes


@pytest.mark.parametrize('batch', [2, 4])
def test_out_of_memory_says_what_would_help(config, tmp_path, batch):
    runner = runner_of(config, tmp_path, {'train_dataloader.batch_size': batch})

    def no_memory(*_):
        raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.')

    runner.model.backbone.norm4.register_forward_hook(no_memory)
    message = message_of(runner)
    reason = 'CUDA out of memory. Tried to allocate 2.00 GiB'
    assert f'out of memory at iteration 1 with batch {batch} of 96x96 ({reason})' in message
    size = r'[\d.]+ [KM]iB'
    remedies = (
        rf'weights, gradients and optimizer take {size}',
        rf"the backbone's activations {size}; these would be ",
        rf'{size} with images of 64x64',
        rf'{size} with model.backbone.with_cp=True',
        rf'{size} with --dtype bf16',
    )
    for remedy in remedies:
        assert re.search(remedy, message), (remedy, message)
    half = re.search(rf'{size} with train_dataloader.batch_size=(\d) and --accumulate 2', message)
    # UPerHead's BatchNorm cannot train on one image.
    assert (half and half[1]) == (None if batch == 2 else '2')


def test_counted_activations_follow_size_and_precision():
    net = VAN_LSKA(dict(embed_dims=[16], depths=[2], ffn_ratios=[4]), k_size=11, out_indices=0)
    base = activation_bytes(net, 2, 64, 96)
    assert activation_bytes(net, 1, 64, 96) == pytest.approx(base / 2, rel=0.01)
    assert activation_bytes(net, 2, 128, 96) == pytest.approx(base * 2, rel=0.01)
    assert activation_bytes(net, 2, 64, 96, torch.bfloat16) == pytest.approx(base / 2, rel=0.05)
    assert activation_bytes(net, 2, 64, 96, with_cp=True) < base / 3
    more = VAN_LSKA(dict(embed_dims=[16], depths=[2], ffn_ratios=[4]), k_size=11, out_indices=0, in_channels=5)
    assert activation_bytes(more, 2, 64, 96) == pytest.approx(base + 2 * 2 * 64 * 96 * 4, rel=0.001)
    # by hand: the first convolution keeps its input, the images
    assert base > 2 * 3 * 64 * 96 * 4
