"""Convert pretrained weights between the published layouts, tell what a weight file is, or write a folder of labels in another format."""

import argparse

from ..cli.errors import user_errors
from ..cli.options import add_debug, add_label_options, add_trust_checkpoint
from ..command_line import tool_parser
from ..own_data.convert import convert_labels
from ..own_data.folder import find_folder
from ..own_data.writers import WRITERS
from ..weights.convert import convert_file, describe_file, read_source
from ..weights.layouts import written_layouts


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    parser.add_argument(
        'source',
        metavar='CHECKPOINT|DIR',
        help='checkpoint of any published layout: .pth, .pth.tar, .pt, .safetensors, or mmlska://NAME; or a folder of images and labels',
    )
    parser.add_argument('target', nargs='?', help='file to write: .pth, .pt or .safetensors')
    parser.add_argument('--inspect', action='store_true', help='only tell what the file is')
    formats = f'names of the tensors: {", ".join(written_layouts())}; of labels the format: {", ".join(WRITERS)}'
    parser.add_argument('--to', metavar='NAME', help=formats)
    group = parser.add_argument_group('labels')
    group.add_argument(
        '--out', metavar='NEW_DIR', help='with a folder: write its labels and copies of its photos there'
    )
    group.add_argument('--palette', metavar='FILE', help='names and colours of the classes in masks')
    add_label_options(group)
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
    if find_folder(args.source):
        _convert_labels(parser, args)
        return
    if args.out or args.palette or args.label_format or args.instances:
        parser.error(
            f'--out, --palette, --format and --instances go with a folder of labels, and {args.source} is none'
        )
    if args.inspect == bool(args.target):
        parser.error('give a file to write, or --inspect')
    if args.to and args.to not in written_layouts():
        parser.error(f'--to {args.to} is no layout of weights; use one of {", ".join(written_layouts())}')
    with user_errors(debug=args.debug):
        if args.inspect:
            file = read_source(args.source, trust=args.trust_checkpoint)
            for label, text in describe_file(file, ema=args.ema).items():
                print(f'{label:<16}{text}')
            return
        written = convert_file(
            args.source,
            args.target,
            to=args.to or 'mmlska',
            extract_backbone=args.extract_backbone,
            ema=args.ema,
            publish=args.publish,
            overwrite=args.overwrite,
            trust=args.trust_checkpoint,
        )
        print(f'written: {written}')


def _convert_labels(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.target or args.inspect or args.extract_backbone or args.ema or args.publish or args.overwrite:
        parser.error(
            f'{args.source} is a folder of labels: give --to and --out NEW_DIR, and nothing that is for weights'
        )
    if not args.out or args.to is None:
        parser.error(f'{args.source} is a folder of labels: give --to ({", ".join(WRITERS)}) and --out NEW_DIR')
    own = dict(palette=args.palette, label_format=args.label_format, instances=args.instances)
    with user_errors(debug=args.debug):
        print(*convert_labels(args.source, args.to, args.out, **own), sep='\n')
