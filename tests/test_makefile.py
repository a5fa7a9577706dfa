"""The two commands of a newcomer, and what `make lint` and `make clean` must catch and must spare."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmlska.engine.config import load_config
from mmlska.weights import shipped_entries

ROOT = Path(__file__).resolve().parents[1]


def make(*arguments, cwd=ROOT):
    """Run make as from a shell: this test may itself run below `make test`."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(('MAKE', 'MFLAGS'))}
    return subprocess.run(['make', *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=True).stdout


def test_make_alone_lists_every_target():
    (targets,) = re.findall(r'^\.PHONY: (.+)$', (ROOT / 'Makefile').read_text(), re.MULTILINE)
    listed = [line.split()[1] for line in make().splitlines()]
    assert listed == targets.split()
    assert {'install', 'demo', 'test', 'lint', 'clean'} < set(listed)


def test_bytecode_is_kept_where_the_environment_forbids_it(tmp_path):
    """pip compiles nothing in advance, so each start of a tool would compile all of torch and mmdet anew."""
    (tmp_path / 'module.py').touch()
    (tmp_path / 'Makefile').write_text(
        f'include {ROOT}/Makefile\nimport_module:\n\t{sys.executable} -c "import module"\n'
    )
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE='1')
    subprocess.run(['make', 'import_module'], cwd=tmp_path, env=environment, check=True)
    assert list((tmp_path / '__pycache__').glob('module.*.pyc'))


def test_demo_makes_data_then_trains_then_tests():
    lines = make('--dry-run', 'demo').splitlines()
    commands = [line for line in lines if 'tools/' in line and not line.startswith('echo')]
    assert [re.search(r'tools/(\w+)\.py', line).group(1) for line in commands] == ['make_scenes', 'train', 'test']
    config = re.search(r'configs/\S+', commands[1]).group()
    assert config in commands[2]
    start = load_config(config).model.backbone.init_cfg.checkpoint
    assert start in [f'mmlska://{entry["name"]}' for entry in shipped_entries()]
    picture, following = lines[-2:]
    folder = re.search(r'--show-dir (\S+)', commands[2]).group(1)
    assert re.search(rf"{folder}/\d{{6}}\.png'$", picture)
    assert all((ROOT / name).is_file() for name in re.findall(r'(?:tools|configs|docs)/[\w./]+', following))


def test_kernels_are_out_of_reach_of_the_tests_without_them(tmp_path):
    """The copy holds what its tests ask for, and the command stops where a kernel is found all the same."""
    commands = make('--dry-run', 'test-without-kernels').splitlines()
    copied = next(line for line in commands if line.startswith('cp -R ')).split()[2:-1]
    assert all((ROOT / name).exists() for name in copied)
    (tests,) = [line for line in commands if line.strip().startswith('--ignore')]
    assert all((ROOT / name).exists() and name.split('/')[0] in copied for name in tests.split()[1:])
    (remove,) = [line for line in commands if line.startswith('rm -f ')]
    (copy,) = {Path(name.split('/mmlska/')[0]) for name in remove.split()[2:]}
    sources = [path.relative_to(ROOT).parent for path in (ROOT / 'mmlska').rglob('*.cpp')]
    assert len(sources) == 2
    built = [tmp_path / copy / folder / '_kernels.cpython-311-x86_64-linux-gnu.so' for folder in sources]
    for file in built:
        file.parent.mkdir(parents=True)
        file.touch()
    subprocess.run(remove, shell=True, cwd=tmp_path, check=True)
    assert not [file for file in built if file.exists()]
    check = next(line for line in commands if 'SystemExit(not PROBLEM' in line).split('-c ')[1].strip("'")
    for problem, others, status in ((None, False, 1), ('not there', True, 1), ('not there', False, 0)):
        known = f'import mmlska.ops.cpu.backend as known; known.PROBLEM = {problem!r}; '
        known += f'import mmlska.mmcv_ops.backends as other; other.KERNELS.available = lambda: {others}; {check}'
        done = subprocess.run([sys.executable, '-c', known], env={**os.environ, 'PYTHONPATH': str(ROOT)}, check=False)
        assert done.returncode == status


def test_clean_spares_data_and_sources(tmp_path):
    shutil.copy(ROOT / 'Makefile', tmp_path)
    kept = ['data/scenes/image.png', 'mmlska/models/__init__.py', 'configs/a.py', 'tests/test_a.py', 'tools/train.py']
    removed = ['.venv/bin/python', 'build/lib/a.py', 'work_dirs/demo/epoch_1.pth', 'mmlska/models/__pycache__/a.pyc']
    for name in kept + removed:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    make('clean', cwd=tmp_path)
    assert [name for name in kept + removed if (tmp_path / name).exists()] == kept


