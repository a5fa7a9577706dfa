"""Who finds ``mmcv._ext``, in processes of their own: in this one mmcv is imported already."""

import subprocess
import sys
from pathlib import Path

import pytest

from mmlska.mmcv_ops import available_backends, in_use

pytest.importorskip('mmcv')
ROOT = Path(__file__).resolve().parents[2]

# In this process mmcv is one without compiled operators, whichever is installed.
HIDE = """
from importlib.machinery import PathFinder

whole = PathFinder.find_spec
PathFinder.find_spec = classmethod(lambda cls, name, *rest: None if name == 'mmcv._ext' else whole(name, *rest))
"""


def run(code: str, cwd: Path, hide: bool = True) -> str:
    code = f'import sys\nsys.path.insert(0, {str(ROOT)!r})\n{HIDE if hide else ""}\n{code}'
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_mmlska_a_light_mmcv_has_no_operators(tmp_path):
    """The other tests here would prove nothing if it had."""
    code = 'try:\n    import mmcv.ops\nexcept ModuleNotFoundError as error:\n    print(error.name)'
    assert run(code, tmp_path) == 'mmcv._ext'


def test_import_of_mmlska_gives_mmcv_its_operators(tmp_path):
    code = """
import mmlska
assert 'mmcv' not in sys.modules and 'torchvision' not in sys.modules
from mmcv.ops import nms, get_compiler_version, get_compiling_cuda_version
from mmcv.utils import collect_env
import mmcv._ext, torch
assert mmlska.mmcv_ops.in_use()
assert collect_env()['MMCV Compiler'] == get_compiler_version()
print(mmcv._ext.__spec__.origin, nms(torch.tensor([[0., 0, 9, 9], [0, 0, 9, 9]]), torch.tensor([.1, .2]), .5)[1].tolist())
print(get_compiler_version(), get_compiling_cuda_version(), sep='; ')
"""
    lines = run(code, tmp_path).splitlines()
    assert lines[0] == 'mmlska.mmcv_ops [1]'
    assert lines[1] == f'none, operators of mmlska: {", ".join(available_backends())}; not available'


def test_the_module_holds_what_mmcv_asks_for_and_no_more(tmp_path):
    code = """
import mmlska
from mmcv.utils import ext_loader
asked, load = set(), ext_loader.load_ext
ext_loader.load_ext = lambda name, functions: asked.update(functions) or load(name, functions)
import mmcv.ops, mmcv._ext
names = {name for name in vars(mmcv._ext) if not name.startswith('__')}
print(len(names) > 10, names - asked)
"""
    assert run(code, tmp_path) == 'True set()'


@pytest.mark.parametrize('when', ['before', 'after'])
def test_operators_that_are_there_are_not_touched(when, tmp_path):
    """A package of the same name, with an ``_ext`` of its own."""
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv/__init__.py').write_text('')
    (tmp_path / 'mmcv/_ext.py').write_text('def nms():\n    return "its own"\n')
    lines = ['import mmlska', 'from mmcv._ext import nms']
    code = '\n'.join(lines if when == 'before' else lines[::-1])
    code = f'sys.path.insert(0, {str(tmp_path)!r})\n{code}\nimport mmcv._ext\n'
    assert run(
        code + 'print(nms(), mmlska.mmcv_ops.in_use(), hasattr(mmcv._ext, "softnms"))', tmp_path, hide=False
    ) == ('its own False False')


def test_an_ext_that_does_not_load_is_not_hidden(tmp_path):
    """One that was compiled for another torch must be installed again by its owner; silence would hide it."""
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv/__init__.py').write_text('')
    (tmp_path / 'mmcv/_ext.py').write_text('raise ImportError("undefined symbol")\n')
    code = f'sys.path.insert(0, {str(tmp_path)!r})\nimport mmlska\n'
    code += 'try:\n    import mmcv._ext\nexcept ImportError as error:\n    print(error)'
    assert run(code, tmp_path, hide=False) == 'undefined symbol'


