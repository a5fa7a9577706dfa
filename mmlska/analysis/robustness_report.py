"""A checkpoint under corruptions, from the test to JSON, chart, table and sample images: what ``mmlska robustness`` calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mmengine.config import Config

from ..engine.image_reading import picture_reading
from ..images import read_photo
from ..results import markdown_table, save_figure, write_json
from .figures import corrupted_samples, robustness
from .photos import dataset_photos
from .robustness import evaluate, read_reference, summarise


def report_robustness(
    cfg: Config,
    config: str,
    checkpoint: str,
    out: Path,
    *,
    corruptions: Sequence[str],
    severities: Sequence[int],
    seed: int = 0,
    subset: int | None = None,
    workers: int | None = None,
    dtype: str = 'fp32',
    reference: str | None = None,
) -> Iterator[str]:
    """Test a checkpoint under corruptions and write JSON, chart and samples beside each other; yield what to print of each.

    ``cfg`` went through :func:`mmlska.engine.launch.prepare`, ``config`` is its file, for the heading. The other arguments are the options
    of ``mmlska robustness``, which explains them.

    Raises:
        FileNotFoundError: If data, checkpoint or the reference are missing.
        ValueError: If a setting does not fit, or ``out`` or the reference hold results of something else.
    """
    severities = sorted(set(severities))
    content = evaluate(
        cfg,
        checkpoint,
        out,
        corruptions=corruptions,
        severities=severities,
        seed=seed,
        subset=subset,
        workers=workers,
        dtype=dtype,
    )
    results = content['results']
    summary = summarise(results, corruptions, severities, read_reference(reference, content) if reference else None)
    write_json(out, {**content, 'summary': dict(severities=severities, metrics=summary)})
    chart = robustness(results, summary, severities, Path(config).stem)
    yield _table(summary)
    yield f'results: {out}; chart: {save_figure(chart, out.with_suffix(".png"))}'
    photo = dataset_photos(cfg, 'test')[0]
    samples = corrupted_samples(
        read_photo(photo, as_stored=picture_reading(cfg)['as_stored'])[..., ::-1],
        photo.name,
        corruptions,
        severities,
        seed,
    )
    yield f'samples: {save_figure(samples, out.with_name(f"{out.stem}_samples.png"))}'


def _table(summary: dict) -> str:
    """The means of each metric as a Markdown table."""
    keys = ('clean', 'mPC', 'rPC', 'mCE')
    rows = [
        [metric, *('' if entry.get(key) is None else f'{entry[key]:.3f}' for key in keys)]
        for metric, entry in summary.items()
    ]
    return markdown_table(['metric', *keys], rows)
