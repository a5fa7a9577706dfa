"""Predict images, folders or videos: mmlska predict PHOTOS --config CONFIG --checkpoint CHECKPOINT --out DIR."""

import argparse

from ..cli.errors import end_where_unread, user_errors
from ..cli.options import DTYPES, add_bands, add_debug, add_overwrite, add_tiles, add_trust_checkpoint, out_folder
from ..command_line import tool_parser
from ..engine.config import load_config
from ..engine.image_reading import show_bands
from ..engine.tiling import chosen_tiles
from ..infer import FORMATS, Predictor, resolve
from ..infer.files import predict_files
from ..own_data.predictions import LABEL_FORMATS
from ..text import counted
from ..weights import use_safe_reader


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser('Predict images with a trained detector or segmentor.')
    add = parser.add_argument
    add('input', nargs='+', help='images, videos, folders or quoted patterns')
    add('--config', required=True, help='config file, or its name in `mmlska configs`')
    add('--checkpoint', required=True, help='checkpoint of a training with that config')
    add('--out', required=True, type=out_folder, help='folder for the predictions')
    add('--format', choices=[*FORMATS, *LABEL_FORMATS], default='json', help='of the predictions')
    add('--score-thr', type=float, default=0.3, help='leave out instances of a lower score')
    add('--overlays', action=argparse.BooleanOptionalAction, default=True, help='draw into OUT/overlays')
    add_bands(parser)
    add('--batch-size', type=int, default=1, help='images or tiles predicted together')
    add_tiles(parser, 'cut larger images into tiles of N pixels; 0 never; by default as in training')
    add('--device', default='auto', help='auto, cpu, cuda:0, ...')
    add('--dtype', choices=DTYPES, default='fp32', help='mixed precision or not')
    add('--deploy', action=argparse.BooleanOptionalAction, default=True, help='fold norms into convolutions')
    add_overwrite(parser)
    add_trust_checkpoint(parser)
    add_debug(parser)
    return parser


def main() -> None:
    args, unread = make_parser().parse_args(), []
    with user_errors(debug=args.debug):
        use_safe_reader(trust=args.trust_checkpoint)
        items, cfg = resolve(args.input), load_config(args.config)
        show_bands(cfg, args.bands)
        tiles = chosen_tiles(cfg, args.tile, args.overlap)
        options = {name: getattr(args, name) for name in ('score_thr', 'overlays', 'batch_size', 'overwrite')}
        files = predict_files(
            Predictor(cfg, args.checkpoint, args.device, args.dtype, args.deploy),
            items,
            args.out,
            LABEL_FORMATS.get(args.format, args.format),
            **dict(tiles._asdict() if tiles else dict(tile=0), unread=unread),
            **options,
            inputs=[args.config, args.checkpoint],
        )
    how = f', of larger images in {tiles}' if tiles else ''
    print(f'predictions: {counted(len(files), "file")} in {args.out}{how}')
    end_where_unread(unread)
