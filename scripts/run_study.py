#!/usr/bin/env python
"""Train and measure the models of the study one after the other, and write what came out to docs/results/study.json."""

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

from matplotlib.figure import Figure

from mmlska.cli.errors import user_errors
from mmlska.cli.options import add_debug
from mmlska.datasets.scenes import write_scenes
from mmlska.engine.run_log import read_metrics
from mmlska.results import (
    add_result,
    fill_section,
    markdown_table,
    new_figure,
    read_results,
    run_environment,
    save_figure,
)

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
        description=__doc__, epilog='What is in the results file already is not run again; a broken training continues.'
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
    parser.add_argument('--readme', type=Path, help="also fill the section 'study table' of this file")
    parser.add_argument('--figure', type=Path, help='also draw the results into this file')
    add_debug(parser)
    return parser


def execute(*command: str) -> str:
    """Run a tool; return the command as one types it."""
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
    return shlex.join(['python', *command])


def train_model(name: str, seed: int, args: argparse.Namespace) -> dict:
    """Train one model; return its entry in the results."""
    work_dir = Path(args.work_dir, f'{name}_seed{seed}')
    options = [f'model.backbone.{key}={value}' for key, value in MODELS[name].items()]
    options.append(f'data_root={args.data}/class/')
    train = ['tools/train.py', args.config, '--work-dir', str(work_dir), '--seed', str(seed), '--resume']
    resumed, start = (ROOT / work_dir / 'last_checkpoint').exists(), time.time()
    command = execute(*train, '--cfg-options', *options)
    return {
        **MODELS[name],
        'seed': seed,
        'train_minutes': None if resumed else round((time.time() - start) / 60, 1),
        'checkpoint': str(work_dir / Path((ROOT / work_dir / 'last_checkpoint').read_text().strip()).name),
        'commands': [command],
        **run_environment(),
    }


def accuracy(config: str, checkpoint: str, out: Path, data: str) -> tuple[dict, list[str]]:
    """mIoU on both kinds of scenes."""
    metrics, commands = {}, []
    for kind in ('class', 'conflict'):
        folder = out / f'test_{kind}'
        test = ['tools/test.py', config, checkpoint, '--work-dir', str(folder)]
        commands.append(execute(*test, '--cfg-options', f'data_root={data}/{kind}/'))
        metrics[f'mIoU, {kind} textures'] = read_metrics(ROOT / folder)['mIoU']
    return metrics, commands


def shape_bias(config: str, checkpoint: str, out: Path, data: str) -> tuple[dict, list[str]]:
    """Decisions by shape and by texture."""
    tool = ['tools/shape_bias.py', config, checkpoint, '--data', f'{data}/conflict', '--names', 'model']
    commands = [execute(*tool, '--out', str(out / 'shape_bias'))]
    found = json.loads((ROOT / out / 'shape_bias/shape_bias.json').read_text())['models']['model']
    return {key: value for key, value in found.items() if key not in ('config', 'checkpoint')}, commands


def robustness(config: str, checkpoint: str, out: Path, data: str) -> tuple[dict, list[str]]:
    """mIoU under the 15 standard corruptions, of middle severity and on a part of the scenes."""
    report = out / 'robustness.json'
    tool = ['tools/test_robustness.py', config, checkpoint, '--severities', '3', '--subset', '50', '--seed', '0']
    commands = [execute(*tool, '--work-dir', str(out / 'robustness'), '--out', str(report))]
    return json.loads((ROOT / report).read_text())['summary']['metrics']['mIoU'], commands


def receptive_field(config: str, checkpoint: str, out: Path, data: str) -> tuple[dict, list[str]]:
    """Sides of the squares that hold the contributions to a feature of the second stage, with random and trained weights."""
    tool = ['tools/erf.py', config, '--checkpoints', checkpoint, '--size', '128', '--stage', '2', '--num-images', '32']
    commands = [execute(*tool, '--out', str(out / 'erf'))]
    fields = json.loads((ROOT / out / 'erf/erf.json').read_text())['fields']
    return {name.rpartition(', ')[2]: field['contributions'] for name, field in fields.items()}, commands


def cost(config: str, checkpoint: str, out: Path, data: str) -> tuple[dict, list[str]]:
    """Parameters and FLOPs of the model."""
    report = out / 'complexity.json'
    commands = [execute('tools/complexity.py', config, '--shape', '128', '128', '--json', str(report))]
    return json.loads((ROOT / report).read_text())[Path(config).stem], commands


MEASUREMENTS = {
    'metrics': accuracy,
    'shape_bias': shape_bias,
    'robustness': robustness,
    'receptive_field': receptive_field,
    'cost': cost,
}


def run_model(name: str, seed: int, args: argparse.Namespace) -> None:
    """Train a model and measure it; each step is in the results file when it is done."""
    key = f'{name}_seed{seed}'

    entry = read_results(args.results).get(key)
    if entry is None:
        entry = train_model(name, seed, args)
        add_result(args.results, key, entry)
    checkpoint = entry['checkpoint']
    # The config that the training left there names k_size and the rest.
    config = str(Path(checkpoint).with_name(Path(args.config).name))
    for part, measure in MEASUREMENTS.items():
        if part not in entry:
            entry[part], commands = measure(config, checkpoint, Path(checkpoint).parent, args.data)
            entry['commands'] += commands
            add_result(args.results, key, entry)


