"""Time a plan of cases one after the other, into one results file: what ``mmlska benchmark`` calls."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import torch

from ..designs import ARCHS, DESIGNS
from ..engine.device import find_device
from ..outputs import check_outputs, writing
from ..results import fill_section, run_environment, write_json
from .busy import DEFAULT, TOOLS, busy_records, busy_table, draw_busy
from .cases import Case, backbone_case, model_case, op_case, stage_dims
from .measure import check_case, time_case
from .mmcv_operators import MMCV_OPS, mmcv_case
from .report import draw_chart, label, table
from .timing import copy_bandwidth, own_stream

KINDS = ('op', 'backbone', 'model', 'mmcv', 'busy')
CONFIGS = {
    'model': ('configs/fpn_van_lska_t.py', 'configs/retinanet_van_lska_t.py'),
    'busy': ('configs/demo/mask_rcnn_van_lska_t_scenes.py',),
}
OPS = (*DESIGNS, 'depthwise_gelu', 'mlp')
DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}


@dataclass(frozen=True)
class Plan:
    """What is timed, in every combination; the fields are the options of ``mmlska benchmark``, which explains them.

    Sizes are height and width of the images in pixels. Of ``archs`` operators take the first; models run forward alone. The kind 'mmcv'
    times mmcv's operators in float32 and takes only ``device`` and ``seconds``. The kind 'busy' is a training with data and sizes of its
    config, so that it takes only ``configs``, ``settings`` and ``seconds``.
    """

    kind: str
    device: str
    ops: Sequence[str]
    archs: Sequence[str]
    configs: Sequence[str] | None  # by default those of CONFIGS
    attention: str
    k_sizes: Sequence[int]
    stages: Sequence[int]
    sizes: Sequence[tuple[int, int]]
    batch: int
    dtypes: Sequence[str]
    passes: Sequence[str]
    contenders: Sequence[str]
    seconds: float
    profile: bool
    settings: Sequence[str] = (DEFAULT, TOOLS)

    def cases(self) -> Iterator[Callable[[], Case]]:
        """Functions that build the cases, in the order of the tables."""
        if self.kind == 'mmcv':
            yield from (partial(mmcv_case, op, device=find_device(self.device)) for op in MMCV_OPS)
            return
        common = dict(batch=self.batch, device=find_device(self.device), names=tuple(self.contenders))
        for (height, width), dtype, passes in product(self.sizes, self.dtypes, self.passes):
            rest = dict(common, dtype=DTYPES[dtype])
            if self.kind == 'op':
                for op, k_size in product(self.ops, self.k_sizes):
                    if op not in DESIGNS and k_size != self.k_sizes[0]:
                        continue
                    for stage in self.stages:
                        stride, dim = 2 ** (stage + 1), stage_dims(op, self.archs[0])[stage - 1]
                        shape = -(-height // stride), -(-width // stride)
                        ratio = ARCHS[self.archs[0]]['ffn_ratios'][stage - 1]
                        yield partial(op_case, op, dim, shape, k_size=k_size, passes=passes, ratio=ratio, **rest)
            elif self.kind == 'backbone':
                for arch, k_size in product(self.archs, self.k_sizes):
                    attend = dict(k_size=k_size, attention=self.attention)
                    yield partial(backbone_case, arch, (height, width), passes=passes, **attend, **rest)
            elif passes == 'forward':
                for config in self.configs or CONFIGS['model']:
                    yield partial(model_case, config, (height, width), **rest)


def size(text: str) -> tuple[int, int]:
    """Read HEIGHTxWIDTH.

    Example:
        >>> size('800x1333')
        (800, 1333)
    """
    height, width = text.split('x')
    return int(height), int(width)


def benchmark(
    plan: Plan,
    folder: Path,
    command: str,
    *,
    name: str = '',
    append: bool = False,
    redraw: bool = False,
    page: Path | None = None,
    threads: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Time a plan, write the results file and draw its chart beside it.

    Args:
        plan: What is timed.
        folder: Of the results file, which is called after kind, device and torch.
        command: As it was typed, for the results file.
        name: Added to the file's name, as the others an option of ``mmlska benchmark``.
        append: Add to the results file instead of writing it anew.
        redraw: Time nothing.
        page: Markdown file whose section is filled too.
        threads: CPU threads; by default torch's own.
        overwrite: Replace files that mmlska did not write, or that were changed since.

    Returns:
        The results file.

    Raises:
        FileExistsError: If a file is there that mmlska did not write.
        FileNotFoundError: If there are no results to redraw.
        ValueError: If a case does not exist, or the page has no such section.
    """
    busy = plan.kind == 'busy'
    if busy and (plan.device not in ('auto', 'cpu') or threads):
        raise ValueError(
            'busy measures how OpenMP shares the CPU: give --device cpu, and threads as --settings OMP_NUM_THREADS=1'
        )
    device = find_device('cpu' if busy else plan.device)
    if threads:
        torch.set_num_threads(threads)
    where = torch.cuda.get_device_name(device).split()[-1].lower() if device.type == 'cuda' else 'cpu'
    suffix = f'_{name}' if name else ''
    file = folder / f'{plan.kind}_{where}_torch{torch.__version__.split("+")[0]}{suffix}.json'
    if redraw and not file.exists():
        raise FileNotFoundError(f'results file {file} does not exist; leave out --redraw to measure')
    chart = file.with_suffix('.png')
    # What a results file holds is kept where it is read first.
    check_outputs([chart] if append or redraw else [chart, file], overwrite=overwrite)
    with writing(file, chart, inputs=[page], overwrite=True):
        results = (
            json.loads(file.read_text())
            if redraw
            else (_measure_busy if busy else _measure)(plan, file, command, append)
        )
        (draw_busy if busy else draw_chart)(results, chart)
    if page:
        text = (busy_table if busy else table)(results)
        fill_section(page, f'{plan.kind} benchmark {where}{suffix}', text)
    return file


