"""Check that every config parses and states what the tools rely on, and that model-index.yml names all of them."""

import argparse
import os
import sys
from pathlib import Path

from mmengine import Config, load

# The batch that the learning rates of the COCO, ADE20K and ImageNet recipes belong to; those of pretraining have each their own.
BASE_BATCH = {'mmdet': 16, 'mmseg': 16, 'mmpretrain': 1024, 'mmengine': None}


def config_problems(path: Path, full_size: bool) -> list[str]:
    """What is wrong with one config; `full_size`: it is one of a COCO, ADE20K or ImageNet recipe."""
    try:
        config = Config.fromfile(path)
    except Exception as error:  # a config is a program, it may fail in any way, and the others are still to be checked
        return [f'does not parse: {type(error).__name__}: {error}']
    problems = []
    custom_imports = config.get('custom_imports') or {}
    if 'mmlska' not in custom_imports.get('imports', ()) or custom_imports.get('allow_failed_imports', True):
        problems.append("needs custom_imports = dict(imports=['mmlska'], allow_failed_imports=False)")
    if config.get('default_scope') not in BASE_BATCH:
        problems.append(
            f"default_scope is {config.get('default_scope')!r}, not 'mmdet', 'mmseg', 'mmpretrain' or 'mmengine'"
        )
    backbone = config.get('model', {}).get('backbone', {}).get('type')
    if backbone != 'VAN_LSKA':
        problems.append(f"model.backbone.type is {backbone!r}, not 'VAN_LSKA'")
    data_root = config.get('data_root')
    if not data_root or Path(data_root).is_absolute():
        problems.append(f"data_root is {data_root!r}, not a relative folder such as 'data/coco/'")
    if full_size:
        batch = config.get('auto_scale_lr', {}).get('base_batch_size')
        wanted = BASE_BATCH.get(config.get('default_scope'), 16)
        if wanted and batch != wanted:
            problems.append(f'auto_scale_lr.base_batch_size is {batch}, not {wanted}')
    return problems


def index_problems(root: Path) -> list[str]:
    """Where model-index.yml and the full-size configs differ."""
    index = load(root / 'model-index.yml')
    collections = {collection['Name'] for collection in index['Collections']}
    listed = [model['Config'] for model in index['Models']]
    present = {path.relative_to(root).as_posix() for path in (root / 'configs').glob('*.py')}
    problems = [f'{path} is missing' for path in sorted(present - set(listed))]
    problems += [f'{path} does not exist' for path in sorted(set(listed) - present)]
    problems += [f'{path} is there twice' for path in sorted({path for path in listed if listed.count(path) > 1})]
    for model in index['Models']:
        if model['Name'] != Path(model['Config']).stem:
            problems.append(f'{model["Config"]} is named {model["Name"]!r}, not after its file')
        if model['In Collection'] not in collections:
            problems.append(f'{model["Config"]} is in no known collection: {model["In Collection"]!r}')
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'root',
        nargs='?',
        type=Path,
        default=Path(__file__).resolve().parents[1],
        help='folder with configs/ and model-index.yml; default: the one that holds this tool',
    )
    root = parser.parse_args().root
    os.environ.pop('MMLSKA_DATA', None)  # it replaces the data folders that the configs name themselves
    configs = root / 'configs'
    paths = sorted(path for path in configs.rglob('*.py') if '_base_' not in path.relative_to(configs).parts)
    if not paths:
        parser.error(f'no configs in {configs}; name the folder that holds configs/')
    problems = [
        f'{path.relative_to(root)}: {problem}'
        for path in paths
        for problem in config_problems(path, full_size=path.parent == configs)
    ]
    problems += [f'model-index.yml: {problem}' for problem in index_problems(root)]
    print('\n'.join(problems) or f'{len(paths)} configs and model-index.yml are sound')
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
