"""From a checkpoint or saved predictions to a gallery of the errors: what ``mmlska browse-errors`` calls."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

from mmengine.config import Config

from .errors import find_errors
from .gallery import write_gallery
from .predictions import predict, read_predictions


def write_error_gallery(
    cfg: Config,
    config: str,
    source: str,
    folder: Path,
    *,
    score_thr: float = 0.3,
    limit: int = 500,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, str]:
    """Find the errors of a detector or segmentor on its test data and write a gallery of them.

    ``cfg`` went through :func:`mmlska.engine.launch.prepare`, ``config`` is its file, for the heading. The other arguments are the options
    of ``mmlska browse-errors``, which explains them; ``progress`` is called as ``progress(done, total)`` after each image.

    Returns:
        The page, and the errors in a few lines.

    Raises:
        FileExistsError: If the folder holds a gallery and ``overwrite`` is False, or anything else.
        FileNotFoundError: If data, checkpoint or predictions are missing.
        ValueError: If the test data have no labels, or a file cannot be read.
        WeightsError: If the checkpoint cannot be read.
    """
    saved = Path(source).suffix in ('.pkl', '.pickle')
    predictions = read_predictions(cfg, source) if saved else predict(cfg, source)
    errors = find_errors(predictions, score_thr)
    page = write_gallery(
        folder,
        predictions,
        errors,
        title=f'Errors of {Path(config).stem}',
        about={'config': config, 'predictions': source, 'date': date.today().isoformat()},
        limit=limit,
        overwrite=overwrite,
        progress=progress,
    )
    return page, summary(errors)


def summary(errors: dict) -> str:
    """What :func:`mmlska.analysis.errors.find_errors` found, in a few lines."""
    lines = [f'{errors["metric"]} {errors["value"]}, {len(errors["images"])} images']
    lines += [f'{count:8} {kind}' for kind, count in errors['counts'].items()]
    if errors.get('left_out'):
        lines.append(f'{errors["left_out"]:8} detections of NaN or infinity, left out; has the training diverged?')
    worst = ', '.join(f'{entry["name"]} ({entry["lost"]:.2f})' for entry in errors['images'][:5])
    return '\n'.join([*lines, f'most costly (points of {errors["metric"]}): {worst}'])
