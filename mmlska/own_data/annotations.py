"""Annotations in COCO's form, whatever file they came from: their entries, classes and images."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..image_windows import header_of
from ..images import Header
from ..text import shown
from .label_text import number
from .palettes import spelling

# What entries refer to each other by.
_KEYS = {'images': ('id', 'file_name'), 'annotations': ('id', 'image_id', 'category_id')}
_EXAMPLES = {'images': '"file_name": "a.jpg"', 'annotations': '"image_id": 1'}
#: An image that training leaves out: it is not one without objects.
NONE_USED = 'image of whose annotations none can be used'

#: An object that a label file has twice, of one class and with one box.
WRITTEN_TWICE = 'object written twice, read once'
#: Why nothing is learned of annotations, though they are sound.
NONE_LEARNED = 'crowds (iscrowd), difficult or ignored, of which nothing is learned'


@dataclass
class AnnotationFile:
    """One annotation file and where its images are; or many label files of one split, of which ``path`` is what names them all."""

    path: Path
    split: str | None
    content: dict
    images: dict = field(default_factory=dict)  # file_name -> Path, of the files that exist
    outside: set[str] = field(default_factory=set)  # file names that lead out of the data folder
    unread: set[str] = field(default_factory=set)  # file names of images of a kind that is not read
    places: dict[int, str] = field(default_factory=dict)  # where annotations come from, by their place in the list
    left_out: list[tuple[str, str]] = field(default_factory=list)  # what could not be read: kind of mistake and place
    remarks: list[tuple[str, str]] = field(default_factory=list)  # the same, of what is odd and was read
    headers: dict[Path, Header] = field(default_factory=dict)  # of the images that were looked at
    doubts: list[tuple[str, str]] = field(default_factory=list)  # the same, of what was read though it can't be right
    dropped: list[tuple[str, str]] = field(default_factory=list)  # annotations that no repair is for: reason and place
    lost: set = field(default_factory=set)  # ids of the images that these are on
    repaired: list[tuple[str, str, str]] = field(default_factory=list)  # what was wrong, how it is read, and place


def place_of(item: AnnotationFile, position: int, image: dict | None) -> str:
    """Where an annotation stands, for messages.

    Args:
        position: Its place in the list.
        image: Its image, where that is known.
    """
    if position in item.places:
        return item.places[position]
    number = item.content['annotations'][position].get('id')
    name = str(image.get('file_name')) if image else item.path.name
    return f'{name} (annotation {number if number is not None else f"at place {position}"})'


def drop_annotations(item: AnnotationFile, places: Collection[int]) -> None:
    """Take annotations out of the list of a file by their places in it; the others keep what messages call them."""
    kept = [place for place in range(len(item.content['annotations'])) if place not in places]
    item.places = {new: item.places[old] for new, old in enumerate(kept) if old in item.places}
    item.content['annotations'] = [item.content['annotations'][place] for place in kept]


def odd_ids(item: AnnotationFile) -> list[tuple[str, str]]:
    """Ids of annotations that evaluators fail at, kind and place of each; training on a folder numbers all anew."""
    counts = Counter(annotation.get('id') for annotation in item.content['annotations'])
    found = [
        ('annotation id used twice', f'{n} in {item.path.name}') for n in counts if counts[n] > 1 and n is not None
    ]
    if counts[0]:
        images = {image.get('id'): image for image in item.content['images']}
        for position, annotation in enumerate(item.content['annotations']):
            if annotation.get('id') == 0:
                place = place_of(item, position, images.get(annotation.get('image_id')))
                found.append(('annotation id 0, which pycocotools counts as unmatched', place))
    return found


def check_objects(path: Path, content) -> None:
    """Make sure that the content of a JSON file has a list of images and one of annotations, each an object.

    Raises:
        ValueError: If not; the message names the file and the entry.
    """
    for key, example in _EXAMPLES.items():
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise ValueError(f'{path} has no list "{key}"; write it as a COCO file has it')
        for place, entry in enumerate(entries):
            if not isinstance(entry, dict):
                fault = f'is {shown(entry)}: it must be an object such as {{"id": 1, {example}, ...}}'
                raise ValueError(f'entry {place} of "{key}" in {path} {fault}')


def check_entries(path: Path, content) -> None:
    """Make sure of what :func:`check_objects` does, and that all have ids to compare.

    An annotation may have no id of its own, an image may not.

    Raises:
        ValueError: If not; the message names the file and the entry.
    """
    check_objects(path, content)
    for key in _EXAMPLES:
        for place, entry in enumerate(content[key]):
            fault = _id_fault(entry, _KEYS[key])
            if key == 'images' and fault is None and entry.get('id') is None:
                fault = 'has no "id": it must be a whole number'
            if fault:
                raise ValueError(f'entry {place} of "{key}" in {path} {fault}')


def _id_fault(entry: dict, keys: tuple[str, ...]) -> str | None:
    for name in keys:
        value = entry.get(name)
        good = value is None or type(value) in (int, str) or isinstance(value, float) and value.is_integer()
        if not good:
            return f'has the "{name}" {shown(value)}: it must be {"text" if name == "file_name" else "a whole number"}'
        # Larger ones can be chosen to fall into one place of a dict, which is then slow.
        if isinstance(value, int) and abs(value) >= 1 << 63:
            return f'has the "{name}" {shown(value)}: it must have 63 bits at most'
    return None


def categories_of(
    files: Iterable[AnnotationFile],
) -> tuple[list[str], dict[tuple[Path, int], int], list[tuple[str, str]]]:
    """Merge the categories of several files by name.

    Returns:
        The class names, the class of each (file, category id), and notes on what was merged or left out: kind and text of each.
    """
    used, spellings = Counter(), {}
    groups: dict[str, list[tuple[Path, dict]]] = {}
    for item in files:
        counts = Counter(a.get('category_id') for a in item.content['annotations'])
        for category in sorted(own_categories(item), key=lambda c: c['id']):
            key = spelling(category['name'])
            groups.setdefault(key, []).append((item.path, category))
            used[key] += counts[category['id']]
            spellings.setdefault(key, Counter())[str(category['name'])] += counts[category['id']]
    notes: list[tuple[str, str]] = []
    # Roboflow lists the project itself as a category without annotations, above all others.
    supers = [c.get('supercategory') for group in groups.values() for _, c in group]
    parents = {spelling(name) for name in supers if isinstance(name, str)}
    roots = [key for key in groups if not used[key] and key in parents and len(groups) > 1]
    for key in roots:
        name = groups.pop(key)[0][1]['name']
        notes.append(('class without annotations', f'{name!r} stands above the others and is left out'))
    classes, mapping = [], {}
    for key, group in groups.items():
        best = spellings[key].most_common(1)[0][0]
        others = [name for name in spellings[key] if name != best]
        if others:
            notes.append(
                ('class in two spellings', f'{", ".join(map(repr, others))} and {best!r} are taken for one class')
            )
        for path, category in group:
            mapping[path, category['id']] = len(classes)
        classes.append(best.strip())
    return classes, mapping, notes


def own_categories(item: AnnotationFile) -> list[dict]:
    categories = item.content.get('categories')
    if categories == [] and item.left_out:  # why there are none is said there
        return []
    if not isinstance(categories, list) or not categories:
        raise ValueError(
            f'{item.path} has no "categories"; each class needs an entry such as {{"id": 1, "name": "cat"}}'
        )
    for category in categories:
        if not isinstance(category, dict) or type(category.get('id')) is not int or not _is_name(category.get('name')):
            raise ValueError(
                f'{item.path} has the category {shown(category)}; it needs a whole number "id" and a "name"'
            )
    return categories


def _is_name(name) -> bool:
    """Whether it is text, or a number, without halves of characters, which no file can hold."""
    return isinstance(name, (int, float)) or isinstance(name, str) and not re.search('[\\ud800-\\udfff]', name)


def photo_header(item: AnnotationFile, path: Path) -> Header | None:
    """The sizes of a photo of a file, which is opened once; None where it can't be used, which check and training name."""
    if path not in item.headers:
        try:
            item.headers[path] = header_of(path)
        except (OSError, ValueError):
            return None
    return item.headers[path]


