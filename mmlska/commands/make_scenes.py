"""Write generated scenes: shapes with exact masks, in COCO format and ADE20K layout."""

import argparse

from ..cli.errors import user_errors
from ..cli.options import add_debug, add_overwrite, out_file, out_folder
from ..cli.progress import count_every_hundred
from ..command_line import tool_parser
from ..datasets import scenes
from ..outputs import check_outputs, writing


def size(text: str) -> int | tuple[int, int]:
    height, _, width = text.lower().partition('x')
    return (int(height), int(width)) if width else int(height)


def make_parser() -> argparse.ArgumentParser:
    default = scenes.write_scenes.__kwdefaults__
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add('out', nargs='?', type=out_folder, default='data/scenes', metavar='OUT', help='folder to make')
    add('--train', type=int, default=default['num_train'], help='images for training')
    add('--val', type=int, default=default['num_val'], help='images for validation')
    add('--size', type=size, default=default['size'], help='side in pixels, or HEIGHTxWIDTH')
    add('--classes', type=int, default=default['num_classes'], help=f'so many of {", ".join(scenes.SHAPES)}')
    add('--difficulty', choices=scenes.DIFFICULTIES, default=default['difficulty'], help='how hard')
    texture = 'says nothing about the class, is that of the class, or is that of another class'
    add('--texture', choices=scenes.TEXTURE_MODES, default=default['texture'], help=texture)
    short = dict(dest='texture', action='store_const', const='conflict', default=argparse.SUPPRESS)
    add('--conflict', **short, help='--texture conflict')
    add('--seed', type=int, default=default['seed'], help='another seed, other scenes')
    bands = 'write 16-bit TIFF files of so many bands: 1 is grey, above 3 the classes differ in brightness'
    add('--bands', type=int, metavar='N', help=bands)
    add_overwrite(parser, 'replace scenes that OUT holds already, and any PNG')
    add('--preview', type=out_file, metavar='PNG', help='picture of the first 16 training scenes with labels')
    add_debug(parser)
    return parser


def main() -> None:
    args = make_parser().parse_args()
    options = dict(size=args.size, num_classes=args.classes, difficulty=args.difficulty)
    options.update(texture=args.texture, seed=args.seed)
    counts = dict(num_train=args.train, num_val=args.val, bands=args.bands)
    with user_errors(debug=args.debug):
        check_outputs([args.preview], overwrite=args.overwrite)
        progress = count_every_hundred('scenes')
        summary = scenes.write_scenes(args.out, overwrite=args.overwrite, progress=progress, **counts, **options)
        if args.preview:
            preview = [scenes.make_scene(index, split='training', **options) for index in range(16)]
            with writing(args.preview, overwrite=True):
                scenes.write_contact_sheet(args.preview, preview)
    print('Written to' if summary['created'] else 'Nothing to do, these scenes are in', summary['root'])
    for split, counts in summary['instances'].items():
        print(f'{split}: ' + ', '.join(f'{count} {name}' for name, count in counts.items()))
