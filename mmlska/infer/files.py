"""Predict images and videos into files: what ``mmlska predict`` calls."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmengine.utils import ProgressBar

from .prediction import Prediction
from .predictor import Predictor
from .sources import Source, is_video
from .writers import FileNames, Writer, write_predictions


def predict_files(
    predictor: Predictor,
    items: Sequence[Source],
    out: Path,
    format: str | Writer,
    *,
    score_thr: float = 0.3,
    overlays: bool = True,
    batch_size: int = 1,
    tile: int | None = None,
    overlap: int | None = None,
    unread: list[Exception] | None = None,
) -> list[Path]:
    """Predict inputs into a folder, each as soon as it is there, with a progress bar on stderr.

    ``items`` are what :func:`mmlska.infer.resolve` found, and ``unread`` is that of :meth:`mmlska.infer.Predictor.stream`; where no
    file can be read, its first error is raised. The other arguments are the options of ``mmlska predict``, which explains them.

    Returns:
        The files, without the overlays.

    Raises:
        FileNotFoundError: If an input is missing.
        ValueError: If an input can't be read, or a setting does not fit.
    """
    names = FileNames()
    predictions = predictor.stream(items, batch_size=batch_size, tile=tile, overlap=overlap, unread=unread)

    def watched() -> Iterator[Prediction]:
        empty = True
        bar = ProgressBar(0 if any(map(is_video, items)) else len(items), file=sys.stderr)
        try:
            for prediction in predictions:
                empty = False
                if overlays:
                    predictor.draw(prediction, out / 'overlays' / f'{names(prediction)}.png', score_thr)
                yield prediction
                bar.update()
        finally:
            print(file=sys.stderr)  # what comes next, an error too, starts a line
        if empty and unread:
            raise unread[0]

    return write_predictions(watched(), out, format, score_thr=score_thr)
