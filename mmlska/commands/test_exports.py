"""What exporting costs in AP or mIoU: mmlska test-exports CONFIG CHECKPOINT --int8 FOLDER."""

import argparse
from pathlib import Path

from ..cli.errors import user_errors
from ..cli.options import add_debug, add_overwrite, add_trust_checkpoint, out_file, out_folder
from ..command_line import recorded_command, tool_parser
from ..export.metrics import evaluate_exports, exported_files, holds_results, table
from ..outputs import check_outputs, writing
from ..results import add_result, fill_section, run_environment
from ..weights import WeightsError, use_safe_reader


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser(
        'Evaluate a checkpoint and its ONNX files in fp32, fp16 and int8 on the test data of the config.'
    )
    parser.add_argument('config', help="a segmentor's or RetinaNet's config: its file, or its name in `mmlska configs`")
    parser.add_argument('checkpoint', help='checkpoint of a training with that config')
    parser.add_argument('--int8', required=True, metavar='FOLDER', help='training images that int8 is calibrated on')
    parser.add_argument(
        '--work-dir', type=out_folder, help='folder for files and logs; by default work_dirs/exports/<config>'
    )
    parser.add_argument(
        '--out',
        type=out_file,
        default=Path('work_dirs/exports/results.json'),
        help='results, one entry for each config',
    )
    parser.add_argument('--readme', type=Path, help="also fill the section 'export table' of this file")
    parser.add_argument('--photos', metavar='FOLDER', help='images to compare outputs on; by default data/demo_photos')
    add_trust_checkpoint(parser)
    add_overwrite(parser)
    add_debug(parser)
    return parser


def main() -> None:
    args = make_parser().parse_args()
    name = Path(args.config).stem
    with user_errors(debug=args.debug, kinds=(ValueError, OSError, TypeError, WeightsError)):
        use_safe_reader(trust=args.trust_checkpoint)
        work_dir = args.work_dir or Path('work_dirs/exports') / name
        inputs = [args.config, args.checkpoint, args.int8, args.photos, args.readme]
        # A file of results is added to.
        check_outputs([] if holds_results(args.out) else [args.out], inputs=inputs, overwrite=args.overwrite)
        with writing(*exported_files(work_dir), inputs=inputs, overwrite=args.overwrite):
            entry = evaluate_exports(args.config, args.checkpoint, args.int8, work_dir, photos=args.photos)
    with writing(args.out, overwrite=True):
        results = add_result(args.out, name, dict(command=recorded_command(), **run_environment(), **entry))
    print(table(results))
    if args.readme:
        fill_section(args.readme, 'export table', table(results))
    print(f'results: {args.out}; files: {work_dir}')
