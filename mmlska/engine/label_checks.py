"""What a config says of its classes, compared with its heads and its annotation files before anything of a run is built or written."""

from __future__ import annotations

import json
import mmap
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from ..datasets.coco_labels import is_ignored
from ..text import printable
from .config_parts import datasets_of, heads

# A file up to this size is read whole, within a second; of a larger one, which the data set reads anyway, the categories alone.
_WHOLE_BYTES = 32 << 20
_SHOWN = 5
#: How to switch validation off, for messages.
WITHOUT_VALIDATION = 'train without validation: --cfg-options val_dataloader=None val_evaluator=None val_cfg=None'


def check_labels(cfg: Config, splits: Sequence[str]) -> None:
    """Make sure that data sets and heads of a detector or segmentor have the same classes, and annotation files too.

    Raises:
        ValueError: If they differ, classes are no list of names, a COCO file gives a number twice, or has nothing to learn.
    """
    # Trackers are tested on all classes of a video data set and find one of them.
    if cfg.get('default_scope') not in ('mmdet', 'mmseg') or {'detector', 'tracker'} & set(cfg.model):
        return
    init_default_scope(cfg.default_scope)
    known: dict[
        str, tuple[str, tuple[str, ...], Any]
    ] = {}  # of each split its name, its classes and the type of its data set
    for split in splits:
        for dataset in datasets_of(cfg, split):
            if names := _classes_of(dataset, split):
                first, others, kind = next(iter(known.values()), (split, names, dataset.get('type')))
                # Open vocabularies are tested on other classes, by another kind of data set.
                if names != others and kind == dataset.get('type'):
                    raise ValueError(
                        f'{split} data has {some(names)}, the {first} data {some(others)}; set the same metainfo.classes for both'
                    )
                known.setdefault(split, (split, names, dataset.get('type')))
    for split, names, _ in known.values():
        files = [
            Path(dataset.get('data_root') or '', dataset.ann_file)
            for dataset in datasets_of(cfg, split)
            if dataset.get('type') == 'CocoDataset' and isinstance(dataset.get('ann_file'), str)
        ]
        counts = [_check_file(path, names, split) for path in files]
        if files and None not in counts and len(files) == len(list(datasets_of(cfg, split))):
            _check_counts(files[0], sum(counts, Counter()), split)
        _check_heads(cfg, names, split)


def classes_of(cfg: Config, split: str = 'train') -> tuple[str, ...] | None:
    """The classes of the data of a split; None where its data set does not say.

    Raises:
        ValueError: If they are no list of names.
    """
    return next((names for dataset in datasets_of(cfg, split) if (names := _classes_of(dataset, split))), None)


def _classes_of(dataset: dict, split: str) -> tuple[str, ...] | None:
    given = dataset.get('metainfo') or {}
    if not isinstance(given, dict):
        return None
    if old := {'CLASSES', 'PALETTE'} & set(given):
        name = sorted(old)[0]
        raise ValueError(f'{split} data: metainfo.{name} is not read; write metainfo.{name.lower()}')
    classes = given.get('classes')
    if classes is None:
        with DATASETS.switch_scope_and_registry(None) as registry:
            kind = registry.get(dataset.get('type')) if isinstance(dataset.get('type'), str) else None
        classes = getattr(kind, 'METAINFO', {}).get('classes')
        return tuple(classes) if classes else None
    if isinstance(classes, str) and Path(classes).is_file():
        return tuple(Path(classes).read_text(encoding='utf-8').splitlines())  # as MMEngine reads it
    if isinstance(classes, str):
        raise ValueError(
            f'{split} data: metainfo.classes={classes!r} is a text and not a list of names; write metainfo=dict(classes=({classes!r},))'
        )
    if not isinstance(classes, (list, tuple)) or not all(isinstance(name, str) for name in classes):
        raise ValueError(
            f"{split} data: metainfo.classes={classes!r} is no list of names; write them as ('cat', 'dog')"
        )
    if twice := [name for name, count in Counter(classes).items() if count > 1]:
        raise ValueError(f'{split} data: metainfo.classes has {twice[0]!r} twice; give each class one name')
    return tuple(classes)


def _check_counts(path: Path, counts: Counter, split: str) -> None:
    """Raise ValueError where the files of a split have nothing to learn, or to measure by; ``path`` is the first of them."""
    every, crowds, learned = (counts[key] for key in ('of the classes', 'crowds', 'learned'))
    where = f'{split} data: {path}'
    if split == 'val' and every == crowds:
        what = (
            f'has crowds (iscrowd) alone, {every} of them'
            if every
            else 'has no annotation of the classes of the config'
        )
        raise ValueError(f'{where} {what}, so every metric would be -1; label some images, or {WITHOUT_VALIDATION}')
    if split == 'train' and every and not learned:
        raise ValueError(
            f'{where} has {every} annotations of the classes of the config, all of them crowds (iscrowd) or ignored, of which nothing is '
            'learned; write 0 there for single objects, or label some'
        )


