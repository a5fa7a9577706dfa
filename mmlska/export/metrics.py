"""What exporting costs: the metric of a checkpoint on its test data beside those of its ONNX files."""

from __future__ import annotations

import json
from pathlib import Path

from ..engine.config import load_config
from ..engine.launch import prepare
from ..files import file_sha256
from ..metric_names import in_percent
from ..results import markdown_table
from .evaluate import build_evaluation
from .exporter import export

#: What is evaluated: the checkpoint in torch, and its files.
FORMATS = ('torch', 'fp32', 'fp16', 'int8')
# The columns of the table.
_METRICS = ('box AP50', 'box AP', 'mIoU')


def evaluate_exports(
    config: str, checkpoint: str | Path, int8: str | Path, work_dir: str | Path, *, photos: str | Path | None = None
) -> dict:
    """Evaluate a checkpoint, export it in every precision and evaluate each file, with the metric of the config.

    Args:
        config: Config file of a segmentor or of RetinaNet.
        checkpoint: Checkpoint of a training with it.
        int8: Folder of images to calibrate int8 on: of the training data, as those of the test data would flatter it.
        work_dir: Folder for the files and logs.
        photos: Folder of images to compare outputs on, see :func:`mmlska.export.parity.read_photos`.

    Returns:
        ``sha256`` of the checkpoint and, for each of ``FORMATS``, ``metrics`` in percent and, for files, ``bytes`` and ``difference``,
        the largest of the outputs.

    Raises:
        FileNotFoundError: If data, checkpoint or calibration images are missing.
        ValueError: If the model cannot be exported whole.
    """
    work_dir = Path(work_dir)
    formats = {}
    for name in FORMATS:
        file, entry = None, {}
        if name != 'torch':
            precision = dict(int8=int8) if name == 'int8' else dict(dtype=name)
            done = export(load_config(config), checkpoint, work_dir / f'{name}.onnx', photos=photos, **precision)
            file, entry = str(done.path), dict(bytes=done.path.stat().st_size, difference=done.parity.largest)
        cfg = load_config(config)
        prepare(cfg, config, work_dir=str(work_dir / name), launcher='none', seed=0)
        found = build_evaluation(cfg, None if file else str(checkpoint), onnx=file).test()
        formats[name] = dict(
            metrics={name: float(value) for name, value in in_percent(found).items() if name in _METRICS},
            **entry,
        )
    return dict(sha256=file_sha256(checkpoint), formats=formats)


def exported_files(work_dir: Path) -> list[Path]:
    """The files that :func:`evaluate_exports` writes into its folder, beside those of each test."""
    return [work_dir / f'{name}.onnx' for name in FORMATS if name != 'torch']


def holds_results(path: Path) -> bool:
    """Whether a file holds what :func:`table` takes."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and all(isinstance(e, dict) and 'formats' in e for e in content.values())


def table(results: dict) -> str:
    """The Markdown table of a results file: a row for each model and format, metrics in percent, changes against torch in points."""
    rows = []
    for name, entry in results.items():
        reference = entry['formats']['torch']['metrics']
        for kind, found in entry['formats'].items():
            cells = [_cell(found['metrics'].get(c), reference.get(c), kind == 'torch') for c in _METRICS]
            size = f'{found["bytes"] / 1e6:.1f}' if 'bytes' in found else ''
            difference = f'{found["difference"]:.0e}' if 'difference' in found else ''
            rows.append([f'`{name}`', 'checkpoint' if kind == 'torch' else f'ONNX {kind}', size, difference, *cells])
    return markdown_table(['config', 'format', 'MB', 'largest difference', *_METRICS], rows)


def _cell(value: float | None, reference: float | None, plain: bool) -> str:
    """A metric, and what it is more or less than in torch.

    Example:
        >>> _cell(77.04, 77.14, plain=False)
        '77.0 (-0.10)'
    """
    if value is None:
        return ''
    return f'{value:.1f}' if plain else f'{value:.1f} ({value - reference:+.2f})'
