"""Speed and memory beside the published modules: mmlska benchmark {op,backbone,model,mmcv,busy}."""

import argparse
from dataclasses import fields
from pathlib import Path

from ..benchmark.contenders import CONTENDERS, DEPLOYMENT, PASSES
from ..benchmark.run import CONFIGS, DTYPES, KINDS, OPS, Plan, benchmark, size
from ..cli.errors import user_errors
from ..cli.options import add_debug, add_overwrite, out_folder
from ..command_line import recorded_command, tool_parser
from ..designs import ARCHS, DESIGNS


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add('kind', choices=KINDS)
    add('--device', default='auto', help='auto, cpu, cuda:0, ...')
    add('--threads', type=int, help="CPU threads; default torch's own")
    add('--ops', nargs='+', choices=OPS, default=['lska', 'depthwise_gelu', 'mlp'])
    add('--archs', nargs='+', choices=list(ARCHS), default=['t', 'b'], help='op: the first only')
    add('--configs', nargs='+', help='; '.join(f'{kind}: {" ".join(files)}' for kind, files in CONFIGS.items()))
    add('--settings', nargs='+', default=Plan.settings, help='busy: default, tools or NAME=VALUE[,NAME=VALUE]')
    add('--attention', choices=tuple(DESIGNS), default='lska', help='backbone')
    add('--k-sizes', nargs='+', type=int, default=[23])
    add('--stages', nargs='+', type=int, choices=[1, 2, 3, 4], default=[1, 2, 3, 4])
    add('--sizes', nargs='+', type=size, default=[(512, 512)], metavar='HEIGHTxWIDTH', help='image size')
    add('--batch', type=int, default=1)
    add('--dtypes', nargs='+', choices=list(DTYPES), default=['fp32'])
    add('--passes', nargs='+', choices=PASSES, default=list(PASSES))
    named = f'of {", ".join(CONTENDERS)}; in inference of backbones and models {" and ".join(DEPLOYMENT)}'
    known = dict(choices=[*CONTENDERS, *DEPLOYMENT], default=list(CONTENDERS))
    add('--contenders', nargs='+', **known, metavar='NAME', help=named)
    add('--seconds', type=float, default=3.0, help='time to spend on timing each case')
    add('--profile', action='store_true', help='also record which operators take the time')
    add('--name', default='', help='added to the name of the results file')
    add('--append', action='store_true', help='add to the results file instead of writing it anew')
    add('--out', type=out_folder, default=Path('work_dirs/benchmark'), help='folder of the results file and chart')
    add('--redraw', action='store_true', help='time nothing: chart and table of the results file as it is')
    add('--readme', type=Path, help="also fill the section '<kind> benchmark <device>' of this file")
    add_overwrite(parser)
    add_debug(parser)
    return parser


def main() -> None:
    args = make_parser().parse_args()
    with user_errors(debug=args.debug):
        plan = Plan(**{field.name: getattr(args, field.name) for field in fields(Plan)})
        options = dict(name=args.name, append=args.append, redraw=args.redraw, page=args.readme, threads=args.threads)
        options['overwrite'] = args.overwrite
        file = benchmark(plan, args.out, recorded_command(), **options)
    print(f'results: {file}, chart: {file.with_suffix(".png")}')
