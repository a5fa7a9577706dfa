"""scripts/gpu_pretrain.py on a CPU, with generated photos and a very small network."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from mmengine.registry import MODELS
from mmengine.runner import Runner
from packed_photos import COLOURS, TILE, write_packed, write_small_config

import mmlska.models.classifier as plain
from mmlska.classification import PretrainingClassifier, TinyImageNet
from mmlska.engine.config import load_config
from mmlska.engine.launch import build_train_runner
from mmlska.engine.launch import prepare as prepare_runner
from mmlska.weights import manifest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'scripts'))

import gpu_pretrain  # noqa: E402
import gpu_pretrain_loop  # noqa: E402

CLASSES, PHOTOS = len(COLOURS), 30

LONGER = """
_base_ = {base!r}
data_root = {root!r}
warm_up, epochs = 1, 4
model = dict(data_preprocessor=dict(mix_prob=0.5))  # some batches mixed, some not
train_dataloader = dict(batch_size=16, dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=epochs, val_interval=2)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=warm_up, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=warm_up, end=epochs, eta_min=1e-5, convert_to_iter_based=True),
]
"""
PER_EPOCH = CLASSES * PHOTOS // 16


def smooth(split: str, label: int, count: int) -> np.ndarray:
    """Photos (count, TILE, TILE, 3) of a class that a lossy encoder can make small."""
    coarse = np.random.default_rng([label, split == 'train']).integers(0, 256, (count, 5, 5, 3)).astype(np.uint8)
    fine = np.stack([cv2.resize(photo, (TILE, TILE), interpolation=cv2.INTER_CUBIC) for photo in coarse])
    return (0.6 * COLOURS[label] + 0.4 * fine).astype(np.uint8)


@pytest.fixture(scope='module')
def photos(tmp_path_factory) -> Path:
    """Tiny-ImageNet's layout: classes of a colour each, 30 training and 10 validation photos, all but lossless."""
    root = tmp_path_factory.mktemp('photos')
    write_packed(root, smooth, PHOTOS, 10, quality=98)
    (root / 'SOURCE.md').write_text('# generated\n')
    return root


@pytest.fixture(scope='module')
def config(photos, tmp_path_factory) -> Path:
    """The GPU's recipe, all its random parts on, for a network of one block of 8 channels a stage."""
    folder = tmp_path_factory.mktemp('config')
    path = folder / 'longer.py'
    path.write_text(LONGER.format(base=str(write_small_config(folder, photos)), root=f'{photos}/'))
    return path


@pytest.fixture(scope='module')
def train(photos, config) -> Callable[..., dict]:
    """Run `train`; return its progress.json."""

    def run(out: Path, *options: str | Path) -> dict:
        given = ['--data', photos, '--config', config, '--k-size', 7, '--seed', 3, '--out', out, *options]
        gpu_pretrain.main(['train', *map(str, given)])
        return json.loads((out / 'progress.json').read_text())

    return run


@pytest.fixture(scope='module')
def whole(train, tmp_path_factory) -> Path:
    """The folder of an uninterrupted training."""
    out = tmp_path_factory.mktemp('whole') / 'out'
    train(out)
    return out


@pytest.fixture(scope='module')
def stopped(train, tmp_path_factory) -> Path:
    """The folder of a training that stopped within its second epoch; parts so small that there are several."""
    out = tmp_path_factory.mktemp('stopped') / 'out'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_pretrain_loop, 'PART', 60_000)
        train(out, '--steps', str(PER_EPOCH + 3))
    return out


@pytest.fixture
def refused(capsys, monkeypatch) -> Callable[..., str]:
    """Run a command that must fail; return the one line that it prints."""

    monkeypatch.setattr(sys, 'argv', ['scripts/gpu_pretrain.py'])  # what error lines begin with

    def run(*argv: str | Path) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            gpu_pretrain.main([*map(str, argv)])
        assert end.value.code == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert lines[0].startswith('gpu_pretrain.py: error: ')
        return lines[0]

    return run


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())


def error_of(a: Path, b: Path, split: str) -> float:
    """Mean absolute difference of the photos of two folders, of 255."""
    one, other = (TinyImageNet(str(path), data_prefix=dict(img=split), tile=TILE).images.float() for path in (a, b))
    assert one.shape == other.shape
    return (one - other).abs().mean().item()


