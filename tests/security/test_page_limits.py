"""What the page refuses, asked by a hostile client of a real server."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from page_client import MB, TOOL, ask, environment, form, free_port, hosts_asked, until, upload
from tiny_models import save_tiny

if find_spec('gradio') is None:
    pytest.skip('no Gradio; pip install -r requirements/app.txt', allow_module_level=True)

from mmlska.app.guard import MAX_EVENT
from mmlska.app.uploads import LOCK, MAX_FILES, PREFIX


@pytest.fixture(scope='module')
def server(scenes, tmp_path_factory):
    """The page over one random model, with one example."""
    folder = tmp_path_factory.mktemp('page')
    model = save_tiny('upernet', folder, scenes)
    port = free_port()
    log = folder / 'log.txt'
    options = ['--examples', scenes / 'images/validation', '--port', port, '--device', 'cpu']
    with log.open('w') as output:
        command = [sys.executable, TOOL, '--model', 'tiny', model.config, model.checkpoint, *options]
        process = subprocess.Popen(
            list(map(str, command)), cwd=folder, env=environment(folder), stdout=output, stderr=subprocess.STDOUT
        )
    running = SimpleNamespace(port=port, folder=folder, log=log, process=process, own=f'http://127.0.0.1:{port}')
    try:
        until(lambda: 'the page is at' in log.read_text() or process.poll() is not None, 120, lambda: log.read_text())
        assert process.poll() is None, log.read_text()
        yield running
    finally:
        process.terminate()
        process.wait(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
    assert list((folder / 'tmp').iterdir()) == []
    assert 'Traceback' not in log.read_text()


def stored(server) -> list[Path]:
    """All files that the server keeps, but for the empty one that Gradio makes for each photo it opens."""
    found = []
    for folder, _, names in os.walk(server.folder / 'tmp'):
        for path in (Path(folder, name) for name in names if name != LOCK):
            with suppress(FileNotFoundError):  # it may be deleted right now
                if path.parent.name != 'files' or path.stat().st_size:
                    found.append(path)
    return found


def file_data(path: str, **more) -> dict:
    return dict(path=path, meta={'_type': 'gradio.FileData'}, **more)


def event(data: list, fn_index: int = 0, session: str = 'session', **more) -> bytes:
    return json.dumps(dict(data=data, fn_index=fn_index, session_hash=session, **more)).encode()


def join(port: int, body: bytes, **headers: str) -> tuple[int, bytes]:
    return ask(port, 'POST', '/gradio_api/queue/join', body, Content_Type='application/json', **headers)


def answer(port: int, session: str) -> str:
    """The messages to a session until its events are done."""
    status, messages = ask(port, 'GET', f'/gradio_api/queue/data?session_hash={session}')
    assert status == 200
    return messages.decode()


def test_a_photo_is_uploaded_shown_and_predicted(server):
    photo = cv2.imencode('.png', np.full((64, 64, 3), 90, np.uint8))[1].tobytes()
    status, names = upload(server.port, photo, Origin=server.own, Sec_Fetch_Site='same-origin')
    assert status == 200
    (path,) = json.loads(names)
    assert ask(server.port, 'GET', f'/gradio_api/file={path}') == (200, photo)
    data = file_data(path, url=f'{server.own}/gradio_api/file={path}', orig_name='data: http:x.png')
    assert join(server.port, event([data, None, 'tiny', 'none', 0.3, 0.6], session='good'))[0] == 200
    assert '"success":true' in answer(server.port, 'good')


@pytest.mark.parametrize(
    'host',
    ['evil.example', 'evil.example:{port}', '127.0.0.1.evil.example:{port}', '192.0.2.1:{port}', 'localhost.evil', ''],
)
def test_another_host_name_is_not_answered(server, host):
    """DNS rebinding: a name of the attacker's leads the browser here."""
    host = host.format(port=server.port)
    before = stored(server)
    for status, text in [ask(server.port, 'GET', '/', Host=host), upload(server.port, b'rebound', Host=host)]:
        assert status == 403
        assert b'open it by the address or the name of the machine' in text
        assert text.count(b'\n') == 1
    assert stored(server) == before


def test_names_of_this_machine_are_answered(server):
    for host in ('127.0.0.1', f'localhost:{server.port}', '[::1]:1234', 'LOCALHOST'):
        assert ask(server.port, 'GET', '/', Host=host)[0] == 200


