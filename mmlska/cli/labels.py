"""How commands are told to read a folder of labels, and the one that writes it in another format."""

from __future__ import annotations

import argparse
from typing import Any

from ..own_data.convert import convert_labels
from ..own_data.writers import WRITERS
from .errors import user_errors

#: The options of :func:`add_label_options`, for messages.
LABEL_OPTIONS = '--format, --instances and --palette'


def add_label_options(parser: argparse._ActionsContainer) -> None:
    """Add ``--format NAME``, ``--instances`` and ``--palette FILE``."""
    help = 'read labels of this format, where DIR holds several: coco, yolo, voc ...'
    parser.add_argument('--format', dest='label_format', metavar='NAME', help=help)
    help = 'take each connected piece of a class in masks for one object'
    parser.add_argument('--instances', action='store_true', help=help)
    help = 'names and colours of the classes in masks; by default DIR/classes.json'
    parser.add_argument('--palette', metavar='FILE', help=help)


def label_options(args: argparse.Namespace) -> dict[str, Any]:
    """Those of the options that were given, as :func:`mmlska.own_data.adapt_config.use_own_data` and its like take them."""
    options = ('palette', 'label_format', 'instances')
    return {name: value for name in options if (value := getattr(args, name)) not in (None, False)}


def convert_folder(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Write the folder ``args.source`` in the format ``args.to`` into ``args.out``."""
    if args.target or args.inspect or args.extract_backbone or args.ema or args.publish or args.overwrite:
        parser.error(
            f'{args.source} is a folder of labels: give --to and --out NEW_DIR, and nothing that is for weights'
        )
    if not args.out or args.to is None:
        parser.error(f'{args.source} is a folder of labels: give --to ({", ".join(WRITERS)}) and --out NEW_DIR')
    with user_errors(debug=args.debug):
        print(*convert_labels(args.source, args.to, args.out, **label_options(args)), sep='\n')
