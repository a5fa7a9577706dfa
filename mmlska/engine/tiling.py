"""What ``--tile`` changes in a config: training and evaluation on overlapping tiles of large images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from mmengine.config import Config

from ..tiles import checked_tiles
from .config_parts import datasets_of
from .image_reading import each_step, step_name

_LOADERS = ('LoadImageFromFile', 'LoadBands')
_WRAPPERS = ('TiledDataset', 'UnreadDataset')
_LOOPS = dict(val='TiledValLoop', test='TiledTestLoop')
# Steps that bring images to a size of their own.
_RESIZE = ('Resize', 'RandomChoiceResize', 'ResizeShortestEdge', 'FixScaleResize', 'ResizeToMultiple')


class Tiles(NamedTuple):
    """Tiles of a config."""

    tile: int  # side in pixels
    overlap: int  # pixels that neighbours share at least

    def __str__(self) -> str:
        return f'tiles of {self.tile} pixels that share {self.overlap}'


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


def chosen_tiles(cfg: Config, tile: int | None, overlap: int | None = None) -> Tiles | None:
    """The tiles that the options of a command mean; None for those of the config, or for whole images.

    Args:
        cfg: The config.
        tile: ``--tile``; 0 for whole images.
        overlap: ``--overlap``; by default an eighth.

    Raises:
        ValueError: If there can be no such tiles.
    """
    own = tiles_of(cfg)
    if tile is None and overlap is None:
        return own
    tile = own.tile if tile is None and own else tile
    if tile in (0, None) and not isinstance(tile, bool):
        if overlap is not None:
            raise ValueError(f'--overlap {overlap} is that of tiles; give --tile N too, or leave --overlap out')
        return None
    try:
        return Tiles(*checked_tiles(tile, overlap))
    except ValueError as error:
        raise ValueError(f'--tile and --overlap: {error}') from error


def training_tiles(cfg: Config, tile: int | None, overlap: int | None = None) -> Tiles | None:
    """The tiles that a config is to be trained on by the options of a command, see :func:`chosen_tiles`.

    Raises:
        ValueError: If there can be no such tiles, or whole images are asked for that the pipelines do not scale any more.
    """
    tiles = chosen_tiles(cfg, tile, overlap)
    if tiles is None and trains_on_tiles(cfg):
        raise ValueError(
            '--tile 0: this config was made for tiles and no longer resizes images; train the config that it was made from'
        )
    if tiles is not None:
        check_tileable(cfg)
    return tiles


def use_tiles(cfg: Config, tiles: Tiles) -> list[str]:
    """Train and evaluate a detector or segmentor on overlapping tiles, which are not resized.

    Steps of its pipelines that resize leave the pixels as they are, and a random scale is one of their own size. What a tile shows of an
    object that is learned in another one is ignored.

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
        for pipeline in _pipelines((cfg.get(f'{split}_dataloader') or {}).get('dataset')):
            lines += [_keep_size(step, split) for step in each_step(pipeline)]
    for dataset in datasets_of(cfg, 'train'):
        if dataset.get('filter_cfg'):  # images without objects give tiles without any
            dataset.filter_cfg = dict(dataset.filter_cfg, filter_empty_gt=False)
    cfg.train_dataloader.dataset = _wrapped(cfg.train_dataloader.dataset, 'TiledDataset', tiles._asdict())
    for assigner in _assigners(cfg.model.get('train_cfg')):
        assigner['type'] = 'TileAssigner'
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
        loader = cfg[f'{split}_dataloader']
        cfg[f'{split}_dataloader'] = dict(loader, batch_size=1, dataset=_wrapped(loader.dataset, 'UnreadDataset', {}))
        cfg[f'{split}_cfg'] = dict(type=kind, **tiles._asdict(), tile_batch=batch, **_precision(cfg, split))


def choose_tiles(cfg: Config, tile: int | None, overlap: int | None = None) -> None:
    """Evaluate a config as ``mmlska test`` is asked for: on tiles of this side, 0 for whole images, None as the config says.

    Raises:
        ValueError: If there can be no such tiles.
    """
    tiles = chosen_tiles(cfg, tile, overlap)
    if tiles is None:
        use_whole_images(cfg)
    elif tiles != tiles_of(cfg):
        use_tiled_evaluation(cfg, tiles)


