"""The names and colours of classes in masks, from the files that people have them in."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..images import is_image
from ..text import printable
from .class_files import EXAMPLE, NamedClass, has_class_entry, lists_images, read_classes
from .class_numbers import twice
from .class_values import whole
from .data_folder import DataFolder
from .folder import is_file
from .label_tables import column_names, csv_start
from .label_text import contains, short

# The first that is there counts.
_CLASS_FILES = (
    *('classes.json', 'classes.txt', 'class_dict.csv', 'labelmap.txt', '_classes.csv', 'classes.csv', 'classes.yaml'),
    *('class_names.txt', 'label_colors.txt', 'label_map.pbtxt', 'labelmap.pbtxt', 'classes.names', 'obj.names'),
    *('labels.txt', 'obj_class_to_machine_color.json', 'meta.json'),
)
# Other names that say it, of files that count only where they hold classes and nothing else.
_LIKELY = re.compile(
    r'(?i)(.*[ _.-])?(class|classes|label|labels|labelmap|category|categories|names|palette|colou?rs?|colou?rmap|legend|metainfo|id2label|'
    r'label2id|labelid|objectinfo\d*|(class|label)[ _-]?(names?|list|map|dict|colou?rs?))([ _.-].*)?|data(set)?\.ya?ml|config\.json'
)
_TEXTS = ('.json', '.yaml', '.yml', '.csv', '.tsv', '.txt', '.names', '.pbtxt')
_LARGEST = 1 << 18  # bytes of such a file
_MOST = 50  # files that are looked into
_LONGEST_NAME = 60
# Words in names of files that hold something for each class, or labels of photos.
_OTHER_USE = re.compile(
    r'(?i)(?<![a-z])(weights?|count(s|er)?|stat(s|istics)?|freq(s|uency|uencies)?|loss(es)?|hist(ogram)?s?|means?|scores?|metrics|results?|'
    r'splits?|train(ing)?|val(id|idation)?|test(ing)?)(?![a-z])'
)
_OF_SETTINGS = re.compile(
    r'(?i)data(set)?\.ya?ml|config\.json|meta\.json'
)  # which hold classes in an entry of their own
_NO_CLASSES = {'mean', 'std', 'min', 'max', 'seed', 'epochs', 'version', 'num classes', 'train', 'val', 'test'}
_OTHERS = 'class file with other classes than {}, which counts'
_SURE = re.compile(
    r'(?i)(class(es)?|label[ _-]?map|id2label|label2id|palette|categories)([ _-]?(names?|list|map|dict|colou?rs?))?'
)
_LIKELY_TEXT = re.compile(r'(?i)objectinfo\d*|names|(label|category)[ _-]?(names?|list|colou?rs?)')
_TABLE_OF_NAMES = {'name', 'names', 'classname', 'labelname', 'categoryname', 'title', 'readable', 'displayname'}
_OF_OTHERS = 'meta.json'  # Supervisely's, or of another tool
_OTHER_KINDS = ('.xlsx', '.xls', '.ods', '.py', '.toml', '.docx')
_NOT_UNDERSTOOD = 'class file that is not understood, not used; mmlska check DIR --palette FILE says why'
_NOT_READ = 'class file of a kind that is not read; save it as csv'
_UNUSED = 'file that may name the classes, not used; give it with --palette'
_IGNORED = {'unlabeled', 'unlabelled', 'void', 'ignore', 'ignored', 'ignore label'}


def is_no_label(name: str) -> bool:
    """Whether a class name says that its pixels carry no label."""
    return spelling(name) in _IGNORED


def class_file(folder: DataFolder) -> tuple[Path | None, list[tuple[str, str]]]:
    """The file with the classes of masks in a folder, where it may lie several times, and what to say of other such files.

    Raises:
        ValueError: If files of one name give other classes.
    """
    first, root = _known_file(folder), folder.root
    stems = {path.stem.lower() for path in folder.images}
    texts = [
        path
        for path in folder.with_suffix(*_TEXTS)
        if path != first
        and path.stem.lower() not in stems
        and not _OTHER_USE.search(path.stem)
        and path.stat().st_size <= _LARGEST
    ]
    texts.sort(key=lambda path: (len(path.parts), path))
    likely = [path for path in texts if path.name.lower() in _CLASS_FILES or _is_likely(path)]
    others = {path: classes for path in likely[:_MOST] if (classes := _classes_in(path))}
    others = {path: classes for path, classes in others.items() if not {one.name.lower() for one in classes} <= stems}
    if first is None and others:
        first = next(iter(others))
    if first is None:
        beside = [path for path in texts if path.parent == root and path.suffix.lower() != '.txt'][:_MOST]
        remarks = [(_NOT_UNDERSTOOD, short(path, root)) for path in likely if _SURE.fullmatch(path.stem)]
        remarks += [
            (_NOT_READ, short(path, root)) for path in folder.with_suffix(*_OTHER_KINDS) if _SURE.fullmatch(path.stem)
        ]
        return None, remarks + [(_UNUSED, short(path, root)) for path in beside if len(_classes_in(path)) > 1]
    said = others.pop(first, None) or read_palette(first)
    remarks = []
    for path, classes in others.items():
        if [spelling(one.name) for one in classes] != [spelling(one.name) for one in said]:
            remarks.append((_OTHERS.format(short(first, root)), short(path, root)))
        elif (
            classes[0].color and not said[0].color and (is_class_file(path) or is_sure(path, classes))
        ):  # the same ones, with more about them
            first, said = path, classes
    return first, remarks


def _is_likely(path: Path) -> bool:
    if path.suffix.lower() == '.txt':  # may be prose
        return bool(_SURE.fullmatch(path.stem) or _LIKELY_TEXT.fullmatch(path.stem))
    return bool(_LIKELY.fullmatch(path.stem) or _LIKELY.fullmatch(path.name))


def is_class_file(path: Path) -> bool:
    """Whether the name of a file says that it holds the classes; others may be for something else."""
    return path.name.lower() in _CLASS_FILES and path.name.lower() != _OF_OTHERS


def is_sure(path: Path, classes: Sequence[NamedClass]) -> bool:
    """Whether a file of another name says by this, or by its content, that it holds classes of masks, perhaps more than they have."""
    if _SURE.fullmatch(path.stem) or _LIKELY_TEXT.fullmatch(path.stem):
        return True
    return any(one.color is not None or one.train_number is not None for one in classes)


def _may_be_classes(path: Path, classes: Sequence[NamedClass]) -> bool:
    """Whether what was read as classes from a file of any name may be these, and not settings or a number for each photo."""
    has_entry = has_class_entry(path)
    if _OF_SETTINGS.fullmatch(path.name) and not has_entry:
        return False
    if len(classes) < 2 and not (has_entry or is_sure(path, classes)):
        return False
    names = {spelling(one.name) for one in classes}
    if names & _NO_CLASSES or all(whole(name) is not None for name in names):
        return False
    if path.suffix.lower() in ('.csv', '.tsv') and not is_sure(path, classes):  # labels of photos have such columns too
        head = column_names(next(iter(csv_start(path)), []))
        return bool(head.keys() & _TABLE_OF_NAMES) and not head.keys() & {'label', 'labels'}
    return True


def _classes_in(path: Path) -> list[NamedClass]:
    """The classes in a file that may be one of classes; none if it is another."""
    labels = b'"images"', b'"annotations"', b'"shapes"'
    if lists_images(path) or any(contains(path, word) for word in labels):
        return []
    try:
        classes = read_palette(path)
    except (OSError, ValueError):
        return []
    is_prose = any(len(one.name) > _LONGEST_NAME or is_image(Path(one.name)) for one in classes)
    is_known = is_class_file(path)
    return [] if is_prose or not (is_known or _may_be_classes(path, classes)) else classes


def _known_file(folder: DataFolder) -> Path | None:
    """The file of a name that says it holds the classes."""
    for name in _CLASS_FILES:
        found = [path for path in folder.files if path.name.lower() == name and not lists_images(path)]
        if name == _OF_OTHERS:
            found = [path for path in found if _classes_in(path)]
        if found:
            first = min(found, key=lambda path: len(path.parts))
            if first.parent == folder.root:
                return first
            said = [(one.name, one.color, one.number) for one in read_palette(first)]
            for other in found:
                if [(one.name, one.color, one.number) for one in read_palette(other)] != said:
                    raise ValueError(
                        f'{short(first, folder.root)} and {short(other, folder.root)} in {folder.root} give other classes; '
                        f'delete one, or name the right one with --palette'
                    )
            return first
    return None


def read_palette(path: Path) -> list[NamedClass]:
    """Read class names and their colours.

    Understood are JSON and YAML, ``{"road": [110, 193, 228]}``, ``{"road": "#6EC1E4"}``, ``{"0": "road"}``, a list of names, a list of
    objects with ``name`` or ``title`` and ``color`` or ``id``, either under ``classes``, ``names`` or ``categories``; tables whose head
    names the columns; TensorFlow's label maps; and text with a class on each line, its name alone or with a colour or a number, apart by
    commas, colons or spaces.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no classes, or a name, colour or number twice.
    """
    if not is_file(path):
        raise FileNotFoundError(
            f'palette {path} does not exist; give a JSON or text file with the name and colour of each class'
        )
    try:
        classes = read_classes(path)
    except ValueError as error:
        raise ValueError(f'palette {error}') from error
    if all(one.number is not None for one in classes) and twice(classes, lambda one: one.color):
        classes = [replace(one, color=None) for one in classes]  # as Cityscapes' list; the numbers tell them apart
    for key, what in (
        (lambda one: spelling(one.name), 'name'),
        (lambda one: one.color, 'colour'),
    ):
        found = twice(classes, key)
        if found:
            raise ValueError(
                f'palette {path} has the {what} {printable(str(found[0]))} twice ({found[1]}); each class needs its own'
            )
    colors = [one.color for one in classes if one.color]
    if colors and len(colors) != len(classes):
        bare = next(f', none in {one.place}' for one in classes if not one.color)
        raise ValueError(
            f'palette {path} has {len(colors)} colours for {len(classes)} classes{bare}; give all or none of them: {EXAMPLE}'
        )
    return classes


def spelling(name: str) -> str:
    """What two spellings of one class name have in common.

    Example:
        >>> spelling('Traffic_Light ') == spelling('traffic light')
        True
    """
    return re.sub(r'[\s_-]+', ' ', unicodedata.normalize('NFKC', str(name))).strip().casefold()
