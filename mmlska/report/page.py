"""The report of a training: one page, ``report.html`` in its work directory, that needs nothing else and no network."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from string import Template
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner

from ..engine.checks import check_data
from ..engine.config import load_config
from ..engine.launch import build_test_runner, prepare
from ..files import write_text
from . import sections
from .pictures import shown_text
from .record import FOLDER, RunRecord, read_facts
from .sections import NotMade, Run
from .validation import ValidationRecord

NAME = 'report.html'
_OURS = (
    '<meta name="generator" content="mmlska">',
    '<nav aria-label="Contents">',
)  # the latter in pages of earlier versions
#: Validation images that are predicted for the report of a run that kept no validation.
PREDICTED = 50
SECTIONS: dict[str, tuple[str, Callable[[Run], str]]] = {
    'summary': ('Summary', sections.summary),
    'commands': ('Commands', sections.commands),
    'curves': ('Curves', sections.curves),
    'batches': ('Training batches', sections.batches),
    'labels': ('Labels', sections.labels),
    'predictions': ('Predictions', sections.predictions),
    'errors': ('Metrics and confusion', sections.errors),
    'config': ('Config', sections.config),
    'versions': ('Versions', sections.versions),
}
_PAGE = Path(__file__)  # beside it are .html and .css


def record_run(runner: Runner) -> None:
    """Have a training keep what its report is made of; see :class:`mmlska.report.record.RunRecord`."""
    runner.register_hook(RunRecord())


def report_training(runner: Runner) -> Path | None:
    """Write the report of a training that came to its end, on the process of rank 0; of anything that goes wrong the log has one line.

    Returns:
        The page; None in other processes, and where it could not be written.
    """
    if not is_main_process():
        return None
    work_dir = Path(runner.work_dir)
    datasets = {'training': lambda: runner.train_dataloader.dataset}
    if runner.cfg.get('val_dataloader'):
        datasets['validation'] = lambda: runner.val_dataloader.dataset
    try:
        config = work_dir / Path(runner.cfg.filename or '').name
        return _write(Run(work_dir, lambda: (runner.cfg, config), datasets))
    except (Exception, KeyboardInterrupt) as error:
        reason = f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'
        runner.logger.warning(f'{work_dir / NAME} was not written: {reason}; try mmlska report {work_dir}')
        return None


def write_report(work_dir: str | Path, *, overwrite: bool = False) -> Path:
    """Write the report of a training that is finished or was stopped.

    Where the run kept no validation, its checkpoint predicts up to ``PREDICTED`` validation images.

    Args:
        work_dir: Its work directory.
        overwrite: Replace a ``report.html`` there that mmlska did not write.

    Returns:
        The page, ``report.html`` there.

    Raises:
        FileNotFoundError: If there is no such folder, or no training in it.
        FileExistsError: If something else than a file, or a file of somebody else, has the name of the page.
        ValueError: If it holds several configs and nothing tells which one was trained.
    """
    work_dir = Path(work_dir)
    config = _config_of(work_dir)
    check_page(work_dir, overwrite)

    @cache
    def settings() -> tuple[Config, Path]:
        return load_config(str(config.resolve())), config

    def dataset(split: str) -> Any:
        cfg, _ = settings()
        check_data(cfg, (split,))
        init_default_scope(cfg.get('default_scope', 'mmengine'))
        return DATASETS.build(cfg[f'{split}_dataloader'].dataset)

    run = Run(work_dir, settings, {'training': partial(dataset, 'train'), 'validation': partial(dataset, 'val')})
    if not (work_dir / FOLDER / 'validation.npz').is_file() and run.checkpoint is not None:
        try:
            _predict(settings()[0], config, run.checkpoint, work_dir)
        except Exception as error:  # the page says why
            run.facts.setdefault('missing', {})['validation'] = f'{type(error).__name__}: {error}'
    return _write(run, overwrite)


def _config_of(work_dir: Path) -> Path:
    if not work_dir.is_dir():
        raise FileNotFoundError(f'{work_dir} is no folder; give the work directory of a training')
    if name := read_facts(work_dir).get('config'):
        return work_dir / name
    found = sorted(work_dir.glob('*.py'))
    if not found:
        raise FileNotFoundError(f'{work_dir} holds no config; give the work directory of a training')
    if len(found) > 1:
        names = ', '.join(path.name for path in found)
        raise ValueError(f'{work_dir} holds several configs ({names}); move those of other trainings away')
    return found[0]


def _predict(cfg: Config, config: Path, checkpoint: Path, work_dir: Path) -> None:
    """Keep predictions of some validation images, as the training would have."""
    cfg = cfg.copy()
    cfg.test_dataloader, cfg.test_evaluator, cfg.test_cfg = cfg.val_dataloader, cfg.val_evaluator, cfg.val_cfg
    with tempfile.TemporaryDirectory() as folder:  # for the log of a test, which this is not
        prepare(cfg, str(config), work_dir=folder, launcher='none', seed=0)
        cfg.visualizer.vis_backends, cfg.log_level = [], 'WARNING'
        runner = build_test_runner(cfg, str(checkpoint))
        runner.load_or_resume()
    loader, model = runner.test_dataloader, runner.model.eval()
    predict = getattr(runner.test_loop, 'predict', model.test_step)  # the loop of tiles knows how
    record = ValidationRecord(loader.dataset, cfg, limit=PREDICTED)
    with torch.inference_mode():
        for index in record.chosen:
            batch = loader.collate_fn([loader.dataset[index]])
            record.add_one(index, batch['inputs'][0] if 'inputs' in batch else None, predict(batch)[0])
    record.save(work_dir / FOLDER / 'validation.npz', f'predictions of {checkpoint.name}')


def _write(run: Run, overwrite: bool = False) -> Path:
    contents, bodies = [], []
    for key, (title, make) in SECTIONS.items():
        try:
            body = make(run)
            mark = ''
        except Exception as error:
            reason = str(error) if isinstance(error, NotMade) else f'{type(error).__name__}: {error}'
            body, mark = (
                f'<p class="missing">Not made: {shown_text(reason[:500])}.</p>',
                ' <small class="missing">(not made)</small>',
            )
        contents.append(f'<li><a href="#{key}">{title}</a>{mark}</li>')
        bodies.append(f'<section id="{key}"><h2>{title}</h2>{body}</section>')
    page, style = (_PAGE.with_suffix(suffix).read_text(encoding='utf-8') for suffix in ('.html', '.css'))
    about = f'{run.work_dir}, written {datetime.now():%Y-%m-%d %H:%M}'
    text = Template(page).substitute(
        title=shown_text(f'Training {run.work_dir.resolve().name}'),
        about=shown_text(about),
        style=style,
        contents='\n'.join(contents),
        sections='\n'.join(bodies),
    )
    check_page(run.work_dir, overwrite)
    return write_text(run.work_dir / NAME, text)


def check_page(work_dir: Path, overwrite: bool = False) -> None:
    """Raise FileExistsError if a page is there that mmlska did not write."""
    page = work_dir / NAME
    if page.is_file() and not overwrite:
        text = page.read_text(encoding='utf-8', errors='replace')
        if not any(mark in text for mark in _OURS):
            raise FileExistsError(
                f'{page} is there and mmlska did not write it; rename it, or replace it with --overwrite'
            )