def use_whole_images(cfg: Config) -> None:
    """Evaluate whole images, as the test pipeline prepares them: of a model that was trained on tiles at their own size."""
    for split in _LOOPS:
        if (cfg.get(f'{split}_cfg') or {}).get('type') in _LOOPS.values():
            cfg[f'{split}_cfg'] = dict(type=f'{split.title()}Loop', **_precision(cfg, split))
            cfg[f'{split}_dataloader'].dataset = _wrapped(cfg[f'{split}_dataloader'].dataset, None, {})


def _precision(cfg: Config, split: str) -> dict[str, Any]:
    return {key: value for key, value in (cfg.get(f'{split}_cfg') or {}).items() if key == 'fp16'}


def check_tileable(cfg: Config, split: str = 'train') -> None:
    """Raise ValueError if a config does not read the images of a split in a way that tiles can be read in."""
    if cfg.get('default_scope') not in ('mmdet', 'mmseg'):
        raise ValueError(
            f'--tile is for detectors and segmentors, and this config has default_scope={cfg.get("default_scope")!r}; leave --tile out'
        )
    datasets = list(datasets_of(cfg, split))
    if not datasets:
        raise ValueError(f'--tile: the config has no data set in {split}_dataloader; give one, or leave --tile out')
    for dataset in datasets:
        steps = [step_name(step) for step in dataset.get('pipeline') or ()]
        if not steps or steps[0] not in _LOADERS:
            first = steps[0] if steps else 'no step'
            raise ValueError(
                f'--tile: the {split} pipeline begins with {first}; give one that begins with {_LOADERS[0]}'
            )
        color = dataset.pipeline[0].get('color_type', 'color')
        if color not in ('color', 'color_ignore_orientation'):
            raise ValueError(f'--tile: {split} images are read with color_type={color!r}; use color')


def _pipelines(dataset: dict[str, Any] | None) -> Iterator[list[dict[str, Any]]]:
    """The pipelines of a data set and of those in it."""
    if not dataset:
        return
    yield dataset.get('pipeline') or []
    for inner in (dataset.get('dataset'), *(dataset.get('datasets') or ())):
        yield from _pipelines(inner)


def _keep_size(step: dict[str, Any], split: str) -> str:
    """Make a step that resizes keep the size of tiles; a line where that takes more than a fixed scale away, or does not work."""
    name, kind = step_name(step), step['type']
    if name == 'RandomResize':
        options = {key: value for key, value in step.items() if key not in ('type', 'scale', 'ratio_range')}
        ratio_range = step.get('ratio_range') or (1.0, 1.0)
        step.clear()
        step.update(type='RandomScale', ratio_range=ratio_range, **options)
    elif name in _RESIZE:
        step.clear()
        step.update(type='Resize', scale_factor=1.0, keep_ratio=True)
        if name != 'Resize':
            return f'tiles are not resized: {kind} of the {split} pipeline is left out'
    elif 'Resize' in name:
        return f'the {split} pipeline has {kind}, which may resize tiles: leave it out if objects get smaller'
    return ''


def _wrapped(dataset: dict[str, Any], kind: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """A data set with a wrapper of this package around each plain one in it, instead of an earlier one."""
    if dataset['type'] in _WRAPPERS:
        return _wrapped(dataset['dataset'], kind, options)
    if 'dataset' in dataset:
        return dict(dataset, dataset=_wrapped(dataset['dataset'], kind, options))
    if 'datasets' in dataset:
        return dict(dataset, datasets=[_wrapped(inner, kind, options) for inner in dataset['datasets']])
    return dict(type=kind, dataset=dataset, **options) if kind else dataset


def _assigners(node: Any) -> Iterator[dict[str, Any]]:
    """The assigners of a detector's training that go by the IoU."""
    if isinstance(node, dict):
        if str(node.get('type')).rpartition('.')[2] == 'MaxIoUAssigner':
            yield node
        node = list(node.values())
    for value in node if isinstance(node, (list, tuple)) else ():
        yield from _assigners(value)
