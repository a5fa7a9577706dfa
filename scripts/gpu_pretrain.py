#!/usr/bin/env python
"""Pretraining on a GPU that is lent for minutes: pack the photos, train and continue from a state in small files, publish.

    pack SRC DST --mebibytes 46        encode the sheets anew, so that they fit through
    train --data DST --out OUT         on the GPU; --state OLD continues, OUT gets at most 8 files of at most 16 MiB
    publish --out OUT NAME             into the package, evaluated on the original photos

The recipe is the config's, configs/pretrain_van_lska_t_tiny_imagenet.py. See docs/pretraining.md.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from mmengine.config import Config

from mmlska.cli.errors import user_errors
from mmlska.cli.options import add_cfg_options, add_debug

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/pretrain_van_lska_t_tiny_imagenet.py'
#: By this line in its SOURCE.md a folder is known as one that may be replaced.
MADE_BY = '- made by scripts/gpu_pretrain.py pack'
#: Below this quality of the training sheets the validation sheets give way.
LOWEST = 5


# ---- pack ----


def encode(sheet: np.ndarray, quality: int) -> bytes:
    """(H, W, 3) uint8 as WebP, as small as the encoder can make it."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(sheet).save(file, 'WEBP', quality=quality, method=6)
    return file.getvalue()


def read_sheets(paths: Iterable[Path]) -> dict[Path, np.ndarray]:
    """All sheets, (H, W, 3) uint8."""
    from PIL import Image

    return {path: np.asarray(Image.open(path).convert('RGB')) for path in paths}


def encode_all(paths: Sequence[Path], quality: int) -> dict[Path, bytes]:
    """Encode files anew, a sheet for each thread at a time."""

    def one(path: Path) -> bytes:
        return encode(read_sheets([path])[path], quality)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(paths, pool.map(one, paths)))


