"""Files that older versions of the package wrote, and that users have, still load.

files_2026_11 was written by commit c0fa2d7, before the package's folders were arranged anew: tools/train.py on four generated scenes
(iter_2.pth, segmentor.py), tools/export.py (segmentor.onnx), tools/convert_weights.py --extract-backbone (classification.pth with
--to classification, backbone.safetensors), and the dump of configs/van_lska_t_imagenet.py. Of the folder they lay in, data/compat1 is left.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

from mmlska import VAN_LSKA
from mmlska.engine.config import load_config
from mmlska.engine.launch import build_train_runner, prepare
from mmlska.infer import Predictor
from mmlska.weights import convert_state_dict, inspect_state_dict, load_weights, read_checkpoint

FILES = Path(__file__).with_name('files_2026_11')


@pytest.fixture
def old(tmp_path) -> Path:
    """A copy of the files, configs by their own names: here they are no code of this project."""
    for path in FILES.iterdir():
        shutil.copy(path, tmp_path / path.name.removesuffix('.txt'))
    return tmp_path


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (96, 64, 3), dtype=np.uint8)


def test_the_checkpoint_of_a_training_and_its_config_predict(old, photo):
    (prediction,) = Predictor(str(old / 'segmentor.py'), old / 'iter_2.pth', device='cpu')(photo)
    assert prediction.classes == ('background', 'circle', 'square', 'triangle', 'star', 'ring')
    assert prediction.index_mask.shape == photo.shape[:2]


def test_a_training_continues_from_the_checkpoint(old, scenes):
    cfg = load_config(str(old / 'segmentor.py'), {'data_root': f'{scenes}/'})
    prepare(cfg, str(old / 'segmentor.py'), work_dir=str(old), launcher='none', seed=0)
    runner = build_train_runner(cfg, resume='auto')
    runner.load_or_resume()
    state = read_checkpoint(old / 'iter_2.pth').content
    assert runner.iter == 2
    assert all(torch.equal(t, state['state_dict'][name]) for name, t in runner.model.state_dict().items())


@pytest.mark.parametrize('name', ['classification.pth', 'backbone.safetensors', 'iter_2.pth'])
def test_weights_load_whole_and_are_recognised(old, name):
    content = read_checkpoint(old / name).content
    info = inspect_state_dict(content)
    assert (info.layout, info.k_size) == ('classification' if name == 'classification.pth' else 'mmlska', 7)
    backbone = VAN_LSKA(info.arch, k_size=7, out_indices=(0,))
    assert load_weights(backbone, str(old / name)).matched == len(backbone.state_dict())
    trained = convert_state_dict(read_checkpoint(old / 'iter_2.pth').content)
    assert all(torch.equal(t, trained[key]) for key, t in backbone.state_dict().items())


def test_a_dumped_config_finds_the_classifier_where_it_was(old):
    cfg = load_config(str(old / 'van_lska_t_imagenet.py'))
    assert 'mmlska.mmpretrain_classifier' in cfg.custom_imports.imports
    assert MODELS.get(cfg.model.type).__name__ == 'build_classifier'
    assert MODELS.build(cfg.model.backbone).embed_dims == [32, 64, 160, 256]


def test_an_onnx_file_gives_what_its_model_gives(old, photo):
    onnx_predictor = pytest.importorskip('mmlska.export.onnx_predictor', reason='no onnxruntime; pip install it')
    (exported,) = onnx_predictor.OnnxPredictor(old / 'segmentor.onnx')([photo])
    (trained,) = Predictor(str(old / 'segmentor.py'), old / 'iter_2.pth', device='cpu')(photo)
    assert exported.classes == trained.classes
    assert (exported.index_mask == trained.index_mask).mean() > 0.99
