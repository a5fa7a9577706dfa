"""Parameters and FLOPs: mmlska complexity configs/*_van_lska_*.py, or mmlska complexity --designs for backbones alone."""

import argparse
from pathlib import Path

from ..analysis.cost_tables import config_table, count_configs, count_designs, design_tables, draw_designs
from ..cli.errors import user_errors
from ..cli.options import add_cfg_options, add_debug, add_overwrite, out_file
from ..command_line import tool_parser
from ..designs import ARCHS, DESIGNS, ladder_sizes
from ..outputs import check_outputs, writing
from ..results import fill_section, write_json


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser('Count parameters and multiply-adds of whole models or of backbones.')
    add = parser.add_argument
    add('configs', nargs='*', help='config files, or their names in `mmlska configs`')
    shape = 'default: 800 1280 for mmdet, 512 512 for mmseg, 224 224 for classifiers and backbones'
    add('--shape', nargs=2, type=int, metavar=('HEIGHT', 'WIDTH'), help=shape)
    add('--json', type=out_file, help='also write the counts to this file')
    sections = "also fill the section 'config table', 'design table' or 'latency table' of this file"
    add('--readme', type=Path, help=sections)
    designs = 'the attention designs over kernel sizes, and the backbones of other papers'
    add('--designs', action='store_true', help=designs)
    add('--archs', nargs='+', choices=list(ARCHS), default=['t', 's', 'b'], help='with --designs')
    add('--attentions', nargs='+', choices=list(DESIGNS), default=list(DESIGNS), help='with --designs')
    add('--k-sizes', nargs='+', type=int, default=ladder_sizes(), help='with --designs; all from 7 to 119')
    add('--latency', action='store_true', help='with --designs: also measure the time of one inference')
    add('--figure', type=out_file, help='with --designs: draw cost against kernel size into this file')
    add_cfg_options(parser, 'override settings of configs')
    add_overwrite(parser)
    add_debug(parser)
    return parser


def main() -> None:
    args = make_parser().parse_args()
    with user_errors(debug=args.debug):
        if bool(args.configs) == args.designs:
            raise ValueError('name configs, or give --designs for backbones alone, but not both')
        if not args.designs and (args.figure or args.latency):
            raise ValueError('--figure and --latency go with --designs')
        inputs = [*args.configs, args.readme]
        check_outputs([args.json, args.figure], inputs=inputs, overwrite=args.overwrite)
        if args.designs:
            counts = count_designs(args.archs, args.k_sizes, args.attentions, args.shape, timed=args.latency)
            section, text = 'latency table' if args.latency else 'design table', design_tables(counts)
        else:
            counts = count_configs(args.configs, args.shape, args.cfg_options)
            section, text = 'config table', config_table(counts)
        print(text)
        with writing(args.json, args.figure, overwrite=True):
            if args.json:
                write_json(args.json, counts)
            if args.readme:
                fill_section(args.readme, section, text)
            if args.figure:
                print(f'figure: {draw_designs(counts, args.figure)}')
