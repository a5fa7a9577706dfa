"""Files that a config names and that are not there: what to say of them, and the photos and label maps of data sets that are built."""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path, PurePath
from shlex import quote
from typing import Any

from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from mmengine.config import Config
from torch.utils.data import Dataset

from ..datasets.band_transforms import LoadBands
from ..datasets.transforms import LoadColorAnnotations
from ..images import spread
from ..text import counted, printable

_MOST = 50_000  # samples of a data set that are looked up, evenly spread: more take longer than a person waits
_LISTED = 8
_NEAR = 0.6
# From this share on it is the folder or the list that is wrong, and a training without the missing files would be on a random part.
_WRONG_FOLDER = 1 / 3
_KINDS = {'img_path': 'image', 'seg_map_path': 'label map'}
_SETTINGS = {
    'img_path': 'data_root, ann_file and the folder of images in data_prefix',
    'seg_map_path': 'seg_map_path in data_prefix and seg_map_suffix',
}


def missing_text(cfg: Config, split: str, root: Path, setting: str, name: str) -> str:
    """What to say of a file or folder below ``root`` that a setting of a data set names and that is not there.

    How to get the data of a recipe is said unless the folder is there and holds other things.
    """
    path = root / name
    what = f'{split} data not found: {path} does not exist'
    there = _names_in(root)
    elsewhere = '--cfg-options data_root=DIR, or the variable MMLSKA_DATA for the folder above it'
    if cfg.get('data_help') and Path(cfg.get('data_root') or '') == root:
        how = cfg.data_help.replace('{data_root}', quote(str(root)))
        return f'{what} (expected under {root.absolute()}); {how}; data elsewhere: {elsewhere}'
    if not there:
        state = 'is empty' if root.is_dir() else f'does not exist{_near(root, root.parent)}'
        return f'{what} (expected under {root.absolute()}), and its data_root {state}; data elsewhere: {elsewhere}'
    place = next(above for above in path.parents if above.is_dir())
    hint = _beside(root, path) or _near(path, place)
    leave = ", or leave it out (ann_file='') to take all images" if _can_leave_out(cfg, setting) else ''
    names = _listed(_names_in(place)) or 'nothing'
    return f'{what}: {place} holds {names}{hint}; correct {setting} of the {split} data set, or data_root{leave}'


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith('.'))
    except OSError:
        return []


def _near(path: Path, place: Path) -> str:
    """What is called nearly as the first part of a path that is not in a folder."""
    wanted = path.relative_to(place).parts[0]
    near = get_close_matches(wanted, _names_in(place), n=1, cutoff=_NEAR)
    return f' (did you mean {printable(near[0])}?)' if near else ''


def _beside(root: Path, path: Path) -> str:
    """A file or folder of the same name in another folder of the data set."""
    folders = [root, *(root / name for name in _names_in(root)[:_MOST] if (root / name).is_dir())]
    found = next((folder / path.name for folder in folders if (folder / path.name).exists()), None)
    return f' (did you mean {printable(found.relative_to(root).as_posix())}?)' if found else ''


def _can_leave_out(cfg: Config, setting: str) -> bool:
    return cfg.get('default_scope') == 'mmseg' and setting == 'ann_file'


def _listed(names: list[str]) -> str:
    more = f' and {len(names) - _LISTED} more' if len(names) > _LISTED else ''
    return ', '.join(map(printable, names[:_LISTED])) + more


def check_files(dataset: Dataset, split: str, skip_bad: int = 0) -> None:
    """Make sure that the photos and label maps of a data set of mmdet or mmseg are there, each folder read once.

    Files of other backends than the disk, and data sets whose pipelines do not read files, are passed over.

    Args:
        dataset: The data set, built.
        split: Its name in messages.
        skip_bad: How many missing files training may continue without.

    Raises:
        FileNotFoundError: If more are missing.
    """
    for part in parts_of_dataset(dataset):
        for key in _read_keys(part):
            total = len(part)
            places = spread(range(total), min(total, _MOST))
            infos = (part.get_data_info(index) for index in places)
            paths = {path: None for info in infos if isinstance(path := info.get(key), str) and '://' not in path}
            missing = _missing(paths)
            allowed = skip_bad if split == 'train' else 0
            if len(missing) > allowed:
                raise FileNotFoundError(_why_missing(part, split, key, missing, len(paths)))


def parts_of_dataset(dataset: Dataset) -> Iterator[Any]:
    """The data sets inside wrappers such as RepeatDataset and ConcatDataset."""
    if (inner := getattr(dataset, 'dataset', None)) is not None:
        yield from parts_of_dataset(inner)
    elif several := getattr(dataset, 'datasets', None):
        for each in several:
            yield from parts_of_dataset(each)
    else:
        yield dataset


def _read_keys(dataset: Any) -> list[str]:
    """What the pipeline of a data set reads from files of the disk."""
    if not hasattr(dataset, 'get_data_info') or not _is_local(dataset):
        return []
    keys = []
    for step in getattr(getattr(dataset, 'pipeline', None), 'transforms', ()):
        if not _is_local(step):
            return []
        if isinstance(step, (LoadImageFromFile, LoadBands)):
            keys.append('img_path')
        elif isinstance(step, LoadColorAnnotations) or isinstance(step, LoadAnnotations) and step.with_seg:
            keys.append('seg_map_path')
    return list(dict.fromkeys(keys))


def _is_local(part: Any) -> bool:
    named = [getattr(part, name, None) or {} for name in ('backend_args', 'file_client_args')]
    return all(args.get('backend', 'disk') in ('local', 'disk') for args in named if isinstance(args, dict))


def _missing(paths: dict[str, None]) -> list[str]:
    folders: dict[str, set[str] | None] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in folders:
            try:
                folders[folder] = set(os.listdir(folder or '.'))
            except FileNotFoundError:
                folders[folder] = set()
            except OSError:  # a folder that can be entered and not be read
                folders[folder] = None
        names = folders[folder]
        # File systems that do not tell upper from lower case have other names in their lists.
        if names is not None and name not in names and not os.path.exists(path):
            missing.append(path)
    return missing


def _why_missing(dataset: Any, split: str, key: str, missing: list[str], total: int) -> str:
    kind, first = _KINDS[key], missing[0]
    source = f' of {dataset.ann_file}' if getattr(dataset, 'ann_file', None) else ''
    count = f'{len(missing)} of {counted(total, kind)}{source}'
    if split == 'train' and len(missing) < total * _WRONG_FOLDER:
        return (
            f'train data: {first} is not there and cannot be used (missing: {count}): put it there, correct the list, or give '
            '--skip-bad-images N to continue without up to N of them'
        )
    hint = _other_suffix(first)
    of_one_split = ' must be of the same split' if source and key == 'img_path' else ' must lead to them'
    settings = _SETTINGS[key] if source or key != 'img_path' else 'data_root and data_prefix'
    return f'{split} data: {count} are not there, such as {first}{hint}; {settings}{of_one_split}; mmlska check CONFIG lists them'


def _other_suffix(path: str) -> str:
    wanted = PurePath(path)
    near = next((name for name in _names_in(Path(wanted.parent)) if PurePath(name).stem == wanted.stem), None)
    return f' ({printable(near)} is)' if near else ''
