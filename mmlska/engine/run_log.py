"""What MMEngine logged of trainings and tests in their work directories, as records."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path


def read_log(run: str | Path, folders: Collection[str] | None = None) -> list[dict]:
    """Read what a run logged: a record for every time that it logged losses or the metrics of a validation.

    ``run`` is a work directory, or a ``scalars.json`` in one. Of a directory all logs are read, the oldest first: a resumed run repeats
    steps, and what stands later counts. ``folders`` are the names of those to read, where a directory has logs of several trainings.

    Raises:
        FileNotFoundError: If there is no log.
        ValueError: If a log is damaged before its last line.
    """
    run = Path(run)
    files = [run] if run.is_file() else sorted(run.glob('*/vis_data/scalars.json'))  # folders are named by time
    if folders is not None:
        files = [file for file in files if file.parents[1].name in folders]
    if not files:
        raise FileNotFoundError(f'no log in {run}; give a work directory, which holds */vis_data/scalars.json')
    records = []
    for file in files:
        lines = file.read_text(encoding='utf-8').splitlines()
        for number, line in enumerate(lines, 1):
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError as error:
                if number < len(lines):  # else a run that was killed while it wrote
                    raise ValueError(f'{file} is damaged in line {number} ({error.msg}); remove that line') from error
    return records


def read_metrics(work_dir: str | Path) -> dict:
    """The metrics of the last test in a work directory, by the names that the evaluators gave them.

    Raises:
        FileNotFoundError: If there was none.
    """
    files = sorted(Path(work_dir).glob('[0-9]*/*.json'))  # folders are named by time
    if not files:
        raise FileNotFoundError(f'no test in {work_dir}; give the --work-dir of mmlska test')
    return json.loads(files[-1].read_text(encoding='utf-8').splitlines()[-1])
