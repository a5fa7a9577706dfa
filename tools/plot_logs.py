#!/usr/bin/env python
"""Draw loss, learning rate and metrics of one or several runs: tools/plot_logs.py work_dirs/A work_dirs/B --out curves.png."""

import argparse
from pathlib import Path

from mmlska.analysis.curves import draw_curves, read_scalars
from mmlska.cli.errors import user_errors
from mmlska.cli.options import add_debug


def main() -> None:
    parser = argparse.ArgumentParser(description='Draw loss, learning rate and metrics of one or several runs.')
    parser.add_argument('runs', nargs='+', help='work directories, or scalars.json files')
    parser.add_argument('--out', default='curves.png', help='the picture')
    parser.add_argument('--names', nargs='+', help='what to draw, such as loss lr coco/bbox_mAP_50')
    add_debug(parser)
    args = parser.parse_args()

    with user_errors('plot_logs.py', args.debug):
        path = draw_curves({str(Path(run)): read_scalars(run) for run in args.runs}, args.out, args.names)
    print(f'picture: {path}')


if __name__ == '__main__':
    main()
