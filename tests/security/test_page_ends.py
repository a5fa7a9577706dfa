"""What the page keeps and deletes, however it ends, and whom it answers."""

import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from page_client import MB, environment, free_port, until, upload

if find_spec('gradio') is None:
    pytest.skip('no Gradio; pip install -r requirements/app.txt', allow_module_level=True)

from mmlska.app.guard import Hosts
from mmlska.app.uploads import EMPTY_SECONDS, LOCK, PREFIX, UPLOAD_SECONDS, Full, Uploads

#: Imports once and serves in a fork for each port that it reads; ``wait PID`` gives the exit status.
FORKS = """
import faulthandler, os, signal, sys, time
from mmlska.app.models import Models
from mmlska.app.page import Page
from mmlska.app.serve import serve
from mmlska.cli.errors import user_errors
faulthandler.register(signal.SIGUSR1)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and stays so in a page
for line in sys.stdin:
    word, number = line.split()
    if word == 'wait':
        deadline = time.monotonic() + 30
        while not (found := os.waitpid(int(number), os.WNOHANG))[0]:
            if time.monotonic() > deadline:  # it should have ended: the log tells what its threads do
                os.kill(int(number), signal.SIGUSR1)
                time.sleep(1)
                os.kill(int(number), signal.SIGKILL)
            time.sleep(0.05)
        print(os.waitstatus_to_exitcode(found[1]), flush=True)
        continue
    pid = os.fork()
    if pid == 0:
        sys.stdin.close()
        with user_errors():
            serve(Page(Models({'a': ('a.py', 'a.pth')}, 'cpu')), '127.0.0.1', int(number))
        sys.exit(0)
    print(pid, flush=True)
"""


@pytest.fixture(scope='module')
def forks(tmp_path_factory):
    """A process that serves pages in forks."""
    folder = tmp_path_factory.mktemp('forks')
    with (folder / 'log.txt').open('w') as log:
        process = subprocess.Popen(
            [sys.executable, '-c', FORKS],
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )

    def tell(words: str) -> int:
        process.stdin.write(f'{words}\n')
        process.stdin.flush()
        while not (line := process.stdout.readline().strip()).lstrip('-').isdecimal():
            assert line, (folder / 'log.txt').read_text()
        return int(line)

    def start() -> SimpleNamespace:
        port = free_port()
        pid = tell(f'start {port}')

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(('127.0.0.1', port)) == 0

        until(answers)
        until(lambda: upload(port, b'a photo')[0] == 200)
        return SimpleNamespace(pid=pid, port=port)

    yield SimpleNamespace(start=start, tell=tell, tmp=folder / 'tmp', log=folder / 'log.txt')
    process.stdin.close()
    process.wait(timeout=20)


@pytest.mark.parametrize(('number', 'status'), [('SIGINT', 0), ('SIGHUP', 129)])
def test_every_end_deletes_the_uploads(forks, number, status):
    """SIGTERM ends the page of the fixture ``server``."""
    page = forks.start()
    assert [path.read_bytes() for path in forks.tmp.rglob('photo.png')] == [b'a photo']
    os.kill(page.pid, getattr(signal, number))
    assert forks.tell(f'wait {page.pid}') == status, forks.log.read_text()
    assert list(forks.tmp.iterdir()) == []


def test_a_page_that_cannot_start_leaves_nothing(forks):
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert forks.tell(f'wait {forks.tell(f"start {port}")}') == 2
    assert list(forks.tmp.iterdir()) == []
    assert 'Traceback' not in forks.log.read_text()
    assert f': error: 127.0.0.1:{port} cannot be listened at' in forks.log.read_text()


def test_the_next_start_deletes_what_a_killed_one_left(forks):
    living, killed = forks.start(), forks.start()
    os.kill(killed.pid, signal.SIGKILL)
    forks.tell(f'wait {killed.pid}')
    assert len(list(forks.tmp.iterdir())) == 2
    third = forks.start()
    assert len(list(forks.tmp.iterdir())) == 2
    assert len(list(forks.tmp.rglob('photo.png'))) == 2
    for page in (living, third):
        os.kill(page.pid, signal.SIGTERM)
        forks.tell(f'wait {page.pid}')
    assert list(forks.tmp.iterdir()) == []


