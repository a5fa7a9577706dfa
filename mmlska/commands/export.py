"""Write a trained model as one file: mmlska export CONFIG CHECKPOINT --out model.onnx."""

import argparse

from ..cli.errors import user_errors
from ..cli.options import add_debug, add_overwrite, add_trust_checkpoint, out_file
from ..command_line import tool_parser
from ..engine.config import load_config
from ..export import DTYPES, FORMATS, PARTS, export
from ..outputs import writing
from ..weights import use_safe_reader


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser('Export a trained model and compare the file with the model.')
    parser.add_argument('config', help='config file, or its name in `mmlska configs`')
    parser.add_argument('checkpoint', help='checkpoint of a training with that config')
    parser.add_argument('--out', required=True, type=out_file, help='the file: .onnx, or .pt2 for the other formats')
    parser.add_argument(
        '--part',
        choices=PARTS,
        default='model',
        help='what to export; of a two-stage detector never the heads',
    )
    parser.add_argument('--format', choices=FORMATS, default='onnx', help='of the file')
    parser.add_argument('--dtype', choices=DTYPES, default='fp32', help='precision (onnx)')
    parser.add_argument(
        '--int8', metavar='FOLDER', help='int8 convolutions, calibrated on the images of this folder (onnx)'
    )
    parser.add_argument('--photos', metavar='FOLDER', help='images to compare on; by default data/demo_photos')
    add_trust_checkpoint(parser)
    add_overwrite(parser)
    add_debug(parser)
    return parser


def main() -> None:
    args = make_parser().parse_args()
    inputs = [args.config, args.checkpoint, args.int8, args.photos]
    with user_errors(debug=args.debug), writing(args.out, inputs=inputs, overwrite=args.overwrite):
        use_safe_reader(trust=args.trust_checkpoint)
        exported = export(
            load_config(args.config),
            args.checkpoint,
            args.out,
            part=args.part,
            format=args.format,
            dtype=args.dtype,
            int8=args.int8,
            photos=args.photos,
        )
    size = exported.path.stat().st_size / 1e6
    print(f'{exported.path}: {exported.kind}, {size:.1f} MB; {exported.parity.describe()}')
    if exported.note:
        print(exported.note)
