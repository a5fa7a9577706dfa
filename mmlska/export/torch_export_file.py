"""A model as a file for ``torch.export.load``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .formats import Job
from .metadata import channels_of
from .parity import Parity, compare

SUFFIX = '.pt2'
PRECISIONS = ('fp32',)
DECODES_BOXES = False


def write(path: Path, job: Job) -> Parity:
    """Write the graph of a job and compare the file with the model."""
    program = export_program(job.graph, channels_of(job.facts['input']))
    with open(path, 'wb') as file:
        torch.export.save(program, file)
    with open(path, 'rb') as file:
        return compare_program(torch.export.load(file).module(), job)


def export_program(graph: nn.Module, channels: int = 3) -> torch.export.ExportedProgram:
    """Trace a module that takes one image batch; batch, height and width stay free."""
    free = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    with torch.no_grad():
        return torch.export.export(graph.eval(), (torch.rand(2, channels, 96, 130),), dynamic_shapes=(free,))


def compare_program(loaded: Callable, job: Job) -> Parity:
    """Compare what was loaded of a written file with the model."""

    def run(batch: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            result: Any = loaded(torch.from_numpy(batch))
        return [value.numpy() for value in (result if isinstance(result, (list, tuple)) else [result])]

    return Parity(compare(run, job.reference, job.photos, job.facts['input']), None, job.source)
