"""Weights from a training to the package: written, evaluated, described and loaded by their name."""

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from pretraining_runs import configured
from safetensors import safe_open

from mmlska import VAN_LSKA
from mmlska.classification.publish import describe_data, draw_curve, half_precision, learning_curve, publish
from mmlska.engine.config import load_config
from mmlska.engine.launch import build_test_runner
from mmlska.models.classifier import _build as build_plain
from mmlska.weights import WeightsError, load_pretrained, manifest, published_names, read_checkpoint

ROOT = Path(__file__).resolve().parents[2]


def test_learning_curve(trained, tmp_path):
    curve = learning_curve(trained)
    assert [epoch for epoch, _ in curve['loss']] == [epoch for epoch, _ in curve['top1']] == [1, 2]
    draw_curve(curve, tmp_path / 'curve.png')
    assert (tmp_path / 'curve.png').read_bytes().startswith(b'\x89PNG')
    with pytest.raises(FileNotFoundError, match='no log in .*; give a work directory'):
        learning_curve(tmp_path)


@pytest.fixture
def shipped(small_config, trained, tmp_path, monkeypatch) -> dict:
    """The entry of published weights in a folder of their own, which the manifest takes for the package's."""
    monkeypatch.setattr(manifest, 'FILES', tmp_path)
    monkeypatch.chdir(tmp_path)
    publish(str(small_config), str(trained / 'epoch_1.pth'), 'tiny_one', log='docs/x.json', folder=tmp_path)
    return publish(str(small_config), str(trained / 'epoch_2.pth'), 'tiny_one', log='docs/x.json', folder=tmp_path)


def test_published_weights_load_by_their_name(shipped, small_config, trained, tmp_path):
    assert [path.name for path in tmp_path.glob('*.safetensors')] == [shipped['file']]  # the older one is gone
    assert shipped['file'] == f'tiny_one-{shipped["sha256"][:8]}.safetensors'
    assert (shipped['epochs'], shipped['seed'], shipped['k_size']) == (2, 3, 7)
    assert published_names()[0] == 'tiny_one'
    assert shipped['data'] == 'Tiny-ImageNet, 32 photos of 32 px, 4 classes'
    assert 'options' not in shipped
    arch = load_config(str(small_config)).model.backbone.arch
    cfg = dict(type='Pretrained', checkpoint='mmlska://tiny_one')
    net = VAN_LSKA(arch, k_size=7, init_cfg=cfg)
    net.init_weights()
    source = read_checkpoint(trained / 'epoch_2.pth').content['state_dict']
    for name, tensor in net.state_dict().items():
        assert tensor.dtype in (torch.float32, torch.int64)
        torch.testing.assert_close(tensor, source[f'backbone.{name}'], rtol=1e-3, atol=1e-6)
    # the whole classifier in plain PyTorch
    plain, images = build_plain(arch, 4, 'mmlska://tiny_one', dict(k_size=7)).eval(), torch.rand(2, 3, 32, 32)
    model = MODELS.build(load_config(str(small_config)).model).eval()
    model.load_state_dict(source)
    with torch.no_grad():
        torch.testing.assert_close(plain(images), model(images), rtol=0.01, atol=0.01)
    assert load_pretrained('tiny_one')['blocks1.0.mlp.fc1.weight'].dtype == torch.float16
    # and as tools/test.py loads it
    found = build_test_runner(configured(small_config, tmp_path / 'test'), 'mmlska://tiny_one').test()
    assert round(found['accuracy/top1'], 2) == shipped['top1']


FOLDER = """
_base_ = {base!r}
photos = dict(_delete_=True, type='PhotoFolder', data_root={root!r}, size=32)
train_dataloader = dict(dataset=dict(**photos, data_prefix=dict(img='train'), photos_per_class=3))
val_dataloader = test_dataloader = dict(dataset=dict(**photos, data_prefix=dict(img='val')))
"""


def test_published_weights_of_other_data_say_so(small_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # for its work_dirs
    for split, name in itertools.product(('train', 'val'), 'abcd'):
        (tmp_path / f'my_photos/{split}/{name}').mkdir(parents=True)
        for i in range(4):
            picture = np.full((40, 50, 3), 60 * 'abcd'.index(name), np.uint8)
            cv2.imwrite(str(tmp_path / f'my_photos/{split}/{name}/{i}.png'), picture)
    config = tmp_path / 'folder.py'
    config.write_text(FOLDER.format(base=str(small_config), root=f'{tmp_path}/my_photos/'))
    options = {'model.backbone.k_size': 11}
    cfg = load_config(str(config), options)
    model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=1, seed=0)), tmp_path / 'epoch_1.pth')
    given = (str(config), str(tmp_path / 'epoch_1.pth'), 'other')
    with pytest.raises(ValueError, match='--licence is missing: say on what terms weights trained on PhotoFolder data'):
        publish(*given, log='', folder=tmp_path / 'files', options=options)
    assert not (tmp_path / 'files').exists()
    published = publish(*given, log='', folder=tmp_path / 'files', options=options, licence='CC BY 4.0')
    assert published['data'] == 'PhotoFolder my_photos, 12 photos of 32 px, 4 classes'
    assert (published['licence'], published['options'], published['k_size']) == ('CC BY 4.0', options, 11)
    assert manifest.shipped_entries(tmp_path / 'files') == [published]
    with safe_open(tmp_path / 'files' / published['file'], 'pt') as file:
        assert file.metadata()['licence'] == 'CC BY 4.0'


@pytest.mark.slow
def test_the_words_for_tiny_imagenet(shared_data):
    config = str(ROOT / 'configs/pretrain_van_lska_t_tiny_imagenet.py')
    dataset = load_config(config, dict(data_root=f'{shared_data("tiny_imagenet")}/')).train_dataloader.dataset
    assert describe_data(dataset) == 'Tiny-ImageNet, 100,000 photos of 64 px, 200 classes'


def test_changed_or_missing_files_are_refused(shipped, tmp_path):
    path = tmp_path / shipped['file']
    path.write_bytes(path.read_bytes()[:-1] + b'x')
    with pytest.raises(WeightsError, match='is not the file that was published: its SHA-256 is [0-9a-f]{64}, not'):
        load_pretrained('tiny_one')
    path.unlink()
    with pytest.raises(WeightsError, match='is missing from this installation'):
        load_pretrained('tiny_one')


def test_what_cannot_be_published(small_config, tmp_path):
    torch.save(dict(state_dict=VAN_LSKA('t').state_dict()), tmp_path / 'backbone.pth')
    with pytest.raises(WeightsError, match='holds no classifier'):
        publish(str(small_config), str(tmp_path / 'backbone.pth'), 'x', log='', folder=tmp_path)
    with pytest.raises(ValueError, match="name 'a/b' must be made of letters"):
        publish(str(small_config), 'none.pth', 'a/b', log='', folder=tmp_path)
    with pytest.raises(WeightsError, match='in float16 holds NaN or infinity in head.weight'):
        half_precision({'head.weight': torch.tensor([1e6]), 'norm.running_var': torch.tensor([1e6])})
