"""The command `mmlska`, which also starts the tools: `mmlska train CONFIG` is tools/train.py.

It stands beside the package because `import mmlska` loads torch: `mmlska --help` need not wait for that, and what has to be set before
torch is loaded can be set here.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

#: What each command does. One is ``mmlska.commands.<name>``, with ``-`` for ``_``.
COMMANDS = {
    'train': 'train a detector, segmentor or classifier, on its own data set or on yours (--data)',
    'test': 'evaluate a checkpoint: box and mask AP, mIoU or accuracy',
    'predict': 'predict images, folders or videos',
    'export': 'write a trained model as one file: ONNX, torch.export, AOTInductor',
    'configs': 'list the configs that come with mmlska, with parameters and FLOPs',
    'check': 'list what is wrong with a data set',
    'convert': 'convert weights between published layouts, or tell what a file is',
    'doctor': 'tell what is installed, what works, and how to fix the rest',
    'app': 'serve a page to try trained models on',
    'make-scenes': 'write generated scenes to train on',
    'report': "write a training's report.html again",
    'plot-logs': 'draw loss, learning rate and metrics of runs',
    'browse-errors': "make a gallery of a model's errors",
    'complexity': 'count parameters and FLOPs of configs or backbones',
    'erf': 'draw effective receptive fields',
    'feature-maps': 'draw attention maps and EigenCAM over a photo',
    'robustness': 'test a checkpoint under image corruptions',
    'imagenet-robustness': 'test a classifier on ImageNet-C, C-bar, -A, -R and -Sketch',
    'shape-bias': 'measure whether models decide by shape or by texture',
    'test-exports': 'measure what exporting costs in AP or mIoU',
    'benchmark': 'measure speed and memory beside the published code',
    'yolo-ablate': 'train stock YOLO and YOLO with LSKA alike and compare them',
    'completion': 'print a script that completes commands, options and configs in a shell',
}
#: These import nothing of the package: they start at once, and where MMEngine is missing or broken.
ALONE = ('configs', 'doctor')


@contextmanager
def _ended_by_others() -> Iterator[None]:
    """No traceback where the user presses Ctrl-C, or the reader of a pipe has read enough: `mmlska configs | head -1`.

    The exit status is that which shells give where SIGINT or SIGPIPE ended a program.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # here and not when Python ends, where an error cannot be caught
    except KeyboardInterrupt:
        print(f'{Path(sys.argv[0]).name}: interrupted', file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # takes what is still to be flushed
        sys.exit(141)


@_ended_by_others()
def main() -> None:
    """Run the command that the first argument names."""
    name, *arguments = sys.argv[1:] or ['--help']
    if name in ('-h', '--help'):
        print(_help())
    elif name == '--version':
        print(load_alone('version').__version__)
    elif name in COMMANDS:
        sys.argv = [f'mmlska {name}', *arguments]  # what usage and error lines begin with
        run(name)
    else:
        near = get_close_matches(name, COMMANDS, n=1)
        hint = f'did you mean {near[0]}?' if near else 'give one of the list'
        sys.exit(_error('mmlska', f'there is no command {name!r}; {hint} (mmlska --help has the list)'))


@_ended_by_others()
def run(name: str) -> None:
    """Run a command on ``sys.argv``: the one place where the command `mmlska` and the tools begin.

    What has to be in the environment before torch is loaded belongs at the top of this function.
    """
    if name not in ALONE:  # doctor tells what it finds before that
        load_alone('threads').prepare_tool()
    module = name.replace('-', '_')
    with nullcontext() if '--verbose' in sys.argv else load_alone('chatter').without_chatter():
        try:
            command = (
                load_alone(f'commands/{name}')
                if name in ALONE
                else importlib.import_module(f'mmlska.commands.{module}')
            )
        except ImportError as error:
            sys.exit(_error(Path(sys.argv[0]).name, load_alone('environment').import_advice(error)))
        try:
            command.main()
        except Exception as error:
            if '--debug' in sys.argv or name in ALONE or isinstance(error, BrokenPipeError):
                raise
            importlib.import_module('mmlska.cli.library_errors').end_with_line(error)


def load_alone(name: str) -> ModuleType:
    """``mmlska/<name>.py``, which imports nothing of mmlska, without the package: that loads torch, or fails where MMEngine is broken."""
    file = Path(__file__).with_name('mmlska') / f'{name}.py'
    spec = importlib.util.spec_from_file_location(f'mmlska_{Path(name).name}', file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = (f'  {name:<{width}}  {text}' for name, text in COMMANDS.items())
    return '\n'.join(
        [
            'usage: mmlska COMMAND ...',
            '',
            *lines,
            '',
            'mmlska COMMAND --help lists the options of a command. A CONFIG is a file, or a name that `mmlska configs` lists:',
            '',
            '  mmlska train mask_rcnn_van_lska_t --data DIR',
        ]
    )


def _error(program: str, text: str) -> int:
    print(f'{program}: error: {text}', file=sys.stderr)
    return 2


if __name__ == '__main__':
    main()
