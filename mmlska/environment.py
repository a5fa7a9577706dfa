"""What is installed here, what works with it, and the command that fixes what does not.

`mmlska doctor` prints this. Nothing of mmlska is imported here, so that it also runs where mmlska cannot be imported: what it
looks at, it imports by name.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import platform
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache

#: Import name to what pip installs of the OneDL family and of the original OpenMMLab, whose mmdet refuses the newest mmcv.
FAMILIES = {
    'mmcv': ('onedl-mmcv', 'mmcv>=2.1.0,<2.2.0'),
    'mmengine': ('onedl-mmengine', 'mmengine'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
}
_ORIGINALS = {re.match(r'[\w-]+', original)[0] for _, original in FAMILIES.values()} | {'mmcv-full', 'mmcv-lite'}

#: The last line of what is said of a failed import.
DOCTOR_HINT = 'mmlska doctor shows all that is installed'

#: What a detector or a segmentor imports first: mmlska brings mmcv's operators where mmcv has none, so it stands before them.
_OPERATORS = ('torch', 'mmengine', 'mmlska', 'mmcv', 'mmcv.ops')


@dataclass(frozen=True)
class Component:
    """A row of the table: something that is installed, or not (``version`` is '')."""

    name: str
    version: str
    note: str = ''


@dataclass(frozen=True)
class Capability:
    """Something that works here or does not; ``fix`` is a command, '' where nothing has to be or can be done."""

    name: str
    works: bool
    reason: str = ''
    fix: str = ''


@dataclass(frozen=True)
class Report:
    """All that :func:`environment_report` found out: what is installed, and what works."""

    components: tuple[Component, ...]
    capabilities: tuple[Capability, ...]

    @property
    def main_job_works(self) -> bool:
        """Whether a detector or a segmentor can be trained."""
        return any(c.works for c in self.capabilities if c.name in ('detection', 'segmentation'))

    def to_json(self) -> str:
        """The report for programs."""
        return json.dumps(dict(asdict(self), main_job_works=self.main_job_works), indent=2)

    def to_text(self) -> str:
        """The report for people: a table, then what works and how to fix the rest."""
        rows = [f'{c.name:<16}{c.version or "not installed":<16}{c.note}'.rstrip() for c in self.components]
        rows.append('')
        for c in self.capabilities:
            absent = re.fullmatch(r"import (\w+): ModuleNotFoundError: No module named '\1'", c.reason)
            missing = 'not installed' if absent else 'does not work'
            rows.append(f'{c.name:<16}{"works" if c.works else missing:<16}{c.reason}'.rstrip())
            if c.fix:
                rows.append(f'{"":<16}fix it with:    {c.fix}')
        return '\n'.join(rows)


class Probe:
    """Looks at the running Python; tests give another one."""

    def owners(self) -> Mapping[str, list[str]]:
        """Import names to the distributions that provide them."""
        return importlib.metadata.packages_distributions()

    def version(self, distribution: str) -> str:
        """A distribution's version, '' if it is not installed."""
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            return ''

    def import_error(self, module: str) -> str:
        """Why a module cannot be imported, '' if it can."""
        try:
            importlib.import_module(module)
        except Exception as error:  # broken packages fail in any way; which one is what we are here to tell
            return f'{type(error).__name__}: {" ".join(str(error).split())}'
        return ''

    def python(self) -> str:
        """Python's version."""
        return platform.python_version()

    def threads(self) -> str:
        """The number of threads that torch uses on the CPU."""
        import torch

        return str(torch.get_num_threads())

    def gpu(self) -> str:
        """The GPU's name, '' if torch sees none."""
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else ''

    def cuda(self) -> str:
        """The CUDA version that torch was built with, '' for none."""
        import torch

        return torch.version.cuda or ''

    def mmcv_operators(self) -> list[str]:
        """The backends of mmlska.mmcv_ops that serve mmcv; none where mmcv's own compiled operators do."""
        mmcv_ops = importlib.import_module('mmlska.mmcv_ops')
        return mmcv_ops.available_backends() if mmcv_ops.in_use() else []

    def fused_backends(self) -> list[str]:
        """The backends of mmlska.ops on the device that training would use."""
        ops = importlib.import_module('mmlska.ops')
        return ops.available_backends('cuda' if self.gpu() else 'cpu')


