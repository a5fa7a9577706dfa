"""Detectors and segmentors under corruptions: mmlska robustness CONFIG CHECKPOINT --corruptions all."""

import argparse
from pathlib import Path

from ..analysis.robustness import choose_corruptions
from ..analysis.robustness_report import report_robustness
from ..cli.errors import user_errors
from ..cli.options import add_overwrite, out_file
from ..cli.runner import prepared_config, runner_parser
from ..datasets.corruption import SEVERITIES
from ..outputs import writing
from ..weights import WeightsError


def make_parser() -> argparse.ArgumentParser:
    parser = runner_parser('Test a checkpoint under image corruptions: mPC, rPC and mCE.')
    add = parser.add_argument
    add('checkpoint', help='checkpoint file')
    groups = "'standard' (15), 'all' (19), groups or single corruptions"
    add('--corruptions', nargs='+', default=['standard'], help=groups)
    add('--severities', nargs='+', type=int, default=list(SEVERITIES), help='from 1 to 5')
    add('--subset', type=int, help='test on so many images, chosen at random by --seed')
    add('--workers', type=int, help="processes that corrupt images; by default the config's")
    add('--reference', help='JSON of another model under the same corruptions, for mCE')
    add_overwrite(parser)
    add('--out', type=out_file, help='JSON of the results, resumed if there; by default in the work directory')
    return parser


def main() -> None:
    args = make_parser().parse_args()
    kinds = (ValueError, FileExistsError, FileNotFoundError, TypeError, KeyError, WeightsError)
    with user_errors(debug=args.debug, kinds=kinds):
        corruptions = choose_corruptions(args.corruptions)
        cfg = prepared_config(args, seed=0)
        out = args.out or Path(cfg.work_dir) / 'robustness.json'
        lines = report_robustness(
            cfg,
            args.config,
            args.checkpoint,
            out,
            corruptions=corruptions,
            severities=args.severities,
            seed=args.seed or 0,
            subset=args.subset,
            workers=args.workers,
            dtype=args.dtype,
            reference=args.reference,
        )
        pictures = out.with_suffix('.png'), out.with_name(f'{out.stem}_samples.png')  # the JSON is resumed
        with writing(*pictures, inputs=[args.checkpoint], overwrite=args.overwrite):
            for line in lines:
                print(line)
