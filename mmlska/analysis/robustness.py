"""Detectors and segmentors under image corruptions.

Papers: mPC and rPC are those of Michaelis et al., arXiv 1907.07484, section 3.3; mCE is that of Hendrycks and Dietterich, arXiv 1903.12261,
section 4.2, with one minus the metric as the error.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from ..datasets.corruption import ALL_CORRUPTIONS, CORRUPTION_GROUPS, SEVERITIES, STANDARD_CORRUPTIONS, corrupt
from ..engine.checks import check_data
from ..engine.config_parts import datasets_of, evaluators_of
from ..engine.launch import build_test_runner
from ..engine.tiling import tiles_of
from ..files import file_sha256
from ..results import read_results, resume_results, write_json
from .photos import require_photos

CLEAN = 'clean'


def choose_corruptions(names: Sequence[str]) -> tuple[str, ...]:
    """Resolve names of corruptions and groups, in the benchmark's order.

    Args:
        names: 'standard', 'all', groups ('noise', 'blur', 'weather', 'digital', 'extra') or corruptions.

    Raises:
        ValueError: If a name is unknown.

    Example:
        >>> choose_corruptions(['fog', 'noise'])
        ('gaussian_noise', 'shot_noise', 'impulse_noise', 'fog')
    """
    groups = {**CORRUPTION_GROUPS, 'standard': STANDARD_CORRUPTIONS, 'all': ALL_CORRUPTIONS}
    chosen = set()
    for name in names:
        if name not in groups and name not in ALL_CORRUPTIONS:
            raise ValueError(
                f'corruption {name!r} is unknown; choose from the groups {", ".join(groups)} or from {", ".join(ALL_CORRUPTIONS)}'
            )
        chosen.update(groups.get(name, (name,)))
    return tuple(name for name in ALL_CORRUPTIONS if name in chosen)


def with_corruption(pipeline: Sequence[dict], corruption: str, severity: int, seed: int) -> list[dict]:
    """A data pipeline that corrupts each image right after it is loaded.

    Raises:
        ValueError: If the pipeline loads no image.
    """
    step = dict(type='CorruptImage', corruption=corruption, severity=severity, seed=seed)
    for i, transform in enumerate(pipeline):
        if str(transform['type']).rpartition('.')[2].startswith('LoadImage'):
            return [*pipeline[: i + 1], step, *pipeline[i + 1 :]]
    raise ValueError('the test pipeline has no step that loads an image (LoadImageFromFile), after which to corrupt it')


def use_subset(cfg: Config, count: int, seed: int, work_dir: str | Path) -> None:
    """Make a config test on ``count`` images only, chosen at random, or on all if there are fewer.

    ``work_dir`` is for the annotations of the chosen images, which COCO's evaluation needs.

    Raises:
        ValueError: If ``count`` is not positive or the test data consist of several datasets.
    """
    dataset = cfg.test_dataloader.dataset
    dataset = dataset.dataset if dataset.type == 'UnreadDataset' else dataset
    if count < 1:
        raise ValueError(f'--subset {count} leaves no image; give 1 or more')
    if 'dataset' in dataset or 'datasets' in dataset:
        raise ValueError(f'--subset needs a plain test dataset, this one is a {dataset.type}; leave --subset out')
    init_default_scope(cfg.default_scope)
    built = DATASETS.build(dict(dataset, pipeline=[]))
    kept = sorted(np.random.default_rng(seed).permutation(len(built))[:count].tolist())
    before = dataset.get('indices')
    dataset.indices = kept if not isinstance(before, (list, tuple)) else [before[i] for i in kept]
    for evaluator in evaluators_of(cfg, 'test'):
        if evaluator.get('ann_file'):  # COCO's evaluation takes every image of this file for tested
            images = {built.get_data_info(i)['img_id'] for i in kept}
            content = json.loads(Path(evaluator.ann_file).read_text(encoding='utf-8'))
            content['images'] = [image for image in content['images'] if image['id'] in images]
            content['annotations'] = [a for a in content['annotations'] if a['image_id'] in images]
            evaluator.ann_file = str(write_json(Path(work_dir) / f'subset_{count}_seed_{seed}.json', content))


def identity(cfg: Config, checkpoint: str | Path, seed: int, subset: int | None, dtype: str = 'fp32') -> dict:
    """What decides about the numbers: two runs of the same identity give the same ones on the same machine."""
    try:
        package = f'imagecorruptions-imaug {version("imagecorruptions-imaug")}'
    except PackageNotFoundError:
        package = 'imagecorruptions'
    datasets = [{k: v for k, v in item.items() if k != 'data_root'} for item in datasets_of(cfg, 'test')]
    where = ('ann_file', 'outfile_prefix')
    evaluators = [{k: v for k, v in item.items() if k not in where} for item in evaluators_of(cfg, 'test')]
    tiles = tiles_of(cfg)
    facts = [cfg.model, datasets, evaluators, *([tiles] if tiles else [])]
    text = json.dumps(facts, sort_keys=True, default=str)
    return dict(
        checkpoint_sha256=file_sha256(checkpoint),
        config_sha256=hashlib.sha256(text.encode()).hexdigest(),
        data_sha256=_data_sha256(cfg),
        seed=seed,
        subset=subset,
        dtype=dtype,
        package=package,
    )


def _data_sha256(cfg: Config) -> str:
    """Of the names and sizes of images and masks and of the annotations: a folder may move, other images are other data."""
    init_default_scope(cfg.default_scope)
    annotations = [evaluator.get('ann_file') for evaluator in evaluators_of(cfg, 'test')]
    facts = [file_sha256(file) for file in annotations if file and Path(file).is_file()]
    for dataset in datasets_of(cfg, 'test'):
        built = DATASETS.build(dict(dataset, pipeline=[]))
        for info in (built.get_data_info(i) for i in range(len(built))):
            files = [Path(info[key]) for key in ('img_path', 'seg_map_path') if info.get(key)]
            facts += [f'{file.name} {file.stat().st_size}' for file in files]
    return hashlib.sha256('\n'.join(facts).encode()).hexdigest()


def evaluate(
    cfg: Config,
    checkpoint: str,
    out: Path,
    *,
    corruptions: Sequence[str],
    severities: Sequence[int] = SEVERITIES,
    seed: int = 0,
    subset: int | None = None,
    workers: int | None = None,
    dtype: str = 'fp32',
    report: Callable[[str], None] = print,
) -> dict:
    """Test a checkpoint on clean and on corrupted images; what ``out`` already holds is not tested again.

    Args:
        cfg: A config that went through :func:`mmlska.engine.launch.prepare`.
        checkpoint: The checkpoint file.
        out: JSON file of the results, written after each test.
        corruptions: Names from ``ALL_CORRUPTIONS``; this and what follows as the options of ``mmlska robustness``.
        report: Called with one line for each test.

    Returns:
        The content of ``out``: 'identity', and in 'results' the metrics by corruption and severity.

    Raises:
        FileNotFoundError: If data or the checkpoint are missing.
        ValueError: If a setting does not fit, the model reads no photos, or ``out`` holds results of something else.
    """
    require_photos(cfg, 'corruptions need')
    missing = [s for s in severities if s not in SEVERITIES]
    if missing or not severities or not corruptions:
        raise ValueError(f'severities {list(severities)} must be some of {", ".join(map(str, SEVERITIES))}')
    work_dir = Path(cfg.work_dir)
    check_data(cfg, ('test',))
    facts = identity(cfg, checkpoint, seed, subset, dtype)
    content = resume_results(out, 'identity', facts, results={})
    content.pop('summary', None)  # of what was there so far
    results = content['results']
    if subset is not None:
        use_subset(cfg, subset, seed, work_dir)
    loader = cfg.test_dataloader
    loader.persistent_workers = False  # each test has a loader of its own
    if workers is not None:
        loader.num_workers = workers
    if 'glass_blur' in corruptions:
        corrupt(np.zeros((32, 32, 3), np.uint8), 'glass_blur', 1, 0)  # numba compiles it here, not in every worker
    pipelines = [dataset.pipeline for dataset in datasets_of(cfg, 'test')]
    runner = build_test_runner(cfg, checkpoint, dtype=dtype)
    run = None
    conditions = [(CLEAN, 0), *((name, severity) for name in corruptions for severity in severities)]
    for name, severity in conditions:
        if str(severity) in results.get(name, {}):
            continue
        if name != CLEAN:
            for dataset, pipeline in zip(datasets_of(cfg, 'test'), pipelines):
                dataset.pipeline = with_corruption(pipeline, name, severity, seed)
        runner.test_loop.dataloader = runner.build_dataloader(loader, seed=0)
        run = runner.test if run is None else runner.test_loop.run  # the first loads the checkpoint
        metrics = _numbers(run())
        results.setdefault(name, {})[str(severity)] = metrics
        write_json(out, content)
        main = {key: metrics.get(key) for key in main_metrics(results)}
        report(f'{name} {severity or ""}: ' + ', '.join(f'{key} {value}' for key, value in main.items()))
    return content


def _numbers(metrics: dict) -> dict[str, float | None]:
    """The metrics that are numbers; not-a-number becomes None, which JSON can hold."""
    found = {key: value for key, value in metrics.items() if isinstance(value, (int, float, np.number))}
    return {key: round(float(value), 4) if math.isfinite(value) else None for key, value in found.items()}


def main_metrics(results: dict) -> list[str]:
    """The metrics to summarise: mAP of boxes and masks, mIoU; ValueError if the clean images gave none."""
    clean = results[CLEAN]['0']
    found = [key for key in clean if key.rpartition('/')[2] in ('bbox_mAP', 'segm_mAP', 'mAP', 'mIoU')]
    if not found:
        raise ValueError('the clean images gave no mAP or mIoU: the model finds nothing; use a trained checkpoint')
    return found


def _one(metric: str) -> float:
    """The value of a perfect model; mmseg gives per cent."""
    return 100.0 if metric.endswith('mIoU') else 1.0


def summarise(
    results: dict, corruptions: Sequence[str], severities: Sequence[int], reference: dict | None = None
) -> dict[str, dict]:
    """Condense the results of :func:`evaluate`.

    Args:
        results: Its 'results'.
        corruptions: Those to summarise; means run over the standard ones among them.
        severities: Those to summarise.
        reference: 'results' of another model under the same corruptions and severities, for mCE.

    Returns:
        For each metric: 'clean'; 'corruptions', the mean over severities of each; 'mPC', their mean over the standard corruptions;
        'rPC', mPC over clean; 'mCE' with a reference: the mean over the standard corruptions of the error, added over severities,
        over the reference's. None where there is nothing to divide by.

    Raises:
        ValueError: If the reference lacks a corruption, severity or metric.
    """
    summary = {}
    for metric in main_metrics(results):
        means = {c: _mean([_value(results, metric, c, s) for s in severities]) for c in corruptions}
        standard = [c for c in corruptions if c in STANDARD_CORRUPTIONS]
        clean = _value(results, metric, CLEAN, 0)
        mpc = _mean([means[c] for c in standard])
        entry = dict(clean=clean, corruptions=means, mPC=mpc, rPC=mpc / clean if clean and mpc is not None else None)
        if reference is not None:
            _check_reference(reference, metric, standard, severities)
            ratios = []
            for c in standard:
                own, other = (
                    sum(_one(metric) - _value(r, metric, c, s) for s in severities) for r in (results, reference)
                )
                ratios.append(own / other if other else None)
            entry['mCE'] = None if None in ratios else _mean(ratios)
        summary[metric] = entry
    return summary


def _value(results: dict, metric: str, corruption: str, severity: int) -> float:
    # COCO's evaluation leaves its metrics out where nothing was detected: that is an AP of 0.
    return results[corruption][str(severity)].get(metric) or 0.0


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _check_reference(reference: dict, metric: str, corruptions: Sequence[str], severities: Sequence[int]) -> None:
    if metric not in reference.get(CLEAN, {}).get('0', {}):
        raise ValueError(f'the reference has no {metric}; take a model of the same task')
    for c in corruptions:
        for s in severities:
            if str(s) not in reference.get(c, {}):
                raise ValueError(f'the reference lacks {c} at severity {s}; test it with the same settings first')


def read_reference(path: str | Path, own: dict) -> dict:
    """The results of another model, for mCE.

    Args:
        path: Its file.
        own: The content of one's own.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it was made on other data or another subset, with another seed or another package.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'reference {path} does not exist; it is the JSON file that another run wrote')
    content = read_results(path, 'identity', 'results')
    differing = [
        k for k in ('data_sha256', 'seed', 'subset', 'package') if content['identity'].get(k) != own['identity'][k]
    ]
    if differing:
        raise ValueError(
            f'the reference {path} was made with another {", ".join(differing)}; test it again with the same'
        )
    return content['results']
