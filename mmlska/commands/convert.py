"""Convert pretrained weights between the published layouts, or tell what a weight file is."""

import argparse

from ..cli.errors import user_errors
from ..cli.options import add_debug, add_trust_checkpoint
from ..command_line import tool_parser
from ..weights.convert import convert_file, describe_file, read_source
from ..weights.layouts import written_layouts


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    parser.add_argument(
        'source', help='checkpoint of any published layout: .pth, .pth.tar, .pt, .safetensors; or mmlska://NAME'
    )
    parser.add_argument('target', nargs='?', help='file to write: .pth, .pt or .safetensors')
    parser.add_argument('--inspect', action='store_true', help='only tell what the file is')
    parser.add_argument('--to', choices=written_layouts(), default='mmlska', help='names of the tensors')
    parser.add_argument(
        '--extract-backbone', action='store_true', help='keep only the backbone of a detector or segmentor'
    )
    parser.add_argument('--ema', action='store_true', help='take the averaged weights of a file that has both')
    parser.add_argument('--publish', action='store_true', help='put the first 8 digits of the SHA-256 into the name')
    parser.add_argument('--overwrite', action='store_true', help='replace an existing file')
    add_trust_checkpoint(parser)
    add_debug(parser)
    return parser


def main() -> None:
    parser = make_parser()
    args = parser.parse_args()
    if args.inspect == bool(args.target):
        parser.error('give a file to write, or --inspect')
    with user_errors(debug=args.debug):
        if args.inspect:
            file = read_source(args.source, trust=args.trust_checkpoint)
            for label, text in describe_file(file, ema=args.ema).items():
                print(f'{label:<16}{text}')
            return
        written = convert_file(
            args.source,
            args.target,
            to=args.to,
            extract_backbone=args.extract_backbone,
            ema=args.ema,
            publish=args.publish,
            overwrite=args.overwrite,
            trust=args.trust_checkpoint,
        )
        print(f'written: {written}')
