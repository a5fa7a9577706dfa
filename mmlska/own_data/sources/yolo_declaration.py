"""What YOLO's data.yaml, Darknet's obj.data or a list of names says: the classes, and the photos of the splits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import yaml

from ...images import is_image
from ...text import counted, printable, shown
from ..class_files import lists_images, read_classes
from ..class_values import whole
from ..data_folder import DataFolder, SeveralPhotos
from ..folder_names import KIND_WORD
from ..label_text import contains, number, read_text, short

_SPLITS = {'train': 'train', 'val': 'val', 'valid': 'val', 'validation': 'val', 'test': 'test'}
_OWN_NAME_FILES = ('classes.txt', 'obj.names', '_darknet.labels', 'predefined_classes.txt')
# Names that other tools use too: such a file counts where nothing else names the classes.
_OTHER_NAME_FILES = (
    *('classes.names', 'coco.names', 'class_names.txt', 'labels.txt', 'names.txt', 'classes.json', 'label_map.pbtxt'),
)
# Names of files that may hold something else.
_VAGUE_NAME_FILES = (
    *(
        'classes.csv',
        'classes.yaml',
        'label_names.txt',
        'label_map.txt',
        'labelmap.txt',
        'class_list.txt',
        'notes.json',
    ),
    *('id2label.json', 'labels.json', 'class_names.json', 'label_map.json'),
)
_LIST_SUFFIXES = ('.txt', '.names', '.json', '.yaml', '.yml', '.csv', '.pbtxt')
#: What to say of a file that may hold something else.
NAMES_USED = 'class names from a file that may be for something else; a data.yaml or classes.txt counts before it'
NAMES_UNUSED = 'file that may name the classes and does not fit the class ids or another such file, not used'
#: Lists of class names beside labels.
NAME_FILES = (*_OWN_NAME_FILES, *_OTHER_NAME_FILES, *_VAGUE_NAME_FILES)


@dataclass
class Declaration:
    """What data.yaml, obj.data or a list of names says."""

    file: Path
    names: dict[int, str] = field(default_factory=dict)
    splits: dict[str, list[str]] = field(default_factory=dict)
    places: list[str] = field(default_factory=list)  # where folders and lists are counted from
    keypoints: bool = False
    count: str = ''  # of the classes, as it says
    names_file: Path | None = None
    listed: bool = False  # the names are a list's, whose numbers may be those of its lines
    vague: bool = False  # the list may be of something else
    remarks: list[tuple[str, str]] = field(default_factory=list)  # the kind of what is not used, and its place


def class_id(word: str) -> int:
    value = number(word)
    if value < 0 or value != int(value):
        raise ValueError(f'class {shown(word)} is no whole number from 0')
    return int(value)


def read_declaration(folder: DataFolder) -> Declaration:
    """What the folder's data.yaml and lists of names say.

    Raises:
        ValueError: If one is broken, or two name the classes differently.
    """
    files = sorted(
        folder.with_suffix('.yaml', '.yml', '.data'), key=lambda path: (len(path.parts), path.name != 'data.yaml')
    )
    found = [declared for path in files if (declared := _read_file(path, folder))]
    lists, remarks = _lists(folder, _OWN_NAME_FILES), []
    if not any(declared.names for declared in (*found, *lists)):
        others = _lists(folder, _OTHER_NAME_FILES)
        if not others:
            others, remarks = _vague_lists(folder)
        lists += others
    named = [declared for declared in (*found, *lists) if declared.names]
    other = next((declared for declared in named if not _same(declared.names, named[0].names)), None)
    if other:
        raise ValueError(
            f'{named[0].file} and {other.file} name the classes differently; delete one, or give a folder with one of them'
        )
    first = next((declared for declared in found if declared.splits), None) or next(iter((*found, *lists)), None)
    if first is None:
        return Declaration(folder.root, remarks=remarks)
    if named:
        first.names, first.names_file, first.listed = named[0].names, named[0].file, named[0].listed
        first.vague = named[0].vague
    first.remarks = remarks
    return first


def _vague_lists(folder: DataFolder) -> tuple[list[Declaration], list[tuple[str, str]]]:
    """A list of names in a file that may hold something else, such as counts, and what to say of those that are not used."""
    every = _lists(folder, _VAGUE_NAME_FILES, vague=True)
    likely = [declared for declared in every if sorted(declared.names) == list(range(len(declared.names)))]
    used = likely[:1] if all(_same(declared.names, likely[0].names) for declared in likely) else []
    unused = [declared for declared in every if not (used and declared in likely)]
    return used, [(NAMES_UNUSED, short(declared.file, folder.root)) for declared in unused]


def _lists(folder: DataFolder, names: Iterable[str], *, vague: bool = False) -> list[Declaration]:
    paths = [path for path in folder.files if path.name in names and not lists_images(path)]
    out = []
    for path in paths:
        try:
            out.append(Declaration(path, _listed(path), listed=True, vague=vague))
        except ValueError:
            if not vague:
                raise
    return out


def _same(first: dict[int, str], second: dict[int, str]) -> bool:
    """Whether two files name the classes alike; one may count from 1."""
    by_id = [[names[label] for label in sorted(names)] for names in (first, second)]
    return first == second or by_id[0] == by_id[1] and 1 in (min(first), min(second))


def _listed(path: Path) -> dict[int, str]:
    """The names in a list by their ids; those that it has not are the places."""
    return {place if one.number is None else one.number: one.name for place, one in enumerate(read_classes(path))}


def _read_file(path: Path, folder: DataFolder) -> Declaration | None:
    """Read data.yaml, or Darknet's obj.data; None for a file of another purpose."""
    if path.suffix == '.data':
        pairs = (line.split('=', 1) for line in read_text(path).splitlines() if '=' in line)
        content = {key.strip(): value.strip() for key, value in pairs}
    else:
        words = [word.encode(code) for word in ('names', 'nc:') for code in ('utf-8', 'utf-16-le', 'utf-16-be')]
        if not any(contains(path, word) for word in words):
            return None
        try:
            content = yaml.load(
                read_text(path, latin=True), Loader=yaml.BaseLoader
            )  # all as text: a class may be called 'no'
        except (yaml.YAMLError, RecursionError) as error:
            if not re.search(r'(?m)^\s*(names|nc)\s*:', read_text(path, latin=True)):
                return None  # of another tool
            raise ValueError(f'{path} is not valid YAML: {printable(" ".join(str(error).split()))[:200]}') from error
    if not isinstance(content, dict) or not {'names', 'nc', *_SPLITS} & content.keys():
        return None
    splits: dict[str, list[str]] = {}
    for key, split in _SPLITS.items():
        value = content.get(key) or []
        for entry in value if isinstance(value, list) else [value]:
            if not isinstance(entry, str):
                if not content.get('names'):
                    return None  # of another tool
                raise ValueError(
                    f'{path} has the entry {key}: {shown(entry)}; it must name folders of photos, or lists of them'
                )
            splits.setdefault(split, []).append(entry)
    count = str(content.get('nc', ''))
    names = {} if path.suffix == '.data' else _named(path, content.get('names'), folder)
    if len(names) == 1:  # of several, one may have two words; the ids tell
        check_commas(path, names, whole(count))
    places = [place] if isinstance(place := content.get('path'), str) else []
    return Declaration(path, names, splits, places, 'kpt_shape' in content, count)