@pytest.mark.parametrize(
    'headers',
    [
        dict(Origin='https://evil.example'),
        dict(Origin='null'),
        dict(Origin='http://localhost:8000'),  # another program of this machine
        dict(Origin='http://127.0.0.1:{port}.evil.example'),
        dict(Origin='file://'),
        dict(Sec_Fetch_Site='cross-site'),
        dict(Sec_Fetch_Site='same-site'),
    ],
)
def test_another_web_site_posts_and_reads_nothing(server, headers):
    headers = {name: value.format(port=server.port) for name, value in headers.items()}
    before = stored(server)
    for status, text in (
        upload(server.port, b'planted', **headers),
        join(server.port, event([None, 0.3, 0.6], 6), **headers),
        ask(server.port, 'GET', '/gradio_api/heartbeat/x', **headers),
    ):
        assert status == 403
        assert text == b'another web site may not use this page; open the page itself\n'
    assert stored(server) == before


def test_a_link_on_another_site_opens_the_page(server):
    headers = dict(Sec_Fetch_Site='cross-site', Sec_Fetch_Mode='navigate')
    assert ask(server.port, 'GET', '/', **headers)[0] == 200
    assert upload(server.port, b'form', **headers)[0] == 403


ADDRESSES = [
    'http://canary.invalid/a.png',
    'https://canary.invalid/a.png',
    '//canary.invalid/a.png',
    'ftp://canary.invalid/a.png',
    r'\\canary.invalid\share\a.png',
    'file:///etc/hostname',
    '/etc/hostname',
    '{folder}/../../log.txt',
    'a\x00b',
]


@pytest.mark.parametrize('address', ADDRESSES)
def test_events_name_no_addresses_and_no_files_of_others(server, address):
    folder = next((server.folder / 'tmp').glob(f'{PREFIX}*/files'))
    address = address.format(folder=folder)
    rest = [None, 'tiny', 'none', 0.3, 0.6]
    inside = str(folder / 'a.png')
    bodies = [
        event([file_data(address), *rest]),
        event([[{'image': file_data(address)}], *rest]),
        event([file_data(inside, url=address), *rest]),
        event(rest, 1, event_data={'index': 0, 'value': {'image': file_data(address)}}),
    ]
    if '//' in address:
        bodies.append(event([address, *rest]))
    for body in bodies:
        status, text = join(server.port, body)
        assert status == 400
        assert text.startswith(b'an event may ')
        assert text.count(b'\n') == 1
    assert hosts_asked(server.folder) == set()


@pytest.mark.parametrize(
    ('method', 'path'),
    [
        ('GET', '/gradio_api/file=http://canary.invalid/a.png'),
        ('HEAD', '/gradio_api/file=http://canary.invalid/a.png'),
        ('GET', '/gradio_api/file/http://canary.invalid/a.png'),
        ('GET', '/gradio_api/proxy=https://canary.hf.space/a.png'),
        ('GET', '/gradio_api/file=/etc/hostname'),
        ('GET', '/gradio_api/file=../log.txt'),
        ('GET', '/gradio_api/file=%2e%2e/log.txt'),
        ('GET', '/gradio_api/deep_link?session_hash=a'),
        ('GET', '/openapi.json'),
        ('GET', '/gradio_api/openapi.json'),
        ('GET', '/gradio_api/run-history/buckets'),
        ('POST', '/gradio_api/run-history/connect'),
        ('POST', '/gradio_api/process_recording'),
        ('POST', '/gradio_api/component_server'),
        ('POST', '/gradio_api/call/open_first'),
        ('POST', '/gradio_api/run/predict'),
        ('POST', '/gradio_api/vibe-starter-queries'),
        ('POST', '/login'),
        ('PUT', '/'),
    ],
)
def test_nothing_else_of_gradio_is_served(server, method, path):
    body = event([file_data('http://canary.invalid/a.png')]) if method == 'POST' else None
    status, text = ask(server.port, method, path, body, Content_Type='application/json')
    assert status in (403, 404)
    assert text.count(b'\n') == (method != 'HEAD')
    assert hosts_asked(server.folder) == set()


