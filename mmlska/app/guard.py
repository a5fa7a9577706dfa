"""What the page lets in: requests of its own pages alone, of a limited size, to what it needs of Gradio's addresses."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from ..files import is_inside
from .uploads import UPLOAD_SECONDS, Full, Uploads

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

FILE, UPLOAD, JOIN = '/gradio_api/file=', '/gradio_api/upload', '/gradio_api/queue/join'
#: All that the page reads. Gradio has more: it fetches addresses, writes files, connects to its maker's site.
READABLE = {
    '/',
    '/config',
    '/favicon.ico',
    '/manifest.json',
    '/robots.txt',
    '/theme.css',
    '/gradio_api/app_id',
    '/gradio_api/queue/data',
    '/gradio_api/startup-events',
    '/gradio_api/upload_progress',
}
READABLE_BELOW = ('/assets/', '/static/', '/svelte/', '/gradio_api/heartbeat/', FILE)

MAX_EVENT = 256 * 1024  # bytes of an event, which names files and does not contain them
MAX_ADDRESS = 2048  # characters of path and query
MAX_OPEN = 200  # requests at once; a page keeps two or three open
MAX_PARTS = 4  # of an upload's form: each is an open file until the last has come
FORM_BYTES = 16 * 1024  # what a form adds to the file in it
EVENT_SECONDS = 30.0
#: How an address of another host starts, with a scheme or without.
ADDRESS = re.compile(r'\s*(?:[a-z][a-z0-9+.-]*:)?[/\\]{2}', re.IGNORECASE)
#: All that an event of the page has.
EVENT_KEYS = ('data', 'event_data', 'fn_index', 'session_hash', 'trigger_id')
#: Headers that are read here; given twice, Gradio could read the other.
SINGLE = ('host', 'origin', 'content-length', 'content-type', 'sec-fetch-mode', 'sec-fetch-site')
SESSION = re.compile(r'[0-9A-Za-z_-]{1,64}')


class Refusal(Exception):
    """A request is not served; with a status of HTTP and one line for who asked."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Hosts:
    """The names under which the page may be asked for: any other leads a browser here by a forged answer of DNS.

    Args:
        host: Address or name that the page listens at. At a loopback address it answers to loopback addresses and
            ``localhost``; elsewhere to any address as a number, which no answer of DNS can forge, and to the machine's name.
        allowed: More names, for example that of a proxy.

    Example:
        >>> local = Hosts('127.0.0.1')
        >>> local.has('localhost:7860'), local.has('[::1]:7860'), local.has('evil.example:7860'), local.has('192.0.2.1')
        (True, True, False, False)
        >>> Hosts('0.0.0.0').has('192.0.2.1:7860'), Hosts('0.0.0.0').has('evil.example')
        (True, False)
    """

    def __init__(self, host: str, allowed: Iterable[str] = ()) -> None:
        self.allowed = {_host_name(name) for name in allowed}
        self.is_local = _is_loopback(_host_name(host))
        self.names = {'localhost', _host_name(host), *self.allowed}
        if not self.is_local:
            self.names.add(socket.gethostname().lower())

    def has(self, authority: str) -> bool:
        """Whether a request may name this host, with or without a port."""
        name = _host_name(authority)
        if not name or name in self.names:
            return bool(name)
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return not self.is_local or _is_loopback(name)

    def is_own(self, origin: str, authority: str) -> bool:
        """Whether a page of this origin is ours, where ``authority`` is the request's ``Host``."""
        try:
            parts = urlsplit(origin)
            name = (parts.hostname or '').lower()
        except ValueError:
            return False
        return parts.scheme in ('http', 'https') and (parts.netloc.lower() == authority.lower() or name in self.allowed)


