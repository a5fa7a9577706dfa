"""A model compiled for this machine by AOTInductor, as one package."""

from __future__ import annotations

from pathlib import Path

import torch

from .formats import Job
from .metadata import channels_of
from .parity import Parity
from .torch_export_file import compare_program, export_program

SUFFIX = '.pt2'
PRECISIONS = ('fp32',)
DECODES_BOXES = False


def write(path: Path, job: Job) -> Parity:
    """Compile the graph of a job and compare the package with the model."""
    program = export_program(job.graph, channels_of(job.facts['input']))
    torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    return compare_program(torch._inductor.aoti_load_package(str(path)), job)
