#!/usr/bin/env python
"""Train a demo config at a part of its iterations, from scratch and from the backbone of another checkpoint, and write what came out to
docs/results/finetuning.json and into the README's table; for weights of the package (mmlska://NAME) docs/results/pretrain.json."""

import argparse
import math
import shlex
import subprocess
import sys
from pathlib import Path
from statistics import mean

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from mmlska.cli.errors import user_errors
from mmlska.cli.options import add_debug
from mmlska.engine.config import load_config
from mmlska.engine.run_log import read_log
from mmlska.engine.training_options import use_training_options
from mmlska.files import file_sha256
from mmlska.own_data.schedule import scale_schedulers
from mmlska.results import add_result, fill_section, markdown_table, read_results, run_environment
from mmlska.weights.manifest import MANIFEST_SCHEME, fetch_published

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'docs/results/finetuning.json'
PRETRAIN_RESULTS = ROOT / 'docs/results/pretrain.json'


def shorten(cfg: Config, fraction: float) -> int:
    """Turn a config's schedule into one of a part of its iterations; return their number.

    The learning rate falls over the shorter training as it did over the longer one; the warm-up keeps its length, at most a tenth.
    """
    if cfg.train_cfg.type == 'EpochBasedTrainLoop':
        init_default_scope(cfg.default_scope)
        images = len(DATASETS.build(cfg.train_dataloader.dataset))
        whole = cfg.train_cfg.max_epochs * math.ceil(images / cfg.train_dataloader.batch_size)
    else:
        whole = cfg.train_cfg.max_iters
    iterations = max(1, round(whole * fraction))
    scale_schedulers(cfg, iterations)
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=iterations)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=iterations)
    cfg.default_hooks.logger.interval = 10
    cfg.log_processor = dict(cfg.get('log_processor', {}), by_epoch=False)
    return iterations


def run(config: str, fraction: float, seed: int, checkpoint: str | None, work_dir: Path) -> dict:
    """Train and evaluate once; return the metrics of the last evaluation."""
    cfg = load_config(config)
    iterations = shorten(cfg, fraction)
    use_training_options(cfg, pretrained=checkpoint or 'none')
    work_dir.mkdir(parents=True, exist_ok=True)
    written = work_dir / f'{Path(config).stem}.py'
    cfg.dump(written)
    command = ['tools/train.py', str(written), '--work-dir', str(work_dir), '--seed', str(seed)]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
    last = read_log(work_dir)[-1]
    metrics = {key: value for key, value in last.items() if key.startswith('coco/') or key == 'mIoU'}
    return dict(seed=seed, iterations=iterations, metrics=metrics)


def table(results: dict) -> str:
    """The README's table of the results file."""
    rows = []
    # 'scratch' is above the names of checkpoints.
    for entry in sorted(results.values(), key=lambda entry: (entry['config'], entry['checkpoint'] or '')):
        key, percent = entry['metric'], 100 if entry['metric'].startswith('coco') else 1
        groups = {}
        for r in entry['runs']:
            groups.setdefault(r['iterations'], []).append(percent * r['metrics'][key])
        for iterations, values in sorted(groups.items()):
            spread = f'{min(values):.1f} to {max(values):.1f}' if len(values) > 1 else ''
            start = f'`{entry["checkpoint"]}`' if entry['checkpoint'] else 'scratch'
            rows.append(
                [f'`{entry["config"]}`', start, str(iterations), str(len(values)), f'{mean(values):.1f}', spread]
            )
    return markdown_table(['config', 'backbone from', 'iterations', 'seeds', 'box AP50 / mIoU', 'range'], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='checkpoint whose backbone to start from, a file or mmlska://NAME')
    parser.add_argument('--config', default='configs/demo/retinanet_van_lska_t_scenes.py')
    parser.add_argument('--fraction', type=float, default=0.25, help="part of the config's iterations")
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument(
        '--init', nargs='+', choices=('scratch', 'checkpoint'), default=['scratch', 'checkpoint'], help='default: both'
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/finetuning'))
    add_debug(parser)
    args = parser.parse_args()
    with user_errors(debug=args.debug):
        shipped = args.checkpoint.startswith(MANIFEST_SCHEME)
        results_file, section = (PRETRAIN_RESULTS, 'pretraining table') if shipped else (RESULTS, 'fine-tuning table')
        file = fetch_published(args.checkpoint.removeprefix(MANIFEST_SCHEME)) if shipped else Path(args.checkpoint)
        if not file.is_file():
            raise FileNotFoundError(f'checkpoint {args.checkpoint} does not exist; scripts/run_demos.py trains one')
        scope = load_config(args.config).default_scope
    name = Path(args.config).stem
    # A name stays one, so that the SHA-256 of what is read is checked.
    start, read = (args.checkpoint,) * 2 if shipped else (file.parent.name, str(file.resolve()))
    origin = dict(scratch=dict(checkpoint=None), checkpoint=dict(checkpoint=start, sha256=file_sha256(file)))
    for seed in args.seeds:
        for init in args.init:
            checkpoint = read if init == 'checkpoint' else None
            result = run(args.config, args.fraction, seed, checkpoint, args.work_dir / f'{name}_{init}_{seed}')
            result['command'] = shlex.join(['python', 'scripts/run_finetuning.py', *sys.argv[1:]])
            key = f'{name} from {start if checkpoint else init}'
            old = read_results(results_file).get(key, {}).get('runs', [])
            again = (seed, result['iterations'])
            entry = dict(
                config=name,
                metric='coco/bbox_mAP_50' if scope == 'mmdet' else 'mIoU',
                **origin[init],
                **run_environment(),
                runs=[*(r for r in old if (r['seed'], r['iterations']) != again), result],
            )
            results = add_result(results_file, key, entry)
            fill_section(ROOT / 'README.md', section, table(results))
    print(table(read_results(results_file)))


if __name__ == '__main__':
    main()