def best_quality(paths: Sequence[Path], room: int, sample: int = 8) -> tuple[int, dict[Path, bytes]] | None:
    """The highest quality at which files fit in so many bytes, and the files; None if none does.

    Bisection on some of the files, then all of them, which decide.
    """
    some = read_sheets(paths[:: max(len(paths) // sample, 1)])
    scale = sum(p.stat().st_size for p in paths) / sum(p.stat().st_size for p in some)
    low, high = 0, 101  # fits; does not
    while high - low > 1:
        middle = (low + high) // 2
        fits = scale * sum(len(encode(sheet, middle)) for sheet in some.values()) <= room
        low, high = (middle, high) if fits else (low, middle)
    quality = max(low, 1)
    while quality >= 1:
        files = encode_all(paths, quality)
        if sum(map(len, files.values())) <= room:
            return quality, files
        quality -= 1
    return None


def pack(source: Path, target: Path, mebibytes: float) -> str:
    """Write the packed photos; return what was done.

    Raises:
        FileNotFoundError: If the source is no packed data set.
        FileExistsError: If the target holds something else.
        ValueError: If no quality is low enough.
    """
    if not (source / 'classes.json').is_file():
        raise FileNotFoundError(f'{source} has no classes.json; give the folder of Tiny-ImageNet as packed sheets')
    made = target / 'SOURCE.md'
    ours = made.is_file() and MADE_BY in made.read_text(encoding='utf-8')
    if target.exists() and not ours and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f'{target} is not empty and was not made by pack; give a new folder')
    if target.resolve() == source.resolve():
        raise FileExistsError(f'{target} is the source itself; give a new folder')
    wnids = [c['wnid'] for c in json.loads((source / 'classes.json').read_text(encoding='utf-8'))]
    train, val = ([source / split / f'{wnid}.webp' for wnid in wnids] for split in ('train', 'val'))
    missing = next((path for path in (*train, *val) if not path.is_file()), None)
    if missing is not None:
        raise FileNotFoundError(f'{missing} is missing; classes.json names it')
    original = (source / 'SOURCE.md').read_text(encoding='utf-8') if (source / 'SOURCE.md').is_file() else ''
    size_of_val = sum(path.stat().st_size for path in val)
    # SOURCE.md grows by some lines.
    room = int(mebibytes * 2**20) - (source / 'classes.json').stat().st_size - len(original.encode()) - 1024
    found = best_quality(train, room - size_of_val) if room > size_of_val else None
    if found is not None and found[0] >= LOWEST:
        words, val_files = 'the original files', {path: path.read_bytes() for path in val}
    else:
        files = encode_all(train, LOWEST)
        left = best_quality(val, room - sum(map(len, files.values())))
        if left is None:
            least = sum(map(len, files.values())) + sum(map(len, encode_all(val, 1).values()))
            raise ValueError(f'--mebibytes {mebibytes:g} is too little; give {least / 2**20 + 0.1:.1f} or more')
        found, (quality, val_files) = (LOWEST, files), left
        words = f'encoded anew with quality {quality}'
    quality, files = found
    lines = [MADE_BY, f'- training sheets: encoded anew with quality {quality}', f'- validation sheets: {words}']
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that it is there as a whole or not at all.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f'.{target.name}.') as temporary:
        folder = Path(temporary) / 'packed'
        for split, contents in (('train', files), ('val', val_files)):
            (folder / split).mkdir(parents=True)
            for path, content in contents.items():
                (folder / split / path.name).write_bytes(content)
        shutil.copyfile(source / 'classes.json', folder / 'classes.json')
        (folder / 'SOURCE.md').write_text('\n'.join([original.rstrip(), *lines, '']).lstrip(), encoding='utf-8')
        if target.exists():
            shutil.rmtree(target)
        folder.rename(target)
    total = sum(path.stat().st_size for path in target.rglob('*') if path.is_file())
    return f'{target}: {total / 2**20:.1f} MiB; training sheets of quality {quality}; validation sheets: {words}'


# ---- train ----


def options_of(args: argparse.Namespace) -> dict:
    """What the command line changes in the config, by dotted key."""
    from mmlska.engine.config import load_config

    options = dict(args.cfg_options or {})
    cfg = load_config(args.config, options)
    backbone, last = cfg.model.backbone, len(cfg.param_scheduler) - 1
    wanted = {'model.backbone.k_size': args.k_size, 'model.backbone.attention': args.attention}
    given = {'model.backbone.k_size': backbone.k_size, 'model.backbone.attention': backbone.get('attention', 'lska')}
    if args.epochs is not None:
        warm_up = cfg.param_scheduler[last].begin
        if args.epochs <= warm_up:
            raise ValueError(f'--epochs {args.epochs} must be more than the {warm_up} of the warm-up')
        wanted |= {'train_cfg.max_epochs': args.epochs, f'param_scheduler.{last}.end': args.epochs}
        given |= {
            'train_cfg.max_epochs': cfg.train_cfg.max_epochs,
            f'param_scheduler.{last}.end': cfg.param_scheduler[last].end,
        }
    return options | {key: value for key, value in wanted.items() if value != given[key]}


def prepare(args: argparse.Namespace):
    """Everything up to the first step, as a function that trains and returns the place and whether it is finished."""
    started = time.monotonic()
    import torch
    from gpu_pretrain_loop import PROGRESS, Loop, Place, Training, read_state, recipe_of
    from mmengine.registry import DATASETS

    from mmlska.classification import Photos
    from mmlska.engine.config import load_config

    if args.minutes <= 0:
        raise ValueError(f'--minutes {args.minutes:g} must be above 0')
    if not (args.data / 'classes.json').is_file():
        raise FileNotFoundError(f'--data {args.data} has no classes.json; give the folder that pack wrote')
    continues = args.state is not None and args.state.resolve() == args.out.resolve()
    if (args.out / PROGRESS).exists() and not continues:
        raise FileExistsError(
            f'--out {args.out} holds a training; give another folder, or --state {args.out} to continue'
        )
    options = options_of(args)
    cfg: Config = load_config(args.config, {**options, 'data_root': f'{args.data}/'})
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    sets = [DATASETS.build(cfg[f'{split}_dataloader'].dataset) for split in ('train', 'val')]
    photos, val_photos = (Photos(s.images.to(device), s.labels.to(device), s.metainfo['classes']) for s in sets)
    classes, batch = len(photos.metainfo['classes']), cfg.train_dataloader.batch_size
    if classes > cfg.model.num_classes or len(photos) < batch:
        raise ValueError(
            f'--data {args.data} has {len(photos)} photos of {classes} classes; the config wants {batch} or more of at most '
            f'{cfg.model.num_classes}'
        )
    recipe = recipe_of(cfg, args.seed, photos)
    tensors, place = (None, Place()) if args.state is None else read_state(args.state, recipe)
    torch.backends.cudnn.benchmark = True
    # Autograd keeps to the stream of a parameter's first gradient, so all is done on the one that the graph is captured on.
    stream = torch.cuda.Stream() if device.type == 'cuda' else None  # torch.cuda.stream(None) changes nothing
    with torch.cuda.stream(stream):
        training = Training(cfg, args.seed, device, photos.images.shape[1:3])
        if tensors is not None:
            training.load(tensors)
    if stream is not None:
        torch.cuda.synchronize()  # the photos came on another stream
    source = args.data / 'SOURCE.md'
    graph = device.type == 'cuda' and not args.no_graph
    about = dict(
        command=shlex.join(['python', 'scripts/gpu_pretrain.py', *args.argv]),
        config=args.config,
        options=options,
        data=source.read_text(encoding='utf-8').splitlines() if source.is_file() else [],
        graph=graph,
    )
    deadline = started + 60 * args.minutes
    args.out.mkdir(parents=True, exist_ok=True)

    def train() -> tuple[Place, bool]:
        with torch.cuda.stream(stream):
            print(f'ready after {time.monotonic() - started:.0f} s', flush=True)
            if graph:
                try:
                    training.capture()
                except RuntimeError as error:  # a failed capture leaves CUDA unusable, but not the loan
                    print(f'no CUDA graph, starting over without one: {error}', flush=True)
                    left = (deadline - time.monotonic()) / 60
                    rest = [*args.argv, '--no-graph', '--minutes', f'{left:.3f}']
                    os.execv(sys.executable, [sys.executable, str(Path(__file__).resolve()), *rest])
                print(f'graph captured after {time.monotonic() - started:.0f} s', flush=True)
            loop = Loop(cfg, training, (photos, val_photos), recipe, place, args.out, about, deadline, args.steps)
            return place, loop.run()

    return train


# ---- publish ----


def publish_run(out: Path, name: str, folder: Path, docs: Path) -> dict:
    """Turn a finished training into an entry of the package, see mmlska.classification.publish; return the entry.

    Raises:
        FileNotFoundError: If the folder holds no training.
        ValueError: If the training is not finished.
    """
    import torch
    from gpu_pretrain_loop import PROGRESS, WEIGHTS

    from mmlska.classification.publish import draw_curve, publish
    from mmlska.results import write_json
    from mmlska.weights import read_checkpoint

    for file in (PROGRESS, WEIGHTS):
        if not (out / file).is_file():
            raise FileNotFoundError(f'--out {out} has no {file}; give the folder that a finished training wrote')
    progress = json.loads((out / PROGRESS).read_text(encoding='utf-8'))
    if not progress['finished']:
        at = f'{progress["step"]} of {progress["steps"]} steps'
        raise ValueError(f'--out {out} is not finished: {at}; continue with train --state {out}')
    log = f'docs/results/{name}.json'
    recipe, options = progress['recipe'], progress['options']
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = Path(temporary) / 'weights.pth'
        meta = dict(epoch=recipe['epochs'], seed=recipe['seed'])
        torch.save(dict(state_dict=read_checkpoint(out / WEIGHTS).content, meta=meta), checkpoint)
        entry = publish(progress['config'], str(checkpoint), name, log=log, folder=folder, options=options)
    rows = progress['epochs']
    curve = {key: [[r['epoch'], r[key]] for r in rows if key in r] for key in ('loss', 'top1', 'top5')}
    kept = {key: progress[key] for key in ('command', 'date', 'hardware', 'versions', 'recipe')}
    write_json(
        docs / f'results/{name}.json', dict(**kept, trained_on=progress['data'], entry=entry, curve=curve, epochs=rows)
    )
    draw_curve(curve, docs / f'{name}.png')
    return entry


# ---- command line ----


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    from mmlska.weights.manifest import FILES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    sub = commands.add_parser('pack', help='encode the sheets anew, so that they fit through')
    sub.add_argument('source', type=Path, metavar='SRC', help='Tiny-ImageNet as packed sheets')
    sub.add_argument('target', type=Path, metavar='DST', help='new folder, of the same layout')
    sub.add_argument('--mebibytes', type=float, default=46.0, metavar='N', help='size of the folder; default 46')
    sub = commands.add_parser('train', help='train, or continue')
    sub.add_argument('--data', type=Path, required=True, help='folder that pack wrote, or the original one')
    sub.add_argument('--out', type=Path, required=True, help='folder for weights, progress.json and state')
    sub.add_argument('--state', type=Path, help='folder of a training to continue; may be --out')
    sub.add_argument('--k-size', type=int, default=23, metavar='K')
    sub.add_argument('--attention', default='lska', help='as the backbone names it; default lska')
    sub.add_argument('--seed', type=int, default=0)
    sub.add_argument('--epochs', type=int, help="default: the config's")
    sub.add_argument(
        '--minutes', type=float, default=8.0, help='all is written this many minutes after the start; default 8'
    )
    sub.add_argument('--steps', type=int, metavar='N', help='stop after this many steps')
    sub.add_argument('--no-graph', action='store_true', help='every step anew instead of one CUDA graph')
    sub.add_argument('--config', default=CONFIG, help=f'default {CONFIG}')
    add_cfg_options(sub, 'other settings of it')
    sub = commands.add_parser('publish', help='put a finished training into the package')
    sub.add_argument('name', metavar='NAME', help='for mmlska://NAME, such as van_lska_t_k7_tiny_imagenet')
    sub.add_argument('--out', type=Path, required=True, help='folder of the training')
    sub.add_argument('--folder', type=Path, default=FILES, help="where to; by default the package's weights")
    sub.add_argument('--docs', type=Path, default=ROOT / 'docs', help='folder for picture and results/NAME.json')
    for sub in commands.choices.values():
        add_debug(sub)
    args = parser.parse_args(argv)
    args.argv = list(sys.argv[1:] if argv is None else argv)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    if args.command == 'train':
        from mmlska.engine.errors import TrainingError
        from mmlska.weights import WeightsError

        with user_errors(debug=args.debug):
            train = prepare(args)
        with user_errors(debug=args.debug, kinds=(TrainingError, WeightsError)):
            place, finished = train()
        print('finished' if finished else f'stopped after {place.step} steps; continue with --state {args.out}')
        return
    with user_errors(debug=args.debug):
        if args.command == 'pack':
            print(pack(args.source, args.target, args.mebibytes))
        else:
            entry = publish_run(args.out, args.name, args.folder, args.docs)
            print(f'written: {args.folder / entry["file"]}, top-1 {entry["top1"]}, top-5 {entry["top5"]}')


if __name__ == '__main__':
    main()
