"""Training by MMEngine's Runner as the tools start it."""

from pathlib import Path

from mmengine.runner import Runner

from mmlska.engine.config import load_config
from mmlska.engine.launch import build_train_runner, prepare


def configured(config: Path, work_dir: Path, **options):
    # MMEngine keeps one visualizer of a name in a process: the scalars would go where another test's went.
    names = {'experiment_name': str(work_dir), 'visualizer.name': str(work_dir)}
    cfg = load_config(str(config), dict(log_level='WARNING', **names, **options))
    prepare(cfg, str(config), work_dir=str(work_dir), launcher='none', seed=3)
    return cfg


def train(config: Path, work_dir: Path, resume: str | None = None, dtype: str = 'fp32', **options) -> Runner:
    runner = build_train_runner(configured(config, work_dir, **options), resume=resume, dtype=dtype)
    runner.train()
    return runner
