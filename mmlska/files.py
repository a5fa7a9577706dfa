"""Write files whole or not at all, replace only regular files, and check that paths stay inside a folder."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: str | os.PathLike, write: Callable[[str], object]) -> Path:
    """Call ``write(temporary name)`` in the folder of ``path`` and rename, so that nobody finds half a file.

    The temporary name cannot be guessed and has the suffix of ``path``.

    Raises:
        FileExistsError: If ``path`` is there and not a regular file: links, folders and devices are not replaced.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(f'{folder}/a.txt', lambda name: Path(name).write_text('whole')).read_text()
        'whole'
    """
    path = Path(path)
    check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f'.new-{secrets.token_hex(8)}{path.suffix[:16]}')
    # New, or an error: this follows no link. tempfile would make it private, and the umask is that of all threads.
    try:
        descriptor = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as error:
        error.filename = str(path)  # not a name that nobody gave
        raise
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    os.close(descriptor)
    try:
        write(str(tmp))
        os.chmod(tmp, mode)  # some libraries put a private file in its place
        os.replace(tmp, path)
    finally:
        tmp.unlink(missing_ok=True)
    return path


def write_text(path: str | os.PathLike, text: str) -> Path:
    """Write text in UTF-8; see :func:`write_atomically`."""
    return write_bytes(path, text.encode('utf-8'))


def write_bytes(path: str | os.PathLike, content: bytes) -> Path:
    """Write bytes; see :func:`write_atomically`."""
    return write_atomically(path, lambda tmp: Path(tmp).write_bytes(content))


def check_replaceable(path: Path) -> None:
    """Raise FileExistsError if there is something at ``path`` that is not a regular file; a link counts as not regular."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISREG(mode):
        kind = 'a link' if stat.S_ISLNK(mode) else 'a folder' if stat.S_ISDIR(mode) else 'not a regular file'
        raise FileExistsError(f'{path} is {kind}, which is not replaced; name another file')


def check_writable(path: Path, folder: bool = False) -> None:
    """Raise OSError if there can be no such file, or no such folder, here. Folders are made; of a file nothing is left.

    What is there already is not opened: it may be a pipe that waits for a reader, or a link.
    """
    (path if folder else path.parent).mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not folder:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not os.path.lexists(path):
        path.touch()
        path.unlink()


def is_inside(path: str | os.PathLike, root: str | os.PathLike) -> bool:
    """Whether a path lies in a folder once ``..`` and links are resolved.

    Example:
        >>> is_inside('data/../secret.png', 'data'), is_inside('data/a.png', 'data')
        (False, True)
    """
    try:
        return Path(path).resolve().is_relative_to(Path(root).resolve())
    except (OSError, RuntimeError, ValueError):  # a circle of links, a name that is too long or holds a NUL
        return False


def file_sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