def columns(results: dict) -> dict[str, dict[str, list[float]]]:
    """What each model reached, one value for each seed: column, model, values."""
    values = {
        'mIoU': lambda run: run['metrics']['mIoU, class textures'],
        'mIoU, textures in conflict': lambda run: run['metrics']['mIoU, conflict textures'],
        # A model that followed neither cue has no bias.
        'shape bias, %': lambda run: None if (share := run['shape_bias']['shape_bias']) is None else 100 * share,
        'mPC, mIoU': lambda run: run['robustness']['mPC'],
        'half the contribution in, px': lambda run: next(
            c['side'] for c in run['receptive_field']['trained'] if c['share'] == 0.5
        ),
    }
    runs = {
        m: [r for k, r in results.items() if k.startswith(f'{m}_seed') and MEASUREMENTS.keys() <= r.keys()]
        for m in MODELS
    }
    return {
        column: {m: [v for run in found if (v := value(run)) is not None] for m, found in runs.items() if found}
        for column, value in values.items()
    }


def table(results: dict) -> str:
    """Mean over the seeds of each model, and from the lowest to the highest."""
    reached = columns(results)
    rows = []
    for name in reached['mIoU']:
        runs = [run for key, run in results.items() if key.startswith(f'{name}_seed') and 'cost' in run]
        costs = f'{runs[0]["cost"]["parameters"] / 1e6:.2f} / {runs[0]["cost"]["flops"] / 1e9:.3f}'
        cells = [
            f'{sum(c) / len(c):.1f} ({min(c):.1f} to {max(c):.1f})' if (c := found[name]) else ''
            for found in reached.values()
        ]
        rows.append([f'`{name}`', str(len(runs)), costs, *cells])
    return markdown_table(['model', 'seeds', 'parameters, M / FLOPs, G', *reached], rows)


def differences(results: dict, reference: str = 'lska_k23') -> str:
    """Each model's means minus those of the reference; in brackets where the seeds of the two overlap."""
    rows = []
    reached = columns(results)
    for name in (m for m in MODELS if m != reference):
        cells = []
        for found in reached.values():
            own, other = found.get(name), found.get(reference)
            if not own or not other:
                cells.append('')
                continue
            text = f'{sum(own) / len(own) - sum(other) / len(other):+.1f}'
            apart = min(own) > max(other) or max(own) < min(other)
            cells.append(text if apart else f'({text})')
        rows.append([f'`{name}`', *cells])
    return markdown_table([f'minus `{reference}`', *reached], rows)


def tables(results: dict) -> str:
    """Both, as docs/study.md has them."""
    return f'{table(results)}\n\n{differences(results)}'


def seed_spread(results: dict) -> Figure:
    """A panel for each quantity of :func:`columns`: a dot for every seed of a model and a bar at their mean."""
    quantities = columns(results)
    figure = new_figure(2.6 * len(quantities) + 0.6, 3.2)
    figure.suptitle('The study: one dot per seed, a bar at their mean', fontsize=11)
    axes = figure.subplots(1, len(quantities), squeeze=False)[0]
    for axis, (label, models) in zip(axes, quantities.items()):
        for place, values in enumerate(models.values()):
            axis.plot([place] * len(values), values, 'o', color='#40618f', markersize=5, alpha=0.7)
            if values:
                axis.hlines(sum(values) / len(values), place - 0.3, place + 0.3, color='#c0392b')
        axis.set_xticks(range(len(models)), models, rotation=40, ha='right', fontsize=8)
        axis.set_xlim(-0.6, len(models) - 0.4)
        axis.set_title(label, fontsize=9)
        axis.tick_params(axis='y', labelsize=8)
        axis.grid(axis='y', alpha=0.3)
    return figure


def main() -> None:
    parser = make_parser()
    args = parser.parse_args()
    unknown = set(args.names) - set(MODELS)
    if unknown:
        parser.error(f'no model named {", ".join(sorted(unknown))}; choose from {", ".join(MODELS)}')
    with user_errors(debug=args.debug):
        results = read_results(args.results)
        train, val = args.scenes
        # One seed, so that both hold the same shapes in the same places: only the paint differs.
        write_scenes(ROOT / args.data / 'class', num_train=train, num_val=val, texture='class')
        write_scenes(ROOT / args.data / 'conflict', num_train=0, num_val=val, texture='conflict')
    # All models with one seed before the next seed: whenever it stops, the models are comparable.
    pending = [
        (name, seed)
        for seed in args.seeds
        for name in args.names
        if not MEASUREMENTS.keys() <= results.get(f'{name}_seed{seed}', {}).keys()
    ]
    for name, seed in pending[: args.runs]:
        run_model(name, seed, args)
    results = read_results(args.results)
    print(table(results))
    with user_errors(debug=args.debug):
        if args.readme:
            fill_section(args.readme, 'study table', tables(results))
        if args.figure:
            save_figure(seed_spread(results), args.figure)
            print(f'figure: {args.figure}')


if __name__ == '__main__':
    main()
