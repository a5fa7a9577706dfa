"""What a test writes beside its log: checked before it runs, and noted as mmlska's own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..outputs import INSIST, Record, check_outputs, state
from .hooks import unused_name


def guard_outputs(runner: Runner, out: str | None, show_dir: str | None, *, overwrite: bool = False) -> None:
    """Refuse a test that would write over files of others, and let it note what it writes.

    Args:
        runner: The runner of a test, its data built.
        out, show_dir: Options of ``mmlska test``.
        overwrite: See :func:`mmlska.outputs.check_outputs`.

    Raises:
        FileExistsError: See :func:`mmlska.outputs.check_outputs`.
    """
    images, maps = _files(runner.test_dataloader.dataset)
    planned: dict[Path, Record] = {}
    if show_dir:
        used, record = set(), Record(show_dir)
        planned |= {Path(show_dir, f'{unused_name(Path(path).stem, used)}.png'): record for path in images}
    if out and Path(out).suffix:
        path, record = Path(out), Record(Path(out).parent)
        written = [path] if path.suffix == '.pkl' else [path.with_suffix(f'.{kind}.json') for kind in ('bbox', 'segm')]
        planned |= dict.fromkeys(written, record)
    elif out:
        record = Record(out)
        planned |= {Path(out, f'{Path(path).stem}.png'): record for path in images}
    inputs = [*images, *maps, *_annotations(runner.test_dataloader.dataset), runner.cfg.filename]
    inputs.append(runner._load_from)
    check_outputs(planned, inputs=inputs, overwrite=overwrite, insist=INSIST)
    runner.register_hook(_NoteOutputs(planned), priority='LOWEST')


class _NoteOutputs(Hook):
    """Note files as soon as they are written, as a test may be stopped; ``planned`` are they, each with its record."""

    def __init__(self, planned: dict[Path, Record]) -> None:
        self._records = planned
        self._before = {path: state(path) for path in planned}
        self._by_stem: dict[str, list[Path]] = {}
        for path in planned:
            self._by_stem.setdefault(path.stem, []).append(path)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Note what was written of a batch."""
        for sample in outputs or ():
            path = getattr(sample, 'img_path', None)  # a pipeline may leave it out
            self._note(self._by_stem.get(Path(path).stem, ()) if path else ())

    def after_test(self, runner: Runner) -> None:
        """Note the rest."""
        self._note(list(self._before))

    def _note(self, paths: Iterable[Path]) -> None:
        for path in paths:
            if path in self._before and (now := state(path)) is not None and now != self._before[path]:
                del self._before[path]
                self._records[path].add(path)


def _files(dataset: Any) -> tuple[list[str], list[str]]:
    """The images and the label maps of a data set; none of one that does not tell them."""
    images, maps = [], []
    for index in range(len(dataset)) if hasattr(dataset, 'get_data_info') else ():
        info = dataset.get_data_info(index)
        for key, paths in (('img_path', images), ('seg_map_path', maps)):
            if isinstance(info.get(key), str):
                paths.append(info[key])
    return images, maps


def _annotations(dataset: Any) -> list[str]:
    """The annotation files of a data set, also of those within it."""
    inner = [*getattr(dataset, 'datasets', ()), *filter(None, [getattr(dataset, 'dataset', None)])]
    named = [dataset.ann_file] if isinstance(getattr(dataset, 'ann_file', None), str) else []
    return [*filter(None, named), *(name for each in inner for name in _annotations(each))]
