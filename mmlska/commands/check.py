"""List what is wrong with a data set before training on it: mmlska check DIR or CONFIG."""

import argparse
import sys
from pathlib import Path

from ..catalog import nearest_names
from ..cli.errors import user_errors
from ..cli.labels import LABEL_OPTIONS, add_label_options, label_options
from ..cli.options import add_bands, add_debug, add_overwrite, out_file
from ..command_line import tool_parser
from ..engine.config import find_config, load_config
from ..outputs import check_outputs, writing
from ..own_data.check import check_config, check_folder
from ..own_data.contact_sheet import write_sheet
from ..own_data.repair import check_target, write_repaired
from ..results import write_json


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser('List what is wrong with a data set; exit code 1 for errors, 0 where there are warnings only.')
    help = 'a folder of images and labels, or a config that names its data'
    parser.add_argument('data', metavar='DIR|CONFIG', help=help)
    parser.add_argument('--config', help='with DIR: compare the boxes with the anchors of this config')
    add_label_options(parser)
    parser.add_argument('--json', type=out_file, metavar='FILE', help='write the report there too')
    parser.add_argument('--sheet', type=out_file, metavar='PNG', help='draw samples with their labels there')
    add_bands(parser)
    parser.add_argument('--fix', metavar='NEW_DIR', help='write a corrected copy of the data there')
    add_overwrite(parser)
    add_debug(parser)
    return parser


def main() -> None:
    args = make_parser().parse_args()
    files, inputs = (args.json, args.sheet), (args.data, args.config, args.palette)
    with user_errors(debug=args.debug), writing(*files, inputs=inputs, overwrite=args.overwrite):
        if args.fix:
            check_target(args.fix)
        # What is nearly the name of a config is refused with the names.
        if not Path(args.data).is_dir() and (find_config(args.data) or nearest_names(args.data)):
            if label_options(args):
                raise ValueError(f'{LABEL_OPTIONS} go with a folder; the config says how its data are read')
            checked = check_config(load_config(args.data))
        else:
            cfg = load_config(args.config) if args.config else None
            checked = check_folder(args.data, cfg=cfg, **label_options(args))
        if Path(args.data).is_dir():
            print('; '.join([f'format {checked.source.name}', *checked.source.other_formats()]))
        print(checked.report.text())
        check_outputs(files, inputs=[checked.source.root], overwrite=True)  # a config's data too
        if args.json:
            write_json(args.json, checked.report.as_dict())
        if args.sheet:
            print(f'{write_sheet(args.sheet, checked.source, bands=args.bands)} samples: {args.sheet}')
        if args.fix:
            print(f'corrected copy: {args.fix}', *write_repaired(args.fix, checked.source), sep='\n  ')
    sys.exit(1 if checked.report.errors else 0)
