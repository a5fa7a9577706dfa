#!/usr/bin/env python
"""Put a pretrained classifier into the package: scripts/publish_pretrained.py CONFIG CHECKPOINT NAME.

Writes the weights in half precision and their entry with the accuracy of that file, then log and learning curve of the training.
"""

import argparse
from pathlib import Path

from mmlska.classification.publish import draw_curve, learning_curve, publish
from mmlska.cli.errors import user_errors
from mmlska.cli.options import add_cfg_options, add_debug
from mmlska.results import run_environment, write_json
from mmlska.weights.manifest import FILES

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config that the checkpoint was trained by')
    parser.add_argument('checkpoint', help='checkpoint in the work dir of its training')
    parser.add_argument('name', help='name for mmlska://NAME, such as van_lska_t_k23_tiny_imagenet')
    parser.add_argument('--folder', type=Path, default=FILES, help="where to; by default the package's weights")
    parser.add_argument('--docs', type=Path, default=ROOT / 'docs', help='folder for picture and results/NAME.json')
    add_cfg_options(parser, 'settings of the config that the training had; the entry keeps them')
    parser.add_argument(
        '--licence',
        metavar='TEXT',
        help='on what terms the weights may be used; required unless trained on Tiny-ImageNet',
    )
    add_debug(parser)
    args = parser.parse_args()
    with user_errors(debug=args.debug):
        curve = learning_curve(Path(args.checkpoint).parent)
        log = f'docs/results/{args.name}.json'
        options = dict(folder=args.folder, options=args.cfg_options, licence=args.licence)
        entry = publish(args.config, args.checkpoint, args.name, log=log, **options)
        write_json(args.docs / f'results/{args.name}.json', dict(**run_environment(), entry=entry, curve=curve))
        draw_curve(curve, args.docs / f'{args.name}.png')
    print(f'written: {args.folder / entry["file"]}, top-1 {entry["top1"]}, top-5 {entry["top5"]}')


if __name__ == '__main__':
    main()
