"""Shape against texture: mmlska shape-bias CONFIG CHECKPOINT [CONFIG CHECKPOINT ...] --data data/scenes_conflict."""

import argparse
import sys
from pathlib import Path

from ..analysis.shape_bias import read_conflict_scenes
from ..analysis.shape_bias_comparison import measure_decisions, measure_model, name_models, table, write_comparison
from ..cli.errors import user_errors
from ..cli.options import add_cfg_options, add_debug, add_overwrite, add_trust_checkpoint, out_folder
from ..command_line import tool_parser
from ..outputs import writing
from ..weights import WeightsError, use_safe_reader


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser(
        'Share of decisions that follow shape against texture, where the two are in conflict.',
        epilog='The config that a training left in its work directory holds its k_size and all other settings.',
    )
    add = parser.add_argument
    add('pairs', nargs='*', metavar='CONFIG CHECKPOINT', help='detectors and segmentors to compare')
    add('--data', default='data/scenes_conflict', help='scenes of mmlska make-scenes --conflict')
    decisions = 'decisions of classifiers on the published cue-conflict images, columns imagename and object_response'
    add('--decisions', nargs='+', default=[], metavar='CSV', help=decisions)
    add('--images', help='folder of those images, to check that there is a decision for each')
    add('--names', nargs='+', help='a name for each model, pairs first; default: from the files')
    add('--out', type=out_folder, default=Path('work_dirs/shape_bias'), help='for the table and chart')
    add('--score-thr', type=float, default=0.05, help='detections below do not decide')
    add_cfg_options(parser, 'for every config')
    add_trust_checkpoint(parser)
    add_overwrite(parser)
    add_debug(parser)
    return parser


def main() -> None:
    parser = make_parser()
    args = parser.parse_args()
    if len(args.pairs) % 2 or not (args.pairs or args.decisions):
        parser.error('give pairs of CONFIG and CHECKPOINT, or --decisions CSV')
    pairs = list(zip(args.pairs[::2], args.pairs[1::2]))
    with user_errors(debug=args.debug):
        use_safe_reader(trust=args.trust_checkpoint)
        names = name_models(pairs, args.decisions, args.names)
        if pairs:
            read_conflict_scenes(args.data)
        decided = {n: measure_decisions(path, args.images) for n, path in zip(names[len(pairs) :], args.decisions)}
    files, inputs = [args.out / f'shape_bias.{end}' for end in ('json', 'png')], [*args.pairs, *args.decisions]
    refusing = writing(*files, inputs=inputs, overwrite=args.overwrite)
    with user_errors(debug=args.debug, kinds=(OSError, ValueError, WeightsError)), refusing:
        settings = dict(work_dir=f'{args.out}/logs', score_thr=args.score_thr, options=args.cfg_options)
        results = {n: measure_model(*pair, args.data, **settings) for n, pair in zip(names, pairs)} | decided
        file, chart = write_comparison(args.out, args.data if pairs else None, results)
    print(table(results))
    for name, result in results.items():
        if result['warning']:
            print(f'{parser.prog}: warning: {name}: {result["warning"]}', file=sys.stderr)
    print(f'written: {file}, {chart}')
