"""What ends a training: errors of one line that say what, where and what to try."""

from __future__ import annotations


class TrainingError(Exception):
    """What stopped a training; one line that says what, where and what to try."""


class BadSampleError(ValueError):
    """A sample that could not be read; the message names its file."""


class Interrupted(Exception):
    """A training that SIGTERM or Ctrl-C ended, after its state was saved; ``signum`` is the signal."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum
