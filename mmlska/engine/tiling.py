"""What ``--tile`` changes in a config: training and evaluation on overlapping tiles of large images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from mmengine.config import Config

from ..tiles import check_tile, default_overlap
from .config import datasets_of
from .image_reading import step_name

_LOADERS = ('LoadImageFromFile', 'LoadBands')
_WRAPPERS = ('TiledDataset', 'UnreadDataset')
_LOOPS = dict(val='TiledValLoop', test='TiledTestLoop')
#: Candidates of which so much lies in what a tile shows of an object that is learned elsewhere are no background.
_IGNORE_IOF = 0.5


class Tiles(NamedTuple):
    """Tiles of a config."""

    tile: int  # side in pixels
    overlap: int  # pixels that neighbours share at least


def tiles_of(cfg: Config) -> Tiles | None:
    """The tiles in which a config evaluates images; None for whole ones."""
    for split, kind in _LOOPS.items():
        loop = cfg.get(f'{split}_cfg') or {}
        if loop.get('type') == kind:
            return Tiles(loop['tile'], loop['overlap'])
    return None


def trains_on_tiles(cfg: Config) -> bool:
    """Whether the training of a config draws tiles, not images."""
    return 'TiledDataset' in str((cfg.get('train_dataloader') or {}).get('dataset'))


def chosen_tiles(tile: int, overlap: int | None = None) -> Tiles:
    """Tiles by the options of a command.

    Raises:
        ValueError: If there can be no such tiles.
    """
    tiles = Tiles(tile, default_overlap(tile) if overlap is None else overlap)
    try:
        check_tile(*tiles)
    except ValueError as error:
        raise ValueError(f'--tile and --overlap: {error}') from error
    return tiles


def use_tiles(cfg: Config, tiles: Tiles) -> list[str]:
    """Train and evaluate a detector or segmentor on overlapping tiles, which are not resized.

    Steps of its pipelines that resize leave the pixels as they are; a random scale has that of a tile as its middle. A candidate half of
    which lies in a piece of an object that is learned in another tile is ignored.

    Args:
        cfg: The config, changed in place. Its pipelines begin with ``LoadImageFromFile`` or ``LoadBands``.
        tiles: The tiles.

    Returns:
        Lines to print.

    Raises:
        ValueError: If its images cannot be read in tiles.
    """
    check_tileable(cfg)
    lines = []
    for split in ('train', *_LOOPS):
        for dataset in datasets_of(cfg, split):
            lines += [_keep_size(step, tiles.tile) for step in dataset.get('pipeline') or ()]
    cfg.train_dataloader.dataset = _wrapped(cfg.train_dataloader.dataset, 'TiledDataset', tiles._asdict())
    for assigner in _assigners(cfg.model.get('train_cfg') or {}):
        assigner['ignore_iof_thr'] = _IGNORE_IOF
    use_tiled_evaluation(cfg, tiles)
    return [line for line in dict.fromkeys(lines) if line]


def use_tiled_evaluation(cfg: Config, tiles: Tiles) -> None:
    """Evaluate a detector or segmentor on overlapping tiles, each of which its pipeline prepares as an image of its own.

    Raises:
        ValueError: If its images cannot be read in tiles.
    """
    batch = (cfg.get('train_dataloader') or {}).get('batch_size', 1)  # as many tiles as training had memory for
    for split, kind in _LOOPS.items():
        if not cfg.get(f'{split}_dataloader'):
            continue
        check_tileable(cfg, split)
        for dataset in datasets_of(cfg, split):
            for step in dataset.pipeline:
                if step_name(step) == 'LoadAnnotations' and cfg.default_scope == 'mmdet':
                    step.with_mask = (
                        False  # metrics have them from the annotations; as arrays they are as large as the image, each
                    )
        loader = cfg[f'{split}_dataloader']
        cfg[f'{split}_dataloader'] = dict(loader, batch_size=1, dataset=_wrapped(loader.dataset, 'UnreadDataset', {}))
        loop = cfg.get(f'{split}_cfg') or {}
        kept = {key: value for key, value in loop.items() if key == 'fp16'}
        cfg[f'{split}_cfg'] = dict(type=kind, **tiles._asdict(), tile_batch=batch, **kept)


def choose_tiles(cfg: Config, tile: int | None, overlap: int | None = None) -> None:
    """Evaluate a config as ``mmlska test`` is asked for: on tiles of this side, 0 for whole images, None as the config says.

    Raises:
        ValueError: If there can be no such tiles.
    """
    if tile is None and overlap is not None:
        tiles = tiles_of(cfg)
        if tiles is None:
            raise ValueError(f'--overlap {overlap} is that of tiles; give --tile too')
        tile = tiles.tile
    if tile == 0:
        use_whole_images(cfg)
    elif tile is not None:
        use_tiled_evaluation(cfg, chosen_tiles(tile, overlap))


def use_whole_images(cfg: Config) -> None:
    """Evaluate whole images again, at the scale of the pipelines."""
    for split in _LOOPS:
        if (cfg.get(f'{split}_cfg') or {}).get('type') in _LOOPS.values():
            cfg[f'{split}_cfg'] = dict(type=f'{split.title()}Loop')
            cfg[f'{split}_dataloader'].dataset = _wrapped(cfg[f'{split}_dataloader'].dataset, None, {})


def check_tileable(cfg: Config, split: str = 'train') -> None:
    """Raise ValueError if a config does not read the images of a split in a way that tiles can be read in."""
    if cfg.get('default_scope') not in ('mmdet', 'mmseg'):
        raise ValueError(
            f'--tile is for detectors and segmentors; the config has default_scope={cfg.get("default_scope")!r}'
        )
    for dataset in datasets_of(cfg, split):
        steps = [step_name(step) for step in dataset.get('pipeline') or ()]
        if not steps or steps[0] not in _LOADERS:
            first = steps[0] if steps else 'no step'
            raise ValueError(
                f'--tile: the {split} pipeline begins with {first}; give one that begins with {_LOADERS[0]}'
            )
        color = dataset.pipeline[0].get('color_type', 'color')
        if color not in ('color', 'color_ignore_orientation'):
            raise ValueError(f'--tile: {split} images are read with color_type={color!r}; use color')


def _keep_size(step: dict[str, Any], tile: int) -> str:
    """Make a step that resizes keep the size of tiles; a line where that takes a random scale away."""
    name = step_name(step)
    if name == 'RandomResize':
        step['scale'] = (tile, tile)
    elif name in ('Resize', 'RandomChoiceResize', 'ResizeShortestEdge'):
        kind = step['type']
        step.clear()
        step.update(type='Resize', scale_factor=1.0, keep_ratio=True)
        if name != 'Resize':
            return f'tiles are not resized: {kind} of the training pipeline is left out'
    return ''


def _wrapped(dataset: dict[str, Any], kind: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """A data set with a wrapper of this package around each plain one in it, in the place of an earlier such wrapper."""
    if dataset['type'] in _WRAPPERS:
        return _wrapped(dataset['dataset'], kind, options)
    if 'dataset' in dataset:
        return dict(dataset, dataset=_wrapped(dataset['dataset'], kind, options))
    if 'datasets' in dataset:
        return dict(dataset, datasets=[_wrapped(inner, kind, options) for inner in dataset['datasets']])
    return dict(type=kind, dataset=dataset, **options) if kind else dataset


def _assigners(node: Any) -> Iterator[dict[str, Any]]:
    """The assigners of a detector's training that know of ignored boxes."""
    if isinstance(node, dict):
        if node.get('type') == 'MaxIoUAssigner':
            yield node
        node = list(node.values())
    for value in node if isinstance(node, (list, tuple)) else ():
        yield from _assigners(value)
