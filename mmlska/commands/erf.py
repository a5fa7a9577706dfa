"""Effective receptive fields: mmlska erf CONFIG --k-sizes 7 23 53 --attentions lska lka."""

import argparse
from pathlib import Path

from ..analysis.receptive_field_panels import measure_panels, write_panels
from ..cli.errors import user_errors
from ..cli.options import add_cfg_options, add_debug, add_overwrite, add_trust_checkpoint, out_folder
from ..command_line import tool_parser
from ..designs import DESIGNS
from ..outputs import writing
from ..weights import use_safe_reader


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser('Draw the effective receptive field of a backbone, averaged over photos.')
    add = parser.add_argument
    add('config', help='config file, or its name in `mmlska configs`; any backbone')
    add('--k-sizes', nargs='+', type=int, help='a panel for each kernel size')
    add('--attentions', nargs='+', choices=list(DESIGNS), help='a row for each design')
    order = 'one for each panel, in their order (kernel sizes of the first design first); drawn below random weights'
    add('--checkpoints', nargs='+', default=[], help=order)
    add('--stage', type=int, help='stage of the backbone, 1 is the finest; the last by default')
    add('--size', type=int, default=512, help='side of the square input in pixels')
    add('--images', help="folder of photos; by default the config's validation images")
    add('--num-images', type=int, default=16, help='how many of them, evenly spread')
    add('--seed', type=int, default=0, help='seed of the random weights')
    add('--out', type=out_folder, default=Path('work_dirs/erf'), help='folder for erf.png, .json and .npz')
    add_cfg_options(parser)
    add_trust_checkpoint(parser)
    add_overwrite(parser)
    add_debug(parser)
    return parser


def main() -> None:
    args = make_parser().parse_args()
    files = [args.out / f'erf.{suffix}' for suffix in ('png', 'json', 'npz')]
    inputs = [args.config, *args.checkpoints, args.images]
    with user_errors(debug=args.debug), writing(*files, inputs=inputs, overwrite=args.overwrite):
        use_safe_reader(trust=args.trust_checkpoint)
        fields = measure_panels(
            args.config,
            k_sizes=args.k_sizes,
            attentions=args.attentions,
            checkpoints=args.checkpoints,
            stage=args.stage,
            size=args.size,
            images=args.images,
            num_images=args.num_images,
            seed=args.seed,
            options=args.cfg_options,
        )
        columns = len(args.k_sizes or args.attentions or fields)
        picture = write_panels(args.out, args.config, fields, stage=args.stage, size=args.size, columns=columns)
    print(f'picture: {picture}; numbers: {args.out / "erf.json"}; maps: {args.out / "erf.npz"}')
