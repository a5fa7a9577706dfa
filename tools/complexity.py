#!/usr/bin/env python
"""Parameters and FLOPs: tools/complexity.py configs/*_van_lska_*.py, or tools/complexity.py --designs for backbones alone."""

import argparse
from pathlib import Path

from mmengine.config import DictAction

from mmlska.analysis import measure_config
from mmlska.analysis.backbone_cost import compare_designs, compare_others
from mmlska.cli.common import user_errors
from mmlska.designs import ARCHS, DESIGNS, ladder_sizes
from mmlska.engine.config import load_config
from mmlska.results import fill_section, markdown_table, run_environment, save_figure, write_json

SHOWN = (7, 23, 35, 53, 119)


def main() -> None:
    parser = argparse.ArgumentParser(description='Count parameters and multiply-adds of whole models or of backbones.')
    parser.add_argument('configs', nargs='*', help='config files')
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help='default: 800 1280 for mmdet, 512 512 for mmseg, 224 224 for backbones',
    )
    parser.add_argument('--json', type=Path, help='also write the counts to this file')
    parser.add_argument(
        '--readme',
        type=Path,
        help="also fill the section 'config table', 'design table' or 'latency table' of this file",
    )
    parser.add_argument(
        '--designs',
        action='store_true',
        help='the attention designs over kernel sizes, and the backbones of other papers',
    )
    parser.add_argument('--archs', nargs='+', choices=list(ARCHS), default=['t', 's', 'b'], help='with --designs')
    parser.add_argument('--attentions', nargs='+', choices=list(DESIGNS), default=list(DESIGNS), help='with --designs')
    parser.add_argument(
        '--k-sizes', nargs='+', type=int, default=ladder_sizes(), help='with --designs; all from 7 to 119'
    )
    parser.add_argument('--latency', action='store_true', help='with --designs: also measure the time of one inference')
    parser.add_argument('--figure', type=Path, help='with --designs: draw cost against kernel size into this file')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override settings of configs'
    )
    parser.add_argument('--debug', action='store_true', help='show the traceback of a wrong setting')
    args = parser.parse_args()

    with user_errors('complexity.py', args.debug):
        if bool(args.configs) == args.designs:
            raise ValueError('name configs, or give --designs for backbones alone, but not both')
        if not args.designs and (args.figure or args.latency):
            raise ValueError('--figure and --latency go with --designs')
        counts = design_counts(args) if args.designs else config_counts(args)
        text = design_tables(counts) if args.designs else table(counts)
        section = 'latency table' if args.latency else 'design table' if args.designs else 'config table'
        print(text)
        if args.json:
            write_json(args.json, counts)
        if args.readme:
            fill_section(args.readme, section, text)
        if args.figure:
            # matplotlib is there with mmdet and mmseg, but counting needs neither
            from mmlska.analysis.figures import design_costs

            shape = 'x'.join(map(str, reversed(counts['input_shape'])))
            title = f'Backbones with four attention designs, input {shape}'
            save_figure(design_costs(counts['designs'], title), args.figure)
            print(f'figure: {args.figure}')


def config_counts(args: argparse.Namespace) -> dict[str, dict]:
    """The cost of each config by its name."""
    counts = {}
    for path in args.configs:
        cfg = load_config(path, args.cfg_options)
        shape = args.shape or ((800, 1280) if cfg.default_scope == 'mmdet' else (512, 512))
        counts[Path(path).stem] = measure_config(cfg, *shape)._asdict()
    return counts


def design_counts(args: argparse.Namespace) -> dict:
    """The cost of backbones, and how it was counted."""
    height, width = args.shape or (224, 224)
    if min(height, width) < 1:
        raise ValueError(f'image of {height}x{width} pixels; height and width must be positive')
    shape = (1, 3, height, width)
    counted = (
        'multiply-adds of convolutions and matrix products; norms, activations, additions and products of maps are not'
    )
    facts = dict(input_shape=(height, width), flops=counted)
    if args.latency:
        facts |= dict(latency='median seconds of one image, float32', **run_environment())
    designs = compare_designs(args.archs, args.k_sizes, shape, attentions=args.attentions, timed=args.latency)
    return dict(**facts, designs=designs, others=compare_others(shape, timed=args.latency))


def table(counts: dict[str, dict]) -> str:
    """The counts of configs as a Markdown table."""
    rows = [
        [
            f'`{name}`',
            'x'.join(map(str, reversed(count['input_shape']))),
            f'{count["parameters"] / 1e6:.2f}',
            f'{count["flops"] / 1e9:.1f}',
        ]
        for name, count in counts.items()
    ]
    return markdown_table(['config', 'input', 'parameters, M', 'FLOPs, G'], rows)


def design_tables(counts: dict) -> str:
    """The counts of backbones as Markdown tables: designs over some kernel sizes, then the backbones of other papers."""
    columns = {
        'parameters, M': lambda row: f'{row["parameters"] / 1e6:.2f}',
        'FLOPs, G': lambda row: f'{row["flops"] / 1e9:.2f}',
        'activations, M': lambda row: f'{row["activations"] / 1e6:.1f}',
        'peak memory, MB': lambda row: f'{row["peak_memory"] / 1e6:.1f}',
    }
    if 'latency' in counts:
        columns['latency, ms'] = lambda row: f'{row["latency"] * 1e3:.1f}'
    rows = {(row['arch'], row['k_size'], row['attention']): row for row in counts['designs']}
    archs, k_sizes, designs = (list(dict.fromkeys(key[i] for key in rows)) for i in range(3))
    shown = [k for k in k_sizes if k in SHOWN] or k_sizes
    compared = [name for name in columns if name in ('parameters, M', 'FLOPs, G', 'latency, ms')]
    designs_table = markdown_table(
        [' / '.join(compared), *designs],
        [
            [
                f'VAN-{arch.upper()}, K = {k}',
                *(' / '.join(columns[name](rows[arch, k, d]) for name in compared) for d in designs),
            ]
            for arch in archs
            for k in shown
        ],
    )
    k_size = 23 if 23 in k_sizes else k_sizes[0]
    own = [
        dict(rows[arch, k_size, d], name=f'VAN-{arch.upper()}, {d}, K = {k_size}') for arch in archs for d in designs
    ]
    all_table = markdown_table(
        ['backbone', *columns],
        [
            [
                row['name'],
                *(
                    [row['missing'], *[''] * (len(columns) - 1)]
                    if 'missing' in row
                    else (show(row) for show in columns.values())
                ),
            ]
            for row in [*own, *counts['others']]
        ],
    )
    return f'{designs_table}\n\n{all_table}'


if __name__ == '__main__':
    main()
