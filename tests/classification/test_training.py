"""Training by MMEngine's Runner as the tools start it: resumed, in two processes, published and loaded again."""

import itertools
import os
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from mmengine.runner import Runner
from safetensors import safe_open

from mmlska import VAN_LSKA
from mmlska.classification.publish import describe_data, draw_curve, half_precision, learning_curve, publish
from mmlska.engine.config import load_config
from mmlska.engine.errors import TrainingError
from mmlska.engine.evaluation_options import use_overlays, use_predictions
from mmlska.engine.launch import build_test_runner, build_train_runner, prepare
from mmlska.models.classifier import _build as build_plain
from mmlska.weights import WeightsError, load_pretrained, manifest, published_names, read_checkpoint

ROOT = Path(__file__).resolve().parents[2]
TINY_IMAGENET = ROOT / 'data/tiny_imagenet'


def configured(config: Path, work_dir: Path, **options):
    # MMEngine keeps one visualizer of a name in a process: the scalars would go where another test's went.
    names = {'experiment_name': str(work_dir), 'visualizer.name': str(work_dir)}
    cfg = load_config(str(config), dict(log_level='WARNING', **names, **options))
    prepare(cfg, str(config), work_dir=str(work_dir), launcher='none', seed=3)
    return cfg


def train(config: Path, work_dir: Path, resume: str | None = None, dtype: str = 'fp32', **options) -> Runner:
    runner = build_train_runner(configured(config, work_dir, **options), resume=resume, dtype=dtype)
    runner.train()
    return runner


@pytest.fixture(scope='module')
def trained(small_config, tmp_path_factory) -> Path:
    """The work directory of two epochs."""
    work_dir = tmp_path_factory.mktemp('trained')
    train(small_config, work_dir)
    return work_dir


def tensors(node, path=''):
    """All tensors of a checkpoint by their path in it."""
    if isinstance(node, torch.Tensor):
        yield path, node
    elif isinstance(node, (dict, list, tuple)):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from tensors(value, f'{path}/{key}')


@pytest.mark.parametrize('within_an_epoch', [False, True])
def test_resumed_training_equals_an_uninterrupted_one_bit_for_bit(small_config, trained, tmp_path, within_an_epoch):
    checkpoint = trained / 'epoch_1.pth'
    if within_an_epoch:  # of four iterations
        saving = {'default_hooks.checkpoint.by_epoch': False, 'default_hooks.checkpoint.interval': 6}
        train(small_config, tmp_path / 'part', **saving)
        checkpoint = tmp_path / 'part/iter_6.pth'
    train(small_config, tmp_path, resume=str(checkpoint))
    parts = ('state_dict', 'ema_state_dict', 'optimizer')
    first, whole, resumed = (
        dict(tensors({k: read_checkpoint(file).content[k] for k in parts}))
        for file in (trained / 'epoch_1.pth', trained / 'epoch_2.pth', tmp_path / 'epoch_2.pth')
    )
    assert len(whole) > 300
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(t, resumed[name]) for name, t in whole.items())
    weight = 'state_dict/backbone.blocks1.0.mlp.fc1.weight'
    assert not torch.equal(whole[f'/{weight}'], first[f'/{weight}'])
    assert not torch.equal(whole[f'/{weight}'], whole[f'/ema_{weight.replace("backbone", "module.backbone")}'])


TWO = """
_base_ = {base!r}
# Without what differs between processes: random numbers and statistics of the batch. SGD, as AdamW divides rounding by rounding.
model = dict(
    data_preprocessor=dict(crop_scale=None, jitter=0.0, erase_prob=0.0, mixup=0.0, cutmix=0.0),
    backbone=dict(norm_cfg=dict(_delete_=True, type='GN', num_groups=1), drop_path_rate=0.0),
)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.005, momentum=0.9))
"""