def environment_report(probe: Probe | None = None, *, threads: str = '') -> Report:
    """Find out what is installed and what works, by default in the running Python.

    Args:
        probe: What looks.
        threads: Why torch uses as many threads as it does; see :func:`mmlska.threads.thread_reason`.
    """
    probe = probe or Probe()
    torch_error = probe.import_error('torch')
    problem = _Problems(probe, torch_error)
    gpu, cuda = ('', '') if torch_error else (probe.gpu(), probe.cuda())
    components = [
        Component('Python', probe.python()),
        Component('torch', probe.version('torch'), torch_error),
        Component('CUDA', cuda or 'none', gpu or 'no GPU: training runs on the CPU'),
        *([] if torch_error else [Component('threads', probe.threads(), threads)]),
        *(_mm_component(problem, name) for name in FAMILIES),
        *(Component(name, probe.version(name)) for name in ('numpy', 'triton', 'setuptools')),
    ]
    capabilities = [
        problem.capability('detection', (*_OPERATORS, 'mmdet', 'mmdet.models')),
        problem.capability('segmentation', (*_OPERATORS, 'mmseg', 'mmseg.models')),
        _fused(probe, problem, gpu),
        problem.capability('export', ('torch', 'mmengine', 'onnx', 'onnxscript', 'onnxruntime')),
        problem.capability('bands in TIFF', ('mmengine', 'tifffile', 'imagecodecs')),
        problem.capability('YOLO', ('torch', 'mmengine', 'ultralytics')),
    ]
    return Report(tuple(components), tuple(capabilities))


@cache
def has_mmengine() -> bool:
    """Whether MMEngine is installed; most of the package needs it, the networks do not.

    Raises:
        ImportError: If it is installed and cannot be imported; the message says how to fix that.
    """
    try:
        import mmengine  # noqa: F401, the one requirement that pip cannot choose: two distributions have this import name
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == 'mmengine':
            return False
        raise ImportError(import_advice(error)) from error
    return True


def require_mmengine() -> None:
    """Raise ImportError with what to install, where MMEngine is missing."""
    if not has_mmengine():
        raise ImportError(import_advice(ModuleNotFoundError("No module named 'mmengine'")))


def import_advice(error: ImportError, probe: Probe | None = None) -> str:
    """What to say when an import failed, of a missing or a broken package: the error, and the commands that fix what it comes from."""
    if str(error).endswith(DOCTOR_HINT):  # it was raised with this advice
        return str(error)
    text = ' '.join(str(error).split()) or type(error).__name__
    broken = [c for c in environment_report(probe).capabilities if c.fix and not c.works]
    same = [c for c in broken if text in c.reason]
    if not same and any(name in text.lower() for name in FAMILIES):  # the same trouble in other words
        same = [c for c in broken if c.name in ('detection', 'segmentation')]
    lines = [text, *(f'fix it with: {fix}' for fix in dict.fromkeys(c.fix for c in same))]
    return '\n'.join([*lines, DOCTOR_HINT])


def compiled_mmcv(probe: Probe | None = None) -> str:
    """The command that installs mmcv with compiled operators, of the family that is here."""
    return _Problems(probe or Probe(), '').mmcv(compiled=True)


def _mm_component(problem: _Problems, name: str) -> Component:
    probe, owners = problem.probe, problem.owners[name]
    versions = ' and '.join(probe.version(owner) for owner in owners)
    note = ' and '.join(owners)
    if len(owners) > 1:
        note += ': two distributions own one import name'
    elif name == 'mmcv' and owners:
        note += f', {_operators_of_mmcv(problem)}'
    return Component(name, versions, note)


def _operators_of_mmcv(problem: _Problems) -> str:
    if not problem.capability('operators', _OPERATORS).works:
        return 'without operators'
    backends = problem.probe.mmcv_operators()
    return f'operators of mmlska: {", ".join(backends)}' if backends else 'with compiled operators'