def _named(path: Path, names: object, folder: DataFolder) -> dict[int, str]:
    """The class names as a list or a dict has them, or the file that is named instead."""
    if isinstance(names, str) and PurePosixPath(names.strip()).suffix in _LIST_SUFFIXES:
        name = PurePosixPath(names.strip().replace('\\', '/')).name
        lists = [file for file in folder.files if file.name == name]
        if not lists:
            raise ValueError(
                f'{path} says that the names are in {shown(names)}, which is not there; write a list such as [cat, dog]'
            )
        return _listed(max(lists, key=lambda file: folder.nearness(file, path)))
    if isinstance(names, str):
        names = names.strip('[]').split(',') if names else []
    if names is None or isinstance(names, list):
        names = dict(enumerate(names or []))
    if isinstance(names, dict) and _are_numbered(names):  # {cat: 0, dog: 1}
        if len({whole(label) for label in names.values()}) < len(names):
            raise ValueError(f'{path} has the names {shown(names)}, of which two have one id; give each its own')
        names = {label: name for name, label in names.items()}
    if not isinstance(names, dict) or not all(isinstance(name, str) and name.strip() for name in names.values()):
        raise ValueError(f'{path} has the names {shown(names)}; write a list such as [cat, dog]')
    try:
        return dict(sorted((class_id(str(label)), name.strip()) for label, name in names.items()))
    except ValueError as error:
        raise ValueError(f'{path}, names: {error}') from error


def _are_numbered(names: dict) -> bool:
    """Whether a dict has a number for each name, and not a name for each number."""
    return all(whole(label) is not None and whole(name) is None for name, label in names.items())


def check_commas(path: Path, names: dict[int, str], count: int | None) -> None:
    """Raise ValueError for names that lack a comma: the words are as many as the classes, or ids, that there are."""
    words = [word for name in names.values() for word in name.split()]
    if count is not None and len(names) < count == len(words):
        raise ValueError(
            f'{path} names {counted(len(names), "class", "classes")} for {count}: {shown(list(names.values()))}; a comma is missing: '
            f'write names: [{", ".join(words)}]'
        )


def photos_of(folder: DataFolder, declared: Declaration, entry: str) -> list[Path]:
    """The photos of a folder, of a list or of a name that data.yaml gives; the beginning of the path may be foreign."""
    entry = entry.replace('\\', '/')
    if PurePosixPath(entry).suffix.lower() == '.txt':
        lists = [path for path in folder.files if path.name == PurePosixPath(entry).name]
        best = max(lists, key=lambda path: folder.nearness(path, declared.file), default=None)
        lines = read_text(best).splitlines() if best else []
        return [photo for line in lines if line.strip() and (photo := _photo(folder, line, best))]
    if is_image(Path(entry)):
        photo = _photo(folder, entry, declared.file)
        return [photo] if photo else []
    above = {place for photo in folder.images for place in photo.parents if place.is_relative_to(folder.root)}
    for full in [*(f'{place}/{entry}' for place in declared.places), entry]:
        parts = [part for part in PurePosixPath(full).parts if part not in ('/', '.', '..')]
        for first in range(len(parts) + 1):
            if first and not any(not KIND_WORD.fullmatch(part.lower()) for part in parts[first:]):
                break  # 'images' alone is nobody's in particular
            for home in (declared.file.parent, folder.root):
                if home.joinpath(*parts[first:]) in above:
                    return [photo for photo in folder.images if photo.is_relative_to(home.joinpath(*parts[first:]))]
    return []


def _photo(folder: DataFolder, name: str, label: Path) -> Path | None:
    try:
        return folder.photo(name, label)
    except SeveralPhotos:
        return None