def test_a_planted_link_is_not_followed_and_a_foreign_folder_stays(tmp_path, monkeypatch):
    (tmp_path / 'tmp').mkdir()
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'tmp'))
    for name in ('mine', 'locked'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'canary.txt').write_text('mine')
        (tmp_path / name / LOCK).write_text('')
    (tmp_path / f'tmp/{PREFIX}link').symlink_to(tmp_path / 'mine')
    inside = tmp_path / f'tmp/{PREFIX}inside'
    inside.mkdir()
    (inside / LOCK).symlink_to(tmp_path / 'locked' / LOCK)
    without = tmp_path / f'tmp/{PREFIX}without_lock'
    without.mkdir()
    dead = tmp_path / f'tmp/{PREFIX}dead'
    dead.mkdir()
    (dead / LOCK).touch()
    (dead / 'out').symlink_to(tmp_path / 'mine')
    with Uploads(MB) as uploads:
        assert uploads.folder.parent.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / 'mine/canary.txt').exists()
    assert (tmp_path / 'locked/canary.txt').exists()
    assert inside.exists()
    assert without.exists()
    assert not dead.exists()
    assert not uploads.folder.parent.exists()


def write(path: Path, size: int, age: float) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_the_oldest_go_first_and_what_is_under_way_stays():
    with Uploads(1000, max_files=3) as uploads:
        own = write(uploads.folder / 'own/a', 900, 9999)
        uploads.keep_present()
        old, new = (write(uploads.folder / f'{age}/a', 400, age) for age in (20, 10))
        part, dead_part = (
            write(uploads.folder / 'tmpa', 100, 50),
            write(uploads.folder / 'tmpb', 100, UPLOAD_SECONDS + 1),
        )
        with uploads.expect(500):
            assert [path.exists() for path in (own, old, new, part, dead_part)] == [True, False, True, True, False]
            with uploads.expect(400):
                assert not new.exists()
                with pytest.raises(Full), uploads.expect(1):
                    pass
                assert part.exists()
        assert not part.exists()
        assert own.exists()
        files = [write(uploads.folder / f'{i}/a', 1, i) for i in range(5)]
        uploads.make_room()
        assert [path.exists() for path in files] == [True] * 3 + [False] * 2
        assert files[4].parent.exists()  # for a file that is on its way
        os.utime(files[4].parent, (time.time() - EMPTY_SECONDS - 1,) * 2)
        uploads.make_room()
        assert not files[4].parent.exists()


@pytest.mark.parametrize(
    ('bound', 'allowed', 'asked', 'expected'),
    [
        ('127.0.0.1', [], '127.0.0.1:7860', True),
        ('localhost', [], '[::1]:7860', True),
        ('::1', [], 'localhost', True),
        ('127.0.0.1', [], '192.0.2.1:7860', False),
        ('127.0.0.1', [], socket.gethostname() + '.example', False),
        ('127.0.0.1', ['photos.example'], 'photos.example', True),
        ('0.0.0.0', [], '192.0.2.1:7860', True),
        ('0.0.0.0', [], '[2001:db8::1]:7860', True),
        ('0.0.0.0', [], socket.gethostname(), True),
        ('0.0.0.0', [], 'evil.example:7860', False),
        ('0.0.0.0', [], '', False),
        ('box.example', [], 'BOX.example:7860', True),
        ('', [], '', False),
    ],
)
def test_hosts(bound, allowed, asked, expected):
    assert Hosts(bound, allowed).has(asked) is expected


def test_origins():
    hosts = Hosts('0.0.0.0', ['photos.example'])
    assert hosts.is_own('http://192.0.2.1:7860', '192.0.2.1:7860')
    assert hosts.is_own('https://photos.example', '127.0.0.1:7860')  # a proxy that gives the page another name
    assert not hosts.is_own('http://192.0.2.1:8000', '192.0.2.1:7860')
    assert not hosts.is_own('http://192.0.2.2:7860', '192.0.2.1:7860')
    assert not hosts.is_own('http://[', '192.0.2.1:7860')
