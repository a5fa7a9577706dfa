"""The hooks that the tools add."""

import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from band_sets import write_image
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import HOOKS, MODELS, init_default_scope
from PIL import Image

from mmlska import mmcv_ops
from mmlska.engine.evaluation_options import use_overlays
from mmlska.engine.hooks import to_channels_last

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


@pytest.mark.parametrize('name', ['mask_rcnn_van_lska_t', 'retinanet_van_lska_t', 'fpn_van_lska_t'])
def test_channels_last_changes_rounding_only(name):
    """mmcv's RoIAlign misreads channels_last maps: this fails without the conversion of its inputs."""

    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    init_default_scope(cfg.default_scope)
    cfg.model.data_preprocessor.pop('pad_mask', None)
    for head in ('decode_head', 'backbone'):
        if head in cfg.model:
            cfg.model[head].norm_cfg = dict(type='BN')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).double().eval()
    other = to_channels_last(copy.deepcopy(model))
    image = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    outs = []
    for net in (model, other):
        features = net.extract_feat(image)
        if name.startswith('mask'):
            rois = torch.tensor([[0, 1.0, 2.0, 60.0, 50.0], [0, 20.0, 5.0, 90.0, 60.0]], dtype=torch.float64)
            result = net.roi_head._bbox_forward(features, rois)
            outs.append([result['cls_score'], result['bbox_pred'], *features])
        else:
            outs.append(list(features))
    for a, b in zip(*outs):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert outs[1][-1].is_contiguous(memory_format=torch.channels_last)


def test_inputs_are_copied_for_compiled_operators_alone():
    """The stand-ins of mmlska read channels_last maps as they are."""
    from mmcv.ops import RoIAlign

    layer = to_channels_last(RoIAlign(7))
    assert len(layer._forward_pre_hooks) == (not mmcv_ops.in_use())


def overlays(cfg: Config, folder: Path, paths: list[Path]) -> list[np.ndarray]:
    """The images that ``mmlska test --show-dir`` gives the visualiser, RGB."""
    use_overlays(cfg, str(folder))
    drawn = []
    runner = SimpleNamespace(visualizer=SimpleNamespace(add_datasample=lambda name, image, **_: drawn.append(image)))
    samples = [DetDataSample(metainfo=dict(img_path=str(path))) for path in paths]
    HOOKS.build(cfg.custom_hooks[0]).after_test_iter(runner, 0, outputs=samples)
    return drawn


def test_overlays_of_bands_are_drawn_on_the_channels_that_are_shown(tmp_path):
    values = np.zeros((20, 30, 5), np.uint16)
    values[:, 10:, 3] = 60_000  # the fourth channel, which is shown as red
    values[10:, :, 1] = 500
    write_image(tmp_path / 'a.tif', values)
    loader = dict(type='LoadBands', channels=5, dtype='uint16', shown=[4, 2, 1])
    cfg = Config(dict(default_scope='mmdet', test_dataloader=dict(dataset=dict(type='CocoDataset', pipeline=[loader]))))
    (image,) = overlays(cfg, tmp_path / 'out', [tmp_path / 'a.tif'])
    assert image.shape == (20, 30, 3)
    assert image.dtype == np.uint8
    assert np.array_equal(image[..., 0] == 255, values[..., 3] > 0)
    assert np.array_equal(image[..., 1] == 255, values[..., 1] > 0)
    assert not image[..., 2].any()


def test_overlays_of_one_channel_are_grey(tmp_path):
    values = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30, 1)
    write_image(tmp_path / 'a.tif', values)
    loader = dict(type='LoadBands', channels=1, dtype='float32')
    cfg = Config(dict(default_scope='mmseg', test_dataloader=dict(dataset=dict(type='X', pipeline=[loader]))))
    (image,) = overlays(cfg, tmp_path / 'out', [tmp_path / 'a.tif'])
    assert np.ptp(image, axis=2).max() == 0
    assert image[0, 0, 0] == 0
    assert image[-1, -1, 0] == 255
    assert image[10, 0, 0] == pytest.approx(128, abs=3)


def test_overlays_of_photos_are_drawn_on_the_photo(tmp_path):
    photo = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / 'a.png')
    loader = dict(type='LoadImageFromFile')
    cfg = Config(dict(default_scope='mmdet', test_dataloader=dict(dataset=dict(type='X', pipeline=[loader]))))
    (image,) = overlays(cfg, tmp_path / 'out', [tmp_path / 'a.png'])
    assert np.array_equal(image, photo)