def _fused(probe: Probe, problem: _Problems, gpu: str) -> Capability:
    # mmlska runs without MMEngine, but not with a broken one.
    mmengine = ('mmengine',) if problem.owners['mmengine'] else ()
    broken = problem.capability('fused operator', ('torch', *mmengine, 'mmlska.ops'))
    if not broken.works:
        return broken
    faster = [name for name in probe.fused_backends() if name != 'reference']
    if faster:
        return Capability('fused operator', True, ', '.join(faster))
    why, fix = 'no kernel for this machine', ''
    if gpu and not probe.version('triton'):
        why, fix = 'a GPU without triton', 'pip install triton'
    return Capability('fused operator', False, f'{why}; the plain operator is used', fix)


class _Problems:
    """Why an import fails, and how to fix it."""

    def __init__(self, probe: Probe, torch_error: str) -> None:
        owners = probe.owners()
        self.probe = probe
        self.owners = {name: list(dict.fromkeys(owners.get(name, []))) for name in FAMILIES}
        self.errors = {'torch': torch_error}
        present = {owner for names in self.owners.values() for owner in names}
        # Whoever has originals and no fork keeps to the originals.
        self.family = 1 if present & _ORIGINALS and not present - _ORIGINALS else 0

    def capability(self, name: str, modules: tuple[str, ...]) -> Capability:
        """Works if all modules import; else the first that does not tells why."""
        for module in modules:
            top = module.split('.')[0]
            if len(self.owners.get(top, [])) > 1:
                names = ' and '.join(self.owners[top])
                fix = f'pip uninstall -y {" ".join(self.owners[top])} && {self.install(top)}'
                return Capability(name, False, f'{names} both own the import name {top}', fix)
            if module not in self.errors:
                self.errors[module] = self.probe.import_error(module)
            if error := self.errors[module]:
                return Capability(name, False, f'import {module}: {error}', self._fix(module, error))
        return Capability(name, True)

    def _fix(self, module: str, error: str) -> str:
        if 'pkg_resources' in error:
            return "pip install 'setuptools<81'"  # 81 dropped pkg_resources, which the original MMEngine imports
        if 'libGL' in error:
            return 'pip install --force-reinstall --no-deps opencv-python-headless'
        missing = re.search(r"No module named '(\w+)'", error)
        if missing and missing[1] not in FAMILIES and module.split('.')[0] in FAMILIES:
            return (
                f'pip install {missing[1]}'  # ftfy, regex: mmsegmentation's models import them and do not require them
            )
        if module in ('mmcv', 'mmcv.ops') or 'MMCV==' in error:  # mmdet and mmseg assert the versions that they know
            return self.install('mmcv')
        if module in FAMILIES:
            return self.install(module)
        if missing and missing[1] == 'mmlska':
            return 'pip install --no-build-isolation -e .'  # the doctor runs from the folder of a clone
        return '' if module.startswith('mmlska') else f'pip install {module}'

    def install(self, module: str) -> str:
        """The command that installs a package of the family."""
        if module == 'mmcv':
            return self.mmcv(compiled=False)
        return f'pip install {shlex.quote(FAMILIES[module][self.family])}'

    def mmcv(self, compiled: bool) -> str:
        """The command that installs mmcv; without compiled operators, which take minutes and a compiler, those of mmlska serve."""
        # pip would reuse what it built with the other setting.
        flags = '--no-cache-dir' + (' --force-reinstall --no-deps' if self.owners['mmcv'] else '')
        package = f'{flags} {shlex.quote(FAMILIES["mmcv"][self.family])}'
        if not compiled and self.family == 0:
            return f'pip install {package}'  # onedl-mmcv compiles only where its build can import torch
        tools = f"pip install {'ninja psutil ' if compiled else ''}'setuptools<81' wheel"
        return f'{tools} && MMCV_WITH_OPS={compiled:d} pip install --no-build-isolation {package}'
