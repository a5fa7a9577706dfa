#!/usr/bin/env python
"""Small objects in large images: train on tiles and on whole images at the same cost, with several seeds, and write what came out."""

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import median

from run_demos import ROOT, train_and_test

from mmlska.metric_names import in_percent
from mmlska.results import fill_section, markdown_table, read_results, write_json

DATA = 'data/small_objects'
SCENES = [DATA, '--train', '60', '--val', '20', '--size', '1024', '--classes', '3', '--difficulty', 'small']
INPUT = 320  # side of the network's input in the config
CONFIG = 'retinanet_van_lska_t_small'
# Each way: what it is, further arguments, how many tiles or images training sees.
WAYS = {
    'tiles': ('tiles of 320 pixels', ['--tile', '320', '--epochs', '2'], 2 * 60 * 16),
    'whole': ('whole images, scaled to 320 pixels', ['--epochs', '32'], 32 * 60),
}
SEEDS = (0, 1, 2)
RESULTS, PAGE = ROOT / 'docs/results/small_objects.json', ROOT / 'docs/own_data.md'


def table(results: dict) -> str:
    """The page's table of the results file."""
    rows = []
    for way, (name, _, count) in WAYS.items():
        entries = [in_percent(results[key]['metrics']) for seed in SEEDS if (key := f'{way}_seed_{seed}') in results]
        if not entries:
            continue
        minutes = median(results[key]['train_minutes'] for seed in SEEDS if (key := f'{way}_seed_{seed}') in results)
        points = [' / '.join(f'{entry[metric]:.1f}' for entry in entries) for metric in ('box AP50', 'box AP')]
        rows.append([name, f'{count * INPUT**2 / 1e6:.0f}', *points, f'{minutes:.1f}'])
    return markdown_table(['trained on', 'million pixels', 'box AP50', 'box AP', 'minutes'], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/small_objects'), help='for checkpoints and logs'
    )
    parser.add_argument('--ways', nargs='+', choices=WAYS, default=list(WAYS))
    parser.add_argument('--seeds', nargs='+', type=int, choices=SEEDS, default=list(SEEDS))
    args = parser.parse_args()
    make = ['tools/make_scenes.py', *SCENES]
    subprocess.run([sys.executable, *make], cwd=ROOT, check=True)
    for seed in args.seeds:
        for way in args.ways:
            name = f'{way}_seed_{seed}'
            entry = train_and_test(CONFIG, args.work_dir / name, seed, DATA, WAYS[way][1], before=[make])
            results = read_results(RESULTS) | {name: entry}
            keys = [f'{way}_seed_{seed}' for way in WAYS for seed in SEEDS]
            write_json(RESULTS, {key: results[key] for key in keys if key in results})
            fill_section(PAGE, 'small objects table', table(results))
            print(table(results))


if __name__ == '__main__':
    main()
