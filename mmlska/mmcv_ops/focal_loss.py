"""Focal losses in plain PyTorch, forward and backward; mmcv compiles them for GPUs alone.

Source: arXiv 1708.02002, section 3.2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .sampling import full_precision


def sigmoid_focal_loss(input: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    """The loss of each class of each sample.

    Args:
        input: Logits (N, C).
        target: Classes (N,), int64; C is the background.
        weight: (C,) of the classes, or empty.
        gamma: How much good predictions count less.
        alpha: Share of the positives; negatives have 1 - alpha.

    Returns:
        (N, C).

    Example:
        >>> sigmoid_focal_loss(torch.zeros(1, 2), torch.tensor([0]), torch.zeros(0), 2.0, 0.25)
        tensor([[0.0433, 0.1300]])
    """
    x, positive = full_precision(input), _is_target(input, target)
    sign = positive * 2.0 - 1.0
    # The chance of the right answer is sigmoid(sign * x), and that of the wrong one sigmoid(-sign * x).
    loss = -_share(positive, alpha) * (-sign * x).sigmoid() ** gamma * F.logsigmoid(sign * x)
    return (loss * _of_samples(weight, target)).to(input.dtype)


def sigmoid_focal_loss_backward(input: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    """The gradient of :func:`sigmoid_focal_loss`, (N, C): of each loss with respect to its own logit."""
    x, positive = full_precision(input), _is_target(input, target)
    sign = positive * 2.0 - 1.0
    right, wrong = (sign * x).sigmoid(), (-sign * x).sigmoid()
    slope = wrong**gamma * (gamma * right * F.logsigmoid(sign * x) - wrong)
    return (sign * _share(positive, alpha) * slope * _of_samples(weight, target)).to(input.dtype)


def softmax_focal_loss(softmax: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    """The loss of each sample.

    Args:
        softmax: Probabilities (N, C).
        target: Classes (N,), int64; a sample of a negative class has no loss.
        weight: (C,) of the classes, or empty.
        gamma: How much good predictions count less.
        alpha: Factor of the loss.

    Returns:
        (N,).

    Example:
        >>> softmax_focal_loss(torch.tensor([[0.5, 0.5]]), torch.tensor([1]), torch.zeros(0), 2.0, 1.0)
        tensor([0.1733])
    """
    right, counted = _right(softmax, target)
    loss = -alpha * (1 - right) ** gamma * right.log()
    return (loss * counted * _of_samples(weight, target)[:, 0]).to(softmax.dtype)


def softmax_focal_loss_backward(softmax: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    """The gradient of :func:`softmax_focal_loss` with respect to the logits, (N, C)."""
    right, counted = _right(softmax, target)
    # Where 1 - right is 0 the second term is 0 too, although its power may be infinite.
    power = (1 - right).clamp(min=torch.finfo(torch.float32).tiny) ** (gamma - 1)
    slower = gamma * power * right * right.log()
    slope = -alpha * ((1 - right) ** gamma - slower) * counted * _of_samples(weight, target)[:, 0]
    return (slope[:, None] * (_is_target(softmax, target) * 1.0 - full_precision(softmax))).to(softmax.dtype)


def _is_target(input: Tensor, target: Tensor) -> Tensor:
    return target[:, None] == torch.arange(input.shape[1], device=input.device)


def _share(positive: Tensor, alpha: float) -> Tensor:
    return positive * alpha + ~positive * (1 - alpha)


def _of_samples(weight: Tensor, target: Tensor) -> Tensor:
    """(N, 1): the weight of each sample's class; 1 for the background, and where there are no weights."""
    if not weight.numel():
        return torch.ones_like(target, dtype=torch.float32)[:, None]
    known = (target >= 0) & (target < len(weight))
    return torch.where(known, full_precision(weight)[target.clamp(0, len(weight) - 1)], 1)[:, None]


def _right(softmax: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) the probability of the right class, never 0, and whether the sample counts."""
    right = full_precision(softmax).gather(1, target.clamp(min=0)[:, None])[:, 0]
    return right.clamp(min=torch.finfo(torch.float32).tiny), target >= 0
