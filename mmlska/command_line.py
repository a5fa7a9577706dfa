"""How this process was started, `mmlska train ...` or `python tools/train.py ...`: for its parser, messages and records of results.

The command loads this file alone, before torch, so the options of other tools are here as well.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple, NoReturn

# How much alike the names of options have to be, without their dashes, to name one instead of another.
_NEAR = 0.7


class _Row(NamedTuple):
    """Options that people know from other tools, without their dashes, and what to do by command; ``{N}`` is the value that was given."""

    names: str
    here: Mapping[str, str]


_ONE_GPU = 'write CUDA_VISIBLE_DEVICES={N} in front of the command'
_DEVICE = 'leave it out: a GPU is used where there is one; CUDA_VISIBLE_DEVICES=N in front of the command chooses one, -1 none'
_OWN_CONFIG = 'write {FILE} alone: the config needs no option'
_RESIZE = 'set scale of the Resize steps in the pipelines of the config'
_NO_WINDOW = 'write --show-dir DIR: pictures are files, and no window opens'
_ROWS = (
    _Row(
        'batch-size batch bs b samples-per-gpu train-batch-size',
        dict(
            train='write --cfg-options train_dataloader.batch_size={N}',
            test='write --cfg-options test_dataloader.batch_size={N}',
            predict='write --batch-size {N}',
        ),
    ),
    _Row('lr lr0 learning-rate base-lr', dict(train='write --cfg-options optim_wrapper.optimizer.lr={N}')),
    _Row('weight-decay wd', dict(train='write --cfg-options optim_wrapper.optimizer.weight_decay={N}')),
    _Row('momentum', dict(train='write --cfg-options optim_wrapper.optimizer.momentum={N}')),
    _Row('optimizer optim', dict(train='write --cfg-options optim_wrapper.optimizer.type={NAME}')),
    _Row(
        'workers num-workers workers-per-gpu j',
        dict(
            train='write --cfg-options train_dataloader.num_workers={N}',
            test='write --cfg-options test_dataloader.num_workers={N}',
        ),
    ),
    _Row('gpu-id gpu-ids gpu', dict(train=_ONE_GPU, test=_ONE_GPU, predict='write --device cuda:{N}')),
    _Row(
        'gpus num-gpus ngpus nproc-per-node devices',
        dict(
            train='leave it out for one GPU, or start tools/dist_train.sh CONFIG {N}',
            test='leave it out for one GPU, or start tools/dist_test.sh CONFIG CHECKPOINT {N}',
        ),
    ),
    _Row('device cpu use-cpu', dict(train=_DEVICE, test=_DEVICE, predict='write --device cpu')),
    _Row(
        'load-from weights checkpoint ckpt pretrained-weights finetune init-checkpoint',
        dict(
            train='write --pretrained {FILE} for the backbone, or --cfg-options load_from={FILE} for the whole model',
            test='write {FILE} alone, after the config: the checkpoint needs no option',
            export='write {FILE} alone, after the config: the checkpoint needs no option',
            predict='write --checkpoint {FILE}',
        ),
    ),
    _Row('resume-from', dict(train='write --resume {FILE}')),
    _Row('auto-resume continue', dict(train='write --resume')),
    _Row('max-epochs num-epochs total-epochs n-epochs', dict(train='write --epochs {N}')),
    _Row(
        'iters max-iters iterations',
        dict(
            train='write --cfg-options train_cfg.max_iters={N} for a config that counts iterations; --epochs counts passes'
        ),
    ),
    _Row('val-interval eval-interval eval-period', dict(train='write --cfg-options train_cfg.val_interval={N}')),
    _Row(
        'save-interval save-period checkpoint-interval',
        dict(train='write --cfg-options default_hooks.checkpoint.interval={N}'),
    ),
    _Row(
        'no-validate noval no-val',
        dict(train='write --cfg-options val_dataloader=None val_evaluator=None val_cfg=None'),
    ),
    _Row('freeze frozen-stages', dict(train='write --cfg-options model.backbone.frozen_stages={N}')),
    _Row('k-size kernel-size', dict(train='write --cfg-options model.backbone.k_size={N}')),
    _Row('fp16 half mixed-precision', dict.fromkeys(('train', 'test', 'predict', 'export'), 'write --dtype fp16')),
    _Row('bf16', dict.fromkeys(('train', 'test', 'predict'), 'write --dtype bf16')),
    _Row(
        'data-root data-path data-dir dataset dataset-dir',
        dict(
            train='write --data {DIR}, or --cfg-options data_root={DIR}/', test='write --cfg-options data_root={DIR}/'
        ),
    ),
    _Row(
        'imgsz img-size img-scale image-size input-size resize',
        dict(
            train=f'{_RESIZE}, or write --tile {{N}} for small objects in large images',
            test=_RESIZE,
            predict=_RESIZE,
            export=_RESIZE,
            complexity='write --shape HEIGHT WIDTH',
        ),
    ),
    _Row('eval metric metrics', dict(test='leave it out: test_evaluator of the config names the metrics')),
    _Row('show view-img', dict(test=_NO_WINDOW, predict='leave it out: pictures are written into OUT/overlays')),
    _Row('format-only', dict(test='write --out FILE.json for a detector, --out DIR for a segmentor')),
    _Row('aug-test', dict(test='write --tta')),
    _Row(
        'conf conf-thres conf-thresh score-threshold score-thres pred-score-thr', dict(predict='write --score-thr {N}')
    ),
    _Row('source input img image images', dict(predict='write {FILE} alone: images need no option')),
    _Row(
        'save-dir output output-dir out-dir project outdir',
        dict(train='write --work-dir {DIR}', predict='write --out {DIR}'),
    ),
    _Row('out-file output-file save-path', dict(predict='write --out DIR', export='write --out {FILE}')),
    _Row(
        'config cfg config-file',
        dict.fromkeys(('train', 'test', 'export', 'complexity', 'erf', 'feature-maps', 'browse-errors'), _OWN_CONFIG),
    ),
    _Row('model', dict(train=_OWN_CONFIG, test=_OWN_CONFIG, predict='write --config CONFIG and --checkpoint FILE')),
)


def program_name() -> str:
    """The name at the head of usage and error lines: 'train.py', or 'mmlska train'."""
    return Path(sys.argv[0]).name


def started_by() -> list[str]:
    """The words that start this program again, without its arguments."""
    # mmlska_command.main() writes both words of the command into the first argument.
    return sys.argv[0].split() if re.fullmatch('mmlska [a-z-]+', sys.argv[0]) else ['python', sys.argv[0]]


def sibling(name: str) -> list[str]:
    """The words that start another command the way this one was started; ``mmlska NAME`` where this is no tool of a checkout.

    Example:
        >>> sibling('browse-errors')
        ['mmlska', 'browse-errors']
    """
    tool = Path(sys.argv[0]).with_name(f'{name.replace("-", "_")}.py')
    return ['python', str(tool)] if tool.parent.name == 'tools' and tool.is_file() else ['mmlska', name]


def recorded_command() -> str:
    """This run's command for a results file; a tool is named without the folder of the checkout, which is another elsewhere."""
    *start, program = started_by()
    program = f'tools/{program_name()}' if start == ['python'] else program
    return shlex.join([*start, program, *sys.argv[1:]])


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        says_nothing = action.default is False or action.default in (None, [], '')
        return action.help if says_nothing else super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """A wrong option is one line, without the usage of all the others."""

    def parse_known_args(self, args=None, namespace=None):
        """Refuse options of other tools first: argparse would take some for the beginning of one that is here, --conf for --config."""
        words = list(sys.argv[1:] if args is None else args)
        command = self.prog.split()[-1].removesuffix('.py').replace('_', '-')
        if found := _foreign_option(command, words, self._option_string_actions):
            self.error(f'unrecognized arguments: {found[0]}; {found[1]}')
        return super().parse_known_args(self._with_values(words), namespace)

    def _with_values(self, words: list[str]) -> list[str]:
        """Give options that need no value the default one where the next word is not one of their choices: it is another argument."""
        given = []
        for word, after in zip(words, [*words[1:], '-']):
            action = self._option_string_actions.get(word)
            alone = action and action.nargs == '?' and action.choices and not after.startswith('-')
            given.append(f'{word}={action.const}' if alone and after not in action.choices else word)
        return given

    def error(self, message: str) -> NoReturn:
        near = []
        if message.startswith('unrecognized arguments: ') and ';' not in message:
            options = {option.lstrip('-'): option for option in self._option_string_actions}
            near = get_close_matches(message.split()[2].split('=')[0].lstrip('-'), options, n=1, cutoff=_NEAR)
        hint = f'; did you mean {options[near[0]]}?' if near else ''
        self.exit(2, f'{self.prog}: error: {message}{hint} (--help lists the options)\n')


