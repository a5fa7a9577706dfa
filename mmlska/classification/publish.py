"""From a pretraining's work directory to weights that come with the package: file, manifest entry, log and learning curve."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml
from mmengine.config import ConfigDict
from mmengine.registry import DATASETS
from torch import Tensor

from ..engine.config import load_config
from ..engine.launch import build_test_runner, prepare
from ..engine.run_log import read_log
from ..files import check_replaceable, file_sha256, write_text
from ..results import new_figure, save_figure
from ..weights import check_finite, read_checkpoint, save_weights, shipped_entries, use_safe_reader
from ..weights.inspection import inspect_state_dict
from ..weights.layouts import WeightsError
from ..weights.manifest import FILES, SHIPPED

#: For Tiny-ImageNet; other data have a licence of their own.
LICENCE = 'research and education only: trained on photos of ImageNet, whose terms allow no more'


def half_precision(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights in float16; BatchNorm's statistics, whose range is wider and which are few, and counters stay as they are.

    Raises:
        WeightsError: If a weight is not finite, or is not in float16.
    """
    half = {k: t.half() if t.is_floating_point() and 'running_' not in k else t for k, t in tensors.items()}
    check_finite(tensors, 'the checkpoint')
    check_finite(half, 'the checkpoint in float16')
    return half


def publish(
    config: str,
    checkpoint: str,
    name: str,
    *,
    log: str,
    folder: Path = FILES,
    options: dict | None = None,
    licence: str | None = None,
) -> dict:
    """Write a classifier's weights in half precision into the package, and their entry with the accuracy of that very file.

    Args:
        config: The config that they were trained by.
        checkpoint: MMEngine's checkpoint; with an EMAHook in the config its ``state_dict`` holds the averaged weights.
        name: Name for 'mmlska://NAME'; an entry of that name is replaced.
        log: Where the training's log is kept, for the entry.
        folder: Folder of the package's weights.
        options: The ``--cfg-options`` that they were trained with; the entry keeps them.
        licence: On what terms the weights may be used; None for those of Tiny-ImageNet's photos.

    Returns:
        The entry.

    Raises:
        FileNotFoundError: If config, checkpoint or data are missing.
        ValueError: If the name has other signs than letters, digits and underscores, or other data than Tiny-ImageNet come without
            a licence.
        WeightsError: If the weights are no classifier's or not finite.
    """
    if not re.fullmatch(r'\w+', name):
        raise ValueError(f'name {name!r} must be made of letters, digits and underscores')
    dataset = load_config(config, options).train_dataloader.dataset
    if licence is None and dataset.type != 'TinyImageNet':
        raise ValueError(f'--licence is missing: say on what terms weights trained on {dataset.type} data may be used')
    licence = licence or LICENCE
    file = read_checkpoint(checkpoint)
    tensors = file.content.get('state_dict', {})
    if 'head.weight' not in tensors:
        raise WeightsError(f'{checkpoint} holds no classifier: no head.weight in its state_dict; give one of {config}')
    info = inspect_state_dict(tensors)
    data = describe_data(dataset)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix='.new-') as temporary:
        unnamed = Path(temporary, f'{name}.safetensors')
        save_weights(half_precision(tensors), unnamed, metadata=dict(config=Path(config).name, licence=licence))
        accuracy = evaluate(config, str(unnamed), options)
        sha256 = file_sha256(unnamed)
        path = folder / f'{name}-{sha256[:8]}.safetensors'
        check_replaceable(path)
        os.replace(unnamed, path)
    meta = file.content.get('meta', {})
    entry = dict(
        name=name,
        arch=info.arch,
        k_size=info.k_size,
        attention=info.attention,
        by='the authors of mmlska',
        licence=licence,
        data=data,
        config=f'configs/{Path(config).name}',
        **(dict(options=dict(options)) if options else {}),
        epochs=meta.get('epoch'),
        seed=meta.get('seed'),
        **{key: round(accuracy[f'accuracy/{key}'], 2) for key in ('top1', 'top5')},
        log=log,
        file=path.name,
        sha256=sha256,
    )
    entries = shipped_entries(folder)
    old = [other for other in entries if other['name'] == name]
    entries = sorted([*(other for other in entries if other not in old), entry], key=lambda e: e['name'])
    text = '# Weights that come with the package; written by scripts/publish_pretrained.py. top1, top5: percent of the validation photos.\n'
    text += yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=140)
    write_text(folder / SHIPPED, text)
    for other in old:
        if other['file'] != path.name:
            (folder / other['file']).unlink(missing_ok=True)
    return entry


def describe_data(dataset: ConfigDict) -> str:
    """What a training data set holds, counted, from its config."""
    photos = DATASETS.build(dataset)
    name = 'Tiny-ImageNet' if dataset.type == 'TinyImageNet' else f'{dataset.type} {Path(dataset.data_root).name}'
    size, classes = photos.images.shape[1], len(photos.metainfo['classes'])
    return f'{name}, {len(photos):,} photos of {size} px, {classes} classes'


def evaluate(config: str, checkpoint: str, options: dict | None = None) -> dict[str, float]:
    """The metrics of a checkpoint on a config's test data, as ``mmlska test`` computes them."""
    use_safe_reader()
    cfg = load_config(config, options)
    prepare(cfg, config, work_dir=cfg.get('work_dir') or 'work_dirs/publish', launcher='none', seed=None)
    return build_test_runner(cfg, checkpoint).test()


def learning_curve(work_dir: str | os.PathLike) -> dict[str, list[list[float]]]:
    """What MMEngine logged in a work directory, over all its runs: a resumed one replaces what it repeats.

    Returns:
        ``loss``: rows of epoch and the loss over its last logged iterations; ``top1`` and ``top5``: rows of epoch and percentage.

    Raises:
        FileNotFoundError: If nothing was logged there.
    """
    rows: dict[str, dict[int, float]] = dict(loss={}, top1={}, top5={})
    for record in read_log(work_dir):
        if 'loss' in record:
            rows['loss'][record['epoch']] = record['loss']
        elif 'accuracy/top1' in record:
            for key in ('top1', 'top5'):
                rows[key][record['step']] = record[f'accuracy/{key}']
    return {key: [[epoch, value] for epoch, value in sorted(values.items())] for key, values in rows.items()}


def draw_curve(curve: Mapping[str, list], path: str | os.PathLike) -> None:
    """Draw training loss and validation accuracy over the epochs."""
    figure = new_figure(6, 3.2)
    left = figure.subplots()
    right = left.twinx()
    left.plot(*zip(*curve['loss']), color='0.55', label='training loss (left)')
    for key, style in (('top5', '--'), ('top1', '-')):
        right.plot(*zip(*curve[key]), style, color='tab:blue', label=f'{key} (right)')
    left.set(xlabel='epoch', ylabel='loss')
    right.set(ylabel='validation accuracy, %', ylim=(0, 100))
    figure.legend(loc='outside upper center', ncols=3, frameon=False)
    save_figure(figure, path, dpi=120)
