#!/usr/bin/env python
"""Look through a model's errors in a browser: tools/browse_errors.py CONFIG CHECKPOINT_OR_PKL --out errors."""

import argparse
from datetime import date
from pathlib import Path

from mmengine.config import DictAction

from mmlska.analysis.errors import find_errors
from mmlska.analysis.gallery import check_folder, write_gallery
from mmlska.analysis.predictions import predict, read_predictions
from mmlska.cli.common import user_errors
from mmlska.engine.config import load_config
from mmlska.engine.launch import prepare
from mmlska.weights import WeightsError, use_safe_reader


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Sort a model's errors by kind and by what they cost, and write a gallery to look through them.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('config', help='config file of a detector or segmentor')
    parser.add_argument('source', help='checkpoint to test, or predictions of tools/test.py --out FILE.pkl')
    parser.add_argument('--out', help='folder of the gallery; by default work_dirs/<config name>/errors')
    parser.add_argument('--score-thr', type=float, default=0.3, help='detections below it are no errors')
    parser.add_argument('--limit', type=int, default=500, help='at most so many images, the costliest')
    parser.add_argument('--overwrite', action='store_true', help='replace a gallery that is there')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override settings')
    parser.add_argument('--trust-checkpoint', action='store_true', help='read files that run code when loaded')
    parser.add_argument('--debug', action='store_true', help='show the traceback of a wrong setting')
    return parser


def print_progress(done: int, total: int) -> None:
    if done % 100 == 0 or done == total:
        print(f'{done}/{total} images', flush=True)


def summary(errors: dict) -> str:
    """The errors in a few lines."""
    lines = [f'{errors["metric"]} {errors["value"]}, {len(errors["images"])} images']
    lines += [f'{count:8} {kind}' for kind, count in errors['counts'].items()]
    if errors.get('left_out'):
        lines.append(f'{errors["left_out"]:8} detections of NaN or infinity, left out; has the training diverged?')
    worst = ', '.join(f'{entry["name"]} ({entry["lost"]:.2f})' for entry in errors['images'][:5])
    return '\n'.join([*lines, f'most costly (points of {errors["metric"]}): {worst}'])


def main() -> None:
    args = make_parser().parse_args()
    work_dir = Path('work_dirs') / Path(args.config).stem
    out = Path(args.out or work_dir / 'errors')
    with user_errors('browse_errors.py', args.debug):
        check_folder(out, args.overwrite)
        use_safe_reader(trust=args.trust_checkpoint)
        cfg = load_config(args.config, args.cfg_options)
        prepare(cfg, args.config, work_dir=str(work_dir), launcher='none', seed=0)
    with user_errors('browse_errors.py', args.debug, (FileNotFoundError, FileExistsError, ValueError, WeightsError)):
        if Path(args.source).suffix in ('.pkl', '.pickle'):
            predictions = read_predictions(cfg, args.source)
        else:
            predictions = predict(cfg, args.source)
        errors = find_errors(predictions, args.score_thr)
        index = write_gallery(
            out,
            predictions,
            errors,
            title=f'Errors of {Path(args.config).stem}',
            about={'config': args.config, 'predictions': args.source, 'date': date.today().isoformat()},
            limit=args.limit,
            overwrite=args.overwrite,
            progress=print_progress,
        )
    print(summary(errors))
    print(f'open in a browser: {index}')


if __name__ == '__main__':
    main()
