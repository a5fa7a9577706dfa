#!/usr/bin/env python
"""Train and measure the models of the study one after the other, and write what came out to docs/results/study.json."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from mmlska.analysis.report import markdown_table, run_environment, write_json
from mmlska.cli import user_errors
from mmlska.datasets.scenes import write_scenes

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/demo/study_fpn_van_lska_t_scenes.py'
# The paper's large-kernel attention is VAN's own: the kernel of 23 unsplit.
MODELS = {
    'lska_k7': {'attention': 'lska', 'k_size': 7},
    'lska_k23': {'attention': 'lska', 'k_size': 23},
    'lska_k53': {'attention': 'lska', 'k_size': 53},
    'lka_k23': {'attention': 'lka', 'k_size': 23},
}


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog='What is in the results file already is not run again; a broken training goes on.'
    )
    parser.add_argument(
        'names', nargs='*', default=MODELS, metavar='NAME', help=f'some of {", ".join(MODELS)}; default all'
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2], help='one training each; default 0 1 2')
    parser.add_argument('--runs', type=int, help='stop after so many runs')
    parser.add_argument('--config', default=CONFIG, help='default: %(default)s')
    parser.add_argument('--data', default='data/study', help='folder for the scenes; default: %(default)s')
    parser.add_argument('--scenes', nargs=2, type=int, default=[1000, 200], metavar=('TRAIN', 'VAL'), help='how many')
    parser.add_argument('--work-dir', default='work_dirs/study', help='for checkpoints and logs; default: %(default)s')
    parser.add_argument(
        '--results', type=Path, default=ROOT / 'docs/results/study.json', help='default: docs/results/study.json'
    )
    parser.add_argument('--debug', action='store_true', help='show the traceback of a wrong setting')
    return parser


def execute(*command: str) -> str:
    """Run a tool; return the command as one types it."""
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
    return ' '.join(['python', *command])


def run_model(name: str, seed: int, args: argparse.Namespace) -> dict:
    """Train one model, test it on both kinds of scenes, measure its shape bias; return its entry in the results."""
    work_dir = Path(args.work_dir, f'{name}_seed{seed}')
    options = [f'model.backbone.{key}={value}' for key, value in MODELS[name].items()]
    options.append(f'data_root={args.data}/class/')
    train = ['tools/train.py', args.config, '--work-dir', str(work_dir), '--seed', str(seed), '--resume']
    resumed, start = (ROOT / work_dir / 'last_checkpoint').exists(), time.time()
    commands = [execute(*train, '--cfg-options', *options)]
    minutes = (time.time() - start) / 60
    # The config that the training left there names k_size and the rest.
    config = work_dir / Path(args.config).name
    checkpoint = work_dir / Path((ROOT / work_dir / 'last_checkpoint').read_text().strip()).name
    metrics = {}
    for kind in ('class', 'conflict'):
        out = work_dir / f'test_{kind}'
        test = ['tools/test.py', str(config), str(checkpoint), '--work-dir', str(out)]
        commands.append(execute(*test, '--cfg-options', f'data_root={args.data}/{kind}/'))
        report = max((ROOT / out).glob('*/*.json'))  # folders are named by time
        metrics[f'mIoU, {kind} textures'] = json.loads(report.read_text().splitlines()[-1])['mIoU']
    out = work_dir / 'shape_bias'
    bias = ['tools/shape_bias.py', str(config), str(checkpoint), '--data', f'{args.data}/conflict', '--out', str(out)]
    commands.append(execute(*bias, '--names', name))
    shape_bias = json.loads((ROOT / out / 'shape_bias.json').read_text())['models'][name]
    return {
        **MODELS[name],
        'seed': seed,
        'metrics': metrics,
        'shape_bias': {key: value for key, value in shape_bias.items() if key not in ('config', 'checkpoint')},
        'train_minutes': None if resumed else round(minutes, 1),
        'checkpoint': str(checkpoint),
        'commands': commands,
        **run_environment(),
    }


def read_results(path: Path) -> dict:
    """What earlier runs wrote."""
    try:
        return json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise ValueError(f'{path} is no results file: {error}; move it away') from error


def table(results: dict) -> str:
    """Mean over the seeds of each model, and from the lowest to the highest."""
    rows = []
    for name in MODELS:
        runs = [entry for key, entry in results.items() if key.startswith(f'{name}_seed')]
        if not runs:
            continue
        columns = [[run['metrics'][f'mIoU, {kind} textures'] for run in runs] for kind in ('class', 'conflict')]
        # A model that followed neither cue has no bias.
        shares = [run['shape_bias']['shape_bias'] for run in runs]
        columns.append([100 * share for share in shares if share is not None])
        columns.append([run['train_minutes'] for run in runs if run['train_minutes'] is not None])
        cells = [f'{sum(c) / len(c):.1f} ({min(c):.1f} to {max(c):.1f})' if c else '' for c in columns]
        rows.append([f'`{name}`', str(len(runs)), *cells])
    header = ['model', 'seeds', 'mIoU', 'mIoU, textures in conflict', 'shape bias, %', 'training, minutes']
    return markdown_table(header, rows)


def main() -> None:
    parser = make_parser()
    args = parser.parse_args()
    unknown = set(args.names) - set(MODELS)
    if unknown:
        parser.error(f'no model named {", ".join(sorted(unknown))}; choose from {", ".join(MODELS)}')
    with user_errors('run_study.py', args.debug):
        results = read_results(args.results)
        train, val = args.scenes
        # One seed, so that both hold the same shapes in the same places: only the paint differs.
        write_scenes(ROOT / args.data / 'class', num_train=train, num_val=val, texture='class')
        write_scenes(ROOT / args.data / 'conflict', num_train=0, num_val=val, texture='conflict')
    # All models with one seed before the next seed: whenever it stops, the models are comparable.
    pending = [(name, seed) for seed in args.seeds for name in args.names if f'{name}_seed{seed}' not in results]
    for name, seed in pending[: args.runs]:
        entry = run_model(name, seed, args)
        results = read_results(args.results) | {f'{name}_seed{seed}': entry}
        write_json(args.results, results)
        print(table(results), flush=True)
    if not pending:
        print(table(results))


if __name__ == '__main__':
    main()
