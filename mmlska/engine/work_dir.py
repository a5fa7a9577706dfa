"""Work directories of trainings: what the last training left in one, and which one the next training takes."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import MMLogger


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


def runs_of(work_dir: str | Path) -> list[Path]:
    """Those of ``work_dir``, ``work_dir_2``, ``work_dir_3`` and so on that hold a training, the newest first."""
    first, runs = Path(work_dir), []
    while holds_run(run := _numbered(first, len(runs) + 1)):
        runs.append(run)
    return runs[::-1]


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
