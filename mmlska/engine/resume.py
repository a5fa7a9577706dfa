"""What ``--resume`` continues from: the checkpoint that is furthest in the newest training of a work directory, and verifies."""

from __future__ import annotations

import errno
import logging
import math
import os
import re
import shlex
import stat
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from ..command_line import started_by
from ..files import file_sha256
from ..log import log
from ..weights import WeightsError
from ..weights.checkpoint_file import FETCH_AGAIN, read_checkpoint, read_outline
from .config import find_checkpoint

_SIDECAR_BYTES = 4096  # a checksum has 64


class Unfit(Exception):
    """Why a training cannot continue from a file."""


def sidecar(path: Path) -> Path:
    return path.with_name(f'{path.name}.sha256')


def recorded(path: Path) -> list[str]:
    """The checksums beside a checkpoint; none if there is no file with them, or an empty one."""
    file = sidecar(path)
    if not os.path.lexists(file):
        return []
    try:
        if not file.is_file():
            raise OSError(errno.EINVAL, 'no regular file')
        with open(file, 'rb') as opened:
            content = opened.read(_SIDECAR_BYTES + 1)
    except OSError as error:
        raise Unfit(f'{file.name} cannot be read ({error.strerror})') from error
    lines = content.decode('ascii', errors='replace').splitlines()
    digests = [line.split()[0].removeprefix('\\').lower() for line in lines if line.strip()]
    if len(content) > _SIDECAR_BYTES or not all(re.fullmatch('[0-9a-f]{64}', digest) for digest in digests):
        raise Unfit(f'{file.name} holds no SHA-256; delete that file to have the checkpoint itself read')
    return digests


def why_not_resumable(path: str | Path) -> str | None:
    """Say what is wrong with a checkpoint to continue from, or None.

    It must hold the state of a training, and match the ``.sha256`` beside it; without one all of it is read.
    """
    try:
        _progress(Path(path))
        _verify(Path(path))
    except Unfit as error:
        return str(error)
    return None


def _progress(path: Path) -> tuple[float, int, int]:
    """How far a checkpoint is: when its training was started anew, iteration and epoch."""
    try:
        status = path.stat()
    except (OSError, RuntimeError) as error:
        raise Unfit('it is a link that leads nowhere' if path.is_symlink() else 'it cannot be read') from error
    if not stat.S_ISREG(status.st_mode):
        raise Unfit('it is a folder' if stat.S_ISDIR(status.st_mode) else 'it is no regular file')
    content = _read(read_outline, path)
    if not isinstance(content, dict) or not {'optimizer', 'message_hub', 'meta'} <= set(content):
        raise Unfit('it holds weights without the state of a training')
    try:
        iteration, epoch = (content['meta'][name] for name in ('iter', 'epoch'))
        started = content['message_hub']['runtime_info'].get('run_started', 0.0)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise Unfit('it does not say at which iteration it was saved') from error
    if not all(isinstance(number, int) and 0 <= number < 1 << 53 for number in (iteration, epoch)):
        raise Unfit('it does not say at which iteration it was saved')
    return started if isinstance(started, float) and math.isfinite(started) else 0.0, iteration, epoch


def _verify(path: Path) -> None:
    digests = recorded(path)
    if not digests:
        _read(read_checkpoint, path)
    elif _read(file_sha256, path) not in digests:
        raise Unfit(f'its SHA-256 is not the one in {sidecar(path).name}')


def _read(read: Callable, path: Path):
    try:
        return read(path)
    except WeightsError as error:
        raise Unfit(str(error).removeprefix(f'{path} ').removesuffix(FETCH_AGAIN)) from error
    except OSError as error:
        raise Unfit(f'it cannot be read ({error.strerror})') from error


def find_resumable(work_dir: str | Path) -> tuple[Path | None, list[tuple[Path, str]]]:
    """Find the checkpoint in a work directory that is furthest in the newest training there, and verifies.

    What a checkpoint holds decides; when its file was written does not.

    Returns:
        The checkpoint, or None, and those that were skipped, each with the reason.
    """
    found, skipped = [], []
    for path in sorted(Path(work_dir).glob('*.pth')):
        if path.name.startswith(('best_', 'nonfinite_', '.')):
            continue
        try:
            found.append((_progress(path), path))
        except Unfit as error:
            skipped.append((path, str(error)))
    for _, path in sorted(found, reverse=True):
        try:
            _verify(path)
        except Unfit as error:
            skipped.append((path, str(error)))
        else:
            return path, skipped
    return None, skipped


def checkpoint_to_resume(work_dir: str | Path, resume: str) -> Path | None:
    """The checkpoint that ``--resume`` continues from, and in the log which one that is and which were skipped.

    ``resume`` is 'auto' for the furthest in the work directory that verifies, None if there is none yet; or a file, or 'mmlska://NAME'.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it cannot be resumed, or none of the work directory's can.
    """
    if resume == 'auto':
        found, skipped = find_resumable(work_dir)
        for path, reason in skipped:
            log(f'--resume skips {path}: {reason}', logging.WARNING)
        if skipped and found is None:
            raise ValueError(
                f'--resume finds no checkpoint in {work_dir} that can be read ({skipped[0][0].name}: {skipped[0][1]}); '
                'name one by --resume FILE, or start anew in another --work-dir'
            )
        log(f'--resume continues from {found}' if found else f'--resume: {work_dir} has no checkpoint yet')
    else:
        found = find_checkpoint(resume)
        if reason := why_not_resumable(found):
            raise ValueError(
                f'--resume {resume} cannot be resumed: {reason}; --resume alone takes the furthest that can'
            )
    return found


def resume_command(launcher: str) -> str:
    """The command that continues this run."""
    if launcher != 'none':
        return 'the same command with --resume'
    arguments = [
        argument
        for before, argument in pairwise(sys.argv)
        if argument.split('=')[0] != '--resume' and (before != '--resume' or argument.startswith('-'))
    ]
    return shlex.join([*started_by(), *arguments, '--resume'])
