"""Accuracy of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS


@METRICS.register_module()
class TopK(BaseMetric):
    """Percentage of images whose class is among the k best scores.

    A score that equals that of the right class, and any that is not a number, counts as better, so that a network that says the same of
    every class, or nothing, is right about none.

    Args:
        topk: The values of k, each giving ``top<k>``.
        collect_device: MMEngine's: where results of several processes meet, 'cpu' or 'gpu'.
        prefix: Put before the names.

    Example:
        >>> metric = TopK((1, 2))
        >>> metric.process(None, [dict(scores=torch.tensor([0.1, 0.7, 0.2]), label=torch.tensor(2))])
        >>> dict(metric.evaluate(size=1))
        {'accuracy/top1': 0.0, 'accuracy/top2': 100.0}
    """

    default_prefix = 'accuracy'

    def __init__(self, topk: Sequence[int] = (1, 5), collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device, prefix)
        self.topk = tuple(topk)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Note, for each image, how many classes are before the right one."""
        scores = torch.stack([sample['scores'] for sample in data_samples])
        labels = torch.stack([sample['label'] for sample in data_samples])
        right = scores.gather(1, labels[:, None])
        self.results += ((~(scores < right)).sum(1) - 1).tolist()

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        """The percentages over all images."""
        before = torch.tensor(results)
        return {f'top{k}': 100 * (before < k).float().mean().item() for k in self.topk}
