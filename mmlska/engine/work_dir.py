"""Work directories of trainings: what the last training left in one, and which one the next training takes."""

from __future__ import annotations

import glob
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import MMLogger

from ..files import write_text
from .config_parts import datasets_of

#: Which config and data a training in a work directory is of.
ORIGIN = 'training.json'
_LONGEST_ORIGIN = 1 << 16  # bytes
#: Where a config has the options of its training until that is built.
OPTIONS = 'options_of_training'
#: The options of a training, with their types, without which ``--resume`` would go on with another one.
TAKEN_OVER = dict(
    epochs=int,
    iterations=int,
    val_fraction=float,
    tile=int,
    overlap=int,
    palette=str,
    label_format=str,
    instances=bool,
    bands=list,
    ema=float,
    accumulate=int,
    clip_grad=float,
)


class Origin(NamedTuple):
    """What a training is of, which tells those apart whose configs or folders have one name."""

    config: str  # the file, resolved
    data: str | None  # the folder of the training data, resolved; '' where they have none, None for any


def origin_of(cfg: Config, data: str | None = None) -> Origin:
    """That of a config, with ``data`` in the place of its own data."""
    root = next((dataset.get('data_root') for dataset in datasets_of(cfg, 'train')), None) if data is None else data
    resolved = os.path.realpath(os.path.expanduser(root)) if root else ''
    return Origin(os.path.realpath(cfg.filename) if cfg.filename else '', resolved)


def was_trained_in(folder: str | Path) -> bool:
    """Whether a folder is the work directory of a training, of Ultralytics' too."""
    folder = Path(folder)
    if (folder / ORIGIN).is_file() and _recorded(folder):
        return True
    if (folder / 'last_checkpoint').is_file():
        return True
    return (folder / 'args.yaml').is_file() and ((folder / 'weights').is_dir() or (folder / 'results.csv').is_file())


def record_origin(cfg: Config, options: Mapping[str, Any], data: str | None = None) -> None:
    """Write into the work directory of a training what it is of, see :func:`origin_of`, and what ``--resume`` takes over."""
    kept = origin_of(cfg, data)._asdict() | dict(
        options={name: options[name] for name in TAKEN_OVER if name in options}
    )
    write_text(Path(cfg.work_dir, ORIGIN), json.dumps(kept, indent=1) + '\n')


