"""Write the report of a finished or stopped training again: mmlska report work_dirs/RUN."""

import argparse

from ..cli.errors import user_errors
from ..cli.options import add_debug, add_overwrite, add_trust_checkpoint
from ..command_line import tool_parser
from ..report import write_report
from ..weights import use_safe_reader


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser('Write report.html of a finished or stopped training again.')
    parser.add_argument('work_dir', help='work directory of the training')
    add_trust_checkpoint(parser)
    add_overwrite(parser, 'replace a report.html that mmlska did not write')
    add_debug(parser)
    return parser


def main() -> None:
    args = make_parser().parse_args()
    with user_errors(debug=args.debug):
        use_safe_reader(trust=args.trust_checkpoint)
        page = write_report(args.work_dir, overwrite=args.overwrite)
    print(f'open in a browser: {page}')
