"""The doctor recognises what people's installations suffer from, and names the command that fixes it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch

from mmlska.environment import DOCTOR_HINT, Probe, compiled_mmcv, environment_report, import_advice
from mmlska.threads import thread_reason

TOOL = Path(__file__).parents[2] / 'tools' / 'doctor.py'
REQUIREMENTS = Path(__file__).parents[2] / 'requirements' / 'openmmlab.txt'
ONEDL = {
    'mmcv': 'onedl-mmcv',
    'mmengine': 'onedl-mmengine',
    'mmdet': 'onedl-mmdetection',
    'mmseg': 'onedl-mmsegmentation',
}
ORIGINAL = {'mmcv': 'mmcv', 'mmengine': 'mmengine', 'mmdet': 'mmdet', 'mmseg': 'mmsegmentation'}
EXTRAS = ('onnx', 'onnxscript', 'onnxruntime', 'tifffile', 'imagecodecs', 'ultralytics')


class Fake(Probe):
    """An installation that is described instead of made."""

    def __init__(
        self,
        owners: dict,
        broken: dict | None = None,
        gpu: str = '',
        backends: tuple = ('reference', 'cpu'),
        triton: str = '',
        operators: tuple = (),
    ):
        self._owners = {name: [owner] if isinstance(owner, str) else owner for name, owner in owners.items()}
        self._broken, self._gpu, self._backends, self._triton = broken or {}, gpu, backends, triton
        self._operators = operators

    def owners(self):
        return self._owners

    def version(self, distribution):
        return self._triton if distribution == 'triton' else '1.2.3'

    def import_error(self, module):
        top = module.split('.')[0]
        known = top in self._owners or top in ('torch', 'mmlska', *EXTRAS)
        return self._broken.get(module, '') if known else f"ModuleNotFoundError: No module named '{top}'"

    def python(self):
        return '3.11.7'

    def gpu(self):
        return self._gpu

    def cuda(self):
        return '12.8' if self._gpu else ''

    def mmcv_operators(self):
        return list(self._operators)

    def fused_backends(self):
        return list(self._backends)


def capabilities(probe: Probe) -> dict:
    return {c.name: c for c in environment_report(probe).capabilities}


@pytest.mark.parametrize('family', [ONEDL, ORIGINAL])
def test_a_good_installation_works(family):
    report = environment_report(Fake(family, gpu='H200', backends=('reference', 'triton')), threads='as said')
    assert all(c.works and not c.fix for c in report.capabilities)
    assert report.main_job_works
    rows = {c.name: c for c in report.components}
    assert (rows['mmcv'].version, rows['mmcv'].note) == ('1.2.3', f'{family["mmcv"]}, with compiled operators')
    assert (rows['CUDA'].version, rows['CUDA'].note) == ('12.8', 'H200')
    assert (rows['threads'].version, rows['threads'].note) == (str(torch.get_num_threads()), 'as said')
    assert {'Python', 'torch', 'mmengine', 'mmdet', 'mmseg', 'numpy', 'triton'} <= set(rows)


def test_mmcv_without_compiled_operators_works_with_those_of_mmlska():
    report = environment_report(Fake(ONEDL, operators=('C++', 'plain PyTorch')))
    assert report.main_job_works
    assert all(c.works and not c.fix for c in report.capabilities)
    assert 'onedl-mmcv, operators of mmlska: C++, plain PyTorch' in report.to_text()


@pytest.mark.parametrize(
    ('family', 'name', 'fix'),
    [
        # An isolated build cannot import torch, and then onedl-mmcv compiles nothing.
        (ONEDL, 'onedl-mmcv', 'pip install --no-cache-dir --force-reinstall --no-deps onedl-mmcv'),
        (
            ORIGINAL,
            'mmcv',
            "pip install 'setuptools<81' wheel && MMCV_WITH_OPS=0 pip install --no-build-isolation --no-cache-dir "
            "--force-reinstall --no-deps 'mmcv>=2.1.0,<2.2.0'",
        ),
    ],
)
def test_compiled_operators_that_do_not_load(family, name, fix):
    """Those of another torch: they are there, so nothing stands in for them."""
    error = 'ImportError: mmcv/_ext.so: undefined symbol: _ZNK2at6Tensor4itemIfEET_v'
    probe = Fake(family, {'mmcv.ops': error})
    found = capabilities(probe)
    for job in ('detection', 'segmentation'):
        assert not found[job].works
        assert f'import mmcv.ops: {error}' in found[job].reason
        assert found[job].fix == fix  # without compiled ones those of mmlska work
    assert not environment_report(probe).main_job_works
    assert f'{name}, without operators' in environment_report(probe).to_text()


def test_the_command_for_compiled_operators_is_that_of_the_family():
    assert compiled_mmcv(Fake(ORIGINAL)).endswith(" --force-reinstall --no-deps 'mmcv>=2.1.0,<2.2.0'")
    assert 'MMCV_WITH_OPS=1 pip install --no-build-isolation' in compiled_mmcv(Fake({}))
    assert compiled_mmcv(Fake({})).endswith(' --no-cache-dir onedl-mmcv')


def test_two_distributions_of_one_import_name():
    probe = Fake({**ONEDL, 'mmengine': ['mmengine', 'onedl-mmengine']})
    job = capabilities(probe)['detection']
    assert job.reason == 'mmengine and onedl-mmengine both own the import name mmengine'
    assert job.fix == 'pip uninstall -y mmengine onedl-mmengine && pip install onedl-mmengine'
    assert 'mmengine and onedl-mmengine: two distributions own one import name' in environment_report(probe).to_text()


def test_the_original_mmcv_is_one_that_mmdet_takes():
    """mmdet 3.3.0 stops at mmcv 2.2.0, which is what pip chooses where it may."""
    wanted = next(line for line in REQUIREMENTS.read_text().splitlines() if line.startswith('mmcv'))
    found = capabilities(Fake({k: v for k, v in ORIGINAL.items() if k != 'mmcv'}))
    assert found['detection'].fix.endswith(f" '{wanted}'")  # quoted: the shell reads < as a redirection
    refused = 'AssertionError: MMCV==2.2.0 is used but incompatible. Please install mmcv>=2.0.0rc4, <2.2.0.'
    found = capabilities(Fake(ORIGINAL, {'mmdet': refused, 'mmseg': refused}))
    for job in ('detection', 'segmentation'):
        assert refused in found[job].reason
        assert found[job].fix.endswith(f" --force-reinstall --no-deps '{wanted}'")


def test_setuptools_without_pkg_resources():
    probe = Fake(ORIGINAL, {'mmengine': "ModuleNotFoundError: No module named 'pkg_resources'"})
    found = capabilities(probe)
    assert {c.fix for c in found.values()} == {"pip install 'setuptools<81'"}
    assert not any(c.works for c in found.values())


def test_one_job_is_enough_and_the_other_has_its_command():
    probe = Fake({k: v for k, v in ORIGINAL.items() if k != 'mmseg'})
    found = capabilities(probe)
    assert found['detection'].works
    assert found['segmentation'].fix == 'pip install mmsegmentation'
    assert environment_report(probe).main_job_works


def test_a_package_that_another_one_imports_and_does_not_require():
    probe = Fake(ORIGINAL, {'mmseg.models': "ModuleNotFoundError: No module named 'ftfy'"})
    found = capabilities(probe)
    assert not found['segmentation'].works
    assert found['segmentation'].fix == 'pip install ftfy'
    assert found['detection'].works


def test_nothing_of_openmmlab_gives_commands_of_one_family():
    found = capabilities(Fake({}))
    assert found['detection'].fix == 'pip install onedl-mmengine'


def test_opencv_without_libgl():
    probe = Fake(ONEDL, {'mmcv': 'ImportError: libGL.so.1: cannot open shared object file'})
    assert capabilities(probe)['detection'].fix == 'pip install --force-reinstall --no-deps opencv-python-headless'


def test_the_fused_operator():
    assert capabilities(Fake(ONEDL))['fused operator'].reason == 'cpu'
    plain = capabilities(Fake(ONEDL, gpu='H200', backends=('reference',)))['fused operator']
    assert (plain.works, plain.fix) == (False, 'pip install triton')
    plain = capabilities(Fake(ONEDL, backends=('reference',)))['fused operator']
    assert (plain.works, plain.fix) == (False, '')


@pytest.mark.parametrize('module', EXTRAS)
def test_extras_have_their_command(module):
    found = capabilities(Fake(ONEDL, {module: f"ModuleNotFoundError: No module named '{module}'"}))
    broken = [c for c in found.values() if not c.works]
    assert [c.fix for c in broken] == [f'pip install {module}']


def test_advice_on_an_import_error():
    probe = Fake({k: v for k, v in ONEDL.items() if k != 'mmdet'})
    advice = import_advice(ImportError("No module named 'mmdet'"), probe)
    assert advice.splitlines() == [
        "No module named 'mmdet'",
        'fix it with: pip install onedl-mmdetection',
        'mmlska doctor shows all that is installed',
    ]


def test_advice_is_about_the_package_that_is_missing():
    """In an environment for detection alone, segmentation is not what a missing package of another kind calls for."""
    detection = {k: v for k, v in ONEDL.items() if k != 'mmseg'}
    onnx = Fake(detection, {'onnx': "ModuleNotFoundError: No module named 'onnx'"})
    for missing, advice in (('onnx', ['fix it with: pip install onnx']), ('gradio', [])):
        error = f'No module named {missing!r}'
        assert import_advice(ModuleNotFoundError(error), onnx).splitlines() == [error, *advice, DOCTOR_HINT]


def test_a_broken_package_has_its_command_and_advice_is_given_once():
    error = 'libGL.so.1: cannot open shared object file'
    advice = import_advice(ImportError(error), Fake(ONEDL, {'mmcv': f'ImportError: {error}'}))
    assert advice.splitlines() == [
        error,
        'fix it with: pip install --force-reinstall --no-deps opencv-python-headless',
        DOCTOR_HINT,
    ]
    assert import_advice(ImportError(advice), Fake(ONEDL)) == advice


def test_the_json_says_the_same():
    report = environment_report(Fake(ONEDL))
    data = json.loads(report.to_json())
    assert data['main_job_works'] is True
    assert [c['name'] for c in data['capabilities']] == [c.name for c in report.capabilities]


def test_the_command_line_on_this_installation():
    done = subprocess.run([sys.executable, str(TOOL), '--json'], capture_output=True, text=True, timeout=300)
    data = json.loads(done.stdout)
    assert done.returncode == (0 if data['main_job_works'] else 1), done.stderr
    rows = {c['name']: c for c in data['components']}
    assert rows['torch']['version'] == Probe().version('torch')
    assert rows['threads']['note'] == thread_reason(os.environ)


def test_it_runs_where_mmengine_is_broken(tmp_path):
    env = without('mmengine', tmp_path, "raise ImportError('broken on purpose')\n")
    done = subprocess.run([sys.executable, str(TOOL)], capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 1, done.stderr
    assert 'import mmengine: ImportError: broken on purpose' in done.stdout
    command = [sys.executable, '-m', 'mmlska_command', 'train', 'x']
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        'mmlska train: error: broken on purpose',
        'fix it with: pip install onedl-mmengine',
        DOCTOR_HINT,
    ]


def test_in_a_checkout_it_says_that_the_package_is_not_installed(tmp_path):
    """With the other packages alone: their folder, without the .pth files in it, one of which may install this checkout."""
    packages = sysconfig.get_path('purelib')
    if Path(packages, 'mmlska').exists():
        pytest.skip('mmlska is installed as a copy')
    env = {**os.environ, 'PYTHONPATH': packages}
    command = [sys.executable, '-S', str(TOOL)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 1, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith('detection'))
    assert row.split(maxsplit=3)[1:] == [
        'not',
        'installed',
        "import mmlska: ModuleNotFoundError: No module named 'mmlska'",
    ]
    assert 'fix it with:    pip install --no-build-isolation -e .' in done.stdout


MISSING = "raise ModuleNotFoundError(\"No module named '{0}'\", name='{0}')\n"
REFUSED = "raise AssertionError('MMCV==2.2.0 is used but incompatible. Please install mmcv>=2.0.0rc4, <2.2.0.')\n"


def without(package: str, folder: Path, why: str = MISSING) -> dict[str, str]:
    """An environment in which importing a package fails."""
    (folder / package).mkdir()
    (folder / package / '__init__.py').write_text(why.format(package))
    paths = [str(folder), str(TOOL.parents[1]), os.environ.get('PYTHONPATH', '')]
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths))}


@pytest.mark.slow
@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_tools_tell_how_to_fix_a_missing_mmengine(tool, tmp_path):
    command = [sys.executable, str(TOOL.with_name(tool)), 'configs/retinanet_van_lska_t.py']
    env = without('mmengine', tmp_path)
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=300)
    assert done.returncode == 2
    assert done.stderr.splitlines()[:2] == [
        f"{tool}: error: No module named 'mmengine'",
        f'fix it with: pip install {ONEDL["mmengine"]}',
    ]
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize(
    ('missing', 'code', 'fix'),
    [
        ('mmengine', 'import mmlska; mmlska.engine', 'pip install '),
        ('pkg_resources', 'import mmlska', "pip install 'setuptools<81'"),  # MMEngine is there, what it imports is not
    ],
)
def test_the_package_tells_how_to_fix_a_missing_or_broken_mmengine(missing, code, fix, tmp_path):
    env = without('mmengine', tmp_path, MISSING.format(missing))
    command = [sys.executable, '-c', code]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=300)
    assert f"ImportError: No module named '{missing}'\nfix it with: {fix}" in done.stderr


# The originals compile, the OneDL packages do not.
MMCV = "(pip install 'setuptools<81' .* )?pip install .*mmcv"


@pytest.mark.slow
@pytest.mark.parametrize(
    ('tool', 'package', 'why', 'line', 'fix'),
    [
        ('train.py', 'mmdet', MISSING, "No module named 'mmdet'", 'pip install (onedl-mmdetection|mmdet)'),
        ('train.py', 'mmcv', MISSING, "No module named 'mmcv'", MMCV),
        ('test.py', 'mmdet', REFUSED, 'MMCV==2.2.0 is used but', MMCV),
    ],
    ids=['no mmdet', 'no mmcv', 'mmdet refuses mmcv'],
)
def test_tools_tell_how_to_fix_a_missing_or_refused_package(tool, package, why, line, fix, tmp_path):
    command = [sys.executable, str(TOOL.with_name(tool)), 'configs/demo/retinanet_van_lska_t_scenes.py', 'x.pth']
    command = command[:3] if tool == 'train.py' else command
    env = without(package, tmp_path, why)
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=300)
    assert done.returncode == 2
    assert 'Traceback' not in done.stderr
    error = done.stderr[done.stderr.index(f'{tool}: error: ') :]
    assert error.startswith(f'{tool}: error: {line}')
    assert re.search(f'^fix it with: {fix}', error, re.MULTILINE), error
    assert not (tmp_path / 'work_dirs').exists()
