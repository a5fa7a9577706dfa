"""A hostile client of the page, and a canary in its servers."""

import os
import random
import socket
import time
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / 'tools/app.py'
MB = 2**20
#: Loaded by each server before anything else: a canary that notes every host that is looked up or talked to.
SPY = """
import os, sys
def note(event, args):
    if event in ('socket.getaddrinfo', 'socket.gethostbyname', 'socket.connect', 'socket.sendto', 'socket.sendmsg'):
        address = args[0] if event.startswith('socket.get') else args[1]
        host = address[0] if isinstance(address, tuple) else address
        descriptor = os.open(os.environ['SPY_LOG'], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f'{event} {host}\\n'.encode())
        os.close(descriptor)
sys.addaudithook(note)
"""


def free_port() -> int:
    """A port that nothing listens at, below those of which the system gives one to each connection of another test."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as free:
            if free.connect_ex(('127.0.0.1', port)):
                return port


def until(claim, seconds: float = 60, why=lambda: ''):
    """Wait until a claim is true."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)


def environment(folder: Path) -> dict[str, str]:
    """With temporary files in a folder of their own, and the canary."""
    (folder / 'spy').mkdir()
    (folder / 'tmp').mkdir()
    (folder / 'spy/sitecustomize.py').write_text(SPY)
    paths = [folder / 'spy', TOOL.parents[1], *filter(None, [os.environ.get('PYTHONPATH')])]
    return dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(map(str, paths)),
        SPY_LOG=str(folder / 'spy.txt'),
        TMPDIR=str(folder / 'tmp'),
        HTTP_PROXY='http://proxy.invalid:3128',  # a local page has no use for it
        NO_PROXY='',
    )


def hosts_asked(folder: Path) -> set[str]:
    """All hosts but this one that a server looked up or talked to."""
    lines = (folder / 'spy.txt').read_text().splitlines()
    assert any('127.0.0.1' in line for line in lines), 'the canary is dead'
    return {line for line in lines if line.split()[-1] not in ('127.0.0.1', 'localhost', '::1', 'None')}


def ask(port: int, method: str, path: str, body=None, chunked: bool = False, **headers: str) -> tuple[int, bytes]:
    """Send one request; underscores in names of headers stand for hyphens."""
    connection = HTTPConnection('127.0.0.1', port, timeout=60)
    headers = {name.replace('_', '-'): value for name, value in headers.items()}
    with suppress(BrokenPipeError, ConnectionResetError):  # refused before all of it was sent; the answer is there
        connection.request(method, path, body, headers, encode_chunked=chunked)
    try:
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def form(content: bytes, names=('photo.png',)) -> tuple[bytes, str]:
    """A form with files, and its type."""
    parts = b''.join(
        b'--edge\r\nContent-Disposition: form-data; name="files"; filename="%b"\r\n\r\n%b\r\n'
        % (name.encode(), content)
        for name in names
    )
    return parts + b'--edge--\r\n', 'multipart/form-data; boundary=edge'


def upload(port: int, content: bytes, name: str = 'photo.png', **headers: str) -> tuple[int, bytes]:
    body, kind = form(content, (name,))
    return ask(port, 'POST', '/gradio_api/upload', body, Content_Type=kind, **headers)
