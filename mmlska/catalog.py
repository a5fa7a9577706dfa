"""The configs that come with the package: their names, their files, and what their models cost.

Nothing of mmlska is imported here, so that `mmlska configs` and shells that complete a name need not wait for torch.
"""

from __future__ import annotations

import json
from difflib import get_close_matches
from pathlib import Path

_COSTS = ('docs/results/complexity.json', 'docs/results/complexity_others.json')


def home() -> Path:
    """The folder that holds configs, tools and counted costs: the checkout, or ``.mim`` in an installed package."""
    package = Path(__file__).resolve().parent
    # Not for the folder configs: an installed package may have another project's beside it.
    return package.parent if (package.parent / 'model-index.yml').is_file() else package / '.mim'


def config_files() -> dict[str, Path]:
    """Every config of the package by its name: that of its file, and for those in a folder the folder's before it.

    Example:
        >>> files = config_files()
        >>> files['demo/mask_rcnn_van_lska_t_scenes'].name
        'mask_rcnn_van_lska_t_scenes.py'
    """
    root = home() / 'configs'
    files = (file.relative_to(root) for file in root.rglob('*.py'))
    ordered = sorted((len(file.parts), file) for file in files if file.parts[0] != '_base_')
    return {file.with_suffix('').as_posix(): root / file for _, file in ordered}


def named_config(name: str) -> Path | None:
    """The file of a config by its name, which may lack its folder and may have the suffix ``.py``; None if there is none.

    Example:
        >>> named_config('mask_rcnn_van_lska_t_scenes') == named_config('demo/mask_rcnn_van_lska_t_scenes.py')
        True
        >>> named_config('mask_rcnn')
    """
    name = name.removesuffix('.py')
    files = config_files()
    return files.get(name) or next((file for file in files.values() if file.stem == name), None)


def nearest_names(name: str) -> list[str]:
    """Up to three names of configs that are spelled most like ``name``, the nearest first.

    Example:
        >>> nearest_names('configs/mask_rcn_van_lska_t.py')[0]
        'mask_rcnn_van_lska_t'
    """
    full = {file.stem: name for name, file in config_files().items()}
    return [full[stem] for stem in get_close_matches(Path(name).name.removesuffix('.py'), full, cutoff=0.75)]


def config_costs() -> dict[str, dict]:
    """Parameters, multiply-adds and input shape of the configs that were counted, by the name of their file."""
    files = (home() / name for name in _COSTS)
    return {name: cost for file in files for name, cost in json.loads(file.read_text(encoding='utf-8')).items()}


def listing() -> str:
    """All configs with what they cost, for people."""
    names, costs = config_files(), config_costs()
    width = max(map(len, names))
    lines = [f'{"config":<{width}}{"parameters":>13}{"FLOPs":>10}{"at":>12}']
    for name, file in names.items():
        if cost := costs.get(file.stem):
            size = 'x'.join(map(str, reversed(cost['input_shape'])))
            numbers = f'{cost["parameters"] / 1e6:>11.2f} M{cost["flops"] / 1e9:>8.1f} G{size:>12}'
        lines.append(f'{name:<{width}}{numbers if cost else ""}')
    return '\n'.join(lines)
