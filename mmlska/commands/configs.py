"""List the configs that come with mmlska, with parameters and multiply-adds of their models."""

import argparse

from mmlska_command import load_alone


def make_parser() -> argparse.ArgumentParser:
    parser = load_alone('command_line').tool_parser(__doc__)
    parser.add_argument('--names', action='store_true', help='nothing but the names')
    return parser


def main() -> None:
    args = make_parser().parse_args()
    catalog = load_alone('catalog')
    print('\n'.join(catalog.config_files()) if args.names else catalog.listing())
