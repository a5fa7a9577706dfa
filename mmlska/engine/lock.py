"""One training at a time in a work directory: two of them would overwrite each other's checkpoints."""

from __future__ import annotations

import atexit
import errno
import logging
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..log import log
from ..text import printable

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

LOCK_NAME = 'training.lock'


@dataclass(frozen=True)
class _Lock:
    """A lock that a process has: its open file, the process, and the folders that were made for it."""

    descriptor: int | None  # None where the file system knows no locks
    pid: int
    made: list[Path]


_locks: dict[Path, _Lock] = {}


def lock_work_dir(work_dir: str | os.PathLike) -> None:
    """Keep the trainings of other processes out of a work directory, made if need be, until :func:`unlock_work_dir` or this process ends.

    The kernel keeps the lock, so SIGKILL releases it too. It is a record lock: data workers do not inherit it, and those that outlive
    a killed training do not keep it. It would be lost if this process opened the file again and closed it. To lock a directory again
    in the same process changes nothing.

    Raises:
        ValueError: If another process has the lock; the message names it.
        FileExistsError: If a link, a folder or a device has the lock's name.
    """
    folder = Path(work_dir).resolve()
    if folder in _locks and _locks[folder].pid == os.getpid():
        return
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    path = folder / LOCK_NAME
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise FileExistsError(
            f'{path} is not a regular file, so the work directory cannot be locked; delete it or give another --work-dir'
        )
    try:
        descriptor = _open_locked(path)
    except BlockingIOError as error:
        raise ValueError(
            f'work_dir {work_dir} is in use by {error}; wait for it, stop it, or give another --work-dir'
        ) from error
    except NotImplementedError as error:
        log(
            f'work_dir {work_dir} cannot be locked ({error}); make sure that no other training uses it', logging.WARNING
        )
        descriptor = None
    _locks[folder] = _Lock(descriptor, os.getpid(), made)


def unlock_work_dir(work_dir: str | os.PathLike) -> None:
    """Let others train in a work directory again; remove the folders that :func:`lock_work_dir` made, if they are still empty."""
    lock = _locks.pop(folder := Path(work_dir).resolve(), None)
    if lock is None or lock.pid != os.getpid():  # a fork has the list, but not the lock
        return
    with suppress(OSError):
        (folder / LOCK_NAME).unlink()
    if lock.descriptor is not None:
        os.close(lock.descriptor)
    with suppress(OSError):
        for path in lock.made:
            path.rmdir()


@atexit.register
def _unlock_all() -> None:
    for folder in list(_locks):
        unlock_work_dir(folder)


def _open_locked(path: Path) -> int:
    """Open and lock a file, and write into it who did.

    Raises:
        BlockingIOError: If another process has locked it, with what that one wrote.
        NotImplementedError: If the file system knows no locks.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)  # in the loop: its owner, at the end, removes what it made
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, 'O_NOFOLLOW', 0), 0o666)
        except FileNotFoundError:
            continue
        try:
            _lock(descriptor)
            with suppress(FileNotFoundError):  # then, or if it is another, its owner has just removed it
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    since = time.strftime('%Y-%m-%d %H:%M:%S')
                    owner = f'process {os.getpid()} on {socket.gethostname()} since {since}'
                    with suppress(OSError):  # a full disk: the lock works without the text
                        os.ftruncate(descriptor, 0)
                        os.pwrite(descriptor, owner.encode(), 0)
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    if fcntl is None:
        raise NotImplementedError('no locks on this system')
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            owner = printable(os.pread(descriptor, 300, 0).decode(errors='replace')).strip()
            raise BlockingIOError(owner or 'another process') from error
        raise NotImplementedError(error.strerror) from error  # some network file systems
