"""Messages of the parts that also run without MMEngine."""

from __future__ import annotations

import logging

from .environment import has_mmengine

if has_mmengine():
    from mmengine.logging import print_log


def log(message: str, level: int = logging.INFO) -> None:
    """Write a message to MMEngine's current logger, or where MMEngine is not installed to Python's logger 'mmlska'."""
    if has_mmengine():
        print_log(message, logger='current', level=level)
    else:
        logging.getLogger('mmlska').log(level, message)