@pytest.mark.parametrize(
    ('body', 'status'),
    [
        (b'no JSON', 400),
        (b'[' * 100_000, 400),
        (b'[]', 400),
        (event([None, float('nan'), 0.6], 6), 400),
        (event([None, 0.3, 0.6], 6).replace(b'0.3', b'1e999'), 400),
        (event([None, 0.3, 0.6], 99), 400),
        (event([None, 0.3, 0.6], 6.0), 400),
        (event([None, 0.3], 6), 400),
        (event({}, 6), 400),
        (event([None, 0.3, 0.6], 6, session='a/b'), 400),
        (event([None, 0.3, 0.6], 6, session='s' * 65), 400),
        (event([None, 0.3, 0.6], 6, session=7), 400),
        (b'\xff\xfe\x00', 400),
        (event(['x' * MAX_EVENT]), 413),
    ],
)
def test_events_that_are_none(server, body, status):
    found, text = join(server.port, body)
    assert found == status
    assert text.count(b'\n') == 1


def test_crafted_clicks_get_one_line(server):
    for index, (fn_index, data) in enumerate([(1, [None, 'tiny', 'none', 0.3, 0.6]), (7, [None, -1])]):
        for place in (10**6, -1, [1, 'a'], {'a': 1}, None):
            session = f'click{index}'
            assert (
                join(server.port, event(data, fn_index, session, event_data={'index': place, 'value': None}))[0] == 200
            )
            messages = answer(server.port, session)
            assert 'there is no example' in messages or 'is no place in a picture' in messages


def test_uploads_that_are_too_large_leave_nothing(server):
    before = stored(server)
    limit = 20 * MB
    assert upload(server.port, bytes(limit + 1))[0] == 413  # by the file
    assert upload(server.port, bytes(limit + MB))[0] == 413  # by the length that the request gives
    body, kind = form(bytes(limit + MB))
    pieces = (body[i : i + MB] for i in range(0, len(body), MB))
    status, text = ask(
        server.port, 'POST', '/gradio_api/upload', pieces, True, Content_Type=kind, Transfer_Encoding='chunked'
    )
    assert status == 413  # by what has come
    assert text == b'a photo may have 20 MB, the maximum allowed size\n'
    body, kind = form(b'x', [f'{i}.png' for i in range(999)])
    assert ask(server.port, 'POST', '/gradio_api/upload', body, Content_Type=kind) == (
        413,
        b'one photo is uploaded at a time\n',
    )
    assert stored(server) == before


def test_uploads_that_are_broken_off_leave_nothing(server):
    before = stored(server)
    body, kind = form(bytes(MB))
    head = (
        f'POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: {kind}\r\n'
        f'Content-Length: {len(body)}\r\n\r\n'
    )
    for _ in range(3):
        with socket.create_connection(('127.0.0.1', server.port)) as connection:
            connection.sendall(head.encode() + body[: MB // 2])
            until(lambda: len(stored(server)) > len(before), 10)
        until(lambda: stored(server) == before, 10)


def test_uploads_do_not_accumulate(server):
    """Of 220 MB in files of 20 MB the newest stay, of 300 small files too, and the page's own thumbnails always."""
    own = [path for path in stored(server) if path.suffix == '.webp']
    own_bytes = sum(path.stat().st_size for path in own)
    assert 0 < own_bytes < MB
    rng = np.random.default_rng(0)
    for i in range(11):
        content = rng.bytes(20 * MB - 1)
        status, names = upload(server.port, content, f'{i}.png')
        assert status == 200
        assert sum(path.stat().st_size for path in stored(server)) <= 200 * MB + own_bytes
    assert Path(json.loads(names)[0]).read_bytes() == content

    def flood(worker: int) -> None:
        for i in range(75):
            assert upload(server.port, b'%d %d' % (worker, i), f'{i}.png')[0] == 200

    workers = [threading.Thread(target=flood, args=(worker,)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert MAX_FILES // 2 < len(stored(server)) <= MAX_FILES + len(own)
    assert set(own) <= set(stored(server))


def test_events_do_not_accumulate(server):
    """One is worked on, 20 wait, and the others are told so."""
    answers = [join(server.port, event([None, 'tiny', 'none', 0.3, 0.6], 2, f'flood{i}')) for i in range(60)]
    assert {status for status, _ in answers} == {200, 503}
    assert any(b'Queue is full' in text for _, text in answers)


def test_the_page_asked_no_other_host(server):
    assert hosts_asked(server.folder) == set()
