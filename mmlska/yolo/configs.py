"""Model YAMLs with LSKA, derived from the stock YAMLs of the Ultralytics that is installed."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path

from ..files import write_atomically

#: Where LSKA goes in, by the last part of a YAML's name.
PLACES = {
    'bottleneck': 'in the residual bottlenecks of the last two stages of the backbone',
    'sppf': 'in the SPPF, on the concatenated pools',
    'neck': 'in the bottlenecks of every block of the neck',
    'head': 'on each map that the head reads',
}
_NAME = re.compile(r'(?P<stock>[\w-]+?)-lska(?:-(?P<place>\w+))?\.ya?ml')
_TWINS = {'C2f': 'C2f_LSKA', 'C3k2': 'C3k2_LSKA'}


def stock_and_place(path: str | Path) -> tuple[str, str] | None:
    """Split 'yolo11n-lska-neck.yaml' into the stock YAML and the place; None if the name is of another kind.

    Without a place it is 'sppf', which most tutorials choose.

    Raises:
        ValueError: If there is no such place.

    Example:
        >>> stock_and_place('yolov8s-seg-lska-head.yaml')
        ('yolov8s-seg.yaml', 'head')
        >>> stock_and_place('yolo11n.yaml') is None
        True
    """
    found = _NAME.fullmatch(str(path))
    if found is None:
        return None
    place = found['place'] or 'sppf'
    if place not in PLACES:
        raise ValueError(f'{path}: no place {place!r} for LSKA; choose one of {", ".join(PLACES)}')
    return f'{found["stock"]}.yaml', place


def with_lska(d: dict, place: str) -> dict:
    """Return a stock model dict with blocks C2f or C3k2 (YOLOv8, YOLO11 and their tasks) with LSKA at one of :data:`PLACES`.

    Raises:
        ValueError: If the model has no such place.
    """
    d = deepcopy(d)
    if place == 'sppf':
        chosen = [row for row in d['backbone'] if row[2] == 'SPPF']
    elif place == 'bottleneck':
        chosen = [row for row in d['backbone'] if row[2] in _TWINS][-2:]
    elif place == 'neck':
        chosen = [row for row in d['head'] if row[2] in _TWINS]
    else:
        sources = d['head'][-1][0]
        chosen = sources if isinstance(sources, list) else []
    if not chosen:
        raise ValueError(f'this model has no place {place!r}: LSKA goes {PLACES[place]}')
    if place == 'head':
        first = len(d['backbone']) + len(d['head']) - 1
        d['head'][-1][0] = list(range(first, first + len(chosen)))
        d['head'][-1:-1] = [[source, 1, 'LSKA', []] for source in chosen]
        return d
    for row in chosen:
        row[2] = _TWINS.get(row[2], 'SPPF_LSKA')
    return d


def write_cfg(name: str, folder: str | Path = '.') -> Path:
    """Write a YAML such as 'yolo11-lska-neck.yaml' to a file, to be changed by hand.

    Needs no registration to be written; to be built, it does.

    Raises:
        ValueError: If ``name`` is not that of a stock YAML with ``-lska-PLACE``.
    """
    from ultralytics.nn.tasks import yaml_model_load
    from ultralytics.utils import YAML

    parts = stock_and_place(name)
    if parts is None:
        raise ValueError(f'{name} is not of the form STOCK-lska-PLACE.yaml, such as yolo11n-lska-sppf.yaml')
    d = with_lska(yaml_model_load(parts[0]), parts[1])
    del d['yaml_file'], d['scale']  # the file's name tells the scale
    path = Path(folder) / name
    header = f'# {parts[0]} of Ultralytics (AGPL-3.0) with LSKA {PLACES[parts[1]]}\n'
    return write_atomically(path, lambda temporary: YAML.save(temporary, d, header=header))
