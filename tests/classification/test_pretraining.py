"""The classifier's outputs and loss, and the taps out of reach."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import MODELS

from mmlska import VAN_LSKA
from mmlska.classification.pretraining import PretrainingClassifier, zero_unreached_taps
from mmlska.models import VANLSKAClassifier

CONFIGS = sorted((Path(__file__).resolve().parents[2] / 'configs').glob('pretrain*.py'))
SMALL = dict(embed_dims=[8] * 4, depths=[1] * 4, ffn_ratios=[2] * 4)


def small(**kwargs) -> PretrainingClassifier:
    torch.manual_seed(0)
    backbone = dict(type='VAN_LSKA', arch=SMALL, k_size=7, out_indices=(3,), drop_path_rate=0.0)
    return PretrainingClassifier(backbone, num_classes=5, **kwargs)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_configs_build(path):
    cfg = Config.fromfile(path)
    model = MODELS.build(cfg.model)
    assert isinstance(model, PretrainingClassifier)
    # DESIGN: 3,772,000 parameters of VAN-LSKA-T at K = 23, and 257 for each class
    assert sum(p.numel() for p in model.parameters()) == 3_772_000 + 257 * 200
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_epochs
    assert cfg.param_scheduler[-1].begin == cfg.param_scheduler[0].end
    assert cfg.auto_scale_lr.base_batch_size == cfg.train_dataloader.batch_size


def test_it_is_the_plain_classifier_with_the_same_tensors():
    model = small().eval()
    plain = VANLSKAClassifier(SMALL, 5, k_size=7, drop_path_rate=0.0).eval()
    assert list(model.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(model.state_dict())
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(images), plain(images))
        assert torch.equal(model.forward_features(images), model.extract_feat(images)[-1])


def test_loss_of_a_mixture():
    model = small(label_smoothing=0.1).train()
    images, labels, other = torch.rand(4, 3, 64, 64), torch.tensor([0, 1, 2, 3]), torch.tensor([3, 0, 1, 2])
    with torch.no_grad():
        loss = model(images, labels, other, 0.3, mode='loss')['loss']
        target = 0.3 * F.one_hot(labels, 5) + 0.7 * F.one_hot(other, 5)
        expected = -((0.9 * target + 0.1 / 5) * model(images).log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(loss, expected)


def test_predictions():
    model = small().eval()
    with torch.no_grad():
        samples = model(torch.rand(2, 3, 64, 64), torch.tensor([4, 1]), mode='predict')
    assert [s['label'].item() for s in samples] == [4, 1]
    assert samples[0]['scores'].sum().item() == pytest.approx(1)
    with pytest.raises(ValueError, match="mode='loss' needs labels"):
        model(torch.rand(1, 3, 64, 64), mode='loss')
    with pytest.raises(ValueError, match="mode='fit' is unknown"):
        model(torch.rand(1, 3, 64, 64), mode='fit')


@pytest.mark.parametrize('attention', ['lska', 'lka', 'lska_trivial', 'lka_trivial'])
@pytest.mark.parametrize('size', [50, 64])
def test_exactly_the_taps_without_gradient_are_zeroed(attention, size):
    torch.manual_seed(0)
    net = VAN_LSKA(SMALL, k_size=23, attention=attention, out_indices=(3,)).double().eval()
    image = torch.randn(3, 3, size, size, dtype=torch.float64)
    before = net(image)[0]
    (before * torch.randn_like(before)).sum().backward()
    kernels = {k: p for k, p in net.named_parameters() if 'spatial_gating_unit' in k and p.dim() == 4}
    reached = {k: p.grad != 0 for k, p in kernels.items()}
    count = zero_unreached_taps(net, size)
    for name, kernel in kernels.items():
        assert torch.equal(kernel != 0, reached[name]), name
    assert count == sum(int((~r).sum()) for r in reached.values()) > 0
    assert torch.equal(net(image)[0], before)


def test_image_size_zeroes_and_training_keeps_zero():
    backbone = dict(type='VAN_LSKA', arch=SMALL, k_size=23, out_indices=(3,))
    model = PretrainingClassifier(backbone, num_classes=5, image_size=64).train()
    model.init_weights()
    weight = model.backbone.blocks4[0].attn.spatial_gating_unit.DW_D_conv_h.weight
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.rand(2, 3, 64, 64), torch.tensor([0, 1]), mode='loss')['loss'].backward()
    optimizer.step()
    assert weight[..., 3].ne(0).all()
    assert weight[..., [0, 1, 2, 4, 5, 6]].eq(0).all()
