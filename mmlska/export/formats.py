"""The formats that a model can be exported in: a new one is one more file beside this one and its line in ``FORMATS``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor, nn

from ..bands import BandReader

#: The file that writes each format, imported when it is asked for, as some need packages of their own. It has ``SUFFIX``;
#: ``PRECISIONS``, of 'fp32', 'fp16' and 'int8'; ``DECODES_BOXES``, whether RetinaNet's boxes come out of its files; and
#: ``write(path, job)``, which writes a file and returns its :class:`~mmlska.export.parity.Parity` with the model.
FORMATS = {'onnx': 'onnx_file', 'torch_export': 'torch_export_file', 'aot_inductor': 'aot_inductor_file'}


@dataclass(frozen=True)
class Job:
    """What is to be written.

    Attributes:
        model: The model of the config, in evaluation mode.
        graph: The part of it to export, a module of :mod:`mmlska.export.graphs`.
        names: Names of the graph's outputs.
        facts: What the file is to say about itself: ``kind``, ``classes``, the rule for its ``input``, ``dtype`` and more.
        int8: A folder of images to calibrate int8 on, or None.
        reference: The outputs as the model gave them when it was trained, for a batch (N, C, H, W).
        photos: Images to compare on, in BGR order, or as the reader gives them.
        source: Where they are from.
        reader: How images are read that are no photos of 8 bits; None for photos.
    """

    model: nn.Module
    graph: nn.Module
    names: list[str]
    facts: dict[str, Any]
    int8: str | Path | None
    reference: Callable[[Tensor], Sequence[Tensor]]
    photos: list[np.ndarray]
    source: str
    reader: BandReader | None = None


def format_file(name: str) -> ModuleType:
    """The module that writes a format.

    Raises:
        ImportError: If a package that it needs is not installed.
        ValueError: If the format is unknown.
    """
    if name not in FORMATS:
        raise ValueError(f'format={name!r} is unknown; choose one of {", ".join(map(repr, FORMATS))}')
    return import_module(f'.{FORMATS[name]}', __package__)
