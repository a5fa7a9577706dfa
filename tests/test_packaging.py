"""A built wheel in an empty folder: what it holds, what it requires, and that it works away from the checkout."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOT_SOURCES = shutil.ignore_patterns('.*', '__pycache__', '*.egg-info', 'build', 'dist', 'data', 'work_dirs', 'tests')
NO_NETWORK = ('--no-index', '--disable-pip-version-check', '--no-build-isolation', '--no-deps')
# Parsed and built with nothing but the config's own custom_imports; runs where no checkout is in reach.
BUILD_MODEL = """
import sys, mmlska
from mmengine import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.utils import get_installed_path

config = Config.fromfile(f"{get_installed_path('mmlska')}/.mim/configs/mask_rcnn_van_lska_b.py")
init_default_scope(config.default_scope)
model = MODELS.build(config.model)
print(mmlska.__file__, type(model).__name__, sum(p.numel() for p in model.parameters()))
"""


def run(*command, cwd, **env):
    """Run a command in `cwd` without the checkout on the path; return what it printed."""
    clean = {key: value for key, value in os.environ.items() if key not in ('PYTHONPATH', 'MMLSKA_DATA')}
    clean['MMLSKA_BUILD_KERNELS'] = '0'  # one test compiles them, the others need not wait for that
    result = subprocess.run(
        [str(part) for part in command], cwd=cwd, env={**clean, **env}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f'{command}\n{result.stdout}\n{result.stderr}'
    return result.stdout


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A copy of the sources, so that building leaves nothing in the checkout."""
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp('source') / 'mmlska', ignore=NOT_SOURCES))


@pytest.fixture(scope='module')
def wheel(source, tmp_path_factory):
    out = tmp_path_factory.mktemp('wheel')
    # What an earlier build left behind must not get into this one.
    stale = source / 'build' / 'lib' / 'mmlska' / '.mim' / 'configs' / 'deleted.py'
    stale.parent.mkdir(parents=True)
    stale.touch()
    run(sys.executable, '-m', 'pip', 'wheel', *NO_NETWORK, '--wheel-dir', out, source, cwd=out)
    (path,) = out.iterdir()
    return path


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    """The wheel alone in an empty folder; torch and the mm* packages are those of the running Python."""
    target = tmp_path_factory.mktemp('installed')
    run(sys.executable, '-m', 'pip', 'install', *NO_NETWORK, '--target', target, wheel, cwd=target)
    return target


def files_below(folder, *patterns):
    return {path.relative_to(folder).as_posix() for pattern in patterns for path in folder.rglob(pattern)}


def test_wheel_holds_package_configs_and_tools_and_nothing_else(wheel):
    names = [name for name in zipfile.ZipFile(wheel).namelist() if '.dist-info/' not in name]
    in_mim = {name.removeprefix('mmlska/.mim/') for name in names if name.startswith('mmlska/.mim/')}
    configs = {f'configs/{name}' for name in files_below(ROOT / 'configs', '*.py', '*.json')}
    tools = {f'tools/{name}' for name in files_below(ROOT / 'tools', '*.py', '*.sh')}
    costs = {f'docs/results/{name}.json' for name in ('complexity', 'complexity_others')}
    assert in_mim == configs | tools | costs | {'model-index.yml'}
    package = {
        f'mmlska/{name}'
        for name in files_below(ROOT / 'mmlska', '*.py', '*.yml', '*.cpp', '*.inl', '*.html', '*.css', '*.js')
    }
    assert {name for name in names if '/.mim/' not in name} >= {name for name in package if '/.mim/' not in name}
    assert [name for name in names if not name.startswith('mmlska/')] == ['mmlska_command.py']
    assert not [name for name in names if name.endswith('.pyc')]


