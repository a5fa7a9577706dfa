"""Normalising images of any number of channels before mmdet's and mmseg's own preprocessors pad them."""

import pytest
import torch
from mmengine.registry import MODELS

import mmlska  # noqa: F401, registers


@pytest.mark.parametrize(
    ('wraps', 'options', 'size'),
    [
        ('mmdet.DetDataPreprocessor', dict(pad_size_divisor=32), (32, 64)),
        ('mmseg.SegDataPreProcessor', dict(test_cfg=dict(size_divisor=16)), (32, 48)),
    ],
)
@pytest.mark.parametrize('channels', [1, 2, 3, 5])
def test_normalised_and_padded_with_zero(wraps, options, size, channels):
    structures = pytest.importorskip(f'{wraps[:5]}.structures')
    sample = (structures.DetDataSample if wraps.startswith('mmdet') else structures.SegDataSample)(
        metainfo=dict(img_shape=(20, 33))
    )
    mean, std = [100.0 * i + 3 for i in range(channels)], [i + 2.0 for i in range(channels)]
    preprocessor = MODELS.build(dict(type='BandsPreprocessor', wraps=wraps, mean=mean, std=std, **options))
    image = torch.rand(channels, 20, 33) * 50
    found = preprocessor(dict(inputs=[image], data_samples=[sample]), False)['inputs']
    assert found.shape == (1, channels, *size)
    wanted = torch.stack([(image[i] - mean[i]) / std[i] for i in range(channels)])
    assert torch.allclose(found[0, :, :20, :33], wanted)
    assert not found[..., 20:, :].any()
    assert not found[..., 33:].any()
    assert not preprocessor.state_dict()  # as with the other preprocessors: the config has the numbers
    with pytest.raises(ValueError, match=f'an image has 7 channels, and the model takes {channels}'):
        preprocessor(dict(inputs=[torch.rand(7, 8, 8)], data_samples=[sample]), False)


def test_as_many_means_as_deviations():
    with pytest.raises(ValueError, match='mean has 2 values and std 1; give one of each for each channel'):
        MODELS.build(dict(type='BandsPreprocessor', wraps='mmdet.DetDataPreprocessor', mean=[1, 2], std=[1]))
