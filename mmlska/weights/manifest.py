"""Which weights are published, by whom, which come with the package, and fetching those that can be."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from .checkpoint_file import CheckpointFile
from .download import fetch, read_fetched
from .layouts import WeightsError, convert_state_dict

#: Weights that come with the package, and in SHIPPED their entries, which ``scripts/publish_pretrained.py`` writes.
FILES = Path(__file__).with_name('shipped')
SHIPPED = 'shipped.yml'
#: ``checkpoint='mmlska://NAME'`` in an init_cfg means the entry NAME.
MANIFEST_SCHEME = 'mmlska://'


@cache
def load_manifest() -> Mapping:
    """The manifest: ``published``, a list of entries, and ``not_published``, what people look for in vain."""
    return _read_yaml(Path(__file__).with_name('manifest.yml'))


def shipped_entries(folder: Path | None = None) -> list[dict]:
    """The entries of the weights that come with the package, or of those in another folder."""
    path = (folder or FILES) / SHIPPED
    return _read_yaml(path) if path.is_file() else []


def _read_yaml(path: Path) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ImportError('the list of published weights needs PyYAML; run: pip install pyyaml') from error
    return yaml.safe_load(path.read_text(encoding='utf-8'))


def published_names() -> list[str]:
    """Names that :func:`load_pretrained` knows."""
    return [entry['name'] for entry in _entries()]


def _entries() -> list[dict]:
    return [*shipped_entries(), *load_manifest()['published']]


def find_entry(name: str) -> dict:
    """The entry of a name.

    Raises:
        WeightsError: If there is none; the message lists the names.

    Example:
        >>> find_entry('van_b0_in1k')['arch']
        't'
    """
    for entry in _entries():
        if entry['name'] == name:
            return entry
    raise WeightsError(f'no published weights are called {name!r}; choose one of {", ".join(published_names())}')


def fetch_published(name: str) -> Path:
    """Find weights in the package, or download them into torch.hub's cache; :func:`read_published` checks what is read of them.

    Raises:
        WeightsError: If the name is unknown, the weights have no direct link (the message names the page to visit), the download fails, or
            the file in the package is missing.
    """
    entry = find_entry(name)
    return fetch(_location(entry), sha256=entry['sha256'])


def _location(entry: dict) -> str:
    """The path of weights that come with the package, the URL of others."""
    if 'file' in entry:
        path = FILES / entry['file']
        if not path.is_file():
            raise WeightsError(f'{path} is missing from this installation; install the package again')
        return str(path)
    if not entry['url']:
        raise WeightsError(
            f'{entry["name"]} has no direct link; download it from {entry["page"]} and set '
            f"init_cfg=dict(type='Pretrained', checkpoint='the file')"
        )
    return entry['url']


def read_published(name: str) -> CheckpointFile:
    """Read published weights, whose bytes have to have the SHA-256 of the manifest as far as it is known.

    Raises:
        WeightsError: As :func:`fetch_published` and :func:`mmlska.weights.read_checkpoint`.
    """
    entry = find_entry(name)
    return read_fetched(_location(entry), sha256=entry['sha256'])


def load_pretrained(name: str) -> dict[str, Tensor]:
    """Return the weights of one of :func:`published_names` by our names, for ``VAN_LSKA(arch, k_size, attention)`` of the entry.

    Raises:
        WeightsError: As :func:`read_published`, and if the file does not hold what it should.
    """
    return convert_state_dict(read_published(name).content)