@pytest.mark.slow
def test_wheel_brings_compiled_kernels_that_run(source, tmp_path, compiler):
    wheel = (sys.executable, '-m', 'pip', 'wheel', *NO_NETWORK, '--wheel-dir', tmp_path, source)
    run(*wheel, cwd=tmp_path, MMLSKA_BUILD_KERNELS='1')
    (path,) = tmp_path.glob('*.whl')
    run(sys.executable, '-m', 'pip', 'install', *NO_NETWORK, '--target', tmp_path / 'installed', path, cwd=tmp_path)
    code = (
        'import torch, mmlska.ops, mmlska.mmcv_ops._kernels\n'
        'print(mmlska.ops.available_backends(), torch.ops.mmlska_mmcv.nms(torch.ones(2, 4), torch.ones(2), 0.5, 1))\n'
    )
    printed = run(sys.executable, '-c', code, cwd=tmp_path, PYTHONPATH=str(tmp_path / 'installed'))
    assert printed == "['cpu', 'reference'] tensor([0])\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ('script', 'line'),
    [
        ('exit 1', 'mmlska: building without the C++ kernels, ops run in plain PyTorch: {compiler} does not run'),
        (
            'case " $* " in *" -c "*) exit 1;; esac; exec "$REAL" "$@"',
            'building extension "mmlska.ops.cpu._kernels" failed',
        ),
    ],
    ids=['that does not run', 'that compiles nothing'],
)
def test_a_failing_compiler_leaves_an_install_in_plain_pytorch(source, tmp_path, script, line, request):
    real = request.getfixturevalue('compiler') if 'REAL' in script else ''
    source = shutil.copytree(source, tmp_path / 'source', ignore=shutil.ignore_patterns('build'))
    failing = tmp_path / 'compiler'
    failing.write_text(f'#!/bin/sh\n{script}\n')
    failing.chmod(0o755)
    install = (sys.executable, '-m', 'pip', 'install', '--log', tmp_path / 'log', *NO_NETWORK, '--target', 'installed')
    run(*install, source, cwd=tmp_path, CXX=str(failing), REAL=real, MMLSKA_BUILD_KERNELS='1')
    assert line.format(compiler=failing) in (tmp_path / 'log').read_text()
    code = 'from mmlska.ops import available_backends; print(available_backends())'
    printed = run(sys.executable, '-c', code, cwd=tmp_path, PYTHONPATH=str(tmp_path / 'installed'))
    assert printed == "['reference']\n"


def test_wheel_requires_torch_and_numpy_and_offers_both_families(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith('.dist-info/METADATA')]
    metadata = message_from_bytes(archive.read(name))
    required = metadata.get_all('Requires-Dist')
    assert [line for line in required if 'extra ==' not in line] == ['torch>=2.7', 'numpy']
    assert metadata['Requires-Python'] == '>=3.10'
    for extra, package in [
        ('onedl', 'onedl-mmdetection'),
        ('det', 'onedl-mmdetection'),
        ('det', 'onedl-mmcv'),
        ('seg', 'onedl-mmsegmentation'),
        ('all', 'onedl-mmsegmentation'),
        ('all', 'gradio'),
        ('openmmlab', 'mmdet'),
        ('triton', 'triton'),
        ('dev', 'ruff'),
    ]:
        lines = [line for line in required if line.startswith(package) and f'extra == "{extra}"' in line]
        assert len(lines) == 1, f'{extra}: {lines}'
    assert not [line for line in required if 'torchvision' in line]


def test_install_changes_no_other_package(source):
    # With dependencies, and without an index: whatever pip wanted to fetch or replace would fail or be in the report.
    report = run(
        *(sys.executable, '-m', 'pip', 'install', '--no-index', '--no-build-isolation', '--disable-pip-version-check'),
        *('--dry-run', '--quiet', '--report', '-', '--editable', source),
        cwd=source,
    )
    assert [item['metadata']['name'] for item in json.loads(report)['install']] == ['mmlska']


def test_source_distribution_builds_the_same_wheel(source, wheel, tmp_path):
    build = 'import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))'
    name = run(sys.executable, '-c', build, tmp_path, cwd=source).splitlines()[-1]
    run(sys.executable, '-m', 'pip', 'wheel', *NO_NETWORK, '--wheel-dir', tmp_path, tmp_path / name, cwd=tmp_path)
    (again,) = tmp_path.glob('*.whl')
    assert set(zipfile.ZipFile(again).namelist()) == set(zipfile.ZipFile(wheel).namelist())