def _check_heads(cfg: Config, names: tuple[str, ...], split: str) -> None:
    # Those of panoptic models count things alone, or things and stuff, those of open vocabularies the words of a text.
    if {'panoptic_fusion_head', 'language_model'} & set(cfg.model):
        return
    found = [(place, head['num_classes']) for place, head in heads(cfg.model) if _counts_classes(place)]
    wrong = [(place, count) for place, count in found if count != len(names)]
    if wrong:
        has = ', '.join(f'{place}.num_classes={count}' for place, count in wrong)
        fix = ' '.join(f'{place}.num_classes={len(names)}' for place, _ in wrong)
        raise ValueError(f'{has}, but the {split} data has {some(names)}; set --cfg-options {fix}')


def _counts_classes(place: str) -> bool:
    """Whether ``num_classes`` at this place is that of the data: not of a classifier as backbone, of maps beside the objects, of edges."""
    return not {'backbone', 'semantic_head', 'panoptic_head', 'auxiliary_head', 'reid'} & set(place.split('.'))


def some(names: Sequence[str]) -> str:
    """Classes as a message names them: '2 classes (cat, dog)'."""
    listed = ', '.join(printable(str(name)) for name in names[:_SHOWN]) + (', ...' if len(names) > _SHOWN else '')
    return f'{len(names)} {"class" if len(names) == 1 else "classes"} ({listed})'


def _check_file(path: Path, names: tuple[str, ...], split: str) -> Counter | None:
    """Compare a COCO file with the classes that a data set knows; a file that cannot be read is named when the data set reads it.

    Returns:
        How many of its annotations are 'of the classes', 'crowds' and 'learned'; None where it is not read whole.
    """
    content = read_coco(path)
    categories = content.get('categories')
    if not _are_named(categories):
        return None
    where, found = f'{split} data: {path}', [category['name'] for category in categories]
    for key in ('id', 'name'):
        if (twice := _repeated(categories, key)) is not None:
            raise ValueError(f'{where} has two categories with the {key} {twice!r}; give each its own')
    common = tuple(name for name in found if name in names)
    written = f'metainfo.classes={_tuple(found)}'
    if not common:
        raise ValueError(
            f'{where} has the classes {_listed(found)}, none of which the config knows ({_listed(names)}); '
            f'set metainfo.classes of the datasets to the names in the file: {written}'
        )
    if absent := [name for name in names if name not in found]:
        raise ValueError(
            f'{where} has the classes {_listed(found)}, but not {_listed(absent)} of the config, so labels would count as other '
            f'classes; set {written} in all data sets, and num_classes={len(found)} in the heads'
        )
    if common != names:
        raise ValueError(
            f'{where} has its classes in the order {_listed(common)}, the config {_listed(names)}, and labels follow the file; '
            f'set metainfo.classes={_tuple(common)}'
        )
    for key in ('images', 'annotations'):
        entries = content.get(key)
        if isinstance(entries, list) and (twice := _repeated(entries, 'id')) is not None:
            raise ValueError(
                f'{where} has two {key} with the id {twice!r}; give each its own, as `mmlska check FOLDER --fix NEW_FOLDER` does'
            )
    if not isinstance(content.get('annotations'), list):
        return None
    wanted = {category.get('id') for category in categories if category['name'] in names}
    every = [
        a for a in content['annotations'] if isinstance(a, dict) and type(a.get('category_id')) in (int, float, str)
    ]
    every = [annotation for annotation in every if annotation['category_id'] in wanted]
    # Metrics count what is to be ignored for another reason.
    crowds, ignored = (sum(map(rule, every)) for rule in (lambda a: bool(a.get('iscrowd')), is_ignored))
    return Counter({'of the classes': len(every), 'crowds': crowds, 'learned': len(every) - ignored})


def read_coco(path: Path) -> dict[str, Any]:
    """A COCO file, or of a large one its categories; empty where it cannot be read so."""
    try:
        if path.stat().st_size <= _WHOLE_BYTES:
            content = json.loads(path.read_text(encoding='utf-8'))
            return content if isinstance(content, dict) else {}
        return next((dict(categories=found) for found in _categories(path) if _are_named(found)), {})
    except (OSError, ValueError, RecursionError):
        return {}


def _categories(path: Path) -> Iterator[object]:
    """What stands behind the word "categories" in a file, wherever it stands, the last place first."""
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        key, place = b'"categories"', len(data)
        while (place := data.rfind(key, 0, place)) >= 0:
            text = data[place + len(key) : place + len(key) + (1 << 20)].decode(errors='replace').lstrip().lstrip(':')
            try:
                yield json.JSONDecoder().raw_decode(text.lstrip())[0]
            except ValueError:
                continue


def _are_named(categories: object) -> bool:
    return (
        isinstance(categories, list)
        and bool(categories)
        and all(isinstance(c, dict) and isinstance(c.get('name'), str) for c in categories)
    )


def _repeated(entries: Sequence[Any], key: str) -> object | None:
    seen = set()
    for entry in entries:
        value = entry.get(key) if isinstance(entry, dict) else None
        if isinstance(value, (int, str)) and (value in seen or seen.add(value)):
            return value
    return None


def _listed(names: Sequence[str]) -> str:
    return ', '.join(map(printable, names[:_SHOWN])) + (', ...' if len(names) > _SHOWN else '')


def _tuple(names: Sequence[str]) -> str:
    if len(names) > 12:
        return f'({", ".join(repr(name) for name in names[:12])}, ...)'
    return repr(tuple(names))
