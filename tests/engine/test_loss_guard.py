"""A loss that is not finite stops a training and says what and where."""

import re

import torch
from small_run import message_of, runner_of


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