def test_editable_install_links_to_the_checkout(source, tmp_path):
    build = 'import sys; from setuptools import build_meta; build_meta.build_editable(sys.argv[1])'
    for _ in range(2):  # the second time the links are there already
        run(sys.executable, '-c', build, tmp_path, cwd=source)
        for name in ('configs', 'tools', 'model-index.yml', 'docs/results/complexity.json'):
            link = source / 'mmlska' / '.mim' / name
            assert link.is_symlink()
            assert link.resolve() == source / name


def test_installed_package_builds_a_model_from_its_own_config(installed, tmp_path):
    path, model, parameters = (
        run(sys.executable, '-c', BUILD_MODEL, cwd=tmp_path, PYTHONPATH=str(installed)).splitlines()[-1].split()
    )
    assert Path(path) == installed / 'mmlska' / '__init__.py'
    assert model == 'MaskRCNN'
    assert round(int(parameters) / 1e6, 2) == 45.95  # DESIGN: Mask R-CNN, base, K = 23


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_installed_tools_run_away_from_the_checkout(installed, tmp_path, tool):
    tools = installed / 'mmlska' / '.mim' / 'tools'
    text = run(sys.executable, tools / tool, '--help', cwd=tmp_path, PYTHONPATH=str(installed))
    assert '--work-dir' in text


@pytest.fixture(scope='module')
def folder(installed, tmp_path_factory):
    """An empty folder in which the installed command made scenes and trained on them; the command as a function."""
    cwd = tmp_path_factory.mktemp('folder')

    def mmlska(*words) -> str:
        return run(installed / 'bin/mmlska', *words, cwd=cwd, PYTHONPATH=str(installed), OMP_NUM_THREADS='1')

    mmlska('make-scenes', '--train', 4, '--val', 2, '--size', 96)
    small = ('train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'default_hooks.checkpoint.interval=2')
    printed = mmlska('train', 'upernet_van_lska_t_scenes', '--seed', 0, '--cfg-options', *small)
    assert 'mIoU' in printed
    assert f'checkpoints and logs: {cwd}/work_dirs/upernet_van_lska_t_scenes' in printed
    return cwd, mmlska


@pytest.mark.slow(60)
def test_installed_command_trains_tests_predicts_and_exports_in_an_empty_folder(folder):
    cwd, mmlska = folder
    checkpoint = 'work_dirs/upernet_van_lska_t_scenes/iter_2.pth'
    assert 'mIoU' in mmlska('test', 'upernet_van_lska_t_scenes', checkpoint)
    photos = 'data/scenes/images/validation'
    named = ('--config', 'upernet_van_lska_t_scenes', '--checkpoint', checkpoint)
    assert 'predictions: 2 files in out' in mmlska('predict', photos, *named, '--out', 'out')
    assert len(list((cwd / 'out').glob('*.json'))) == 2
    mmlska('export', 'demo/upernet_van_lska_t_scenes', checkpoint, '--part', 'backbone', '--out', 'model.onnx')
    assert (cwd / 'model.onnx').stat().st_size > 1e6
    assert '0 errors' in mmlska('check', 'upernet_van_lska_t_scenes')


@pytest.mark.slow(30)
def test_installed_command_trains_on_a_folder_of_ones_own(folder):
    cwd, mmlska = folder
    own = ('--data', 'data/scenes', '--epochs', 1, '--cfg-options', 'train_dataloader.num_workers=0')
    assert 'checkpoints and logs' in mmlska('train', 'retinanet_van_lska_t_scenes', *own)
    assert list((cwd / 'work_dirs/retinanet_van_lska_t_scenes_scenes').glob('*.pth'))


def test_installed_command_lists_its_configs_with_their_cost(installed, tmp_path):
    (installed / 'configs').mkdir()  # another project's, beside the package
    command = (installed / 'bin/mmlska', 'configs')
    rows = [line.split() for line in run(*command, cwd=tmp_path, PYTHONPATH=str(installed)).splitlines()]
    assert ['mask_rcnn_van_lska_t', '23.81', 'M', '186.1', 'G', '1280x800'] in rows
