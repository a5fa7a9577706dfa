"""Boxes that a file chooses otherwise than its model: rounding is allowed to decide between ties, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from mmlska.export.detection_parity import detection_difference

CFG = dict(score_thr=0.05, max_per_img=100, nms=dict(iou_threshold=0.5))
FULL = dict(CFG, max_per_img=2)


def box(x: float = 0, score: float = 0.3, label: int = 0, width: float = 100) -> list[float]:
    return [x, 0, x + width, 100, score, label]


# Overlaps of boxes of width 100: 10 apart 0.818, 30 apart 0.538, 33.33 apart 0.5, 60 apart 0.25.
FAR = box(500, 0.9)
CHOICES = dict(
    same=([box(), FAR], [FAR, box()], CFG),
    tie=([box(), FAR], [box(10), FAR], CFG),
    tie_of_rounding=([box(score=0.3), FAR], [box(10, score=0.30001), FAR], CFG),
    follows_from_a_tie=([box(), FAR], [box(30), box(-30, 0.2), FAR], CFG),
    threshold=([box(score=0.050001), FAR], [FAR], CFG),
    last_of_a_full_list=([FAR, box()], [FAR, box(200)], FULL),
    overlap_of_the_threshold=([FAR, box(score=0.4), box(100 / 3)], [FAR, box(score=0.4)], CFG),
)
WRONG = dict(
    lost=([box(), FAR], [FAR], CFG),
    new=([FAR], [box(), FAR], CFG),
    not_suppressed=([box(score=0.4), FAR], [box(score=0.4), box(10), FAR], CFG),
    the_weaker=([box(score=0.4), FAR], [box(10, score=0.3), FAR], CFG),
    another_class=([box(), FAR], [box(10, label=1), FAR], CFG),
    tie_without_overlap=([box(), FAR], [box(60), FAR], CFG),
    not_the_last_of_a_full_list=([FAR, box()], [FAR, box(200, 0.5)], FULL),
)


def difference(expected, actual, cfg) -> float:
    expected, actual = (np.array(rows, float).reshape(-1, 6) for rows in (expected, actual))
    return detection_difference(expected, np.concatenate([expected, actual]), actual, cfg)


@pytest.mark.parametrize('name', CHOICES)
def test_rounding_may_decide_between_ties(name):
    expected, actual, cfg = CHOICES[name]
    assert difference(expected, actual, cfg) == 0
    assert difference(actual, expected, cfg) == 0


@pytest.mark.parametrize('name', WRONG)
def test_another_choice_is_a_difference(name):
    expected, actual, cfg = WRONG[name]
    assert difference(expected, actual, cfg) == float('inf')
    assert difference(actual, expected, cfg) == float('inf')


@pytest.mark.parametrize('moved', [box(10), box(0, width=101), box(score=0.31)])
def test_a_box_that_the_model_does_not_have_is_no_tie(moved):
    expected = np.array([box(), FAR])
    assert detection_difference(expected, expected, np.array([moved, FAR]), CFG) > 1e-3


def test_the_difference_of_boxes_that_both_have():
    assert difference([box(), FAR], [box(0.3), FAR], CFG) == pytest.approx(0.3 / 600)
    assert difference([box(score=0.3)], [box(score=0.3004)], CFG) == pytest.approx(4e-4)
    assert difference([], [], CFG) == 0
