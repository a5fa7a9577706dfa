"""Predict images and videos into files: what ``mmlska predict`` calls."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmengine.utils import ProgressBar

from ..outputs import Record, check_outputs
from .prediction import Prediction
from .predictor import Predictor
from .sources import Source, is_video
from .writers import WHOLE, FileNames, Writer, suffix_of, write_predictions


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
    inputs: Sequence[str | Path] = (),
    overwrite: bool = False,
) -> list[Path]:
    """Predict inputs into a folder, each as soon as it is there, with a progress bar on stderr.

    ``items`` are what :func:`mmlska.infer.resolve` found, ``inputs`` are other files that may not be overwritten, and ``unread`` is that of
    :meth:`mmlska.infer.Predictor.stream`; where no file can be read, its first error is raised. The other arguments are the options of
    ``mmlska predict``, which explains them.

    Returns:
        The files, without the overlays.

    Raises:
        FileExistsError: If a file is there that mmlska did not write, or that is an input.
        FileNotFoundError: If an input is missing.
        ValueError: If an input can't be read, or a setting does not fit.
    """
    kept = [item for item in items if isinstance(item, Path)]
    check_outputs(planned_files(items, out, format, overlays), inputs=[*kept, *inputs], overwrite=overwrite)
    names, record, suffix = FileNames(), Record(out), suffix_of(format)
    # What people correct and train on.
    are_labels = format in ('labelme', 'png') or not isinstance(format, str)
    predictions = predictor.stream(items, batch_size=batch_size, tile=tile, overlap=overlap, unread=unread)

    def watched() -> Iterator[Prediction]:
        empty = True
        bar = ProgressBar(0 if any(map(is_video, items)) else len(items), file=sys.stderr)
        try:
            for prediction in predictions:
                empty = False
                name = names(prediction.name)
                if overlays:
                    predictor.draw(prediction, file := out / 'overlays' / f'{name}.png', score_thr)
                    record.add(file)
                yield prediction
                if suffix:  # it is written by now
                    record.add(out / f'{name}{suffix}', is_label=are_labels)
                bar.update()
        finally:
            print(file=sys.stderr)  # what comes next, an error too, starts a line
        if empty and unread:
            raise unread[0]

    files = write_predictions(watched(), out, format, score_thr=score_thr)
    if not suffix:
        record = Record(out)  # read again: a writer may note what it copies
        for file in files:
            record.add(file, is_label=are_labels)
    return files


def planned_files(items: Sequence[Source], out: Path, format: str | Writer, overlays: bool) -> list[Path]:
    """The files of a prediction; of videos, whose frames are not counted before, those that are there."""
    names, suffix = FileNames(), suffix_of(format)
    kinds = [('', suffix)] if suffix else []
    kinds += [('overlays', '.png')] if overlays else []
    planned = [out / WHOLE] if format == 'coco' else []
    for item in items:
        name = names(str(item) if isinstance(item, Path) else '')
        for folder, ending in kinds:
            if is_video(item):
                frames = (out / folder).glob(f'{glob.escape(name)}_{"[0-9]" * 6}{ending}')
                planned += frames
            else:
                planned.append(out / folder / f'{name}{ending}')
    return planned
