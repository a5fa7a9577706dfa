"""What the tests of weights share."""

import logging

import pytest
from mmengine.logging import MMLogger


@pytest.fixture
def log():
    """What goes to the current logger of MMEngine, as (level, text)."""
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append((record.levelno, record.getMessage()))
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)
