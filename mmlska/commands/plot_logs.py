"""Draw loss, learning rate and metrics of one or several runs: mmlska plot-logs work_dirs/A work_dirs/B --out curves.png."""

import argparse
from pathlib import Path

from ..analysis.curves import draw_curves, read_scalars
from ..cli.errors import user_errors
from ..cli.options import add_debug, add_overwrite, out_file
from ..command_line import tool_parser
from ..outputs import writing


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser('Draw loss, learning rate and metrics of one or several runs.')
    parser.add_argument('runs', nargs='+', help='work directories, or scalars.json files')
    parser.add_argument('--out', type=out_file, default=Path('curves.png'), help='the picture')
    parser.add_argument('--names', nargs='+', help='what to draw, such as loss lr coco/bbox_mAP_50')
    add_overwrite(parser)
    add_debug(parser)
    return parser


def main() -> None:
    args = make_parser().parse_args()
    with user_errors(debug=args.debug):
        runs = {str(Path(run)): read_scalars(run) for run in args.runs}
        files = [run for run in runs if Path(run).is_file()]
        with writing(args.out, inputs=files, overwrite=args.overwrite):
            path = draw_curves(runs, args.out, args.names)
    print(f'picture: {path}')