def test_without_mmcv_nothing_is_there(tmp_path):
    code = """
sys.modules['mmcv'] = None
from mmlska import mmcv_ops
mmcv_ops.install()
print(mmcv_ops.in_use(), sum(type(finder).__module__ == 'mmlska.mmcv_ops' for finder in sys.meta_path))
"""
    assert run(code, tmp_path) == 'False 1'


def test_other_operators_say_what_to_install_when_they_are_called(tmp_path):
    code = """
import mmlska, torch
from mmcv.ops import DeformConv2d
layer = DeformConv2d(1, 1, 3)
try:
    layer(torch.zeros(1, 1, 5, 5), torch.zeros(1, 18, 3, 3))
except NotImplementedError as error:
    print(error)
import mmcv._ext
assert not hasattr(mmcv._ext, '__path__')
"""
    text = run(code, tmp_path)
    assert text.startswith("mmcv's operator deform_conv_forward has no stand-in in mmlska; it needs mmcv with compiled")
    assert 'MMCV_WITH_OPS=1 pip install' in text
    assert len(text.splitlines()) == 1


DETECTOR = """
import mmlska, torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData

cfg = Config.fromfile({config!r})
init_default_scope(cfg.default_scope)
cfg.model.backbone.update(arch=dict(embed_dims=[8] * 4, depths=[1] * 4, ffn_ratios=[2] * 4), k_size=7, norm_cfg=dict(type='BN'))
cfg.model.neck.update(in_channels=[8] * 4)
torch.manual_seed(0)
model = MODELS.build(cfg.model)
boxes = torch.tensor([[4.0, 6, 40, 50], [30, 20, 90, 70], [8, 50, 30, 90]])
samples = []
for i in range(2):
    truth = InstanceData(bboxes=boxes + i, labels=torch.tensor([0, 3, 1]))
    masks = torch.zeros(3, 96, 96, dtype=torch.uint8)
    for mask, (x, y, right, bottom) in zip(masks, (boxes + i).long().tolist()):
        mask[y:bottom, x:right].tril_()[...] = 1
    truth.masks = BitmapMasks(masks.numpy(), 96, 96)
    samples.append(DetDataSample(gt_instances=truth, metainfo=dict(img_shape=(96, 96), ori_shape=(96, 96), batch_input_shape=(96, 96),
        pad_shape=(96, 96), scale_factor=(1.0, 1.0))))
images = torch.rand(2, 3, 96, 96)
torch.manual_seed(1)
losses, _ = model.parse_losses(model.loss(images, samples))
losses.backward()
gradient = sum(p.grad.double().square().sum() for p in model.parameters() if p.grad is not None).sqrt()
cfg.model.test_cfg.rcnn.update(score_thr=0.05)
with torch.no_grad():
    found = [x.pred_instances for x in model.eval().predict(images, samples)]
torch.save(dict(loss=losses.detach(), gradient=gradient, boxes=[x.bboxes for x in found], scores=[x.scores for x in found],
    masks=[x.masks for x in found],
    operators=mmlska.mmcv_ops.available_backends() if mmlska.mmcv_ops.in_use() else []), {out!r})
"""


@pytest.mark.slow(30)
def test_mask_rcnn_is_the_same_on_other_operators(tmp_path):
    """Losses, gradients and predictions of a small one: on compiled mmcv where that is installed, else on plain PyTorch."""
    import torch

    light = in_use()
    if light and available_backends() == ['plain PyTorch']:
        pytest.skip('there are no other operators than those in plain PyTorch')
    plain = 'from mmlska.mmcv_ops import backends\nbackends.BACKENDS = (backends.plain,)\n'
    results = []
    for name, before, hide in (('first', '', True), ('other', plain if light else '', light)):
        out = tmp_path / f'{name}.pt'
        config = ROOT / 'configs/demo/mask_rcnn_van_lska_t_scenes.py'
        run(before + DETECTOR.format(config=str(config), out=str(out)), tmp_path, hide)
        results.append(torch.load(out, weights_only=False))
    a, b = results
    assert a.pop('operators') == available_backends()
    assert b.pop('operators') == (['plain PyTorch'] if light else [])
    assert a['loss'] > 0
    assert sum(map(len, a['boxes'])) > 10
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-5, atol=1e-5)