def test_pack_fits_and_reads_back(photos, tmp_path):
    limit = 0.6 * size_of(photos)
    gpu_pretrain.main(['pack', str(photos), str(tmp_path / 'new/small'), '--mebibytes', str(limit / 2**20)])
    packed = tmp_path / 'new/small'
    assert 0.5 * limit < size_of(packed) <= limit
    assert 0.5 < error_of(photos, packed, 'train') < 8
    assert all(path.read_bytes() == (photos / 'val' / path.name).read_bytes() for path in (packed / 'val').iterdir())
    text = (packed / 'SOURCE.md').read_text()
    assert text.startswith('# generated')
    assert 'training sheets: encoded anew with quality' in text
    assert 'validation sheets: the original files' in text
    # what it made itself it replaces, nothing else
    gpu_pretrain.main(['pack', str(photos), str(packed), '--mebibytes', '1'])
    assert size_of(packed) > limit
    assert not list(packed.parent.glob('.*'))


def test_pack_encodes_the_validation_sheets_only_if_it_must(photos, tmp_path):
    train = [photos / f'train/n{i}.webp' for i in range(CLASSES)]
    least = sum(len(content) for content in gpu_pretrain.encode_all(train, gpu_pretrain.LOWEST).values())
    val = sum(path.stat().st_size for path in (photos / 'val').iterdir())
    limit = least + 0.6 * val + 1300
    said = gpu_pretrain.pack(photos, tmp_path / 'small', limit / 2**20)
    assert 'validation sheets: encoded anew with quality' in said
    assert f'training sheets of quality {gpu_pretrain.LOWEST};' in said
    assert size_of(tmp_path / 'small') <= limit
    assert 0.5 < error_of(photos, tmp_path / 'small', 'val') < error_of(photos, tmp_path / 'small', 'train')


def test_what_pack_refuses(photos, tmp_path, refused):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/thesis.txt').write_text('x')
    assert 'is not empty and was not made by pack' in refused('pack', photos, tmp_path / 'mine')
    assert (tmp_path / 'mine/thesis.txt').read_text() == 'x'
    line = refused('pack', photos, tmp_path / 'new', '--mebibytes', '0.005')
    assert '--mebibytes 0.005 is too little; give 0.1 or more' in line
    assert 'has no classes.json' in refused('pack', tmp_path, tmp_path / 'new')
    assert not (tmp_path / 'new').exists()


def test_training_learns_and_leaves_weights_that_load(whole, config):
    progress = json.loads((whole / 'progress.json').read_text())
    rows = progress['epochs']
    assert [row['epoch'] for row in rows] == [1, 2, 3, 4]
    assert ['top1' in row for row in rows] == [False, True, False, True]  # the config's val_interval
    assert rows[-1]['loss'] < rows[0]['loss'] - 0.1
    assert progress['top1'] == rows[-1]['top1'] > 90  # chance is 25
    assert progress['top5'] == 100
    assert progress['finished']
    assert {'date', 'hardware', 'versions', 'recipe'} <= progress.keys()
    assert all(row['images_per_second'] > 0 for row in rows)
    assert sorted(path.name for path in whole.iterdir()) == ['progress.json', 'weights.safetensors']
    cfg = load_config(str(config))
    tensors = safetensors.torch.load_file(whole / 'weights.safetensors')
    assert tensors['head.weight'].dtype == torch.float16
    assert tensors['backbone.blocks1.0.norm1.running_var'].dtype == torch.float32
    model: PretrainingClassifier = MODELS.build(cfg.model).eval()
    model.load_state_dict(tensors, strict=True)
    other = plain._build(cfg.model.backbone.arch, 4, str(whole / 'weights.safetensors'), dict(k_size=7)).eval()
    val = TinyImageNet(cfg.data_root, data_prefix=dict(img='val'), tile=TILE)
    batch = model.data_preprocessor(val.__getitems__(range(len(val))))
    with torch.no_grad():
        logits = model(batch['inputs'])
        torch.testing.assert_close(other(batch['inputs']), logits)
    assert 100 * (logits.argmax(1) == val.labels).float().mean().item() == pytest.approx(progress['top1'], abs=2.6)


