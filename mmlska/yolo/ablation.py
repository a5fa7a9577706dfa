"""Stock YOLO beside LSKA at each place: same data, seeds and epochs, with the spread over seeds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from ultralytics import YOLO
from ultralytics.utils.torch_utils import get_flops

from ..cost import latency
from ..results import markdown_table, resume_results, run_environment, write_json
from .attach import attach
from .configs import PLACES
from .data import data_name, fingerprint, fruits_to_yolo
from .files import load_yolo
from .registration import register
from .trainers import DetectionTrainer

STOCK = 'stock'
VARIANTS = (STOCK, *PLACES)
#: Two-sided 95 % points of Student's t, by degrees of freedom.
_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def build(base: str, variant: str, k_size: int, *, trust: bool | None = None) -> YOLO:
    """Build a variant.

    Args:
        base: A stock YAML name ('yolo11n.yaml'), trained from scratch and with LSKA inside its blocks, or a '.pt' file, to which LSKA
            is attached.
        variant: One of ``VARIANTS``: 'stock' or a place.
        k_size: Of attached LSKA; YAMLs have their own, 11.
        trust: Let a '.pt' file run code; see :func:`mmlska.yolo.load_yolo`.

    Raises:
        FileNotFoundError: If there is no such '.pt' file.
        WeightsError: If it cannot be read.
        ValueError: If there is no such variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f'no variant {variant!r}; choose among {", ".join(VARIANTS)}')
    if Path(base).suffix not in ('.yaml', '.yml'):
        model = load_yolo(base, trust=trust)
        return model if variant == STOCK else attach(model, variant, k_size)
    register()
    return YOLO(base if variant == STOCK else f'{Path(base).stem}-lska-{variant}.yaml')


def cost(model: YOLO, imgsz: int, repeats: int = 20) -> dict[str, float]:
    """Parameters, GFLOPs (two for a multiply-add, as Ultralytics counts) and the median time of one image in milliseconds."""
    network = model.model.eval()
    parameters = sum(p.numel() for p in network.parameters())
    gflops = get_flops(network, imgsz)
    device = next(network.parameters()).device
    seconds = latency(network, torch.zeros(1, 3, imgsz, imgsz, device=device), repeats)
    return dict(parameters=parameters, gflops=round(gflops, 3), latency_ms=round(1000 * seconds, 2))


def find_data(data: Path, work_dir: Path) -> Path:
    """The data.yaml that is meant: the file itself, or of a folder of the fruits_nuts data a copy in ``work_dir``.

    Raises:
        FileNotFoundError: If there is neither.
    """
    return data if data.is_file() else fruits_to_yolo(data, work_dir / data.resolve().name)


def training_settings(
    *, epochs: int, imgsz: int, batch: int, workers: int, device: str, lr0: float
) -> dict[str, object]:
    """Ultralytics' training arguments of the comparison; those that may be chosen have Ultralytics' names."""
    settings = dict(epochs=epochs, imgsz=imgsz, batch=batch, workers=workers, device=device)
    # nbs is the batch for which Ultralytics' learning rate holds: one step for each batch of this small data set.
    return dict(settings, optimizer='AdamW', lr0=lr0, nbs=batch, amp=False, val=True, patience=0)


