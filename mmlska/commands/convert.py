"""Convert pretrained weights between the published layouts, tell what a weight file is, or write a folder of labels in another format."""

import argparse

from ..cli.errors import user_errors
from ..cli.labels import LABEL_OPTIONS, add_label_options, convert_folder, label_options
from ..cli.options import add_debug, add_overwrite, add_trust_checkpoint
from ..command_line import tool_parser
from ..own_data.folder import find_folder
from ..own_data.writers import WRITERS
from ..weights.convert import convert_file, describe_file, read_source
from ..weights.layouts import written_layouts


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    help = 'weights of any published layout: .pth, .pth.tar, .pt, .safetensors, mmlska://NAME; or a folder of labels'
    parser.add_argument('source', metavar='CHECKPOINT|DIR', help=help)
    parser.add_argument('target', nargs='?', help='file to write: .pth, .pt or .safetensors')
    parser.add_argument('--inspect', action='store_true', help='only tell what the file is')
    formats = f'names of the tensors: {", ".join(written_layouts())}; of labels the format: {", ".join(WRITERS)}'
    parser.add_argument('--to', metavar='NAME', help=formats)
    group = parser.add_argument_group('labels')
    group.add_argument('--out', metavar='NEW_DIR', help='write the labels of a folder, and copies of its photos, there')
    add_label_options(group)
    parser.add_argument('--extract-backbone', action='store_true', help='keep the backbone of a whole model alone')
    parser.add_argument('--ema', action='store_true', help='take the averaged weights of a file that has both')
    parser.add_argument('--publish', action='store_true', help='put the first 8 digits of the SHA-256 into the name')
    add_overwrite(parser, 'replace an existing file, but not the source')
    add_trust_checkpoint(parser)
    add_debug(parser)
    return parser


def main() -> None:
    parser = make_parser()
    args = parser.parse_args()
    if find_folder(args.source):
        convert_folder(parser, args)
        return
    if args.out or label_options(args):
        parser.error(f'--out, {LABEL_OPTIONS} go with a folder of labels, and {args.source} is no folder')
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
        options = {name: getattr(args, name) for name in ('extract_backbone', 'ema', 'publish', 'overwrite')}
        to, trust = args.to or 'mmlska', args.trust_checkpoint
        written = convert_file(args.source, args.target, to=to, trust=trust, **options)
        print(f'written: {written}')