def labelled_size(image: dict, header: Header) -> tuple[int, int]:
    """Width and height of a photo as its labels count them: also those that it had before it was resized."""
    said = said_size(image)
    if said and any(is_resized(said, size) for size in (header.upright, header.stored)):
        return said
    return header.stored if labelled_as_stored(image, header) else header.upright


def labelled_as_stored(image: dict, header: Header) -> bool:
    """Whether the labels of a photo that EXIF data turn count pixels as stored, as its size in the file says."""
    return (image.get('width'), image.get('height')) == header.stored != header.upright


def said_size(image: dict) -> tuple[int, int] | None:
    """The width and height that an entry says; None where it says none that an image can have.

    Example:
        >>> said_size({'width': 80, 'height': '60'}), said_size({'width': 0, 'height': 0}), said_size({})
        ((80, 60), None, None)
    """
    try:
        width, height = (number(image.get(side)) for side in ('width', 'height'))
    except (TypeError, ValueError):
        return None
    sound = min(width, height) >= 1 and max(width, height) < 1 << 31
    return (round(width), round(height)) if sound else None


def is_resized(said: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether one factor makes one size of another one, where both sides are rounded down, up or to the nearest pixel.

    Example:
        >>> is_resized((640, 427), (320, 213)), is_resized((640, 427), (320, 240))
        (True, False)
    """
    sides = list(zip(said, size))
    return any(
        max((new + low) / old for old, new in sides) < min((new + low + 1) / old for old, new in sides)
        for low in (0, -0.5, -1)
    )
