"""Reading and writing weight files: never runs code from a file, names what is wrong with it, writes whole files or none."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import tempfile
from argparse import Namespace
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import torch
from mmengine.dist import barrier, get_rank
from mmengine.logging import HistoryBuffer, print_log
from torch import Tensor

from .dialects import WeightsError

_SHA256_IN_NAME = re.compile(r'-([a-f0-9]{8,64})\.')  # OpenMMLab's and torch.hub's convention
_SCHEME = re.compile(r'[a-z0-9+.-]{2,}://', re.IGNORECASE)
_trusted = False  # set by use_safe_reader(trust=True), which the tools call for --trust-checkpoint


class UnsafeFileError(WeightsError):
    """A file that would run code when read; ``global_name`` is the first function or class it asked for."""

    def __init__(self, message: str, global_name: str) -> None:
        super().__init__(message)
        self.global_name = global_name


class MissingCheckpoint(WeightsError, FileNotFoundError):
    """There is no such file."""


@dataclass(frozen=True)
class CheckpointFile:
    """What a file held, and which file it was."""

    content: Any
    path: Path
    sha256: str


def read_checkpoint(path: str | os.PathLike, *, trust: bool | None = None) -> CheckpointFile:
    """Read a checkpoint without running code from it.

    Args:
        path: A file that torch.save or MMEngine wrote, or a .safetensors file.
        trust: Allow a pickle to run code. Only for files whose maker you know; by default what ``--trust-checkpoint`` said.

    Raises:
        MissingCheckpoint: If there is no such file.
        UnsafeFileError: If the file asks for a function or class beyond tensors and what MMEngine checkpoints need.
        WeightsError: If the file is empty, truncated, a web page or no checkpoint at all.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingCheckpoint(f'no checkpoint file {path}; check the path')
    kind = _kind(path)
    content = (
        _read_safetensors(path) if kind == 'safetensors' else _read_torch(path, _trusted if trust is None else trust)
    )
    return CheckpointFile(content, path, file_sha256(path))


def file_sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise WeightsError if a tensor holds NaN or infinity; ``where`` names the source in the message."""
    bad = [
        name for name, t in tensors.items() if t.is_floating_point() and not t.is_meta and not torch.isfinite(t).all()
    ]
    if bad:
        more = f' and {len(bad) - 3} more' if len(bad) > 3 else ''
        raise WeightsError(
            f'{where} holds NaN or infinity in {", ".join(bad[:3])}{more}; the training diverged, use an earlier one'
        )


def save_weights(
    tensors: Mapping[str, Tensor], path: str | os.PathLike, *, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a state dict as .safetensors, or as .pth with the dict under ``state_dict``; the file appears whole or not at all.

    Args:
        tensors: The state dict.
        path: Where to; the suffix decides about the format.
        metadata: Facts to keep with the weights, as text.

    Raises:
        ValueError: If the suffix is neither .safetensors nor one of torch's.
        ImportError: If .safetensors is asked for and safetensors is missing.
    """
    path = Path(path).expanduser()
    # Views of a larger storage would drag all of it into the file.
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    if path.suffix == '.safetensors':
        save = _safetensors().save_file
        return write_atomically(path, lambda tmp: save(tensors, tmp, metadata={'format': 'pt', **(metadata or {})}))
    if path.suffix not in ('.pth', '.pt'):
        raise ValueError(f'{path} ends in {path.suffix!r}; choose .pth, .pt or .safetensors')
    return write_atomically(path, lambda tmp: torch.save(dict(meta=dict(metadata or {}), state_dict=tensors), tmp))


