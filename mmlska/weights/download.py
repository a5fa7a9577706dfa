"""Weight files from the network: whole or not at all, kept in torch.hub's cache."""

from __future__ import annotations

import hashlib
import http.client
import re
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, url2pathname, urlopen

import torch
from torch import distributed

from ..files import file_sha256, write_atomically
from ..log import log
from .checkpoint_file import FETCH_AGAIN, MAX_BYTES, CheckpointFile, DamagedFile, check_digest, read_checkpoint
from .layouts import WeightsError

_SHA256_IN_NAME = re.compile(r'-([a-f0-9]{8,64})\.')  # OpenMMLab's and torch.hub's convention
_SCHEME = re.compile(r'[a-z0-9+.-]{2,}://', re.IGNORECASE)
_SECONDS = 60  # without a byte, after which a download fails


def fetch(location: str, *, sha256: str | None = None) -> Path:
    """Return a local path for a path or URL; a download is kept in torch.hub's cache.

    A file URL stands for its path, so the file is read anew each time. In distributed training the first process downloads while
    the others wait. The digest keeps a wrong download out of the cache; what is read of the file later, :func:`read_fetched` checks.

    Args:
        location: A path, or an http, https or file URL.
        sha256: The file's SHA-256 or its first digits; by default those in the file's name, if any ('van-tiny-385941af.pth').

    Raises:
        WeightsError: If the download fails or ends early, its SHA-256 differs, or the scheme is unknown.
    """
    if not _SCHEME.match(location):
        return Path(location)
    url = urlsplit(location)
    if url.scheme not in ('http', 'https', 'file'):
        raise WeightsError(f'{location} has the scheme {url.scheme}; download the file and give its path')
    if url.scheme == 'file':
        return Path(url2pathname(url.path))
    sha256 = sha256 or _digits_in_name(location)
    target = _cached(location, sha256)
    spread = distributed.is_available() and distributed.is_initialized()
    rank = distributed.get_rank() if spread else 0
    try:
        if rank == 0:
            _download(location, target, sha256)
    finally:
        if spread:
            distributed.barrier()
    if rank != 0:  # it may run on another machine
        _download(location, target, sha256)
    return target


def read_fetched(location: str, *, sha256: str | None = None) -> CheckpointFile:
    """Read the checkpoint at a path or URL, as :func:`fetch` finds it; of a URL the digest of what is read is checked.

    Raises:
        WeightsError: As :func:`fetch` and :func:`mmlska.weights.read_checkpoint`. If a kept download is damaged, it says to delete that.
    """
    path = fetch(location, sha256=sha256)
    wanted = sha256 or (_digits_in_name(location) if _SCHEME.match(location) else None)
    try:
        return read_checkpoint(path, sha256=wanted)
    except DamagedFile as error:
        if not location.startswith(('http://', 'https://')):
            raise
        reason = str(error).removesuffix(FETCH_AGAIN)
        raise DamagedFile(f'{reason}; it was kept from a download, delete it to have it fetched again') from error


def _digits_in_name(location: str) -> str | None:
    """The first digits of a file's SHA-256 that its maker put into its name: a hint against mistakes, as eight of them can be forged.

    Example:
        >>> _digits_in_name('https://example.org/van-tiny_20220501-385941af.pth')
        '385941af'
    """
    found = _SHA256_IN_NAME.search(Path(urlsplit(location).path).name)
    return found.group(1) if found else None


def _cached(location: str, sha256: str | None) -> Path:
    name = Path(urlsplit(location).path).name
    if sha256 is None:  # else a file of the same name from another place would be taken for this one
        name = f'{hashlib.sha256(location.encode()).hexdigest()[:8]}_{name}'
    return Path(torch.hub.get_dir()) / 'checkpoints' / name


def _download(location: str, target: Path, sha256: str | None) -> None:
    if target.is_file() and (sha256 is None or file_sha256(target).startswith(sha256)):
        return
    try:
        write_atomically(target, lambda temporary: _stream(location, temporary, sha256))
    except WeightsError:
        raise
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise WeightsError(f'cannot download {location}: {error}; download it by hand and give its path') from error


def _stream(location: str, path: str, sha256: str | None) -> None:
    """Write what a server sends; an end before the promised length, another digest or too much is an error."""
    digest, length = hashlib.sha256(), 0
    request = Request(location, headers={'User-Agent': 'mmlska'})
    with urlopen(request, timeout=_SECONDS) as response, open(path, 'wb') as file:
        promised = response.headers.get('Content-Length')
        size = f', {int(promised) / 2**20:.1f} MiB' if promised else ''
        log(f'downloading {location}{size}')
        while chunk := response.read(1 << 20):
            length += len(chunk)
            if length > MAX_BYTES:
                raise ValueError(f'it has more than the {MAX_BYTES / 2**30:g} GiB that are read')
            digest.update(chunk)
            file.write(chunk)
    if promised and length != int(promised):
        raise ValueError(f'the connection ended after {length:,} of {int(promised):,} bytes')
    check_digest(location, digest.hexdigest(), sha256)
