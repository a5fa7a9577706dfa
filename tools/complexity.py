#!/usr/bin/env python
"""Parameters and FLOPs of configs: tools/complexity.py configs/*_van_lska_*.py."""

import argparse
import json
from pathlib import Path

from mmlska.analysis import measure_config
from mmlska.analysis.report import fill_section, markdown_table
from mmlska.cli import user_errors
from mmlska.engine.config import load_config


def main() -> None:
    parser = argparse.ArgumentParser(description='Count parameters and multiply-adds of whole models.')
    parser.add_argument('configs', nargs='+', help='config files')
    parser.add_argument(
        '--shape', nargs=2, type=int, metavar=('HEIGHT', 'WIDTH'), help='default: 800 1280 for mmdet, 512 512 for mmseg'
    )
    parser.add_argument('--json', type=Path, help='also write the counts to this file')
    parser.add_argument('--readme', type=Path, help="also fill the section 'config table' of this file")
    parser.add_argument('--debug', action='store_true', help='show the traceback of a wrong setting')
    args = parser.parse_args()

    counts = {}
    for path in args.configs:
        with user_errors('complexity.py', args.debug):
            cfg = load_config(path)
            shape = args.shape or ((800, 1280) if cfg.default_scope == 'mmdet' else (512, 512))
            counts[Path(path).stem] = measure_config(cfg, *shape)._asdict()
    print(table(counts))
    if args.json:
        args.json.write_text(json.dumps(counts, indent=1) + '\n')
    if args.readme:
        with user_errors('complexity.py', args.debug):
            fill_section(args.readme, 'config table', table(counts))


def table(counts: dict[str, dict]) -> str:
    """The counts as a Markdown table."""
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


if __name__ == '__main__':
    main()
