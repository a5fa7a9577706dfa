"""What the validations of a training measured, for the code that started it."""

from __future__ import annotations

from pathlib import Path

from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner


class Validations(Hook):
    """Keeps the metrics of the last validation and those of the best one, if the training saves the best checkpoint."""

    priority = 'LOWEST'  # once CheckpointHook has saved

    def __init__(self) -> None:
        self._best: str | None = None
        self._best_metrics: dict[str, float] | None = None
        self._last_metrics: dict[str, float] = {}

    def before_train(self, runner: Runner) -> None:
        """Learn which checkpoint was the best before a resume."""
        self._best = _best_checkpoint(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Keep the metrics of a validation."""
        self._last_metrics = dict(metrics or {})
        best = _best_checkpoint(runner)
        if best != self._best:
            self._best, self._best_metrics = best, self._last_metrics

    def outcome(self, runner: Runner) -> tuple[Path | None, dict[str, float]]:
        """The checkpoint of the best validation in this run and its metrics, or the last ones; None where nothing was saved."""
        if self._best_metrics is not None and self._best and Path(self._best).is_file():
            return Path(self._best), self._best_metrics
        last = next((hook.last_ckpt for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
        return Path(last) if last else None, self._last_metrics


def _best_checkpoint(runner: Runner) -> str | None:
    """The file that holds the best state so far, by the first metric that decides about it."""
    hook = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook) and hook.save_best), None)
    if hook is None:
        return None
    many = getattr(hook, 'best_ckpt_path_dict', None)
    return next(iter(many.values()), None) if many else getattr(hook, 'best_ckpt_path', None)
