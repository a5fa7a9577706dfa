"""Build mmlska. Only torch and numpy are required by name: the mm* packages come in two families with the same import names (see
the extras), and a requirement on one would install it over the other."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
EXTRAS = ('det', 'seg', 'all', 'onedl', 'openmmlab', 'triton', 'export', 'app', 'robustness', 'bands', 'dev')
DATA = ['weights/*.yml', 'weights/shipped/*']
# The C++ kernels: the folder of each, from the package's on, and the file that includes all others of it.
KERNELS = {'ops/cpu': 'ops.cpp', 'mmcv_ops': 'kernels.cpp'}
SHARED = 'native'  # what their sources share
DATA += [f'{folder}/*.{suffix}' for folder in (*KERNELS, SHARED) for suffix in ('cpp', 'inl')]
DATA += [f'{folder}/*.{suffix}' for folder in ('analysis', 'report') for suffix in ('html', 'css', 'js')]
MIM = ('configs', 'tools', 'model-index.yml', 'docs/results/complexity.json', 'docs/results/complexity_others.json')


def requirements(purpose):
    lines = (HERE / 'requirements' / f'{purpose}.txt').read_text(encoding='utf-8').splitlines()
    named = [line.strip() for line in lines if line.strip() and not line.startswith('#')]
    others = [line.split()[1].removesuffix('.txt') for line in named if line.startswith('-r ')]
    own = [line for line in named if not line.startswith('-r ')]
    return list(dict.fromkeys(own + [line for file in others for line in requirements(file)]))


def runs(command):
    try:
        return subprocess.run(command.split(), capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def kernels():
    """The C++ kernels and the command that builds them; nothing, with one line that says why, where that cannot be.

    MMLSKA_BUILD_KERNELS=0 skips them; =sanitized builds those of `make test-sanitized`, which watch their accesses to memory. No flag names
    the processor of this machine: the file chooses its instruction set at run time.
    """
    missing = None
    if os.environ.get('MMLSKA_BUILD_KERNELS') == '0':
        missing = 'MMLSKA_BUILD_KERNELS=0'
    elif sys.platform == 'win32':
        missing = 'they need GCC or Clang'
    elif not runs(f'{os.environ.get("CXX", "c++")} --version'):
        missing = f'{os.environ.get("CXX", "c++")} does not run (install g++ or set CXX)'
    else:
        try:
            from torch.utils.cpp_extension import BuildExtension, CppExtension
        except ImportError as error:
            missing = f'torch cannot be imported here ({error}); install it first and build with --no-build-isolation'
    if missing:
        print(f'mmlska: building without the C++ kernels, ops run in plain PyTorch: {missing}')
        return [], {}
    openmp = [] if sys.platform == 'darwin' else ['-fopenmp']
    watch, speed = [], ['-O3', '-g0']
    if os.environ.get('MMLSKA_BUILD_KERNELS') == 'sanitized':
        # Without vptr: it would ask for what torch's libraries do not export.
        watch = ['-fsanitize=address,undefined', '-fno-sanitize=vptr', '-fno-sanitize-recover=undefined']
        speed = ['-O1', '-g', '-fno-omit-frame-pointer']
    extensions = [
        CppExtension(
            f'mmlska.{folder.replace("/", ".")}._kernels',
            [f'mmlska/{folder}/{file}'],
            depends=[str(path) for place in (folder, SHARED) for path in Path('mmlska', place).glob('*.inl')],
            extra_compile_args=['-ffp-contract=fast', *speed, *watch, *openmp],
            extra_link_args=[*watch, *openmp],
            optional=True,  # a compiler that fails leaves a warning and an installation in plain PyTorch
        )
        for folder, file in KERNELS.items()
    ]
    # Without ninja a failing compiler raises what setuptools knows as the failure of an optional extension.
    return extensions, {'build_ext': BuildExtension.with_options(use_ninja=False)}


class BuildWithMim(build_py):
    """Put configs, tools, their index and counted costs where OpenMMLab's tools look for them: `.mim` inside the package."""

    def run(self):
        super().run()
        package = HERE / 'mmlska' if self.editable_mode else Path(self.build_lib, 'mmlska')
        mim = package / '.mim'
        shutil.rmtree(mim, ignore_errors=True)  # a config that was deleted since the last build must not stay in
        mim.mkdir(parents=True)
        for name in MIM:
            (mim / name).parent.mkdir(parents=True, exist_ok=True)
            if self.editable_mode:
                (mim / name).symlink_to(os.path.relpath(HERE / name, (mim / name).parent))
            elif (HERE / name).is_dir():
                shutil.copytree(HERE / name, mim / name, ignore=shutil.ignore_patterns('__pycache__'))
            else:
                shutil.copy2(HERE / name, mim / name)


ext_modules, commands = kernels()
setup(
    name='mmlska',
    version=runpy.run_path(str(HERE / 'mmlska' / 'version.py'))['__version__'],
    description='Large Separable Kernel Attention and the VAN_LSKA backbone for OpenMMLab',
    license='Apache-2.0',
    license_files=['LICENSE'],
    python_requires='>=3.10',
    packages=find_packages(include=['mmlska', 'mmlska.*']),
    py_modules=['mmlska_command'],
    entry_points={'console_scripts': ['mmlska = mmlska_command:main']},
    package_data={'mmlska': DATA},
    install_requires=requirements('runtime'),
    extras_require={extra: requirements(extra) for extra in EXTRAS},
    ext_modules=ext_modules,
    cmdclass={'build_py': BuildWithMim, **commands},
    zip_safe=False,
)
