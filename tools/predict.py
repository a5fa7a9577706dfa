#!/usr/bin/env python
"""Predict images, folders or videos: tools/predict.py PHOTOS --config CONFIG --checkpoint CHECKPOINT --out DIR."""

import argparse
import sys
from pathlib import Path

from mmengine.utils import ProgressBar

from mmlska.cli.common import user_errors
from mmlska.engine.config import load_config


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description='Predict images with a trained detector or segmentor.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('input', nargs='+', help='images, videos, folders or quoted patterns')
    parser.add_argument('--config', required=True, help='config file')
    parser.add_argument('--checkpoint', required=True, help='checkpoint of a training with that config')
    parser.add_argument('--out', required=True, type=Path, help='folder for the predictions')
    parser.add_argument(
        '--format', choices=['coco', 'json', 'png', 'labelme'], default='json', help='of the predictions'
    )
    parser.add_argument('--score-thr', type=float, default=0.3, help='leave out instances of a lower score')
    parser.add_argument(
        '--overlays', action=argparse.BooleanOptionalAction, default=True, help='draw into OUT/overlays'
    )
    parser.add_argument('--batch-size', type=int, default=1, help='images or tiles predicted together')
    parser.add_argument('--tile', type=int, default=0, help='cut larger images into tiles of so many pixels; 0 never')
    parser.add_argument('--overlap', type=int, help='pixels that tiles share; by default an eighth of --tile')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda:0, ...')
    parser.add_argument('--dtype', choices=['fp32', 'bf16', 'fp16'], default='fp32', help='mixed precision or not')
    parser.add_argument(
        '--deploy', action=argparse.BooleanOptionalAction, default=True, help='fold norms into convolutions'
    )
    parser.add_argument('--trust-checkpoint', action='store_true', help='read a checkpoint that runs code of its own')
    parser.add_argument('--debug', action='store_true', help='show the traceback of a wrong setting')
    return parser


def main() -> None:
    args = make_parser().parse_args()
    with user_errors('predict.py', args.debug):
        from mmlska.infer import Predictor, resolve, write_predictions
        from mmlska.infer.sources import is_video
        from mmlska.infer.writers import FileNames
        from mmlska.weights import use_safe_reader

        use_safe_reader(trust=args.trust_checkpoint)
        items = resolve(args.input)
        predictor = Predictor(load_config(args.config), args.checkpoint, args.device, args.dtype, args.deploy)
        predictions = predictor.stream(items, batch_size=args.batch_size, tile=args.tile, overlap=args.overlap)
        names = FileNames()

        def watched():
            bar = ProgressBar(0 if any(map(is_video, items)) else len(items), file=sys.stderr)
            try:
                for prediction in predictions:
                    if args.overlays:
                        predictor.draw(prediction, args.out / 'overlays' / f'{names(prediction)}.png', args.score_thr)
                    yield prediction
                    bar.update()
            finally:
                print(file=sys.stderr)  # what comes next, an error too, starts a line

        files = write_predictions(watched(), args.out, args.format, score_thr=args.score_thr)
    print(f'predictions: {len(files)} {"file" if len(files) == 1 else "files"} in {args.out}')


if __name__ == '__main__':
    main()
