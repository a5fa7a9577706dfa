"""Pipeline steps for images of any number of channels."""

import numpy as np
import pytest
import tifffile
from mmengine.registry import TRANSFORMS

from mmlska.engine.samples import seed_generators
from mmlska.images import ImageError


def test_loading_gives_what_the_other_steps_take(tmp_path):
    values = np.arange(7 * 9 * 5, dtype=np.uint16).reshape(7, 9, 5)
    tifffile.imwrite(tmp_path / 'a.tif', values, photometric='minisblack', planarconfig='contig')
    step = TRANSFORMS.build(dict(type='LoadBands', channels=5, dtype='uint16', fill=[1, 2, 3, 4, 5], shown=[3, 2, 1]))
    found = step(dict(img_path=str(tmp_path / 'a.tif')))
    assert found['img'].dtype == np.float32
    assert np.array_equal(found['img'], values)
    assert found['img_shape'] == found['ori_shape'] == (7, 9)
    assert repr(step) == 'LoadBands(5 channels of 16 bits)'
    with pytest.raises(ImageError, match='has 5 channels of 16 bits, and the model reads 4 channels of 16 bits'):
        TRANSFORMS.build(dict(type='LoadBands', channels=4, dtype='uint16'))(dict(img_path=str(tmp_path / 'a.tif')))


@pytest.mark.parametrize('shape', [(6, 5, 4), (6, 5)])
def test_distortion_is_the_same_for_all_pixels_of_a_channel(shape):
    channels = shape[2] if len(shape) == 3 else 1
    mean, std = np.arange(channels) * 100.0 + 5, np.arange(channels) + 2.0
    step = TRANSFORMS.build(dict(type='BandDistortion', mean=mean.tolist(), std=std.tolist()))
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32) * 10
    seen = set()
    for seed in range(60):
        seed_generators(seed)
        changed = step(dict(img=image))['img']
        assert changed.shape == shape
        assert changed.dtype == np.float32
        factors, shifts = [], []
        for channel in range(channels):
            before, after = (x.reshape(6, 5, channels)[..., channel].ravel() for x in (image, changed))
            factor, offset = np.polyfit(before.astype(float), after.astype(float), 1)
            factors.append(factor)
            shifts.append((offset - (1 - factor) * mean[channel]) / std[channel])  # in deviations
            assert np.allclose(before * factor + offset, after, atol=1e-2)
        assert np.ptp(factors) < 1e-3
        assert np.ptp(shifts) < 1e-2
        assert 0.5 - 1e-3 <= factors[0] <= 1.5 + 1e-3
        assert abs(shifts[0]) <= 0.5 + 1e-2
        seen.add((abs(factors[0] - 1) > 1e-3, abs(shifts[0]) > 1e-3))
        seed_generators(seed)
        assert np.array_equal(step(dict(img=image))['img'], changed)
    assert seen == {(a, b) for a in (True, False) for b in (True, False)}
