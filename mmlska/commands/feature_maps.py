"""Attention maps and EigenCAM over a photo: mmlska feature-maps CONFIG PHOTO --checkpoint FILE."""

import argparse
from pathlib import Path

from ..analysis.feature_maps import KINDS, maps_over_photo, scaled_input
from ..analysis.figures import photo_maps
from ..cli.errors import user_errors
from ..cli.options import add_cfg_options, add_debug, add_overwrite, add_trust_checkpoint, out_file
from ..command_line import tool_parser
from ..engine.config import load_config
from ..infer.model import build_model
from ..outputs import writing
from ..results import save_figure
from ..weights import use_safe_reader


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser('Draw attention maps and EigenCAM over a photo.')
    add = parser.add_argument
    add('config', help='config file, or its name in `mmlska configs`')
    add('photo', help='image file')
    add('--checkpoint', help='checkpoint file; random weights without')
    add('--kinds', nargs='+', choices=KINDS, default=list(KINDS))
    add('--stages', nargs='+', type=int, help='stages to draw, 1 is the finest; all by default')
    add('--blocks', action='store_true', help='the attention of every block, not of the last in each stage')
    add('--size', type=int, help='longer side of the photo in pixels for the model; its own by default')
    add('--seed', type=int, default=0, help='seed of the random weights')
    add('--out', type=out_file, default=Path('work_dirs/feature_maps.png'), help='the picture')
    add_cfg_options(parser)
    add_trust_checkpoint(parser)
    add_overwrite(parser)
    add_debug(parser)
    return parser


def main() -> None:
    args = make_parser().parse_args()
    inputs = [args.config, args.photo, args.checkpoint]
    with user_errors(debug=args.debug), writing(args.out, inputs=inputs, overwrite=args.overwrite):
        use_safe_reader(trust=args.trust_checkpoint)
        cfg = load_config(args.config, args.cfg_options)
        values, picture = scaled_input(cfg, args.photo, args.size)
        model = build_model(cfg, args.checkpoint, args.seed)
        maps = maps_over_photo(model, values, args.kinds, args.stages, blocks=args.blocks)
        weights = 'random weights' if args.checkpoint is None else Path(args.checkpoint).name
        title = f'{Path(args.config).stem}, {weights}, {Path(args.photo).name}'
        columns = 5 if args.blocks else min(4, len(maps))
        print(f'picture: {save_figure(photo_maps(picture, maps, title, columns), args.out)}')
