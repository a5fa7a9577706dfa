"""Pictures of the report of a training."""

import numpy as np

from mmlska.report.pictures import encode, instance_map


def test_pictures_have_a_size_that_is_bounded():
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    assert 10_000 < len(encode(noise, 50_000)) <= 50_000 * 4 / 3 + 4
    assert len(encode(noise, 3_000)) <= 3_000 * 4 / 3 + 4


def test_the_first_mask_lies_on_top():
    masks = np.zeros((2, 4, 4), bool)
    masks[0, :2], masks[1, 1:3] = True, True
    assert instance_map(masks, 100)[:, 0].tolist() == [0, 0, 1, -1]