def ablate(
    data: Path,
    out: Path,
    *,
    base: str,
    variants: Sequence[str],
    seeds: Sequence[int],
    k_size: int,
    settings: Mapping[str, object],
    work_dir: Path,
    note: Callable[[str], None] = print,
    trust: bool | None = None,
) -> dict:
    """Train every variant with every seed; runs that the results file has already are skipped.

    Args:
        data: Ultralytics' data.yaml.
        out: JSON file, written after each run.
        base, k_size, trust: See :func:`build`.
        variants: Of ``VARIANTS``.
        seeds: Of initialisation, order and augmentation.
        settings: Ultralytics' training arguments, such as :func:`training_settings`.
        work_dir: Folder for checkpoints, which has one for each data.
        note: Is told of each run.

    Returns:
        The content of the file: ``setup`` with name and digest of the data, ``variants`` with ``cost`` and ``mAP50-95`` and ``mAP50`` by
        seed, each with date, hardware and versions, ``summary``.

    Raises:
        ValueError: If the file belongs to another setup.
    """
    setup = dict(base=base, k_size=k_size, data=data_name(data), data_sha256=fingerprint(data), settings=dict(settings))
    results = resume_results(out, 'setup', setup, variants={}, summary={})
    runs = work_dir / f'{setup["data"]}_{setup["data_sha256"][:8]}'  # checkpoints of other data stay
    for seed in seeds:
        for variant in variants:
            entry = results['variants'].setdefault(variant, dict(cost=None, runs={}))
            if entry['cost'] is None:
                entry['cost'] = (
                    cost(build(base, variant, k_size, trust=trust), int(settings['imgsz'])) | run_environment()
                )
                write_json(out, results)
            if str(seed) in entry['runs']:
                continue
            note(f'{variant}, seed {seed}')
            start = time.time()
            torch.manual_seed(seed)
            model = build(base, variant, k_size, trust=trust)
            place = dict(data=str(data), project=str(runs), name=f'{variant}_{seed}', exist_ok=True)
            quiet = dict(trainer=DetectionTrainer, plots=False, verbose=False)
            model.train(**settings, **place, **quiet, seed=seed, deterministic=True)
            box = model.trainer.validator.metrics.box  # of the best checkpoint
            minutes = round((time.time() - start) / 60, 2)
            run = {'mAP50-95': float(box.map), 'mAP50': float(box.map50), 'minutes': minutes}
            entry['runs'][str(seed)] = run | run_environment()
            results['summary'] = summarise(results['variants'])
            write_json(out, results)
    return results


def summarise(variants: Mapping[str, Mapping]) -> dict[str, dict]:
    """Mean and spread of each variant's mAP50-95, and whether it differs from stock.

    The difference of the seeds that both have is tested by a paired t-test at 5 %, two-sided, without a correction for the number of
    variants.

    Example:
        >>> runs = lambda *values: dict(runs={str(i): {'mAP50-95': v} for i, v in enumerate(values)})
        >>> summarise(dict(stock=runs(0.50, 0.52, 0.51), head=runs(0.51, 0.51, 0.52)))['head']['verdict']
        'no significant difference'
    """
    stock = variants.get(STOCK, {}).get('runs', {})
    rows = {}
    for name, entry in variants.items():
        values = [run['mAP50-95'] for run in entry['runs'].values()]
        if not values:
            continue
        spread = statistics.stdev(values) if len(values) > 1 else None
        rows[name] = dict(mean=statistics.mean(values), std=spread, seeds=len(values))
        if name != STOCK:
            shared = entry['runs'].keys() & stock.keys()
            rows[name].update(_compare([entry['runs'][s]['mAP50-95'] - stock[s]['mAP50-95'] for s in shared]))
    return rows


def _compare(differences: Sequence[float]) -> dict:
    if len(differences) < 2:
        return dict(verdict='not tested: fewer than two seeds in common')
    mean, spread = statistics.mean(differences), statistics.stdev(differences)
    margin = _T95[min(len(differences) - 1, len(_T95)) - 1] * spread / len(differences) ** 0.5
    verdict = 'no significant difference' if abs(mean) <= margin else 'better' if mean > 0 else 'worse'
    return dict(difference=mean, margin=margin, verdict=verdict)


def table(results: Mapping) -> str:
    """The results as a Markdown table."""
    rows = []
    for name, row in results['summary'].items():
        cost = results['variants'][name]['cost']
        spread = '' if row['std'] is None else f' ± {100 * row["std"]:.1f}'
        rows.append(
            [
                name if name == STOCK else f'LSKA: {name}',
                f'{cost["parameters"] / 1e6:.2f}',
                f'{cost["gflops"]:.2f}',
                f'{cost["latency_ms"]:.1f}',
                f'{100 * row["mean"]:.1f}{spread}',
                str(row['seeds']),
                row.get('verdict', ''),
            ]
        )
    return markdown_table(['model', 'M', 'GFLOPs', 'ms', 'mAP50-95', 'seeds', 'beside stock'], rows)
