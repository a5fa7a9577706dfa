"""torchvision beside a CPU build of torch, and non-maximum suppression without its operators."""

import pytest
import torch

from mmlska.torchvision_cpu import mend_torchvision, nms


def test_torchvision_imports_and_mending_twice_does_nothing():
    mend_torchvision()
    import torchvision
    from torchvision import transforms

    assert transforms.CenterCrop(4)(torch.zeros(3, 9, 9)).shape == (3, 4, 4)
    kept = torchvision.ops.nms(torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 9]]), torch.tensor([0.1, 0.2]), 0.5)
    assert kept.tolist() == [1]
    assert mend_torchvision() is False


@pytest.mark.parametrize('threshold', [0.0, 0.3, 0.7, 1.0])
def test_nms_is_greedy(threshold):
    from ultralytics.utils.nms import TorchNMS

    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(200, 2, generator=generator) * 50
    boxes = torch.cat([corners, corners + 5 + 20 * torch.rand(200, 2, generator=generator)], 1)
    scores = torch.rand(200, generator=generator)
    assert torch.equal(nms(boxes, scores, threshold), TorchNMS.nms(boxes, scores, threshold))


def test_nms_of_no_boxes():
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).shape == (0,)
