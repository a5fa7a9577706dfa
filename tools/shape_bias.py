#!/usr/bin/env python
"""Shape against texture: tools/shape_bias.py CONFIG CHECKPOINT [CONFIG CHECKPOINT ...] --data data/scenes_conflict."""

import argparse
import json
import sys
from pathlib import Path

from mmengine.config import DictAction

from mmlska.analysis.shape_bias import (
    measure_shape_bias,
    read_conflict_scenes,
    read_decisions,
    shape_bias_from_decisions,
    texture_warning,
    training_textures,
    undecided_images,
)
from mmlska.analysis.shape_bias_chart import draw_shape_bias
from mmlska.cli.common import user_errors
from mmlska.engine.config import load_config
from mmlska.engine.launch import prepare
from mmlska.files import write_text
from mmlska.results import markdown_table
from mmlska.weights import WeightsError, read_checkpoint, use_safe_reader


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description='Share of decisions that follow shape against texture, where the two are in conflict.',
        epilog='The config that a training left in its work directory holds its k_size and all other settings.',
    )
    parser.add_argument('pairs', nargs='*', metavar='CONFIG CHECKPOINT', help='detectors and segmentors to compare')
    parser.add_argument(
        '--data', default='data/scenes_conflict', help='scenes of tools/make_scenes.py --conflict; default: %(default)s'
    )
    parser.add_argument(
        '--decisions',
        nargs='+',
        default=[],
        metavar='CSV',
        help='decisions of classifiers on the published cue-conflict images, columns imagename and object_response',
    )
    parser.add_argument('--images', help='folder of those images, to check that there is a decision for each')
    parser.add_argument('--names', nargs='+', help='a name for each model, pairs first; default: from the files')
    parser.add_argument('--out', default='work_dirs/shape_bias', help='for the table and chart; default: %(default)s')
    parser.add_argument('--score-thr', type=float, default=0.05, help='detections below do not decide')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='for every config')
    parser.add_argument('--trust-checkpoint', action='store_true', help='read files that run code when loaded')
    parser.add_argument('--debug', action='store_true', help='show the traceback of a wrong setting')
    return parser


def measure(config: str, checkpoint: str, args: argparse.Namespace) -> dict:
    """The shape bias of one detector or segmentor, with a warning where it means nothing."""
    textures = training_textures(read_checkpoint(checkpoint).content)
    root = Path(args.data).absolute()
    cfg = load_config(config, {**(args.cfg_options or {}), 'data_root': f'{root}/'})
    prepare(cfg, config, work_dir=f'{args.out}/logs', launcher='none', seed=0)
    result = measure_shape_bias(cfg, checkpoint, root, args.score_thr)
    return {'config': config, 'checkpoint': checkpoint, 'warning': texture_warning(textures), **result}


def decided(path: str, args: argparse.Namespace) -> dict:
    """The shape bias of one classifier from its decisions."""
    names, decisions = read_decisions(path)
    without = undecided_images(args.images, names) if args.images else []
    warning = f'{len(without)} images without a decision, such as {without[0]}' if without else None
    return {'decisions': path, 'warning': warning, **shape_bias_from_decisions(names, decisions)}


def table(results: dict[str, dict]) -> str:
    """The results as a Markdown table."""
    rows = []
    for name, result in results.items():
        low, high = (f'{100 * end:.1f}' for end in result['interval'])
        bias = '' if result['shape_bias'] is None else f'{100 * result["shape_bias"]:.1f}'
        counts = [str(result[key]) for key in ('shape', 'texture', 'other', 'none')]
        rows.append([name + (' (!)' if result['warning'] else ''), bias, f'{low} to {high}', *counts])
    header = ['model', 'shape bias, %', '95 % interval (Wilson)', 'shape', 'texture', 'another class', 'none']
    return markdown_table(header, rows)


def name_models(pairs: list, args: argparse.Namespace) -> list[str]:
    """A name for each model, none twice."""
    default = [f'{Path(checkpoint).parent.name}/{Path(checkpoint).stem}'.lstrip('/') for _, checkpoint in pairs]
    names = args.names or [*default, *(Path(path).stem for path in args.decisions)]
    if len(names) != len(pairs) + len(args.decisions):
        raise ValueError(f'--names has {len(names)} names for {len(pairs) + len(args.decisions)} models; give one each')
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f'two models are named {twice[0]!r}; tell them apart with --names')
    return names


def main() -> None:
    parser = make_parser()
    args = parser.parse_args()
    if len(args.pairs) % 2 or not (args.pairs or args.decisions):
        parser.error('give pairs of CONFIG and CHECKPOINT, or --decisions CSV')
    pairs = list(zip(args.pairs[::2], args.pairs[1::2]))
    with user_errors('shape_bias.py', args.debug):
        use_safe_reader(trust=args.trust_checkpoint)
        names = name_models(pairs, args)
        if pairs:
            read_conflict_scenes(args.data)
        results = {}
        for name, path in zip(names[len(pairs) :], args.decisions):
            results[name] = decided(path, args)
    with user_errors('shape_bias.py', args.debug, (FileNotFoundError, ValueError, WeightsError)):
        results = {name: measure(*pair, args) for name, pair in zip(names, pairs)} | results
    out = Path(args.out)
    text = json.dumps({'data': args.data if pairs else None, 'models': results}, indent=1) + '\n'
    write_text(out / 'shape_bias.json', text)
    draw_shape_bias(results, out / 'shape_bias.png')
    print(table(results))
    for name, result in results.items():
        if result['warning']:
            print(f'shape_bias.py: warning: {name}: {result["warning"]}', file=sys.stderr)
    print(f'written: {out / "shape_bias.json"}, {out / "shape_bias.png"}')


if __name__ == '__main__':
    main()