class Guard:
    """ASGI middleware before Gradio; what it refuses, Gradio never sees.

    Args:
        app: Gradio's application.
        hosts: Names of the page.
        uploads: Where Gradio keeps files.
        max_upload: Bytes that a file may have.
        inputs: How many inputs each event has, by its number.
    """

    def __init__(
        self, app: Callable, hosts: Hosts, uploads: Uploads, max_upload: int, inputs: Mapping[int, int]
    ) -> None:
        self.app, self.hosts, self.uploads, self.max_upload, self.inputs = app, hosts, uploads, max_upload, inputs
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        if scope['type'] == 'lifespan':
            await self.app(scope, receive, send)
        elif scope['type'] != 'http':
            await send({'type': 'websocket.close', 'code': 1008})  # the page needs none
        else:
            self._open += 1
            try:
                await self._serve(scope, receive, send)
            except Refusal as refusal:
                await _answer(send, refusal)
            finally:
                self._open -= 1

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _headers(scope)
        self._check_sender(scope, headers)
        path, method = scope['path'], scope['method']
        if self._open > MAX_OPEN:
            raise Refusal(503, f'the page serves {MAX_OPEN} requests at once; try again')
        if len(path) + len(scope.get('query_string', b'')) > MAX_ADDRESS:
            raise Refusal(414, f'an address may have {MAX_ADDRESS} characters')
        if method == 'POST' and path == UPLOAD:
            await self._upload(scope, headers, receive, send)
        elif method == 'POST' and path == JOIN:
            event = await self._event(headers, receive)
            await self.app(_with_length(scope, event), _replay(event, receive), send)
        elif method in ('GET', 'HEAD') and (path in READABLE or path.startswith(READABLE_BELOW)):
            if path.startswith(FILE) and not is_inside(path[len(FILE) :], self.uploads.folder):
                raise Refusal(403, 'this file is not of the page')
            await self.app(scope, receive, send)
        else:
            raise Refusal(404, f'the page has nothing for {method} at this address')

    def _check_sender(self, scope: Scope, headers: dict[str, str]) -> None:
        """Refuse what another site's page sends, and what reached us under another name."""
        host = headers.get('host', '')
        if not self.hosts.has(host):
            raise Refusal(
                403,
                f'this page is not {host[:100]!r}; open it by the address or the name of the machine that it runs on, or start it '
                f'with --allow-host NAME',
            )
        origin = headers.get('origin')  # a browser sends it with every POST and with what is read across sites
        site = headers.get('sec-fetch-site', 'none')
        follows_link = scope['method'] in ('GET', 'HEAD') and headers.get('sec-fetch-mode') == 'navigate'
        if (origin is not None and not self.hosts.is_own(origin, host)) or (
            site not in ('same-origin', 'none') and not follows_link
        ):
            raise Refusal(403, 'another web site may not use this page; open the page itself')

    async def _upload(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        limit = self.max_upload + FORM_BYTES
        too_large = Refusal(413, f'a photo may have {self.max_upload / 2**20:g} MB, the maximum allowed size')
        size = _declared(headers, limit)
        if size > limit:
            raise too_large
        body = _Form(receive, size, too_large, headers.get('content-type', ''))

        has_answered = False

        async def answer(message: Message) -> None:
            nonlocal has_answered
            if body.refusal is None:
                has_answered = True
                await send(message)

        try:
            with self.uploads.expect(size):
                await asyncio.wait_for(self.app(scope, body.receive, answer), UPLOAD_SECONDS)
        except Full as error:
            raise Refusal(503, 'too much is being uploaded at once; try again') from error
        except (asyncio.TimeoutError, TimeoutError) as error:
            if not has_answered:
                raise Refusal(408, f'an upload may take {UPLOAD_SECONDS:g} seconds') from error
        except Exception:  # Gradio's parser stumbles over a form that was cut short here, or whose sender has left
            if body.refusal is None and not body.has_left:
                raise
        if body.refusal is not None:
            raise body.refusal

    async def _event(self, headers: dict[str, str], receive: Receive) -> bytes:
        """The checked text of an event, written anew, so that Gradio reads what was checked."""
        too_large = Refusal(413, f'an event may have {MAX_EVENT // 1024} KB')
        if _declared(headers, 0) > MAX_EVENT:
            raise too_large
        try:
            event = json.loads(await asyncio.wait_for(_read(receive, MAX_EVENT, too_large), EVENT_SECONDS))
            self._check_event(event)
            return json.dumps({key: event.get(key) for key in EVENT_KEYS}, allow_nan=False).encode()
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise Refusal(408, f'an event may take {EVENT_SECONDS:g} seconds to arrive') from error
        except (ValueError, RecursionError) as error:  # no JSON, not UTF-8, too deep, NaN or infinity
            raise Refusal(400, 'an event is a JSON object of finite numbers, strings and lists') from error

    def _check_event(self, event: Any) -> None:
        """Refuse what Gradio would fetch, or read outside the uploads."""
        session = event.get('session_hash') if isinstance(event, dict) else None
        if not isinstance(session, str) or not SESSION.fullmatch(session):
            raise ValueError('no object with a session')
        number, data = event.get('fn_index'), event.get('data')
        if type(number) is not int or not isinstance(data, list) or self.inputs.get(number) != len(data):
            raise Refusal(400, 'the page has no such event; load it again')
        waiting: list[tuple[str, Any]] = [('', event)]
        while waiting:
            key, value = waiting.pop()
            if isinstance(value, dict):
                waiting += value.items()
            elif isinstance(value, list):
                waiting += ((key, item) for item in value)
            elif key == 'path' and value is not None:
                if not isinstance(value, str) or not is_inside(value, self.uploads.folder):
                    raise Refusal(400, 'an event may name files that were uploaded, and no others')
            elif isinstance(value, str) and (not self._is_own_file(value) if key == 'url' else ADDRESS.match(value)):
                raise Refusal(400, 'an event may not name an address; upload the photo')

    def _is_own_file(self, url: str) -> bool:
        """Whether a URL is what Gradio gave a page for a file here. Nothing reads it, but the page sends it back."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return False
        return (
            not parts.netloc
            and url.startswith(FILE)
            or (parts.scheme in ('http', 'https') and self.hosts.has(parts.netloc) and FILE in parts.path)
        )


class _Form:
    """The body of an upload as it arrives, which ends where it is too large or has too many parts."""

    def __init__(self, receive: Receive, limit: int, too_large: Refusal, content_type: str) -> None:
        self._receive, self._left, self._too_large = receive, limit, too_large
        from python_multipart.multipart import parse_options_header  # what Gradio reads it with

        boundary = parse_options_header(content_type)[1].get(b'boundary')
        self._delimiter = b'--' + boundary if boundary else None
        self._parts, self._tail = 0, b''
        self.refusal: Refusal | None = None  # what is then to be answered
        self.has_left = False  # whether the sender went away

    async def receive(self) -> Message:
        """The next part of the body."""
        message = await self._receive()
        if message['type'] == 'http.disconnect':
            self.has_left = True
            return message
        body = message.get('body', b'')
        self._left -= len(body)
        if self._left < 0:
            self.refusal = self._too_large
        elif self._delimiter is not None:
            seen = self._tail + body
            self._parts += seen.count(self._delimiter)
            self._tail = seen[len(seen) - len(self._delimiter) + 1 :] if len(seen) >= len(self._delimiter) else seen
            if self._parts > MAX_PARTS + 1:  # one more ends the form
                self.refusal = Refusal(413, 'one photo is uploaded at a time')
        return {'type': 'http.disconnect'} if self.refusal else message


def _host_name(authority: str) -> str:
    """The name in ``name:port``, without the brackets of IPv6."""
    name = authority.strip().lower()
    if name.startswith('['):
        name = name[1:].partition(']')[0]
    elif name.count(':') == 1:
        name = name.partition(':')[0]
    return name.rstrip('.')


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == 'localhost'


def _headers(scope: Scope) -> dict[str, str]:
    headers = {}
    for name, value in scope['headers']:
        name = name.decode('latin-1').lower()
        if name in headers and name in SINGLE:
            raise Refusal(400, f'{name} is given twice')
        headers[name] = value.decode('latin-1')
    return headers


def _declared(headers: dict[str, str], otherwise: int) -> int:
    """The length that a request gives itself; what it really has is counted."""
    length = headers.get('content-length')
    if length is None:
        return otherwise
    if not length.isdecimal() or len(length) > 18:
        raise Refusal(400, 'content-length is no number')
    return int(length)


async def _read(receive: Receive, limit: int, too_large: Refusal) -> bytes:
    body = b''
    while True:
        message = await receive()
        if message['type'] == 'http.disconnect':
            raise ValueError('broken off')
        body += message.get('body', b'')
        if len(body) > limit:
            raise too_large
        if not message.get('more_body'):
            return body


def _replay(body: bytes, receive: Receive) -> Receive:
    """A receive that gives a body that was read already, and then what comes."""
    waiting = [{'type': 'http.request', 'body': body, 'more_body': False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


def _with_length(scope: Scope, body: bytes) -> Scope:
    kept = [pair for pair in scope['headers'] if pair[0].lower() not in (b'content-length', b'transfer-encoding')]
    return {**scope, 'headers': [*kept, (b'content-length', str(len(body)).encode())]}


async def _answer(send: Send, refusal: Refusal) -> None:
    body = (refusal.reason + '\n').encode()
    headers = [
        (b'content-type', b'text/plain; charset=utf-8'),
        (b'content-length', str(len(body)).encode()),
        (b'x-content-type-options', b'nosniff'),
        (b'connection', b'close'),  # the rest of what was refused is not read
    ]
    await send({'type': 'http.response.start', 'status': refusal.status, 'headers': headers})
    await send({'type': 'http.response.body', 'body': body})
