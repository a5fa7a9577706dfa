"""Evaluate a checkpoint, box and mask AP, mIoU or accuracy: mmlska test configs/mask_rcnn_van_lska_t.py CHECKPOINT."""

import argparse

from ..cli.errors import user_errors
from ..cli.options import add_bands, add_overwrite, add_tiles
from ..cli.runner import prepared_config, runner_parser
from ..engine.image_reading import show_bands
from ..engine.processes import leave_processes
from ..engine.tiling import choose_tiles
from ..export.evaluate import build_evaluation
from ..images import ImageError
from ..weights import WeightsError


def make_parser() -> argparse.ArgumentParser:
    parser = runner_parser(
        'Evaluate a checkpoint of a detector (box and mask AP), segmentor (mIoU) or classifier (accuracy).'
    )
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file, or mmlska://NAME')
    parser.add_argument('--onnx', metavar='FILE', help='evaluate this file of mmlska export instead of a checkpoint')
    parser.add_argument('--show-dir', help='folder for pictures of labels (left) and predictions (right)')
    add_bands(parser)
    add_tiles(parser, 'predict tiles of N pixels and evaluate whole images; 0 never; by default as in training')
    parser.add_argument('--out', help='predictions: a .pkl file, a .json file (detection) or a folder (segmentation)')
    add_overwrite(parser)
    parser.add_argument('--deploy', action='store_true', help='fold norms and layer scales of the backbone away first')
    parser.add_argument('--tta', action='store_true', help='average over flips and scales')
    return parser


def main() -> None:
    args = make_parser().parse_args()
    with user_errors(debug=args.debug):
        cfg = prepared_config(args)
        show_bands(cfg, args.bands)
        if args.onnx and (args.tile, args.overlap) != (None, None):
            raise ValueError('--onnx FILE is tested on whole images; leave out --tile and --overlap')
        choose_tiles(cfg, args.tile, args.overlap)
        runner = build_evaluation(
            cfg,
            args.checkpoint,
            out=args.out,
            show_dir=args.show_dir,
            tta=args.tta,
            deploy=args.deploy,
            dtype=args.dtype,
            onnx=args.onnx,
            overwrite=args.overwrite,
        )
    with user_errors(debug=args.debug, kinds=(WeightsError, ImageError)):
        runner.test()
    if args.show_dir:
        print(f'pictures: {args.show_dir}')
    if args.out:
        print(f'predictions: {args.out}')
    leave_processes()
