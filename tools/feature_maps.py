#!/usr/bin/env python
"""Attention maps and EigenCAM over a photo: tools/feature_maps.py CONFIG PHOTO --checkpoint FILE."""

import argparse
from pathlib import Path

import numpy as np
from mmengine.config import DictAction

from mmlska.analysis.feature_maps import attention_maps, eigen_cams, last_of_each_stage
from mmlska.analysis.figures import photo_maps
from mmlska.analysis.photos import build_model, model_input
from mmlska.cli.common import user_errors
from mmlska.engine.config import find_path, load_config
from mmlska.images import read_photo
from mmlska.results import save_figure
from mmlska.weights import use_safe_reader


def main() -> None:
    parser = argparse.ArgumentParser(
        description='Draw attention maps and EigenCAM over a photo.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('photo', help='image file')
    parser.add_argument('--checkpoint', help='checkpoint file; random weights without')
    parser.add_argument('--kinds', nargs='+', choices=['attention', 'eigencam'], default=['attention', 'eigencam'])
    parser.add_argument('--stages', nargs='+', type=int, help='stages to draw, 1 is the finest; all by default')
    parser.add_argument(
        '--blocks', action='store_true', help='the attention of every block, not of the last in each stage'
    )
    parser.add_argument('--size', type=int, help='longer side of the photo in pixels for the model; its own by default')
    parser.add_argument('--seed', type=int, default=0, help='seed of the random weights')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/feature_maps.png'), help='the picture')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override settings')
    parser.add_argument(
        '--trust-checkpoint', action='store_true', help='read checkpoint files that run code of their own'
    )
    parser.add_argument('--debug', action='store_true', help='show the traceback of a wrong setting')
    args = parser.parse_args()

    with user_errors('feature_maps.py', args.debug):
        use_safe_reader(trust=args.trust_checkpoint)
        path = find_path(args.photo)
        if path is None:
            raise FileNotFoundError(f'photo {args.photo} does not exist; name an image file')
        if args.size is not None and args.size < 32:
            raise ValueError(f'--size {args.size} is too small; give 32 pixels or more')
        photo = resized(read_photo(path), args.size)
        model = build_model(load_config(args.config, args.cfg_options), args.checkpoint, args.seed)
        image = model_input(model, photo)
        maps = {}
        if 'attention' in args.kinds:
            attentions = attention_maps(model.backbone, image)
            kept = list(attentions) if args.blocks else last_of_each_stage(list(attentions))
            maps |= {f'attention {short(name)}': attentions[name] for name in kept if wanted(args.stages, name)}
        if 'eigencam' in args.kinds:
            cams = eigen_cams(model.backbone, image)
            maps |= {
                f'EigenCAM, output {i}': cam for i, cam in enumerate(cams, 1) if not args.stages or i in args.stages
            }
        if not maps:
            raise ValueError(
                f'--stages {args.stages} draws nothing; the backbone has {len(model.backbone(image))} outputs'
            )
    maps = {name: inside(values, photo.shape, image.shape) for name, values in maps.items()}
    weights = 'random weights' if args.checkpoint is None else Path(args.checkpoint).name
    title = f'{Path(args.config).stem}, {weights}, {path.name}'
    columns = min(4, len(maps)) if not args.blocks else 5
    print(f'picture: {save_figure(photo_maps(photo[..., ::-1], maps, title, columns), args.out)}')


def resized(photo: np.ndarray, size: int | None) -> np.ndarray:
    """The photo with its longer side scaled to ``size`` pixels."""
    if size is None:
        return photo
    import cv2

    scale = size / max(photo.shape[:2])
    height, width = (max(1, round(n * scale)) for n in photo.shape[:2])
    return cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def short(name: str) -> str:
    """'blocks3.4.attn.spatial_gating_unit' as 'stage 3, block 5'."""
    stage, block, *_ = [*name.split('.'), '']
    number = stage.removeprefix('blocks')
    return f'stage {number}, block {int(block) + 1}' if number.isdigit() and block.isdigit() else name


def wanted(stages: list[int] | None, name: str) -> bool:
    return not stages or any(name.startswith(f'blocks{stage}.') for stage in stages)


def inside(values: np.ndarray, photo: tuple[int, ...], image: tuple[int, ...]) -> np.ndarray:
    """Cut off what lies on the padding at the right and at the bottom."""
    height, width = (max(1, round(n * p / i)) for n, p, i in zip(values.shape, photo[:2], image[2:]))
    return values[:height, :width]


if __name__ == '__main__':
    main()
