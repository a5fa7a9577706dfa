"""The folder of what visitors upload and of the pictures drawn for them: private, limited, and deleted when the page ends."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PREFIX = 'mmlska_app_'
LOCK = 'lock'
#: Files that are kept at most: each of 20 visitors shows a photo and four pictures, and has some to go back to.
MAX_FILES = 200
#: Seconds that an upload may take; a part of one that is older was given up.
UPLOAD_SECONDS = 300.0
#: Seconds after which an empty folder is removed; into a younger one a file may be on its way.
EMPTY_SECONDS = 60.0


class Full(OSError):
    """There is no room: too much is being uploaded at once."""


class Uploads:
    """A private folder that never holds more than its limits: the oldest files go first.

    Use it in a ``with`` statement: the folder exists inside it. What an earlier process left, because it was killed, is
    removed at the start; the folder of one that runs is locked and stays.
    Files are in its ``folder``; ``scratch`` beside it is for temporary files of the process.

    Args:
        max_bytes: What all files may have together.
        max_files: How many there may be.
    """

    def __init__(self, max_bytes: int, max_files: int = MAX_FILES) -> None:
        self.max_bytes, self.max_files = max_bytes, max_files
        self._kept: set[Path] = set()
        self._expected: list[int] = []  # bytes of each upload that is under way
        self._changing = threading.Lock()

    def __enter__(self) -> Uploads:
        _remove_abandoned()
        self._home = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()  # only its owner may look into it
        self._lock = _lock(self._home)
        self.folder, self.scratch = self._home / 'files', self._home / 'scratch'
        self.folder.mkdir()
        self.scratch.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._home, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)

    def keep_present(self) -> None:
        """Never delete the files that are there now, nor count them: those of the page itself."""
        self._kept = {path for path, _ in self._files()}

    @contextmanager
    def expect(self, size: int) -> Iterator[None]:
        """Keep room for an upload of ``size`` bytes at most while it is under way.

        Raises:
            Full: If there is none, as others are under way.
        """
        with self._changing:
            self._make_room(size)
            self._expected.append(size)
        try:
            yield
        finally:
            with self._changing:
                self._expected.remove(size)
                if not self._expected:
                    self._remove_parts()
                with suppress(Full):  # the others have their room already
                    self._make_room()

    def make_room(self) -> None:
        """Bring the folder below its limits, before something is written."""
        with self._changing, suppress(Full):
            self._make_room()

    def _make_room(self, size: int = 0) -> None:
        files = [(path, status) for path, status in self._files() if path not in self._kept]
        total = size + sum(self._expected) + sum(status.st_size for _, status in files)
        count = len(files) + len(self._expected) + bool(size)
        now = time.time()
        for path, status in sorted(files, key=lambda file: file[1].st_mtime):
            if total <= self.max_bytes and count <= self.max_files:
                break
            if path.parent == self.folder and now - status.st_mtime < UPLOAD_SECONDS:
                continue  # is being written; see _remove_parts
            with suppress(FileNotFoundError):
                path.unlink()
            total, count = total - status.st_size, count - 1
        for folder in [path for path in self.folder.iterdir() if path.is_dir()]:
            with suppress(OSError):  # not empty
                if now - folder.stat().st_mtime > EMPTY_SECONDS:
                    folder.rmdir()
        if total > self.max_bytes or count > self.max_files:
            raise Full(f'no room for {size} bytes more')

    def _remove_parts(self) -> None:
        """Remove what broken uploads have left, and Gradio when it opens a file: a whole one has a folder of its own."""
        for path, _ in self._files():
            if path.parent == self.folder and path not in self._kept:
                with suppress(FileNotFoundError):
                    path.unlink()

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for folder, _, names in os.walk(self.folder):
            for path in (Path(folder, name) for name in names):
                with suppress(FileNotFoundError):
                    yield path, path.lstat()


def _lock(home: Path) -> int | None:
    """Lock a folder until this process ends. The file gets its final name after it is locked, so no other process finds it unlocked."""
    # flock, not a record lock as for trainings: _remove_abandoned opens this file in the same process, which would release that.
    if fcntl is None:
        return None
    lock = os.open(home / 'new', os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.rename(home / 'new', home / LOCK)
    return lock


def _remove_abandoned() -> None:
    """Remove the folders of processes of this user that were killed."""
    if fcntl is None:
        return
    for home in Path(tempfile.gettempdir()).glob(f'{PREFIX}*'):
        with suppress(OSError):  # of someone else, locked, or just removed by its own process
            status = home.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
                continue
            lock = os.open(home / LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(home, ignore_errors=True)
            finally:
                os.close(lock)
