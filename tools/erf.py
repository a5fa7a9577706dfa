#!/usr/bin/env python
"""Effective receptive fields: tools/erf.py CONFIG --k-sizes 7 23 53 --attentions lska lka."""

import argparse
from pathlib import Path

import numpy as np
from mmengine.config import DictAction

from mmlska.analysis.figures import receptive_fields
from mmlska.analysis.photos import build_model, dataset_photos, square_inputs
from mmlska.analysis.receptive_field import SHARES, contributions, effective_receptive_field
from mmlska.cli.common import user_errors
from mmlska.engine.config import find_path, load_config
from mmlska.files import write_atomically
from mmlska.images import photos_in, spread
from mmlska.models.attention import ATTENTIONS
from mmlska.results import save_figure, write_json
from mmlska.weights import use_safe_reader


def main() -> None:
    parser = argparse.ArgumentParser(
        description='Draw the effective receptive field of a backbone, averaged over photos.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('config', help='config file; any backbone')
    parser.add_argument('--k-sizes', nargs='+', type=int, help='a panel for each kernel size')
    parser.add_argument('--attentions', nargs='+', choices=list(ATTENTIONS), help='a row for each design')
    parser.add_argument(
        '--checkpoints',
        nargs='+',
        default=[],
        help='one for each panel, in their order (kernel sizes of the first design first); drawn below random weights',
    )
    parser.add_argument('--stage', type=int, help='stage of the backbone, 1 is the finest; the last by default')
    parser.add_argument('--size', type=int, default=512, help='side of the square input in pixels')
    parser.add_argument('--images', help="folder of photos; by default the config's validation images")
    parser.add_argument('--num-images', type=int, default=16, help='how many of them, evenly spread')
    parser.add_argument('--seed', type=int, default=0, help='seed of the random weights')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/erf'), help='folder for erf.png, .json and .npz')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override settings')
    parser.add_argument(
        '--trust-checkpoint', action='store_true', help='read checkpoint files that run code of their own'
    )
    parser.add_argument('--debug', action='store_true', help='show the traceback of a wrong setting')
    args = parser.parse_args()

    with user_errors('erf.py', args.debug):
        use_safe_reader(trust=args.trust_checkpoint)
        if args.stage is not None and args.stage < 1:
            raise ValueError(f'--stage {args.stage} does not exist; stages count from 1')
        if args.size < 32:
            raise ValueError(f'--size {args.size} is too small; give 32 pixels or more')
        panels = variants(args)
        if args.checkpoints and len(args.checkpoints) != len(panels):
            raise ValueError(
                f'--checkpoints names {len(args.checkpoints)} files for {len(panels)} panels: {", ".join(panels)}'
            )
        photos = spread(
            photos_in(find_path(args.images) or args.images)
            if args.images
            else dataset_photos(load_config(args.config, args.cfg_options), 'val'),
            args.num_images,
        )
        fields = {}
        for source in ('random', *(['trained'] if args.checkpoints else [])):
            for i, (name, options) in enumerate(panels.items()):
                model = build_model(
                    load_config(args.config, options),
                    args.checkpoints[i] if source == 'trained' else None,
                    args.seed,
                )
                field = effective_receptive_field(
                    model.backbone,
                    square_inputs(model, photos, args.size),
                    stage=-1 if args.stage is None else args.stage - 1,
                )
                fields[f'{name}, {source}'] = field, contributions(field.heat, field.center)
                print(
                    f'{name}, {source}: '
                    + ', '.join(f'{c.share:.0%} in {c.side} px' for c in fields[f'{name}, {source}'][1])
                )
    write(args, fields)


def variants(args: argparse.Namespace) -> dict[str, dict]:
    """The config options of each panel by its name."""
    base = dict(args.cfg_options or {})
    if not args.k_sizes and not args.attentions:
        return {Path(args.config).stem: base}
    backbone = load_config(args.config, base).model.backbone
    panels = {}
    for attention in args.attentions or [backbone.get('attention', 'lska')]:
        for k_size in args.k_sizes or [backbone.get('k_size', 23)]:
            options = {'model.backbone.attention': attention, 'model.backbone.k_size': k_size}
            panels[f'{attention}, K = {k_size}'] = {**base, **options}
    return panels


def write(args: argparse.Namespace, fields: dict) -> None:
    """The heat maps as picture and as numbers."""
    stage = 'last stage' if args.stage is None else f'stage {args.stage}'
    columns = len(args.k_sizes or args.attentions or fields)
    title = f'Effective receptive field\n{Path(args.config).stem}, {stage}'
    picture = save_figure(receptive_fields(fields, title, columns), args.out / 'erf.png')
    result = dict(
        config=args.config,
        stage=args.stage or 'last',
        input_size=args.size,
        definition='sum over colours of |d(sum of ReLU of the middle feature)/d(pixel)|, mean over the images; side of the '
        'smallest square centred on the feature that holds the share; area_ratio is its area over that of the input',
        shares=list(SHARES),
        fields={
            name: dict(images=field.images, center=field.center, contributions=[c._asdict() for c in squares])
            for name, (field, squares) in fields.items()
        },
    )
    write_json(args.out / 'erf.json', result)
    maps = {name: field.heat.astype(np.float32) for name, (field, _) in fields.items()}

    def save(name: str) -> None:
        with open(name, 'wb') as file:  # savez would add .npz to the temporary name
            np.savez_compressed(file, **maps)

    write_atomically(args.out / 'erf.npz', save)
    print(f'picture: {picture}; numbers: {args.out / "erf.json"}; maps: {args.out / "erf.npz"}')


if __name__ == '__main__':
    main()