@pytest.mark.slow
def test_two_processes_equal_one_with_twice_the_batch(small_config, tmp_path):
    (tmp_path / 'two.py').write_text(TWO.format(base=str(small_config)))
    environment = dict(os.environ, OMP_NUM_THREADS='1', MASTER_PORT='29581')
    environment['PATH'] = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    halved = ['--cfg-options', 'train_dataloader.batch_size=4']
    for command in (
        [sys.executable, ROOT / 'tools/train.py', 'two.py', '--work-dir', 'one'],
        ['bash', ROOT / 'tools/dist_train.sh', 'two.py', '2', '--work-dir', 'two', *halved],
    ):
        result = subprocess.run(
            list(map(str, command)), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280
        )
        assert result.returncode == 0, result.stderr[-3000:]
    one, two = (read_checkpoint(tmp_path / name / 'epoch_2.pth').content['state_dict'] for name in ('one', 'two'))
    first = read_checkpoint(tmp_path / 'one/epoch_1.pth').content['state_dict']
    moved = max((t - first[name]).abs().max().item() for name, t in one.items())
    apart = max((t - two[name]).abs().max().item() for name, t in one.items())
    assert moved > 1e-3
    assert apart < 1e-5


@pytest.mark.parametrize('deploy', [False, True])
def test_test_gives_the_accuracy_of_the_averaged_weights(small_config, trained, tmp_path, deploy):
    cfg = configured(small_config, tmp_path)
    runner = build_test_runner(cfg, str(trained / 'epoch_2.pth'), out=str(tmp_path / 'out.pkl'), deploy=deploy)
    found = runner.test()
    assert found['accuracy/top1'] == pytest.approx(learning_curve(trained)['top1'][-1][1])
    predicted = pickle.loads((tmp_path / 'out.pkl').read_bytes())
    model = MODELS.build(cfg.model).eval()
    model.load_state_dict(read_checkpoint(trained / 'epoch_2.pth').content['state_dict'])
    batch = runner.test_dataloader.dataset.__getitems__(range(16))
    expected = model.test_step(batch)
    for sample, other in zip(predicted, expected):
        torch.testing.assert_close(sample['scores'], other['scores'].detach(), rtol=1e-4, atol=1e-4)


def test_a_loss_that_is_not_finite_stops(small_config, tmp_path):
    runner = build_train_runner(configured(small_config, tmp_path))
    runner.model.head.register_forward_hook(lambda _, __, logits: logits / 0)
    with pytest.raises(TrainingError, match='for a batch of 8 images; first non-finite output: head'):
        runner.train()


def test_low_precision_trains(small_config, tmp_path):
    runner = train(small_config, tmp_path, dtype='bf16', **{'train_cfg.max_epochs': 1, 'param_scheduler': None})
    assert runner.model.extract_feat(torch.rand(2, 3, 32, 32))[0].dtype == torch.float32
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in runner.model.parameters())


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
@pytest.mark.skipif(not TINY_IMAGENET.is_dir(), reason='data/tiny_imagenet is not here; see docs/pretraining.md')
def test_the_words_for_tiny_imagenet():
    dataset = load_config(str(ROOT / 'configs/pretrain_van_lska_t_tiny_imagenet.py')).train_dataloader.dataset
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


def test_options_that_a_classifier_has_not(small_config, tmp_path):
    cfg = load_config(str(small_config))
    with pytest.raises(ValueError, match='--show-dir draws boxes and masks, which a classifier has not'):
        use_overlays(cfg, 'pictures')
    with pytest.raises(ValueError, match=r'--out folder is not possible with this model; give a .pkl file'):
        use_predictions(cfg, 'folder')
    use_predictions(cfg, str(tmp_path / 'out.pkl'))
    assert cfg.test_evaluator[-1]['type'] == 'DumpResults'


@pytest.mark.skipif(not TINY_IMAGENET.is_dir(), reason='data/tiny_imagenet is not here; see docs/pretraining.md')
def test_three_iterations_on_the_photos_themselves(tmp_path):
    part = {f'{split}_dataloader.dataset.num_classes': 8 for split in ('train', 'val')}
    part['train_dataloader.dataset.photos_per_class'] = 48
    part['val_dataloader.dataset.photos_per_class'] = 5
    config = ROOT / 'configs/pretrain_van_lska_t_tiny_imagenet_cpu.py'
    options = {'train_cfg.max_epochs': 1, 'param_scheduler': None, 'default_hooks.checkpoint': None}
    options['optim_wrapper.optimizer.lr'] = 1e-4
    runner = train(config, tmp_path, **part, **options, data_root=f'{TINY_IMAGENET}/')
    assert runner.iter == 3
    assert len(runner.val_dataloader.dataset) == 40
    assert all(p.isfinite().all() for p in runner.model.parameters())
