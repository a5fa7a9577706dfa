"""Reading and writing weight files: never runs code from a file, names what is wrong with it, writes whole files or none."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files import write_atomically
from ..text import printable
from .layouts import WeightsError
from .pickle_machine import Refused, TooLarge, Unknown
from .torch_file import read_pickle, read_torch

#: No file larger than this is read.
MAX_BYTES = 16 * 2**30
_NOT_READ = (
    ', so it was not read; only if you know who made it, allow that by --trust-checkpoint, in Python by trust=True'
)
# What safe_reading() says for the code inside it, and use_safe_reader() for the rest of the process; None where neither was called.
_trust_here: ContextVar[bool | None] = ContextVar('mmlska_trust', default=None)
_trust_everywhere: bool | None = None


class UnsafeFileError(WeightsError):
    """A file that would run code when read; ``global_name`` is the first function or class it asked for."""

    def __init__(self, message: str, global_name: str) -> None:
        super().__init__(message)
        self.global_name = global_name


#: How the message of a DamagedFile ends; where the file came from elsewhere, another advice takes its place.
FETCH_AGAIN = '; copy or download it again'


class DamagedFile(WeightsError):
    """A file that is truncated or damaged."""


class MissingCheckpoint(WeightsError, FileNotFoundError):
    """There is no such file."""


@dataclass(frozen=True)
class CheckpointFile:
    """What a file held, and which file it was: the SHA-256 is that of the bytes that were read."""

    content: Any
    path: Path
    sha256: str


def check_digest(where: str | os.PathLike, digest: str, wanted: str | None) -> None:
    """Raise WeightsError if a file has another SHA-256 than was published; ``wanted`` may be its first digits."""
    if wanted and not digest.startswith(wanted):
        raise WeightsError(
            f'{where} is not the file that was published: its SHA-256 is {digest}, not {wanted}...; do not use it'
        )


def state_dict_of(file: CheckpointFile) -> Mapping[str, Any]:
    """The names with tensors of a checkpoint, those under ``state_dict`` or ``model`` if it has that.

    Raises:
        WeightsError: If there are none, or a name is no text.
    """
    content = file.content
    tensors = content.get('state_dict', content) if isinstance(content, Mapping) else content
    if isinstance(tensors, Mapping) and isinstance(tensors.get('model'), Mapping):
        tensors = tensors['model']
    if not isinstance(tensors, Mapping):
        raise WeightsError(f'{file.path} holds a {type(tensors).__name__}, no names with tensors; give a checkpoint')
    strange = next((name for name in tensors if not isinstance(name, str)), None)
    if strange is not None:
        raise WeightsError(f'{file.path} has {strange!r} where names of tensors should be; give a checkpoint')
    return tensors


def trust_of_caller() -> bool | None:
    """Whether files may run code here, as safe_reading() or use_safe_reader() said; None if neither was called."""
    here = _trust_here.get()
    return _trust_everywhere if here is None else here


def is_trusted(trust: bool | None) -> bool:
    """Whether files may run code: as an argument says, or where it is None, as :func:`trust_of_caller`."""
    return bool(trust_of_caller() if trust is None else trust)


def read_checkpoint(
    path: str | os.PathLike,
    *,
    trust: bool | None = None,
    sha256: str | None = None,
    lookup: Callable[[str], Any] | None = None,
) -> CheckpointFile:
    """Read a checkpoint without running code from it, and without more memory than the size of the file explains.

    Args:
        path: A file that torch.save or MMEngine wrote, or a .safetensors file.
        trust: Allow a pickle to run code. Only for files whose maker you know; by default what ``--trust-checkpoint`` or
            :func:`mmlska.weights.safe_reading` said, else no.
        sha256: What the SHA-256 of the bytes that are read has to be, or its first digits.
        lookup: Of :func:`mmlska.weights.torch_file.read_torch`, for files that hold more than checkpoints do.

    Raises:
        MissingCheckpoint: If there is no such file.
        UnsafeFileError: If the file asks for a function or class beyond tensors and what MMEngine checkpoints need.
        WeightsError: If the file is empty, truncated, a web page or no checkpoint at all, is too large or unfolds to far more than
            its size, or has another SHA-256.
    """
    path = _existing(path)
    data = path.read_bytes()  # once: what is hashed is what is read
    digest = hashlib.sha256(data).hexdigest()
    check_digest(path, digest, sha256)
    if _kind(path, data[:512]) == 'safetensors':
        return CheckpointFile(_read_safetensors(path, data), path, digest)
    file = io.BytesIO(data)
    if is_trusted(trust):
        content = read_guarded(path, lambda: torch.load(file, map_location='cpu', weights_only=False))
    else:
        content = read_guarded(path, lambda: read_torch(file, lookup))
    return CheckpointFile(content, path, digest)


def read_outline(path: str | os.PathLike) -> Any:
    """What a file of torch.save holds, with tensors on torch's meta device: quick, for their values are not read.

    Raises: see :func:`read_checkpoint`.
    """
    path = _existing(path)
    with open(path, 'rb') as file:
        if _kind(path, file.read(512)) != 'torch':
            raise WeightsError(f'{path} holds weights only; give a checkpoint of a training')
        if is_trusted(None):
            file.seek(0)
            return read_guarded(path, lambda: torch.load(file, map_location='meta', weights_only=False))
        return read_guarded(path, lambda: read_torch(file, outline=True))


def read_pickle_file(path: str | os.PathLike, max_steps: int, *, trust: bool | None = None) -> Any:
    """Read a pickle of containers, numbers, arrays and tensors without running code from it.

    Args:
        max_steps: Of the pickle; each may leave an object of some 100 bytes.
        trust: As for :func:`read_checkpoint`.

    Raises:
        MissingCheckpoint: If there is no such file.
        UnsafeFileError: If the file asks for another function or class.
        WeightsError: If it is damaged or too large.
    """
    path = _existing(path)
    data = path.read_bytes()
    if is_trusted(trust):
        return read_guarded(path, lambda: pickle.loads(data))
    return read_guarded(path, lambda: read_pickle(data, max_steps))


def read_guarded(path: Path, read: Callable[[], Any]) -> Any:
    """Return what a function reads of a file; what goes wrong is a WeightsError that names the file.

    Raises:
        UnsafeFileError: If the file asks for a function or class that is not known.
        WeightsError: If it is damaged or unfolds to far more than its size.
    """
    try:
        return read()
    except Refused as error:
        reason = f'asks for {printable(error.name)[:200]} and might run code'
        raise UnsafeFileError(f'{path} {reason}{_NOT_READ}', error.name) from error
    except TooLarge as error:
        raise WeightsError(f'{path} {error}{_NOT_READ}') from error
    except ImportError:  # of a trusted file, whose classes are in a package
        raise
    except Unknown as error:
        raise WeightsError(f'{path} {error}, which is not read here; save it anew by torch.save') from error
    except MemoryError as error:
        raise WeightsError(f'{path} needs more memory than there is; free some, or save only its weights') from error
    except Exception as error:  # a damaged stream fails in any of the operations that it is made of
        raise _damaged(path, error, 'is truncated or damaged, or no checkpoint') from error


def _existing(path: str | os.PathLike) -> Path:
    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingCheckpoint(f'no checkpoint file {path}; check the path')
    if path.stat().st_size > MAX_BYTES:
        raise WeightsError(
            f'{path} has {path.stat().st_size / 2**30:,.1f} GiB, more than the {MAX_BYTES / 2**30:g} GiB that are read; '
            f'save only its weights'
        )
    return path


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise WeightsError if a tensor holds NaN or infinity; ``where`` names the source in the message."""
    real = {name: t for name, t in tensors.items() if t.is_floating_point() and not t.is_meta}
    bad = [name for name, t in real.items() if not torch.isfinite(t).all()]
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
        save = _safetensors().torch.save_file
        return write_atomically(path, lambda tmp: save(tensors, tmp, metadata={'format': 'pt', **(metadata or {})}))
    if path.suffix not in ('.pth', '.pt'):
        raise ValueError(f'{path} ends in {path.suffix!r}; choose .pth, .pt or .safetensors')
    return write_atomically(path, lambda tmp: torch.save(dict(meta=dict(metadata or {}), state_dict=tensors), tmp))


def _kind(path: Path, start: bytes) -> str:
    """Tell safetensors from torch files by their first bytes, and name what is neither."""
    if not start:
        raise WeightsError(f'{path} is empty{FETCH_AGAIN}')
    if start.lstrip().lower().startswith((b'<!doctype', b'<html', b'<?xml')):
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
    return safetensors


def _read_safetensors(path: Path, data: bytes) -> dict[str, Tensor]:
    library = _safetensors()
    try:
        return library.torch.load(data)
    except (library.SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error, 'is truncated or damaged') from error


def _damaged(path: Path, error: Exception, what: str) -> DamagedFile:
    reason = printable((str(error).strip().splitlines() or [type(error).__name__])[0])[:200]
    return DamagedFile(f'{path} {what} ({reason}){FETCH_AGAIN}')
