"""Accuracy of a classifier, by hand."""

import torch

from mmlska.classification import TopK


def evaluate(scores: list, labels: list, topk=(1, 2)) -> dict:
    metric = TopK(topk)
    # in two batches
    for part in (slice(0, 1), slice(1, None)):
        samples = [dict(scores=torch.tensor(s), label=torch.tensor(x)) for s, x in zip(scores[part], labels[part])]
        metric.process(None, samples)
    return metric.evaluate(size=len(labels))


def test_accuracy_by_hand():
    scores = [[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.2, 0.3, 0.5], [0.4, 0.35, 0.25]]
    assert evaluate(scores, [0, 2, 0, 0]) == {'accuracy/top1': 50.0, 'accuracy/top2': 75.0}


def test_no_opinion_is_not_right():
    nan = float('nan')
    assert evaluate([[1 / 3] * 3, [nan] * 3], [0, 1]) == {'accuracy/top1': 0.0, 'accuracy/top2': 0.0}
