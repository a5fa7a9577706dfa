"""SIGTERM and Ctrl-C in a training: which process hears them, and how all of them agree to stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch
from mmengine.dist import all_reduce, get_world_size

from .errors import Interrupted

#: Seconds in which a further SIGTERM is taken for the same one: a launcher forwards what a scheduler already sent to every process.
REPEATED_WITHIN = 10.0


class StopRequest:
    """SIGTERM or Ctrl-C, kept until the training can stop, in place of the end of the process.

    A second Ctrl-C ends the process at once, and so does a SIGTERM that comes more than ten seconds after the first signal.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._since = 0.0
        self._pid = os.getpid()
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT):
                signal.signal(signum, self._heard)

    def _heard(self, signum: int, frame) -> None:
        if os.getpid() != self._pid:  # a child, which inherited the handler
            if signum == signal.SIGTERM:
                os._exit(128 + signum)
            return
        if signum == signal.SIGINT:
            signal.signal(signum, signal.SIG_DFL)
        elif self.signum and time.monotonic() - self._since > REPEATED_WITHIN:
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)
        self._remember(signum)
        if signum == signal.SIGINT and os.environ.get('RANK', '0') == '0':
            with suppress(OSError):  # whoever reads it may have ended by the same Ctrl-C
                # By its descriptor: the signal may come in the middle of a print.
                os.write(2, b'\nCtrl-C: saving after this step; Ctrl-C again ends at once and saves nothing\n')

    def _remember(self, signum: int) -> None:
        if self.signum is None:
            self.signum, self._since = signum, time.monotonic()

    def agreed(self) -> int | None:
        """The signal that this or another process of the training got, or None; all have to ask at the same step."""
        if get_world_size() > 1:
            anywhere = torch.tensor(self.signum or 0)
            all_reduce(anywhere, 'max')
            if anywhere:
                self._remember(int(anywhere))
        return self.signum

    @staticmethod
    def release() -> None:
        """Let signals end the process again."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Put the handlers of SIGTERM and Ctrl-C back afterwards, and hand them the signal that ended a training within.

    For programs that train by calling a function: their handlers are theirs.

    Raises:
        Interrupted: If a handler returns from the signal. Python's own for Ctrl-C raises KeyboardInterrupt.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}

    def put_back() -> None:
        for signum, handler in before.items():
            if handler is not None:  # one that is not Python's
                signal.signal(signum, handler)

    try:
        yield
    except Interrupted as stop:
        put_back()
        signal.raise_signal(stop.signum)
        raise
    finally:
        put_back()


def start_worker(init: Callable[[int], None] | None, worker_id: int) -> None:
    """Start a data worker that its parent alone can end.

    torchrun, timeout, Slurm and the terminal signal every process, but the training needs its workers until it has saved its state.
    """
    if init is not None:
        init(worker_id)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, 'sigwaitinfo'):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_told_by, args=(os.getppid(),), daemon=True).start()


def _end_when_told_by(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)  # an error would have torch raise in the parent
