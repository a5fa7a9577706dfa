"""Write generated scenes: shapes with exact masks, in COCO format and ADE20K layout."""

import argparse

from mmlska.datasets import scenes


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f'{self.prog}: error: {message}\n')


def sides(text):
    height, *width = (int(side) for side in text.lower().split('x'))
    return (height, *width) if width else height


def make_parser():
    default = scenes.write_scenes.__kwdefaults__
    parser = Parser(prog='make_scenes', description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('out', nargs='?', default='data/scenes', metavar='OUT', help='folder to make')
    parser.add_argument('--train', type=int, default=default['num_train'], help='images for training')
    parser.add_argument('--val', type=int, default=default['num_val'], help='images for validation')
    parser.add_argument('--size', type=sides, default=default['size'], help='side in pixels, or HEIGHTxWIDTH')
    shapes = ', '.join(scenes.SHAPES)
    parser.add_argument('--classes', type=int, default=default['num_classes'], help=f'so many of {shapes}')
    parser.add_argument('--difficulty', choices=scenes.DIFFICULTIES, default=default['difficulty'], help='how hard')
    texture_help = 'says nothing about the class, is that of the class, or is that of another class'
    parser.add_argument('--texture', choices=scenes.TEXTURE_MODES, default=default['texture'], help=texture_help)
    parser.add_argument(
        '--conflict',
        dest='texture',
        action='store_const',
        const='conflict',
        default=argparse.SUPPRESS,
        help='--texture conflict',
    )
    parser.add_argument('--seed', type=int, default=default['seed'], help='another seed, other scenes')
    parser.add_argument('--overwrite', action='store_true', help='replace scenes that OUT holds already')
    parser.add_argument('--preview', metavar='PNG', help='picture of the first 16 training scenes with labels')
    return parser


def print_progress(done, total):
    if done % 100 == 0 or done == total:
        print(f'{done}/{total} scenes', flush=True)


def main():
    parser = make_parser()
    args = parser.parse_args()
    options = {
        'size': args.size,
        'num_classes': args.classes,
        'difficulty': args.difficulty,
        'texture': args.texture,
        'seed': args.seed,
    }
    try:
        summary = scenes.write_scenes(
            args.out,
            num_train=args.train,
            num_val=args.val,
            overwrite=args.overwrite,
            progress=print_progress,
            **options,
        )
        if args.preview:
            preview = [scenes.make_scene(index, split='training', **options) for index in range(16)]
            scenes.write_contact_sheet(args.preview, preview)
    except (ValueError, OSError) as error:
        parser.error(error)
    print('Written to' if summary['created'] else 'Nothing to do, these scenes are in', summary['root'])
    for split, counts in summary['instances'].items():
        print(f'{split}: ' + ', '.join(f'{count} {name}' for name, count in counts.items()))


if __name__ == '__main__':
    main()