def recorded_options(folder: str | Path) -> dict[str, Any]:
    """The options of the training in a folder; none where it does not say, as those of earlier versions do not."""
    try:
        kept = json.loads((Path(folder) / ORIGIN).read_text(encoding='utf-8'))['options']
        return {name: kept[name] for name, kind in TAKEN_OVER.items() if _is_a(kept.get(name), kind)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _is_a(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def work_dir_for(first: str | Path, origin: Origin, *, resume: bool = False) -> Path:
    """The default work directory of a training: ``first``, or with a number where trainings of other configs or data are in the way.

    Args:
        first: The one without a number.
        origin: What the training is of; one of the same takes the work directory of the one before.
        resume: Take that of a training that does not say what it is of, as those of earlier versions do not.
    """
    first = Path(first)
    there = [path for path in _series(first) if _holds_training(path)]
    same = [path for path in there if _is_of(path, origin)]
    unknown = [path for path in there if _is_of(path, origin) is None] if resume else []
    free = next(path for path in (_numbered(first, number) for number in count(1)) if path not in there)
    return [*same[-1:], *unknown[-1:], free][0]


def check_unused(work_dir: str | Path, origin: Origin) -> None:
    """Raise FileExistsError if there are checkpoints that are not known to be of this config and these data."""
    folder = Path(work_dir)
    same = _is_of(folder, origin) if any(path.is_file() for path in folder.glob('*.pth')) else True
    if not same:
        kept = _recorded(folder)
        what = ' on '.join(filter(None, kept)) if kept else 'unknown data' if same is None else 'other data'
        raise FileExistsError(
            f'work_dir {work_dir} holds checkpoints of a training of {what}; give another --work-dir, or --overwrite to train there all '
            'the same'
        )


@contextmanager
def nothing_left(cfg: Config) -> Iterator[None]:
    """Take back what building a runner writes into the work directory, if it fails: its log, and its config over an older one."""
    folder = Path(cfg.work_dir)
    before = set(folder.iterdir()) if folder.is_dir() else set()
    config = folder / Path(cfg.filename or '').name
    older = config.read_bytes() if config.is_file() else None
    try:
        yield
    except BaseException:
        if is_main_process():
            files = [
                Path(h.baseFilename)
                for h in MMLogger.get_current_instance().handlers
                if isinstance(h, logging.FileHandler)
            ]
            for log_dir in {file.parent for file in files}:
                if log_dir.parent.resolve() == folder.resolve() and folder / log_dir.name not in before:
                    shutil.rmtree(log_dir, ignore_errors=True)
            if older is not None:
                config.write_bytes(older)
            elif config.is_file():
                config.unlink()
        raise


def last_checkpoint(work_dir: str | Path) -> Path | None:
    """The checkpoint that a training wrote last into its work directory; None if there is none."""
    note = Path(work_dir, 'last_checkpoint')
    if not note.is_file():
        return None
    # By name, as the note has the path of the machine that trained.
    checkpoint = note.parent / Path(note.read_text(encoding='utf-8').strip()).name
    return checkpoint if checkpoint.is_file() else None


def trained_files(work_dir: str | Path) -> tuple[Path, Path] | None:
    """Config and last checkpoint of the training in a work directory; None if it has not one of each."""
    configs, checkpoint = list(Path(work_dir).glob('*.py')), last_checkpoint(work_dir)
    return (configs[0], checkpoint) if len(configs) == 1 and checkpoint else None


def runs_of(work_dir: str | Path, origin: Origin | None = None) -> list[Path]:
    """Those of ``work_dir``, ``work_dir_2``, ``work_dir_3`` and so on that hold a training, the newest first.

    With ``origin`` without those of other configs or data.
    """
    first, runs = Path(work_dir), []
    while holds_run(run := _numbered(first, len(runs) + 1)):
        runs.append(run)
    return [run for run in runs[::-1] if origin is None or _is_of(run, origin) is not False]


def next_run(work_dir: str | Path) -> Path:
    """The first of ``work_dir``, ``work_dir_2``, ``work_dir_3`` and so on that holds no training yet.

    Example:
        >>> next_run('no_run_yet').name
        'no_run_yet'
    """
    return _numbered(Path(work_dir), len(runs_of(work_dir)) + 1)


def holds_run(work_dir: str | Path) -> bool:
    """Whether a training has begun in a work directory: it leaves files there, where a test leaves a folder with its log."""
    return Path(work_dir).is_dir() and any(path.is_file() for path in Path(work_dir).iterdir())


def _numbered(first: Path, number: int) -> Path:
    return first if number == 1 else first.with_name(f'{first.name}_{number}')


def _is_of(work_dir: Path, origin: Origin) -> bool | None:
    """Whether a training is of this config and data; None if it does not say, or they were moved away since."""
    kept = _recorded(work_dir) or _guessed(work_dir)
    in_it = Path(origin.config).parent == work_dir.resolve()  # the config that the training left
    config = True if in_it else _same(kept.config, origin.config)
    data = True if origin.data is None else _same(kept.data or '', origin.data)
    return False if False in (config, data) else None if None in (config, data) else True


def _same(kept: str, wanted: str) -> bool | None:
    """Whether two paths are the same; None if the one that was kept is not there any more."""
    return True if kept == wanted else False if os.path.exists(kept) else None


def _recorded(work_dir: Path) -> Origin | None:
    file = work_dir / ORIGIN
    try:
        if file.stat().st_size > _LONGEST_ORIGIN:  # labels of that name
            return None
        kept = json.loads(file.read_text(encoding='utf-8'))
        return Origin(str(kept['config']), str(kept['data']))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _guessed(work_dir: Path) -> Origin:
    """What the config says that a training of an earlier version left; its own file is not known."""
    roots: set[str] = set()
    for path in work_dir.glob('*.py'):
        found = re.findall(r"""\bdata_root ?= ?(['"])(.+?)\1""", path.read_text(encoding='utf-8', errors='replace'))
        roots |= {os.path.realpath(root) for _, root in found}
    return Origin('', roots.pop() if len(roots) == 1 else '')


def _holds_training(work_dir: Path) -> bool:
    return work_dir.is_dir() and any(path.suffix in ('.py', '.pth') and path.is_file() for path in work_dir.iterdir())


def _series(first: Path) -> list[Path]:
    """``first`` and those with a number that are there, in the order of the numbers."""
    numbers = []
    for path in first.parent.glob(f'{glob.escape(first.name)}_*') if first.parent.is_dir() else ():
        number = path.name.removeprefix(f'{first.name}_')
        if number.isdecimal() and str(int(number)) == number and int(number) > 1:
            numbers.append(int(number))
    return [_numbered(first, number) for number in [1, *sorted(numbers)]]
