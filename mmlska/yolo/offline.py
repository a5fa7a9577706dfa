"""Ultralytics that asks no other host on its own; imported before anything else of it."""

from __future__ import annotations

import os

# Read when Ultralytics is imported: else it looks two hosts up, reports each run to its makers, looks for a newer version of itself and
# installs what it misses. What a user has set counts; weights that one names are still downloaded.
os.environ.setdefault('YOLO_OFFLINE', 'true')
os.environ.setdefault('YOLO_AUTOINSTALL', 'false')

from ultralytics.utils import ONLINE, downloads  # noqa: E402

_is_url = downloads.is_url


def _is_url_offline(url: str | os.PathLike, check: bool = False) -> bool:
    """Ultralytics' ``is_url``: with ``check`` it asks the host, for a font of plots that it then downloads."""
    return not check and _is_url(url)


if not ONLINE:
    downloads.is_url = _is_url_offline
