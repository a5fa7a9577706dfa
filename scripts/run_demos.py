#!/usr/bin/env python
"""Train and test the demos and write what came out to docs/results and into the README's tables."""

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mmlska.datasets.scenes import write_scenes
from mmlska.engine.run_log import read_metrics
from mmlska.metric_names import METRICS, in_percent
from mmlska.results import fill_section, markdown_table, read_results, run_environment, write_json

ROOT = Path(__file__).resolve().parents[1]
DEMOS = (
    'mask_rcnn_van_lska_t_scenes_pretrained',
    'mask_rcnn_van_lska_t_scenes',
    'retinanet_van_lska_t_scenes',
    'upernet_van_lska_t_scenes',
    'mask_rcnn_van_lska_t_fruits',
    'upernet_van_lska_t_dubai',
)
# Trained by --data alone: config and further arguments. docs/own_data.md has the lines that convert the nuclei. The test and validation
# photos of ships_yolo show ships from the side, those for training from above; the latter alone are a set too.
OWN_DATA = {
    'fruits_nuts': ('mask_rcnn_van_lska_t_fruits', ['--epochs', '140']),
    'dubai_aerial': (
        'upernet_van_lska_t_dubai',
        ['--palette', 'configs/demo/dubai_classes.json', '--epochs', '70'],
    ),
    'dsb2018_nuclei': ('mask_rcnn_van_lska_t_fruits', ['--epochs', '50']),
    'fruits_labelme': ('mask_rcnn_van_lska_t_fruits', ['--epochs', '140']),
    'raccoon_voc': ('retinanet_van_lska_t_small', ['--epochs', '30']),
    'ships_yolo': ('retinanet_van_lska_t_small', ['--epochs', '12']),
    'ships_yolo/train': ('retinanet_van_lska_t_small', ['--epochs', '12']),
    'scenes_five_bands': ('retinanet_van_lska_t_small', ['--epochs', '12', '--bands', '5', '4', '1']),
    'scenes_one_band': ('retinanet_van_lska_t_small', ['--epochs', '12']),
}
# The sets of these that are made here.
BANDS = {'scenes_five_bands': 5, 'scenes_one_band': 1}
# The metrics that a results file keeps, as the runner names them.
KEPT = ('coco/bbox_mAP_50', 'coco/bbox_mAP', 'coco/segm_mAP_50', 'coco/segm_mAP', 'mIoU')


def run_demo(name: str, work_root: Path, seed: int) -> dict:
    """Train and test one config as a user would; return its entry in the results file."""
    config, extra = OWN_DATA.get(name, (name, []))
    before = []
    if name in BANDS:
        counts = ['--train', '200', '--val', '50', '--bands', str(BANDS[name])]
        before = [['tools/make_scenes.py', f'data/{name}', *counts]]
        subprocess.run([sys.executable, *before[0]], cwd=ROOT, check=True)
    data = f'data/{name}' if name in OWN_DATA else None
    return train_and_test(config, work_root / name, seed, data, extra, before)


def train_and_test(
    config: str,
    work_dir: Path,
    seed: int,
    data: str | None = None,
    extra: Sequence[str] = (),
    before: Sequence[Sequence[str]] = (),
) -> dict:
    """Train and test a demo config as a user would; return its entry in a results file.

    Args:
        config: Its name.
        work_dir: For checkpoints and logs.
        seed: Of the training.
        data: A folder that it is trained on.
        extra: Further arguments of the training.
        before: Arguments of the commands that made the data, for the record.
    """
    config = f'configs/demo/{config}.py'
    # --channels-last and the like stay at their defaults, so the commands are those of the README.
    train = ['tools/train.py', config, '--work-dir', str(work_dir), '--seed', str(seed)]
    if data is not None:
        train += ['--data', data, *extra]
        config = f'{work_dir}/{Path(config).name}'  # the config that the training leaves
    start = time.time()
    subprocess.run([sys.executable, *train], cwd=ROOT, check=True)
    minutes = (time.time() - start) / 60
    checkpoint = Path((work_dir / 'last_checkpoint').read_text().strip())
    test = ['tools/test.py', config, f'{work_dir}/{checkpoint.name}', '--work-dir', f'{work_dir}/test']
    subprocess.run([sys.executable, *test, '--show-dir', f'{work_dir}/overlays'], cwd=ROOT, check=True)
    metrics = read_metrics(work_dir / 'test')
    return {
        'metrics': {key: metrics[key] for key in KEPT if key in metrics},
        'train_minutes': round(minutes, 1),
        'commands': [shlex.join(['python', *command]) for command in (*before, train, test)],
        **run_environment(),
    }


def table(results: dict) -> str:
    """The README's table of the results file."""
    columns = [METRICS[key][0] for key in KEPT]
    rows = []
    for name, entry in results.items():
        values = in_percent(entry['metrics'])
        cells = [f'{values[c]:.1f}' if c in values else '' for c in columns]
        row = f'`--data data/{name}`' if name in OWN_DATA else f'`demo/{name}`'
        rows.append([row, *cells, str(entry['train_minutes'])])
    return markdown_table(['run', *columns, 'minutes'], rows)


def draw_picture(work_root: Path) -> None:
    """Tile some overlays, labels left and predictions right, into the README's picture."""
    chosen = [
        ('mask_rcnn_van_lska_t_scenes', '000011'),
        ('upernet_van_lska_t_scenes', '000005'),
        ('mask_rcnn_van_lska_t_fruits', '11'),
        ('upernet_van_lska_t_dubai', 'image_part_003'),
    ]
    files = [work_root / name / 'overlays' / f'{image}.png' for name, image in chosen]
    if all(file.exists() for file in files):
        tiles = [cv2.resize(cv2.imread(str(file)), (800, 400), interpolation=cv2.INTER_AREA) for file in files]
        cv2.imwrite(str(ROOT / 'docs/demo.jpg'), np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'names',
        nargs='*',
        default=DEMOS,
        metavar='NAME',
        help=f'some of {", ".join((*DEMOS, *OWN_DATA))}; default: the first {len(DEMOS)}',
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs'), help='folder for checkpoints and logs')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    unknown = set(args.names) - {*DEMOS, *OWN_DATA}
    if unknown:
        parser.error(f'no demo named {", ".join(sorted(unknown))}; choose from {", ".join((*DEMOS, *OWN_DATA))}')
    if any('scenes' in name for name in args.names if name in DEMOS):
        write_scenes(Path(os.environ.get('MMLSKA_DATA', ROOT / 'data')) / 'scenes')
    for name in args.names:
        kind, names = ('own_data', OWN_DATA) if name in OWN_DATA else ('demo', DEMOS)
        entry, file = run_demo(name, args.work_dir, args.seed), ROOT / f'docs/results/{kind}.json'
        results = read_results(file) | {name: entry}
        ordered = {name: results[name] for name in names if name in results}
        write_json(file, ordered)
        fill_section(ROOT / 'README.md', f'{kind.replace("_", " ")} table', table(ordered))
        print(table(ordered))
    draw_picture(args.work_dir)


if __name__ == '__main__':
    main()
