"""How far a long run is."""

from __future__ import annotations

from collections.abc import Callable


def count_every_hundred(noun: str) -> Callable[[int, int], None]:
    """A function of (done, total) that prints every hundredth, and the last.

    Example:
        >>> print_progress = count_every_hundred('images')
        >>> print_progress(99, 150), print_progress(100, 150), print_progress(150, 150)
        100/150 images
        150/150 images
        (None, None, None)
    """

    def print_progress(done: int, total: int) -> None:
        if done % 100 == 0 or done == total:
            print(f'{done}/{total} {noun}', flush=True)

    return print_progress