def _foreign_option(command: str, words: list[str], known: Iterable[str]) -> tuple[str, str] | None:
    """The first option among the words of a command line that only other tools have, with its value, and what to do here.

    Args:
        command: The command, such as 'train'.
        words: What the user gave to it.
        known: The options that the command has: one of these is never foreign.

    Example:
        >>> _foreign_option('train', ['CONFIG', '--lr', '0.01'], ['--help'])
        ('--lr 0.01', 'write --cfg-options optim_wrapper.optimizer.lr=0.01')
        >>> _foreign_option('train', ['CONFIG', '--seed', '3'], ['--seed'])
    """
    for number, word in enumerate(words):
        option, equals, value = word.partition('=')
        if not option.startswith('-') or option in known:
            continue
        name = option.lstrip('-').replace('_', '-')
        if not equals:
            value = next((after for after in words[number + 1 : number + 2] if not after.startswith('-')), '')
        for row in _ROWS:
            if name in row.names.split() and command in row.here:
                filled = {key: value or key for key in ('N', 'NAME', 'FILE', 'DIR')}
                filled['DIR'] = filled['DIR'].rstrip('/')
                given = word if equals or not value else f'{word} {value}'
                return given, row.here[command].format_map(filled)
    return None


def tool_parser(description: str, *, formatter_class: type = _Help, **options) -> argparse.ArgumentParser:
    """The parser of a command, without options of its own; it is named as the user started it, on every Python.

    Args:
        description: What the command does.
        formatter_class: How ``--help`` is laid out, by default with the default of each option that has one.
        options: Others of ``argparse.ArgumentParser``.
    """
    # Without prog Python 3.14 names the module that `python -m` started.
    return _Parser(prog=program_name(), description=description, formatter_class=formatter_class, **options)
