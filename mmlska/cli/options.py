"""Options that many command lines have: each is spelled and explained here once."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..engine.precision import mixed_dtype
from ..files import check_replaceable
from ..text import shown
from .setting_values import setting_value

#: What ``--dtype`` of training, testing and predicting may be.
DTYPES = ('fp32', 'bf16', 'fp16')


class _Settings(argparse.Action):
    """Adds settings to a dict by their dotted keys, whether the option is given once or several times."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        settings = dict(getattr(namespace, self.dest, None) or {})
        for word in values:
            key, equals, text = word.partition('=')
            if not equals or not all(part.strip() for part in key.split('.')):
                parser.error(f'--cfg-options: {word} is no setting; write KEY=VALUE')
            try:
                settings[key.strip()] = setting_value(text)
            except ValueError as error:
                parser.error(f'--cfg-options {key}: {error}; quote text that has brackets or quotes')
        setattr(namespace, self.dest, settings)


def add_cfg_options(
    parser: argparse.ArgumentParser, help: str = 'override settings of the config by dotted key'
) -> None:
    """Add ``--cfg-options KEY=VALUE ...``."""
    parser.add_argument('--cfg-options', nargs='+', action=_Settings, metavar='KEY=VALUE', help=help)


def add_trust_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust-checkpoint``."""
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='read files that run code of their own when loaded; only if you know who made them',
    )


def add_bands(parser: argparse._ActionsContainer) -> None:
    """Add ``--bands N [N N]``."""
    help = 'channels of multi-band images to show as red, green and blue, or one as grey: 3 2 1'
    parser.add_argument('--bands', type=_band, nargs='+', default=[], metavar='N', help=help)


def add_tiles(parser: argparse._ActionsContainer, tile: str) -> None:
    """Add ``--tile N``, which ``tile`` explains, and ``--overlap N``."""
    parser.add_argument('--tile', type=int, metavar='N', help=tile)
    parser.add_argument(
        '--overlap',
        type=int,
        metavar='N',
        help='pixels that tiles share, a third of --tile at most; by default an eighth',
    )


def add_overwrite(
    parser: argparse._ActionsContainer,
    help: str = 'replace files that mmlska did not write, or that were changed since; never inputs',
) -> None:
    """Add ``--overwrite``."""
    parser.add_argument('--overwrite', action='store_true', help=help)


def add_dtype(parser: argparse.ArgumentParser) -> None:
    """Add ``--dtype`` and ``--amp``, which needs no value, as MMDetection's has none."""
    help = 'mixed precision: type of convolutions and matrix products'
    parser.add_argument('--dtype', choices=DTYPES, default='fp32', help=help)
    mixed = 'the same; without a value fp16 on a GPU, else bf16'
    options = dict(dest='dtype', nargs='?', choices=DTYPES, const=mixed_dtype(), default=argparse.SUPPRESS)
    parser.add_argument('--amp', help=mixed, **options)


def add_debug(parser: argparse.ArgumentParser) -> None:
    """Add ``--debug``."""
    parser.add_argument('--debug', action='store_true', help='show the traceback of a wrong setting')


def _band(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f'{shown(text)} is no number of a channel; give files before --bands'
        ) from error


def out_file(text: str) -> Path:
    """The type of an option that names a file to write: what cannot be replaced is refused before the work, not after it."""
    try:
        check_replaceable(Path(text))
    except FileExistsError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    except (OSError, ValueError) as error:
        raise _no_path(text, error) from error
    return Path(text)


def out_folder(text: str) -> Path:
    """The type of an option that names a folder to write into, which need not be there yet."""
    try:
        taken = Path(text).exists() and not Path(text).is_dir()
    except (OSError, ValueError) as error:
        raise _no_path(text, error) from error
    if taken:
        raise argparse.ArgumentTypeError(f'{text} is a file; name a folder')
    return Path(text)


def _no_path(text: str, error: OSError | ValueError) -> argparse.ArgumentTypeError:
    """A path that the system does not look up: a name that is too long, a folder that is closed to this user, a NUL."""
    reason = getattr(error, 'strerror', None) or error
    return argparse.ArgumentTypeError(f'{shown(text)} cannot be written: {reason}; name another path')