def test_install_is_redone_only_after_its_inputs_changed(tmp_path):
    shutil.copy(ROOT / 'Makefile', tmp_path)
    for name in ('setup.py', 'requirements/onedl.txt', 'requirements/constraints.txt', '.venv/.installed'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000, 1000 if name != '.venv/.installed' else 2000))
    assert 'pip' not in make('--dry-run', 'install', cwd=tmp_path)
    os.utime(tmp_path / 'requirements' / 'constraints.txt', (3000, 3000))
    assert 'pip' in make('--dry-run', 'install', cwd=tmp_path)


def test_one_place_pins_torch():
    pins = [path.name for path in ROOT.glob('requirements/*.txt') if 'torch==' in path.read_text()]
    assert pins == ['constraints.txt']


def check_configs(root):
    result = subprocess.run(
        [sys.executable, ROOT / 'scripts' / 'check_configs.py', root],
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'MMLSKA_DATA': '/elsewhere'},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout + result.stderr


@pytest.fixture
def tree(tmp_path):
    """Two sound configs of the repository, in a folder of their own where they can be spoilt."""
    shutil.copytree(ROOT / 'configs' / '_base_', tmp_path / 'configs' / '_base_')
    for name in ('fpn_van_lska_t', 'fpn_van_lska_s'):
        shutil.copy(ROOT / 'configs' / f'{name}.py', tmp_path / 'configs')
    (tmp_path / 'model-index.yml').write_text(
        'Collections: [{Name: FPN}]\n'
        'Models:\n'
        '  - {Name: fpn_van_lska_t, In Collection: FPN, Config: configs/fpn_van_lska_t.py}\n'
        '  - {Name: fpn_van_lska_s, In Collection: FPN, Config: configs/fpn_van_lska_s.py}\n'
    )
    return tmp_path


def test_config_check_passes_sound_configs(tree):
    assert check_configs(tree) == (0, '2 configs and model-index.yml are sound\n')


def test_config_check_names_every_fault(tree):
    with (tree / 'configs' / 'fpn_van_lska_s.py').open('a') as config:
        config.write(
            "\ndefault_scope = 'mmpose'\ndata_root = '/home/me/ade'\nauto_scale_lr = dict(base_batch_size=8)\n"
            "custom_imports = dict(_delete_=True, imports=['mmengine'])\nmodel = dict(backbone=dict(type='ResNet'))\n"
        )
    (tree / 'configs' / 'retinanet_van_lska_t.py').write_text("_base_ = '_base_/no_such_file.py'\n")
    index = tree / 'model-index.yml'
    text = index.read_text().replace('configs/fpn_van_lska_t.py', 'configs/gone.py')
    index.write_text(
        text.replace(
            'In Collection: FPN, Config: configs/fpn_van_lska_s', 'In Collection: X, Config: configs/fpn_van_lska_s'
        )
    )
    status, text = check_configs(tree)
    assert status == 1
    for fault in (
        "configs/fpn_van_lska_s.py: needs custom_imports = dict(imports=['mmlska'], allow_failed_imports=False)",
        "configs/fpn_van_lska_s.py: default_scope is 'mmpose', not 'mmdet', 'mmseg', 'mmpretrain' or 'mmengine'",
        "configs/fpn_van_lska_s.py: model.backbone.type is 'ResNet', not 'VAN_LSKA'",
        "configs/fpn_van_lska_s.py: data_root is '/home/me/ade', not a relative folder such as 'data/coco/'",
        'configs/fpn_van_lska_s.py: auto_scale_lr.base_batch_size is 8, not 16',
        'configs/retinanet_van_lska_t.py: does not parse: FileNotFoundError: ',
        'model-index.yml: configs/fpn_van_lska_t.py is missing',
        'model-index.yml: configs/retinanet_van_lska_t.py is missing',
        'model-index.yml: configs/gone.py does not exist',
        "model-index.yml: configs/gone.py is named 'fpn_van_lska_t', not after its file",
        "model-index.yml: configs/fpn_van_lska_s.py is in no known collection: 'X'",
    ):
        assert fault in text
    assert len(text.splitlines()) == 11


def test_config_check_without_configs(tmp_path):
    status, text = check_configs(tmp_path)
    assert status == 2
    assert f'no configs in {tmp_path}/configs; name the folder that holds configs/' in text
