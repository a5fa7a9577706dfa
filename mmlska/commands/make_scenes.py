"""Write generated scenes: shapes with exact masks, in COCO format and ADE20K layout."""

import argparse

from ..cli.progress import count_every_hundred
from ..datasets import scenes


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f'{self.prog}: error: {message}\n')


def sides(text):
    height, *width = (int(side) for side in text.lower().split('x'))
    return (height, *width) if width else height


def make_parser() -> argparse.ArgumentParser:
    default = scenes.write_scenes.__kwdefaults__
    parser = Parser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add('out', nargs='?', default='data/scenes', metavar='OUT', help='folder to make')
    add('--train', type=int, default=default['num_train'], help='images for training')
    add('--val', type=int, default=default['num_val'], help='images for validation')
    add('--size', type=sides, default=default['size'], help='side in pixels, or HEIGHTxWIDTH')
    add('--classes', type=int, default=default['num_classes'], help=f'so many of {", ".join(scenes.SHAPES)}')
    add('--difficulty', choices=scenes.DIFFICULTIES, default=default['difficulty'], help='how hard')
    texture = 'says nothing about the class, is that of the class, or is that of another class'
    add('--texture', choices=scenes.TEXTURE_MODES, default=default['texture'], help=texture)
    short = dict(dest='texture', action='store_const', const='conflict', default=argparse.SUPPRESS)
    add('--conflict', **short, help='--texture conflict')
    add('--seed', type=int, default=default['seed'], help='another seed, other scenes')
    add('--overwrite', action='store_true', help='replace scenes that OUT holds already')
    add('--preview', metavar='PNG', help='picture of the first 16 training scenes with labels')
    return parser


def main() -> None:
    parser = make_parser()
    args = parser.parse_args()
    options = dict(size=args.size, num_classes=args.classes, difficulty=args.difficulty)
    options.update(texture=args.texture, seed=args.seed)
    counts = dict(num_train=args.train, num_val=args.val)
    try:
        progress = count_every_hundred('scenes')
        summary = scenes.write_scenes(args.out, overwrite=args.overwrite, progress=progress, **counts, **options)
        if args.preview:
            preview = [scenes.make_scene(index, split='training', **options) for index in range(16)]
            scenes.write_contact_sheet(args.preview, preview)
    except (ValueError, OSError) as error:
        parser.error(error)
    print('Written to' if summary['created'] else 'Nothing to do, these scenes are in', summary['root'])
    for split, counts in summary['instances'].items():
        print(f'{split}: ' + ', '.join(f'{count} {name}' for name, count in counts.items()))
