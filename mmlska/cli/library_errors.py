"""What errors of PyTorch, OpenCV and other libraries mean for a user's settings."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import traceback
from pathlib import Path

from ..command_line import program_name
from ..text import printable

#: What a message of a library looks like, and what it means here. Groups of the pattern fill the braces.
_MEANINGS = [
    (
        r'Expected more than 1 value per channel when training',
        'a BatchNorm layer gets a single value, as the batch has one image: set train_dataloader.batch_size=2 or more',
    ),
    (
        r'Target 255 is out of bounds',
        'the label 255, which means no label, comes to a head that ignores another one: set the same ignore_index in each head, and in '
        'seg_pad_val of model.data_preprocessor and of the steps of the training pipeline',
    ),
    (
        r'Target (-?\d+) is out of bounds|device-side assert|t >= 0 && t < n_classes',
        'a label is not among the classes of the head: set num_classes of each head to the number of classes of the data; '
        'mmlska check CONFIG compares them',
    ),
    (
        r'index 2 is out of bounds for dimension 0 with size 1 \(in mmengine/model/base_model/data_preprocessor|If the mean has 3 values',
        "grey images come to a model of photos in colours: leave color_type='grayscale' of LoadImageFromFile out, or give "
        'model.data_preprocessor one mean, one std and bgr_to_rgb=False, and model.backbone in_channels=1',
    ),
    (
        r'expected input\[.*\] to have (\d+) channels, but got (\d+) channels',
        'a layer takes {0} channels and gets {1}: set in_channels of the neck and the heads to the channels that the part before '
        'gives (embed_dims of the arch of VAN_LSKA), and in_channels of the backbone to those of the images',
    ),
    (
        r"KeyError: 'mask' \(in mmdet/datasets/transforms/loading",
        'an object has no mask and the pipeline loads masks: give labels with outlines, or a config of boxes alone such as '
        'retinanet_van_lska_t',
    ),
    (
        r'mat1 and mat2 shapes cannot be multiplied \((\w+) and (\w+)\)',
        'a linear layer of {1} gets {0}: set in_channels of the head to what the part before gives',
    ),
    (
        r'stack expects each tensor to be equal size',
        'the images of one batch differ in size: let the training pipeline end in one size, with RandomCrop and then Pad',
    ),
    (
        r'out of memory|DefaultCPUAllocator|Unable to allocate|std::bad_alloc',
        'the memory is not enough: give a smaller batch, smaller images or --tile, and end other programs',
    ),
    (
        r'Too many open files',
        'too many files are open: set train_dataloader.num_workers and val_dataloader.num_workers lower, or raise the limit '
        '(ulimit -n 65536)',
    ),
    (
        r'no kernel image is available',
        'this PyTorch was not built for this GPU: install a build for it; mmlska doctor shows both',
    ),
    (
        r'unable to open shared memory object|insufficient shared memory|unable to write to file </torch_',
        'the shared memory is full: set train_dataloader.num_workers=0, or start the container with --shm-size=8g',
    ),
    (
        r'address already in use|EADDRINUSE',
        'another run uses the port: set another one, MASTER_PORT=29501 mmlska ...',
    ),
]
_DEBUG = '--debug shows the traceback'
_LONGEST = 600  # letters of a message that is not this package's
# Words of Python that name neither a setting nor a file.
_BARE = re.compile(
    r"'\w+' object |list index out of range|tuple index out of range|unsupported operand|unhashable type|"
    r'argument must be|object of type|cannot unpack|not enough values to unpack|too many values to unpack|'
    r'invalid literal for|could not convert string|string indices must be|not supported between instances|'
    r'arg is an empty sequence|division by zero|positional argument'
)


def described(error: BaseException) -> str:
    """One line for an error: what it means for the settings, or its message; where that alone says little, also its kind and place.

    Example:
        >>> described(ValueError('--size 3 is\\n  too small'))
        '--size 3 is too small'
        >>> described(KeyError('bbox'))
        "KeyError: 'bbox'; --debug shows the traceback"
    """
    if meaning := meaning_of(error):
        return f'{meaning}; {_DEBUG}'
    text = _text(error)
    next_step = ';' in text  # as messages of this package have it
    says_all = ' ' in text and not _BARE.search(text) and not isinstance(error, (AssertionError, IndexError))
    if next_step:
        return text
    return _while_built(error) + (text[:_LONGEST] if says_all else f'{_named(error)}; {_DEBUG}')


def meaning_of(error: BaseException) -> str | None:
    """What a library's error means for the settings, with its own words; None where it is not known.

    Example:
        >>> meaning_of(RuntimeError('mat1 and mat2 shapes cannot be multiplied (2x8 and 16x4)'))[:61]
        'a linear layer of 16x4 gets 2x8: set in_channels of the head '
    """
    if type(error).__module__.startswith('mmlska') or '; ' in _text(error):  # it says what to do itself
        return None
    named = _named(error)
    for pattern, meaning in _MEANINGS:
        if found := re.search(pattern, named, re.IGNORECASE):
            return f'{meaning.format(*found.groups())} ({_text(error)[:160]})'
    return None


def end_with_line(error: Exception) -> None:
    """Print one line for an error that nothing foresaw, and exit: with status 2 where it is known what it means for the settings.

    Else its traceback goes to a file, which the line names, and the status is 1.
    """
    if meaning_of(error) or _while_built(error):
        print(f'{program_name()}: error: {described(error)}', file=sys.stderr)
        sys.exit(2)
    handle, file = tempfile.mkstemp(prefix='mmlska-error-', suffix='.txt')
    with os.fdopen(handle, 'w', encoding='utf-8', errors='backslashreplace') as opened:
        opened.write(''.join(traceback.format_exception(error)))
    print(f'{program_name()}: error: {_named(error)}; the traceback is in {file}', file=sys.stderr)
    sys.exit(1)


def _text(error: BaseException) -> str:
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    return printable(' '.join(str(message).split()))


def _while_built(error: BaseException) -> str:
    """Which part of the config MMEngine was building when an error was raised; '' for none."""
    built = ''
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == 'build_from_cfg':
            kind = frame.f_locals.get('obj_type', '')
            built = f'{getattr(kind, "__name__", kind)} cannot be built from the config, correct its settings: '
    return built


def _named(error: BaseException) -> str:
    """The kind of an error, its message, and where it was raised."""
    text = repr(error.args[0]) if isinstance(error, KeyError) and error.args else _text(error)
    frames = traceback.extract_tb(error.__traceback__)
    text = text or (frames[-1].line if frames else '')  # an assertion has often nothing but its condition
    place = f' (in {_short(Path(frames[-1].filename))}, line {frames[-1].lineno})' if frames else ''
    return f'{type(error).__name__}{f": {text[:300]}" if text else ""}{place}'


def _short(file: Path) -> str:
    """The file of a package without the folders above the package."""
    parts = file.parts
    return '/'.join(parts[parts.index('site-packages') + 1 :] if 'site-packages' in parts else parts[-3:])
