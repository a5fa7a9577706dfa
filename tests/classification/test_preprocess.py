"""What is done to a batch: right pixels, right labels, repeatable."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from mmlska.classification.preprocess import BatchPreprocessor, color_jitter, mix, random_erase, random_resized_crop


def test_whole_image_is_left_alone_and_mirrored():
    images = torch.rand(3, 3, 6, 8)
    torch.testing.assert_close(random_resized_crop(images, (1.0, 1.0), ratio=1.0, flip=0.0), images)
    torch.testing.assert_close(random_resized_crop(images, (1.0, 1.0), ratio=1.0, flip=1.0), images.flip(3))


def test_crops_stay_inside_and_differ():
    torch.manual_seed(0)
    across = torch.linspace(0, 1, 32).expand(64, 1, 32, 32)
    out = random_resized_crop(across, (0.25, 0.5), flip=0.0)
    width = (
        out[:, 0, 0, -1] - out[:, 0, 0, 0]
    )  # of the window in parts of the image, less up to half a pixel at the border
    assert width.min() > 0.25**0.5 / (4 / 3) ** 0.5 - 0.02
    assert width.max() < 0.5**0.5 * (4 / 3) ** 0.5 + 0.001
    assert out.min() >= 0
    assert out.max() <= 1
    assert len(out[:, 0, 0, 0].unique()) > 32


def test_crops_of_another_size_are_the_same_crops():
    runs = []
    for size in (None, 96):
        torch.manual_seed(0)
        across = torch.linspace(0, 1, 32).expand(64, 1, 32, 32)
        runs.append(random_resized_crop(across, (0.25, 0.5), size=size))
    small, large = runs
    assert large.shape == (64, 1, 96, 96)
    # Three pixels stand where one did; at the border of the photo there is nothing to interpolate with.
    torch.testing.assert_close(large.unfold(3, 3, 3).mean(4)[..., ::3, :], small, rtol=0, atol=0.006)


def test_colors_change_as_pillow_changes_them(monkeypatch):
    photos = torch.randint(0, 256, (3, 3, 9, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    draws = torch.rand(3, 3, generator=torch.Generator().manual_seed(1))  # by kind of change, by image
    monkeypatch.setattr(torch, 'rand', lambda *shape, device: draws.view(shape))
    found = color_jitter(photos.float(), 0.6)
    for photo, (brightness, contrast, saturation), image in zip(photos, (0.4 + 1.2 * draws).T.tolist(), found):
        wanted = Image.fromarray(photo.permute(1, 2, 0).numpy())
        wanted = ImageEnhance.Brightness(wanted).enhance(brightness)
        wanted = ImageEnhance.Contrast(wanted).enhance(contrast)
        wanted = ImageEnhance.Color(wanted).enhance(saturation)
        # It rounds after each change.
        np.testing.assert_allclose(image.permute(1, 2, 0).numpy(), np.asarray(wanted), atol=4)
    assert (found - photos).abs().amax((1, 2, 3)).min() > 20


def test_windows_are_erased_inside_some_images():
    torch.manual_seed(0)
    height, width = 32, 48
    erased = random_erase(torch.zeros(400, 3, height, width), 0.25) != 0
    assert torch.equal(erased.any(1), erased.all(1))  # in all channels alike
    changed = erased[:, 0].any(1).any(1)
    assert 0.18 < changed.float().mean().item() < 0.32
    shares, places = [], set()
    for mask in erased[changed, 0]:
        rows, columns = (mask.any(axis).nonzero().flatten() for axis in (1, 0))
        window = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert window.all()
        assert window.sum() == mask.sum()
        shares.append(mask.float().mean().item())
        stretch = (len(columns) / width) / (len(rows) / height)
        assert 1 / 3.3 / 1.6 < stretch < 3.3 * 1.6  # but for whole pixels
        places.add((rows[0].item() == 0, rows[-1].item() == height - 1, columns[0].item() == 0))
    assert 0.01 < min(shares) < 0.06
    assert 0.27 < max(shares) < 0.36
    assert len(places) > 3
    assert not random_erase(torch.zeros(50, 3, 8, 8), 0.0).any()
    assert random_erase(torch.zeros(50, 3, 8, 8), 1.0).flatten(1).any(1).all()


def test_erased_windows_hold_noise_and_the_rest_stays():
    torch.manual_seed(0)
    images = torch.full((64, 3, 32, 32), 5.0)
    out = random_erase(images, 1.0)
    noise = out[out != 5.0]
    assert abs(noise.mean().item()) < 0.05
    assert noise.std().item() == pytest.approx(1, abs=0.05)
    assert images.unique().tolist() == [5.0]


@pytest.mark.parametrize(('mixup', 'cutmix'), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_the_share_is_that_of_the_pixels(mixup, cutmix):
    torch.manual_seed(0)
    images = torch.stack([torch.zeros(3, 16, 20), torch.ones(3, 16, 20)])
    shares, kinds = [], set()
    for _ in range(20):
        mixed, other, share = mix(images, torch.tensor([4, 7]), mixup, cutmix)
        assert other.tolist() == [7, 4]
        torch.testing.assert_close(mixed[1].mean().item(), share, rtol=0, atol=1e-5)
        torch.testing.assert_close(mixed[0].mean().item(), 1 - share, rtol=0, atol=1e-5)
        kinds.add(((mixed == 0) | (mixed == 1)).all().item())
        shares.append(share)
    assert max(shares) - min(shares) > 0.5
    assert kinds == ({False} if mixup else set()) | ({True} if cutmix else set())  # blended, pasted
    assert images[0].max() == 0  # the batch itself is untouched


def test_a_seed_fixes_everything():
    batch = dict(inputs=torch.randint(0, 255, (8, 3, 16, 16), dtype=torch.uint8), labels=torch.arange(8))
    preprocess = BatchPreprocessor(jitter=0.4, erase_prob=0.5, mixup=0.2, cutmix=1.0, mix_prob=0.5)
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append([preprocess(batch, training=True) for _ in range(4)])
    same, other = (all(torch.equal(a['inputs'], b['inputs']) for a, b in zip(runs[0], run)) for run in runs[1:])
    assert same
    assert not other
    assert runs[0][0]['inputs'].shape == (8, 3, 16, 16)


def test_evaluation_only_normalises():
    batch = dict(inputs=torch.full((1, 3, 4, 4), 100, dtype=torch.uint8), labels=torch.tensor([3]))
    out = BatchPreprocessor(jitter=0.4, erase_prob=1.0, mixup=1.0)(batch, training=False)
    assert set(out) == {'inputs', 'labels'}
    assert out['inputs'][0, :, 0, 0].tolist() == pytest.approx([-0.4054, -0.2850, -0.0615], abs=1e-3)


@pytest.mark.parametrize('crop_scale', [(0.5, 1.0), None])
def test_photos_are_enlarged(crop_scale):
    batch = dict(inputs=torch.randint(0, 255, (4, 3, 16, 16), dtype=torch.uint8), labels=torch.arange(4))
    preprocess = BatchPreprocessor(crop_scale=crop_scale, size=48, mixup=0.2, cutmix=1.0)
    assert preprocess(batch, training=True)['inputs'].shape == (4, 3, 48, 48)
    enlarged, plain = (p(batch, training=False)['inputs'] for p in (preprocess, BatchPreprocessor()))
    torch.testing.assert_close(enlarged[..., 1::3, 1::3], plain)  # the middle one of 3x3 pixels is the photo's


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match='size=0 must be at least 1 pixel'):
        BatchPreprocessor(size=0)
    with pytest.raises(ValueError, match=r'crop_scale=\(0.5, 1.5\) must rise'):
        BatchPreprocessor(crop_scale=(0.5, 1.5))
    for name in ('jitter', 'erase_prob', 'mix_prob'):
        with pytest.raises(ValueError, match=f'{name}=2 must be 0 to 1'):
            BatchPreprocessor(**{name: 2})
