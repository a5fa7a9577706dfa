"""Wrong inputs for commands, made by seed from good ones, in a process with little memory: command_fuzz.py KIND SEED,SEED,... FOLDER.

Each seed makes a data set, a config, a class file or a command line wrong in some way. The command may take it, or end with one line;
anything else is printed as ESCAPED. The seed and the command are printed first, so that a crash says which one it was.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

sys.path[:0] = [
    str(Path(__file__).parents[1]),
    str(Path(__file__).parents[1] / 'security'),
    str(Path(__file__).parents[2]),
]
from fuzz_driver import damaged, disturbed  # noqa: E402
from own_sets import photo, simple  # noqa: E402
from tiny_models import TinyModel, save_tiny  # noqa: E402

import mmlska_command  # noqa: E402
from mmlska.datasets.scenes import write_scenes  # noqa: E402
from mmlska.engine.config import load_config  # noqa: E402

MEMORY, SECONDS, LONGEST = 3 << 30, 120, 1200
UNFORESEEN = 'unforeseen:'  # one line, which names a file with the traceback
WORDS = [
    '',
    'x',
    '-1',
    '0',
    '1.5',
    'nan',
    'None',
    '[]',
    '{',
    'a=b',
    '=',
    '--',
    '../..',
    '/dev/null',
    'é🙂',
    'x' * 3000,
    'a\nb',
    "'",
]


class Slow(BaseException):
    """A command that does not end."""


def good_files(folder: Path) -> dict[str, TinyModel]:
    """Scenes, two tiny models, photos, and a file of each kind that is not what a command wants."""
    scenes = folder / 'scenes'
    write_scenes(scenes, num_train=3, num_val=2, size=64, num_classes=5, difficulty='easy', texture='random', seed=0)
    models = {name: save_tiny(name, folder / 'models', scenes) for name in ('retinanet', 'upernet')}
    photo(folder / 'photos/a.png')
    photo(folder / 'photos/b.jpg')
    (folder / 'wrong').mkdir()
    (folder / 'wrong/empty.pth').write_bytes(b'')
    (folder / 'wrong/text.py').write_text('this is no config')
    (folder / 'wrong/list.json').write_text('[1, 2]')
    return models


def json_config(model: TinyModel, file: Path, change: Callable[[dict], object] = lambda content: content) -> Path:
    """A config as JSON, after a change."""
    content = load_config(str(model.config)).to_dict()
    content = json.loads(json.dumps(content))
    file.write_text(json.dumps(change(content)))
    return file


def of_data(place: Path, rng: random.Random, good: Path, models: dict) -> list[list]:
    root = simple(place / 'set', count=3)
    file = root / 'all.json'
    content = disturbed(json.loads(file.read_text()), rng)
    data = json.dumps(content).encode('utf-8', 'surrogatepass')
    file.write_bytes(damaged(data, rng) if rng.random() < 0.2 else data)
    if rng.random() < 0.2:
        victim = root / 'images/1.png'
        victim.write_bytes(damaged(victim.read_bytes(), rng))
    train = ['train', models['retinanet'].config, '--data', root, '--epochs', 1, '--no-report']
    return [['check', root], train] if rng.random() < 0.3 else [['check', root]]


def of_configs(place: Path, rng: random.Random, good: Path, models: dict) -> list[list]:
    model = models[rng.choice(list(models))]

    def change(content: dict) -> dict:
        part = rng.choice(
            ['model', 'test_dataloader', 'test_evaluator', 'train_dataloader', 'optim_wrapper', 'train_cfg']
        )
        node = content if rng.random() < 0.3 or not isinstance(content.get(part), (dict, list)) else content[part]
        changed = disturbed(node, rng)
        return changed if node is content else {**content, part: changed}

    config = json_config(model, place / 'own.json', change)
    test = ['test', config, model.checkpoint]
    train = ['train', config, '--data', good / 'scenes', '--epochs', 1, '--no-report']
    return [rng.choice([test, test, train, ['check', config]])]


def of_class_files(place: Path, rng: random.Random, good: Path, models: dict) -> list[list]:
    root = place / 'set'
    for number in range(3):
        photo(root / f'images/{number}.png')
        (root / 'masks').mkdir(exist_ok=True)
        mask = np.random.default_rng(number).integers(0, 3, (60, 80), np.uint8)
        Image.fromarray(mask).save(root / f'masks/{number}.png')
    texts = {
        'classes.txt': 'background\ncat\ndog\n',
        'classes.csv': 'name,r,g,b\nbackground,0,0,0\ncat,1,1,1\ndog,2,2,2\n',
        'classes.json': json.dumps(
            [dict(name=name, color=[i, i, i]) for i, name in enumerate(['background', 'cat', 'dog'])]
        ),
        'data.yaml': 'names:\n  0: background\n  1: cat\n  2: dog\n',
        'labelmap.txt': '# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:1,1,1::\ndog:2,2,2::\n',
        '_classes.csv': 'Pixel Value, Class\n0, background\n1, cat\n2, dog\n',
    }
    name = rng.choice(list(texts))
    lines = texts[name].splitlines()
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(lines))
        how = rng.choice(('drop', 'double', 'word', 'bytes', 'bytes'))
        if how == 'drop':
            lines[at] = ''
        elif how == 'double':
            lines.insert(at, lines[at])
        elif how == 'word':
            lines[at] = re.sub(r'\w+', rng.choice(WORDS).replace('\\', ''), lines[at], count=rng.choice((0, 1)))
    data = '\n'.join(lines).encode(rng.choice(('utf-8', 'utf-8-sig', 'utf-16', 'gbk')), 'replace')
    (root / name).write_bytes(damaged(data, rng) if how == 'bytes' and data else data)
    asked = ['--palette', root / name] if rng.random() < 0.5 else []
    return [['check', root, *asked]]


def of_command_lines(place: Path, rng: random.Random, good: Path, models: dict) -> list[list]:
    model = models[rng.choice(list(models))]
    files = [
        good / 'photos',
        good / 'photos/a.png',
        *(good / 'wrong').iterdir(),
        model.config,
        model.checkpoint,
        good,
        'nothing',
    ]
    scenes = f'data_root={good / "scenes"}/'
    good_lines = [
        [
            'predict',
            good / 'photos',
            '--config',
            model.config,
            '--checkpoint',
            model.checkpoint,
            '--out',
            'out',
            '--batch-size',
            1,
        ],
        [
            'predict',
            good / 'photos/a.png',
            '--config',
            model.config,
            '--checkpoint',
            model.checkpoint,
            '--out',
            'out',
            '--tile',
            64,
        ],
        ['test', model.config, model.checkpoint, '--cfg-options', scenes, '--work-dir', 'work'],
        [
            'train',
            model.config,
            '--data',
            good / 'scenes',
            '--epochs',
            1,
            '--no-report',
            '--work-dir',
            'work',
            '--val-fraction',
            0.3,
        ],
        ['check', good / 'scenes', '--sheet', 'sheet.png'],
        ['check', good / 'scenes', '--fix', 'new'],
        ['convert', good / 'scenes', '--to', 'yolo', '--out', 'new'],
        ['convert', model.checkpoint, '--out', 'new.pth'],
        ['complexity', model.config, '--size', 64],
        ['erf', model.config, '--images', good / 'photos', '--num-images', 1, '--size', 64, '--out', 'erf'],
        ['feature-maps', model.config, good / 'photos/a.png', '--size', 64, '--out', 'maps.png'],
        ['make-scenes', 'made', '--train', 2, '--val', 1, '--size', 64],
        ['browse-errors', model.config, model.checkpoint, '--out', 'errors'],
        ['plot-logs', good, '--out', 'plot.png'],
        ['report', good],
    ]
    line = list(rng.choice(good_lines))
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(1, len(line)) if len(line) > 1 else 0
        how = rng.choice(('drop', 'word', 'file', 'file', 'swap'))
        if how == 'drop':
            del line[at]
        elif how == 'word':
            line[at] = rng.choice(WORDS)
        elif how == 'file':
            line[at] = rng.choice(files)
        else:
            other = rng.randrange(1, len(line))
            line[at], line[other] = line[other], line[at]
        if len(line) < 2:
            break
    return [line]


KINDS = dict(data=of_data, configs=of_configs, class_files=of_class_files, command_lines=of_command_lines)


def run(words: list) -> str:
    """Run a command in this process; what is wrong with how it ends, '' where nothing is."""
    sys.argv = ['mmlska', *(str(word) for word in words)]
    out, err, code = io.StringIO(), io.StringIO(), 0

    def stop(*_) -> None:
        raise Slow

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            mmlska_command.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        return f'{type(error).__name__}: {error!s:.300}'
    finally:
        signal.alarm(0)
    said = (err.getvalue().strip().splitlines() or [''])[-1]
    if 'Traceback' in out.getvalue() + err.getvalue():
        return f'a traceback: {said:.300}'
    if 'the traceback is in' in said:
        return f'{UNFORESEEN} {said:.400}'
    if code not in (0, 1, 2):
        return f'status {code}: {said:.400}'
    if code == 2 and not (': error: ' in said and len(said) <= LONGEST and said.isprintable()):
        return f'last line: {said!r:.400}'
    return ''


def main(kind: str, seeds: list[int], folder: Path) -> None:
    logging.raiseExceptions = False
    tempfile.tempdir = str(folder)  # where tracebacks go
    good = folder / 'good'
    good.mkdir(parents=True)
    models = good_files(good)
    cv2.setNumThreads(1)
    own = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own + MEMORY,) * 2)
    before = sorted((path, path.stat().st_size) for path in good.rglob('*') if path.is_file())
    for seed in seeds:
        place = folder / 'place'
        place.mkdir()
        os.chdir(place)
        for words in KINDS[kind](place, random.Random(f'{kind} {seed}'), good, models):
            print(f'seed {seed}: {" ".join(str(word)[:200] for word in words)!a}', flush=True)
            if fault := run(words):
                print(f'ESCAPED {fault!a}', flush=True)
        after = sorted((path, path.stat().st_size) for path in good.rglob('*') if path.is_file())
        if after != before:
            print(f'ESCAPED: other files: {sorted({*after} ^ {*before})[:3]}', flush=True)
            before = after
        os.chdir(folder)
        shutil.rmtree(place)
    print(f'{len(seeds)} seeds')


if __name__ == '__main__':
    main(sys.argv[1], [int(seed) for seed in sys.argv[2].split(',')], Path(sys.argv[3]).resolve())