def test_going_on_from_the_parts_continues_the_same_training(whole, stopped, train, tmp_path, monkeypatch):
    names = sorted(path.name for path in stopped.iterdir())
    parts = [name for name in names if name.startswith('state-')]
    assert 2 <= len(parts) <= 5
    assert all((stopped / name).stat().st_size <= 60_000 for name in parts)
    assert names == ['progress.json', *parts, 'state.json', 'weights.safetensors']
    state = json.loads((stopped / 'state.json').read_text())
    assert (state['place']['step'], len(state['place']['losses'])) == (PER_EPOCH + 3, 3)

    def spied(out: Path, *options: str | Path) -> tuple[list, dict]:
        calls, step = [], gpu_pretrain_loop.Training.step

        def noting(self, images, labels, seed, rate, momentum):
            step(self, images, labels, seed, rate, momentum)
            calls.append((labels.tolist(), images.sum().item(), seed, rate, momentum, self.loss.item()))

        with monkeypatch.context() as patch:
            patch.setattr(gpu_pretrain_loop.Training, 'step', noting)
            return calls, train(out, *options)

    (all_calls, expected), (calls, found) = spied(tmp_path / 'all'), spied(tmp_path / 'b', '--state', stopped)
    rest = all_calls[PER_EPOCH + 3 :]
    # MMEngine's MomentumAnnealingEMA with the config's momentum and gamma
    assert [call[4] for call in all_calls] == [max(0.001, 10 / (10 + i)) for i in range(4 * PER_EPOCH)]
    assert [call[:-1] for call in calls] == [call[:-1] for call in rest]
    # bfloat16 keeps 8 bits of a moment: the first losses differ by much less than they do from step to step
    np.testing.assert_allclose([c[-1] for c in calls[:4]], [c[-1] for c in rest[:4]], atol=3e-3)
    assert abs(calls[0][-1] - rest[0][-1]) < 1e-5  # the weights themselves are kept in float32
    assert [row['epoch'] for row in found['epochs']] == [1, 2, 3, 4]
    losses, wanted = ([row['loss'] for row in progress['epochs']] for progress in (found, expected))
    np.testing.assert_allclose(losses, wanted, atol=2e-2)
    assert len(found['runs']) == 2
    assert expected['epochs'][-1]['loss'] == json.loads((whole / 'progress.json').read_text())['epochs'][-1]['loss']


def test_rates_are_those_of_the_runner(config, tmp_path):
    cfg = load_config(str(config), dict(log_level='WARNING', experiment_name='rates', **{'visualizer.name': 'rates'}))
    rates = gpu_pretrain_loop.rates_of(cfg, PER_EPOCH)
    assert len(rates) == 4 * PER_EPOCH
    prepare_runner(cfg, str(config), work_dir=str(tmp_path), launcher='none', seed=3)
    runner: Runner = build_train_runner(cfg)
    seen: list[float] = []
    runner.model.register_forward_pre_hook(
        lambda model, _: seen.append(runner.optim_wrapper.get_lr()['lr'][0]) if model.training else None
    )
    runner.train()
    np.testing.assert_allclose(rates, seen, rtol=1e-6)


def made(config: Path, seed: int = 3) -> gpu_pretrain_loop.Training:
    return gpu_pretrain_loop.Training(load_config(str(config)), seed, torch.device('cpu'), (TILE, TILE))


def test_a_step_is_the_classifiers_own_loss(config):
    training, images = made(config), torch.randint(0, 256, (16, 3, TILE, TILE), dtype=torch.uint8)
    labels = torch.arange(16) % 4
    reference, shares = made(config), []
    for seed in range(4):
        gpu_pretrain_loop.seed_generators(seed)
        batch = reference.model.data_preprocessor(dict(inputs=images, labels=labels), training=True)
        expected = reference.model(**batch, mode='loss')['loss'].item()
        training.load(reference.tensors())
        training.step(images, labels, seed, 1e-3, 0.25)
        assert training.loss.item() == pytest.approx(expected, rel=1e-5)
        shares.append(batch['share'])
    assert min(shares) < 1 == max(shares)  # mixed batches and others were among them


def test_the_average_and_the_limit_of_the_gradients(config):
    training, name = made(config), 'backbone.blocks1.0.mlp.fc1.weight'
    images, labels = torch.randint(0, 256, (16, 3, TILE, TILE), dtype=torch.uint8), torch.arange(16) % 4
    before = {k: t.clone() for k, t in training.tensors().items()}
    training.max_norm = 1e-3
    training.step(images, labels, 0, 1e-2, 0.25)
    after = training.tensors()
    for key in (name, 'backbone.patch_embed1.norm.running_mean'):
        assert (after[f'model/{key}'] - before[f'model/{key}']).abs().max() > 1e-4
        wanted = before[f'average/{key}'].lerp(after[f'model/{key}'], 0.25)
        torch.testing.assert_close(after[f'average/{key}'], wanted)
    total = sum(p.grad.square().sum() for p in training.model.parameters()).sqrt()
    assert total.item() == pytest.approx(1e-3, rel=1e-3)


def test_validation_counts_all_photos_with_the_averaged_weights(photos, config, whole, monkeypatch):
    monkeypatch.setattr(gpu_pretrain_loop, 'VALIDATED', 7)
    training, val = made(config), TinyImageNet(str(photos), data_prefix=dict(img='val'), tile=TILE)
    val.labels[::3] = 0  # it knows these photos too well
    training.average.load_state_dict(safetensors.torch.load_file(whole / 'weights.safetensors'))
    found = training.validate(val, dict(type='TopK', topk=(1, 2)))
    inputs = training.model.data_preprocessor(val.__getitems__(range(len(val))))['inputs']
    best = training.average(inputs).topk(2).indices == val.labels[:, None]
    assert found == {'top1': best[:, 0].sum() * 100 / 40, 'top2': best.sum() * 100 / 40}
    assert 50 < found['top1'] < found['top2'] < 100