def _begin(file: Path, command: str, append: bool) -> tuple[dict, dict]:
    """The results file's content so far, and what a record says of its own run."""
    # Whether freed memory goes back to the system at once decides how often each new map costs page faults.
    allocator = {key: value for key, value in os.environ.items() if key.startswith(('MALLOC_', 'THP_', 'LD_PRELOAD'))}
    here = {**run_environment(), 'allocator': allocator}
    results = json.loads(file.read_text()) if append and file.exists() else {**here, 'records': []}
    # What the file says of its first run stays; a record says what was otherwise in its own.
    own = {key: value for key, value in here.items() if value != results.get(key)}
    return results, {'command': command, 'date': here['date'], **own}


def _measure_busy(plan: Plan, file: Path, command: str, append: bool) -> dict:
    """Time trainings beside busy processes; the results file has each number of processes as soon as it is done."""
    results, run = _begin(file, command, append)
    for record in busy_records(plan.configs or CONFIGS['busy'], plan.settings, plan.seconds):
        results['records'].append({**record, **run})
        print(
            '{config}, {setting}, beside {busy} busy: {median:.0f} ms a step, {steps} steps'.format(**record),
            flush=True,
        )
        write_json(file, results)
    return results


def _measure(plan: Plan, file: Path, command: str, append: bool) -> dict:
    """Time the cases of a plan; the results file has each as soon as it is done."""
    device = find_device(plan.device)
    bandwidth = copy_bandwidth(device)
    print(f'copy bandwidth {bandwidth / 1e9:.1f} GB/s')
    results, run = _begin(file, command, append)
    run['copy_bytes_per_second'] = bandwidth
    # A contender that falls back to plain PyTorch fails instead of being timed.
    os.environ['MMLSKA_STRICT'] = '1'
    for build in plan.cases():
        with own_stream(device):
            case = build()
            record = time_case(case, check_case(case), plan.seconds, plan.profile)
        results['records'].append({**record, **run})
        print(label(record), record['dtype'], record['pass'], flush=True)
        for name, values in record['contenders'].items():
            print(
                f'    {name:24}',
                values.get('failed')
                or f'{values["median"]:9.3f} ms  {values.get("saved_bytes", 0) / 1e6:8.1f} MB saved',
                flush=True,
            )
        write_json(file, results)
    return results
