"""Serving the page: to its own address alone, with uploads that are deleted when it ends."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import gradio as gr
import gradio.routes
from starlette.middleware import Middleware

from .guard import Guard, Hosts
from .page import CSS, Page
from .uploads import Uploads

#: Uploads and pictures are kept up to ten times what a photo may have, and this at least; the oldest are deleted.
MIN_STORED_MB = 200


def serve(page: Page, host: str, port: int, allow_hosts: Sequence[str] = ()) -> None:
    """Serve the page until it is interrupted. It asks nothing of any other host, and uploads are deleted at the end.

    Args:
        page: What to serve.
        host: Address to listen at; 127.0.0.1 is this machine alone.
        port: Port to listen at.
        allow_hosts: Names by which browsers ask for the page besides its address, for example that of a proxy.

    Raises:
        ValueError: If the address is not to be had.
        SystemExit: With 128 and the signal's number, if SIGTERM or SIGHUP ended it.
    """
    limit = page.max_upload_mb * 2**20
    stored = max(10 * limit, MIN_STORED_MB * 2**20)
    with _noted_signals() as ended, Uploads(stored) as uploads, _surroundings(uploads):
        blocks = page.build()
        uploads.keep_present()
        page.make_room = uploads.make_room
        guard = Middleware(
            Guard,
            hosts=Hosts(host, allow_hosts),
            uploads=uploads,
            max_upload=limit,
            inputs={number: len(event.inputs) for number, event in blocks.fns.items()},
        )
        try:
            _launch(blocks, host, port, limit, guard)
            print(f'the page is at http://{host}:{port}; Ctrl-C ends it', flush=True)
            while not ended and blocks.is_running:
                time.sleep(0.2)
        finally:
            blocks.close(verbose=False)
    with suppress(OSError):  # the terminal may be closed
        print('the page has ended, and what was uploaded is deleted', flush=True)
    if ended and ended[0] != signal.SIGINT:
        raise SystemExit(128 + ended[0])


def _launch(blocks: gr.Blocks, host: str, port: int, max_upload: int, guard: Middleware) -> None:
    try:
        blocks.launch(
            server_name=host,
            server_port=port,
            app_kwargs=dict(middleware=[guard]),
            prevent_thread_lock=True,
            max_file_size=max_upload,
            share=False,
            quiet=True,
            show_error=True,
            footer_links=[],
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            enable_monitoring=False,
            state_session_capacity=20,
            theme=gr.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace']),
            css=CSS,
        )
    except OSError as error:
        raise ValueError(f'{host}:{port} cannot be listened at ({error}); give another --port or --host') from error


@contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """Note Ctrl-C, SIGTERM and SIGHUP, so that the page ends in its own time and cleans up; a second one does not disturb that."""
    noted: list[int] = []
    numbers = [getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []  # Python sets none elsewhere
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler not in (None, signal.SIG_IGN)}  # nohup
    for number in before:
        signal.signal(number, lambda number, _: noted.append(number))
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _surroundings(uploads: Uploads) -> Iterator[None]:
    """Gradio's settings that are read from the environment, and temporary files where they are deleted at the end."""
    values = dict(
        GRADIO_TEMP_DIR=str(uploads.folder),
        GRADIO_NUM_WORKERS='0',  # they would serve files past the guard
        GRADIO_RUN_HISTORY='False',  # it would keep photos in the browser
        NO_PROXY='*',  # Gradio asks its own server whether it runs
        no_proxy='*',
    )
    before = {name: os.environ.get(name) for name in values}
    folders = tempfile.tempdir, getattr(gradio.routes, 'DEFAULT_TEMP_DIR', None)
    os.environ.update(values)
    tempfile.tempdir = str(uploads.scratch)
    gradio.routes.DEFAULT_TEMP_DIR = str(uploads.scratch)  # else /tmp/gradio is made, which another user may own
    try:
        yield
    finally:
        tempfile.tempdir, gradio.routes.DEFAULT_TEMP_DIR = folders
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
