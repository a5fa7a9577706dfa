"""ImageNet-C, C-bar, -A, -R and -Sketch: mmlska imagenet-robustness configs/van_lska_t_imagenet.py CHECKPOINT."""

import argparse
from pathlib import Path

from ..classification.robustness import SETS, class_order, find_conditions, incomplete, run, table
from ..classification.scores import build_predict
from ..classification.standin import write_standin
from ..cli.errors import user_errors
from ..cli.options import add_cfg_options, add_debug, add_trust_checkpoint, out_file
from ..command_line import tool_parser
from ..engine.config import load_config
from ..files import file_sha256
from ..weights import use_safe_reader


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser('Measure an ImageNet classifier on the robustness sets of the LSKA paper.')
    parser.add_argument('config', help="a classifier's config: its file, or its name in `mmlska configs`")
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--root', type=Path, default=Path('data'), help=f'folder that holds {", ".join(SETS)}')
    parser.add_argument('--sets', nargs='+', default=list(SETS), metavar='SET', help='those to measure')
    parser.add_argument('--classes', type=Path, help='folder with a folder for every class; default ROOT/imagenet/val')
    parser.add_argument('--out', type=out_file, help='results file; default work_dirs/robustness_<config name>.json')
    parser.add_argument('--limit', type=int, help='at most so many images of each folder, for a try')
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--workers', type=int, default=2, help='processes that read images')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda:0, ...')
    parser.add_argument('--standin', action='store_true', help='first write a small generated stand-in tree to ROOT')
    add_cfg_options(parser, 'settings of the config')
    add_trust_checkpoint(parser)
    add_debug(parser)
    return parser


def main() -> None:
    args = make_parser().parse_args()
    with user_errors(debug=args.debug):
        use_safe_reader(trust=args.trust_checkpoint)
        if args.standin:
            write_standin(args.root)
        cfg = load_config(args.config, args.cfg_options)
        conditions = find_conditions(args.root, args.sets)
        classes = class_order(args.classes or args.root / 'imagenet/val')
        predict = build_predict(
            cfg, args.checkpoint, batch_size=args.batch_size, num_workers=args.workers, device=args.device
        )
        name = Path(args.config).stem
        subject = dict(config=name, checkpoint_sha256=file_sha256(args.checkpoint), options=args.cfg_options)
        out = args.out or Path(f'work_dirs/robustness_{name}.json')
        results = run(conditions, classes, predict, out, subject, args.limit)
    print(table({name: results['summary']}))
    for line in incomplete(results['conditions']):
        print(f'warning: {line}')
    print(f'results: {out}')
