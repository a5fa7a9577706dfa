"""One line to the log and to the person at the console; for parts that also run without MMEngine too."""

from __future__ import annotations

import logging

from .environment import has_mmengine

if has_mmengine():
    from mmengine.logging import MMLogger

#: What a record of MMEngine's logger has when the console shows it too, see :mod:`mmlska.engine.console`.
FOR_CONSOLE = {'for_console': True}


def log(message: str, level: int = logging.INFO) -> None:
    """Write a message to MMEngine's current logger and to the console, without MMEngine to Python's logger 'mmlska'."""
    if has_mmengine():
        MMLogger.get_current_instance().log(level, message, extra=FOR_CONSOLE)
    else:
        logging.getLogger('mmlska').log(level, message)
