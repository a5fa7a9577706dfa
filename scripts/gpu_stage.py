"""What every stage of the GPU check gets, see scripts/gpu_check.py."""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from typing import Any

import torch

from mmlska.results import write_json

SMALL_ARCH = dict(embed_dims=[4, 6, 8, 8], depths=[1, 1, 1, 1], ffn_ratios=[2, 2, 2, 2])


class Stage:
    """What a stage gets: where it runs, whether tiny, how it waits for its turn and where its results go."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.what, self.smoke, self.data, self.processes = args.what, args.smoke, args.data, args.processes
        self.training_seconds = args.training_seconds
        self.folder, self.name, self.waits = args.folder, args.name, args.wait
        self.device = torch.device('cpu' if args.smoke else 'cuda')
        self.result: dict = {'summary': []}
        if args.smoke and args.stage in ('operators', 'tune'):
            use_the_interpreter()
        elif args.smoke:  # a whole network takes minutes in the interpreter
            os.environ['MMLSKA_STRICT'] = '0'

    def turn(self) -> None:
        """Say that all is prepared, and come back when nothing else uses the GPU."""
        self.synchronize()
        (self.folder / f'{self.name}.ready').touch()
        parent = os.getppid()
        while self.waits and not (self.folder / f'{self.name}.go').exists():
            if os.getppid() != parent:
                raise SystemExit('the check has ended')
            time.sleep(0.02)

    def synchronize(self) -> None:
        if self.device.type == 'cuda':
            torch.cuda.synchronize()
            torch.cuda.empty_cache()

    def write(self, **values) -> None:
        """Add to the results, and have them on disk at once."""
        self.result.update(values)
        write_json(self.folder / f'{self.name}.json', without_nan(self.result))

    def say(self, line: str) -> None:
        """Add a line to the table at the end of the check."""
        print(line, flush=True)
        self.write(summary=[*self.result['summary'], line])

    def ceilings(self) -> dict:
        """What the stage `environment` measured, if it did."""
        file = self.folder / 'environment.json'
        return json.loads(file.read_text()) if file.is_file() else {}


def without_nan(value: Any) -> Any:
    """The same with None for numbers that JSON does not know."""
    if isinstance(value, dict):
        return {key: without_nan(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def use_the_interpreter() -> None:
    """Let the front doors take the Triton kernels on a CPU too."""
    from mmlska.ops.triton import backend as gpu

    gpu.pays = lambda op, x: True


def kernel_times(function: Callable[[], object], device: torch.device) -> list[dict]:
    """Profile one call on a GPU: each kernel's ``name``, ``calls`` and ``us`` in all, the longest first; empty without a GPU."""
    if device.type != 'cuda':
        return []
    function()
    torch.cuda.synchronize(device)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        function()
        torch.cuda.synchronize(device)
    found = [
        dict(name=event.key, calls=event.count, us=round(event.self_device_time_total, 2))
        for event in profile.key_averages()
        if event.self_device_time_total > 0
    ]
    return sorted(found, key=lambda kernel: -kernel['us'])