def test_rehearsing_for_a_graph_leaves_no_trace(config):
    training, other = made(config), made(config)
    images, labels = torch.randint(0, 256, (16, 3, TILE, TILE), dtype=torch.uint8), torch.arange(16) % 4
    for each in (training, other):
        each.step(images, labels, 0, 1e-3, 0.5)
    training.capture()
    for name, tensor in other.tensors().items():
        assert torch.equal(training.tensors()[name], tensor), name
    for each in (training, other):
        each.step(images, labels, 1, 1e-3, 0.5)
    assert training.loss.item() == other.loss.item()


def test_the_clock_stops_a_training_in_time(train, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_pretrain_loop, 'LOOK', 2)
    progress = train(tmp_path / 'out', '--minutes', '0.01')
    assert (progress['finished'], progress['step']) == (False, 2)
    assert 'top1' in progress
    assert (tmp_path / 'out/state.json').is_file()


def test_what_train_refuses(photos, config, stopped, tmp_path, refused, train):
    given = ['train', '--data', photos, '--config', config, '--seed', 3, '--k-size', 7]
    copy = tmp_path / 'copy'
    shutil.copytree(stopped, copy)
    out = ['--out', tmp_path / 'out']
    line = refused(*given, *out, '--state', copy, '--seed', '4', '--attention', 'lka', '--k-size', '23')
    assert 'seed is 4, there 3' in line
    assert 'model.backbone.k_size is 23, there 7' in line
    assert 'model.backbone.attention is lka, there None' in line
    assert 'epochs is 3, there 4' in refused(*given, *out, '--state', copy, '--epochs', '3')
    assert f'--out {copy} holds a training' in refused(*given, '--out', copy)
    content = (copy / 'state-1.bin').read_bytes()
    (copy / 'state-1.bin').write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert 'state-1.bin is damaged: its SHA-256' in refused(*given, *out, '--state', copy)
    (copy / 'state-1.bin').unlink()
    assert 'state-1.bin is missing; bring all' in refused(*given, *out, '--state', copy)
    (copy / 'state.json').write_text('{')
    assert 'state.json is damaged' in refused(*given, *out, '--state', copy)
    assert 'has no state.json' in refused(*given, *out, '--state', tmp_path)
    assert '--epochs 1 must be more than the 1 of the warm-up' in refused(*given, *out, '--epochs', '1')
    assert '--minutes 0 must be above 0' in refused(*given, *out, '--minutes', '0')
    assert "attention='x' is unknown" in refused(*given, *out, '--attention', 'x')
    assert 'has no classes.json' in refused('train', '--data', tmp_path, *out)
    assert not (tmp_path / 'out').exists()


def test_a_loss_that_is_not_finite_stops_and_keeps_the_state(stopped, tmp_path, refused, photos, config):
    copy = tmp_path / 'copy'
    shutil.copytree(stopped, copy)
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    given = ['train', '--data', photos, '--config', config, '--seed', 3, '--k-size', 7, '--out', copy, '--state', copy]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_pretrain_loop, 'rates_of', lambda cfg, steps: [float('nan')] * 4 * steps)
        assert 'the loss is not finite at step' in refused(*given)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_publish(whole, stopped, config, tmp_path, monkeypatch, refused):
    folder, docs = tmp_path / 'files', tmp_path / 'docs'
    monkeypatch.setattr(manifest, 'FILES', folder)
    monkeypatch.chdir(tmp_path)  # for its work_dirs
    given = ['--folder', folder, '--docs', docs, 'tiny_gpu']
    assert f'is not finished: {PER_EPOCH + 3} of {4 * PER_EPOCH} steps' in refused('publish', '--out', stopped, *given)
    assert 'has no progress.json' in refused('publish', '--out', tmp_path, *given)
    assert not folder.exists()
    gpu_pretrain.main(['publish', '--out', str(whole), *map(str, given)])
    (entry,) = manifest.shipped_entries(folder)
    progress = json.loads((whole / 'progress.json').read_text())
    assert (entry['k_size'], entry['epochs'], entry['seed']) == (7, 4, 3)
    assert entry['top1'] == pytest.approx(progress['top1'], abs=2.6)  # one photo of 40
    result = json.loads((docs / 'results/tiny_gpu.json').read_text())
    assert result['entry'] == entry
    assert result['curve']['top1'] == [[r['epoch'], r['top1']] for r in progress['epochs'] if 'top1' in r]
    assert result['hardware'] == progress['hardware']
    assert (docs / 'tiny_gpu.png').read_bytes().startswith(b'\x89PNG')
    cfg = load_config(str(config))
    plain._build(cfg.model.backbone.arch, 4, 'mmlska://tiny_gpu', dict(k_size=7))