def write_atomically(path: Path, write) -> Path:
    """Call ``write(temporary name)`` in the folder of ``path`` and rename, so that nobody finds half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, tmp = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    os.close(descriptor)
    try:
        write(tmp)
        mode = os.umask(0)
        os.umask(mode)
        os.chmod(tmp, 0o666 & ~mode)  # mkstemp makes it private; give it the mode that open() would
        os.replace(tmp, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(tmp)
    return path


def fetch(location: str, *, sha256: str | None = None) -> Path:
    """Return a local path for a path or URL; a download is kept in torch.hub's cache and checked.

    A file URL stands for its path, so the file is read anew each time. In distributed training the first process downloads while
    the others wait.

    Args:
        location: A path, or an http, https or file URL.
        sha256: The file's SHA-256 or its first digits; by default those in the file's name, if any ('van-tiny-385941af.pth').

    Raises:
        WeightsError: If the download fails, the SHA-256 differs, or the scheme is unknown.
    """
    if not _SCHEME.match(location):
        return Path(location)
    url = urlsplit(location)
    if url.scheme not in ('http', 'https', 'file'):
        raise WeightsError(f'{location} has the scheme {url.scheme}; download the file and give its path')
    name = Path(url.path).name
    in_name = _SHA256_IN_NAME.search(name)
    sha256 = sha256 or (in_name.group(1) if in_name else None)
    if url.scheme == 'file':
        return _checked(Path(url2pathname(url.path)), sha256)
    if sha256 is None:  # else a file of the same name from another place would be taken for this one
        name = f'{hashlib.sha256(location.encode()).hexdigest()[:8]}_{name}'
    target = Path(torch.hub.get_dir()) / 'checkpoints' / name
    try:
        if get_rank() == 0:
            _download(location, target, sha256)
    finally:
        barrier()
    _download(location, target, sha256)  # finds it, unless this process runs on another machine
    return target


def _checked(path: Path, sha256: str | None) -> Path:
    if sha256 and path.is_file() and not file_sha256(path).startswith(sha256):
        raise WeightsError(f'{path} is not the file that was published: its SHA-256 is not {sha256}...; do not use it')
    return path


def _download(location: str, target: Path, sha256: str | None) -> None:
    if target.is_file() and (sha256 is None or file_sha256(target).startswith(sha256)):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(location, str(target), hash_prefix=sha256, progress=os.isatty(2))
    except (OSError, ValueError) as error:
        raise WeightsError(f'cannot download {location}: {error}; download it by hand and give its path') from error
    except RuntimeError as error:  # torch.hub's way to report another hash
        raise WeightsError(f'{location} is not the file that was published: {error}; do not use it') from error


def use_safe_reader(*, trust: bool = False) -> None:
    """Make MMEngine read local and downloaded checkpoints (``load_from``, resume, test) by :func:`read_checkpoint`.

    MMEngine's own reader either stops at its own checkpoints (original MMEngine on current torch) or falls back to running
    what a file asks for (OneDL's). For command lines; libraries should leave MMEngine's reader as it is.

    Args:
        trust: What ``--trust-checkpoint`` said: read without protection.
    """
    from mmengine.runner.checkpoint import CheckpointLoader

    global _trusted
    _trusted = trust

    def load(filename, map_location=None, **_):  # tensors stay on the CPU: load_state_dict moves them, optimizers' too
        file = read_checkpoint(fetch(str(filename)))
        _check_names(file)
        print_log(f'read checkpoint {file.path}, sha256 {file.sha256[:16]}', logger='current')
        return file.content

    CheckpointLoader.register_scheme(['', 'http://', 'https://', 'file://'], load, force=True)


def _check_names(file: CheckpointFile) -> None:
    content = file.content
    tensors = content.get('state_dict', content) if isinstance(content, Mapping) else content
    if not isinstance(tensors, Mapping):
        raise WeightsError(f'{file.path} holds a {type(tensors).__name__}, no names with tensors; give a checkpoint')
    strange = next((name for name in tensors if not isinstance(name, str)), None)
    if strange is not None:
        raise WeightsError(f'{file.path} has {strange!r} where names of tensors should be; give a checkpoint')


def _kind(path: Path) -> str:
    """Tell safetensors from torch files by their first bytes, and name what is neither."""
    with open(path, 'rb') as file:
        start = file.read(512)
    text = start.lstrip().lower()
    if not start:
        raise WeightsError(f'{path} is empty; download it again')
    if text.startswith((b'<!doctype', b'<html', b'<?xml')):
        raise WeightsError(
            f'{path} is a web page, not a checkpoint; use the direct download link, or save the file with a browser'
        )
    if start.startswith(b'version https://git-lfs'):
        raise WeightsError(f'{path} is a Git LFS pointer, not the file itself; run git lfs pull')
    if start[8:9] == b'{' and int.from_bytes(start[:8], 'little') < 1 << 32:
        return 'safetensors'
    if not start.startswith((b'PK\x03\x04', b'\x80')):
        raise WeightsError(f'{path} is neither a torch nor a safetensors file; give a checkpoint')
    return 'torch'


def _safetensors():
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError('.safetensors files need safetensors; run: pip install safetensors') from error
    return safetensors.torch


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    library = _safetensors()
    from safetensors import SafetensorError

    try:
        return library.load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f'{path} is truncated or damaged ({_first_line(error)}); download it again') from error


def _read_torch(path: Path, trust: bool) -> Any:
    try:
        if trust:
            return torch.load(path, map_location='cpu', weights_only=False)
        with torch.serialization.safe_globals(_allowed_globals()):
            return torch.load(path, map_location='cpu', weights_only=True)
    except (MemoryError, ImportError):  # the latter of a trusted file, whose classes are in a package
        raise
    except Exception as error:  # a damaged stream fails in any of the operations that it is made of
        raise _read_error(path, error) from error


def _read_error(path: Path, error: Exception) -> WeightsError:
    wanted = re.search(r'GLOBAL (\S+)|unrecognized function (.+)', str(error))
    if isinstance(error, pickle.UnpicklingError) and wanted:
        name = wanted[1] or wanted[2]
        return UnsafeFileError(
            f'{path} asks for {name} and might run code, so it was not read; if you know who made it, convert it to .safetensors '
            f'with tools/convert_weights.py --trust-checkpoint',
            name,
        )
    return WeightsError(f'{path} is truncated or damaged, or no checkpoint ({_first_line(error)}); download it again')


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _statistic(owner: type, name: str) -> Any:
    """Stand-in for getattr in MMEngine's message hub: HistoryBuffer pickles its four statistics as getattr(HistoryBuffer, name)."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'current', 'mean'):
        raise pickle.UnpicklingError(f'Unsupported global: GLOBAL builtins.getattr of {owner!r} and {name!r}')
    return getattr(owner, name)


def _allowed_globals() -> list:
    """Harmless globals in checkpoints of MMEngine (numpy's, HistoryBuffer) and of timm's scripts (argparse's Namespace)."""
    core = np._core if hasattr(np, '_core') else np.core
    allowed: list = [HistoryBuffer, Namespace, np.ndarray, np.dtype, (_statistic, 'builtins.getattr')]
    # The modules' name changed with numpy 2; files of either keep the name they were written with.
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        allowed += [
            (core.multiarray._reconstruct, f'{module}._reconstruct'),
            (core.multiarray.scalar, f'{module}.scalar'),
        ]
    return allowed + sorted({type(np.dtype(c)) for c in '?bBhHiIlLqQefd'}, key=str)
