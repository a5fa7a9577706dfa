"""Find the COCO files and images in a folder as people have them, and turn them into clean ones for training."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from .layout import Header, is_image, read_header, spelling, split_of, walk

# Of COCO's own files only these hold boxes and masks of all classes.
_OTHER_COCO = ('captions_', 'person_keypoints_', 'stuff_', 'panoptic_', 'image_info_')


@dataclass
class CocoFile:
    """One annotation file and where its images are."""

    path: Path
    split: str | None
    content: dict
    images: dict = field(default_factory=dict)  # file_name -> Path, of the files that exist


@dataclass
class CocoSet:
    """The clean form of several annotation files: one COCO dict for each split, all with the same categories."""

    classes: list[str]
    splits: dict[str, dict]
    notes: list[str]
    left_out: Counter
    ignore_orientation: bool  # photos are labelled as stored, whatever their EXIF data say


def find_coco(root: Path) -> list[CocoFile]:
    """Find the COCO files below a folder and their images.

    Understood are ``annotations/*.json`` beside image folders, a json in the folder of its images (Roboflow), one json and
    ``images/``, with sub-folders in ``file_name`` or not: the folder is taken that has the images named.

    Raises:
        ValueError: If a json file is broken, or an image or annotation in it is no object.
    """
    files = [path for path in walk(root) if path.suffix.lower() == '.json' and not path.name.startswith(_OTHER_COCO)]
    found = []
    for path in files:
        content = read_json(path)
        if isinstance(content, dict) and all(isinstance(content.get(k), list) for k in ('images', 'annotations')):
            check_entries(path, content)
            found.append(CocoFile(path, split_of(path.relative_to(root)), content))
    folders = sorted({path.parent for path in walk(root) if is_image(path)} | {root})
    for item in found:
        item.images = _locate([image.get('file_name') for image in item.content['images']], folders, item)
    return found


def read_json(path: Path):
    """Read a JSON file in UTF-8.

    Raises:
        ValueError: If it is broken.
    """
    try:
        return json.loads(path.read_text(encoding='utf-8-sig'))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is not valid JSON: {error}') from error


def check_entries(path: Path, content) -> None:
    """Make sure that the content of a JSON file has a list of images and one of annotations, each an object.

    Raises:
        ValueError: If not; the message names the file and the entry.
    """
    for key, example in (('images', '"file_name": "a.jpg"'), ('annotations', '"image_id": 1')):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise ValueError(f'{path} has no list "{key}"; write it as a COCO file has it')
        for place, entry in enumerate(entries):
            if not isinstance(entry, dict):
                text = f'entry {place} of "{key}" in {path} is {entry!r:.60}'
                raise ValueError(f'{text}: it must be an object such as {{"id": 1, {example}, ...}}')


def _locate(names: list, folders: list[Path], item: CocoFile) -> dict[str, Path]:
    """Find the images named, in the one folder that has most of them; leading parts of the names may be foreign."""
    names = [name for name in dict.fromkeys(names) if isinstance(name, str) and name]
    sample = names[:: max(len(names) // 40, 1)]
    depth = max((len(_parts(name)) for name in sample), default=1)
    above = [parent for parent in item.path.parents if any(parent in (f, *f.parents) for f in folders)]
    places = list(dict.fromkeys([*folders, *above]))

    def rank(place: tuple[Path, int]):
        folder, skipped = place
        hits = sum((folder / '/'.join(_parts(name)[skipped:])).is_file() for name in sample)
        near = folder == item.path.parent, split_of(folder / 'x') == item.split
        return hits, -skipped, *near, -len(folder.parts)

    folder, skipped = max(((place, n) for place in places for n in range(depth)), key=rank)
    paths = {name: folder / '/'.join(_parts(name)[skipped:]) for name in names}
    return {name: path for name, path in paths.items() if path.is_file()}


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in PurePosixPath(name.replace('\\', '/')).parts if part not in ('/', '.'))


WRONG_MASK_SIZE = 'mask size unlike the image'


def problem(annotation: dict, image: dict | None, category_ids: set) -> str | None:
    """Say why training has to do without an annotation; None where it can use it.

    Example:
        >>> problem({'category_id': 1, 'bbox': [90, 0, 20, 9]}, {'width': 80, 'height': 60}, {1})
        'box outside the image'
    """
    if image is None:
        return 'unknown image id'
    if annotation.get('category_id') not in category_ids:
        return 'unknown category id'
    box = box_of(annotation)
    if box is None:
        return 'no box'
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return 'box of zero area'
    if x >= image['width'] or y >= image['height'] or x + width <= 0 or y + height <= 0:
        return 'box outside the image'
    if width < 1 or height < 1:  # mmdet skips these
        return 'box thinner than a pixel'
    mask = mask_of(annotation)
    # Only run lengths have a size; mmdet stops at a wrong one.
    return WRONG_MASK_SIZE if isinstance(mask, dict) and mask['size'] != [image['height'], image['width']] else None


def box_of(annotation: dict) -> list[float] | None:
    """The box (x, y, width, height) of an annotation, from its polygons or runs where it has no ``bbox``."""
    box = annotation.get('bbox')
    if isinstance(box, (list, tuple)) and len(box) == 4 and all(isinstance(v, (int, float)) for v in box):
        # NaN is unequal to itself.
        return [float(v) for v in box] if all(v == v for v in box) else None
    mask = mask_of(annotation)
    if isinstance(mask, dict):
        from pycocotools import mask as coco_mask

        return [float(v) for v in coco_mask.toBbox(_encoded(mask))]
    if mask:
        x, y = ([v for polygon in mask for v in polygon[start::2]] for start in (0, 1))
        return [min(x), min(y), max(x) - min(x), max(y) - min(y)]
    return None


def mask_of(annotation: dict) -> dict | list | None:
    """The ``segmentation`` as a dict of runs or a list of polygons with three points or more; None where there is none."""
    mask = annotation.get('segmentation')
    if isinstance(mask, dict):
        sound = isinstance(mask.get('counts'), (list, str)) and mask['counts'] and len(mask.get('size') or ()) == 2
        return mask if sound else None
    if not isinstance(mask, list) or not mask:
        return None
    polygons = [mask] if isinstance(mask[0], (int, float)) else mask
    # [[[x, y], ...]] is seen as well as [[x, y, ...]].
    flat = [[v for point in p for v in point] if p and isinstance(p[0], list) else p for p in polygons]
    return [p for p in flat if isinstance(p, list) and len(p) >= 6 and len(p) % 2 == 0] or None


def _encoded(mask: dict) -> dict:
    from pycocotools import mask as coco_mask

    return coco_mask.frPyObjects(mask, *mask['size']) if isinstance(mask['counts'], list) else mask


def categories_of(files: Iterable[CocoFile]) -> tuple[list[str], dict[tuple[Path, int], int], list[str]]:
    """Merge the categories of several files by name.

    Returns:
        The class names, the class of each (file, category id), and notes on what was merged or left out.
    """
    used, spellings = Counter(), {}
    groups: dict[str, list[tuple[Path, dict]]] = {}
    for item in files:
        counts = Counter(a.get('category_id') for a in item.content['annotations'])
        for category in sorted(_categories(item), key=lambda c: c['id']):
            key = spelling(category['name'])
            groups.setdefault(key, []).append((item.path, category))
            used[key] += counts[category['id']]
            spellings.setdefault(key, Counter())[str(category['name'])] += counts[category['id']]
    notes = []
    # Roboflow lists the project itself as a category without annotations, above all others.
    parents = {spelling(c.get('supercategory') or '') for group in groups.values() for _, c in group}
    roots = [key for key in groups if not used[key] and key in parents and len(groups) > 1]
    for key in roots:
        del groups[key]
    classes, mapping = [], {}
    for key, group in groups.items():
        best = spellings[key].most_common(1)[0][0]
        others = [name for name in spellings[key] if name != best]
        if others:
            notes.append(f'{", ".join(map(repr, others))} and {best!r} are taken for one class')
        for path, category in group:
            mapping[path, category['id']] = len(classes)
        classes.append(best.strip())
    return classes, mapping, notes


def _categories(item: CocoFile) -> list[dict]:
    categories = item.content.get('categories')
    if not isinstance(categories, list) or not categories:
        raise ValueError(
            f'{item.path} has no "categories"; each class needs an entry such as {{"id": 1, "name": "cat"}}'
        )
    for category in categories:
        if not isinstance(category, dict) or not isinstance(category.get('id'), int) or 'name' not in category:
            raise ValueError(f'{item.path} has the category {category!r}; it needs a whole number "id" and a "name"')
    return categories


def clean(files: list[CocoFile], root: Path) -> CocoSet:
    """Merge annotation files into one clean dict for each split ('train', 'val', 'test'; '' for files of no split).

    Ids count from 1 without gaps, boxes lie inside their images, areas and sizes are there, file names are relative to
    ``root``; annotations that training can't use are left out and counted.

    Raises:
        FileNotFoundError: If images are missing.
        ValueError: If a file has no categories or an image can't be read.
    """
    classes, mapping, notes = categories_of(files)
    categories = [{'id': i, 'name': name} for i, name in enumerate(classes, 1)]
    splits: dict[str, dict] = {}
    left_out, orientations = Counter(), {'upright': [], 'stored': []}
    for item in files:
        target = splits.setdefault(item.split or '', {'images': [], 'annotations': [], 'categories': categories})
        known = _add_images(item, target, root, orientations)
        ids = {category['id'] for category in _categories(item)}
        for annotation in item.content['annotations']:
            image = known.get(annotation.get('image_id'))
            reason = problem(annotation, image, ids)
            if reason is None and (item.path, annotation['category_id']) not in mapping:
                reason = 'unknown category id'
            if reason:
                left_out[reason] += 1
                continue
            number = mapping[item.path, annotation['category_id']] + 1
            target['annotations'].append(_clean(annotation, image, number, len(target['annotations']) + 1))
    if all(orientations.values()):
        raise ValueError(
            f'{orientations["stored"][0]} is labelled as it is stored, {orientations["upright"][0]} turned as its EXIF data '
            f'say; mend a copy: tools/check_dataset.py {root} --fix NEW_DIR'
        )
    return CocoSet(classes, splits, notes, left_out, bool(orientations['stored']))


def _add_images(item: CocoFile, target: dict, root: Path, orientations: dict) -> dict:
    """Append the images of a file to a split; return the clean entry of each old id."""
    missing = [
        str(image.get('file_name')) for image in item.content['images'] if image.get('file_name') not in item.images
    ]
    if missing:
        raise FileNotFoundError(
            f'{item.path} names {len(missing)} of {len(item.content["images"])} images that are not below {root}: '
            f'{", ".join(missing[:3])}{", ..." if len(missing) > 3 else ""}; add them or see tools/check_dataset.py --fix'
        )
    known: dict = {}
    for image in item.content['images']:
        path = item.images[image['file_name']]
        header = read_header(path)
        as_stored = labelled_as_stored(image, header)
        if header.turned and header.stored != header.upright:
            orientations['stored' if as_stored else 'upright'].append(path.name)
        width, height = header.stored if as_stored else header.upright
        entry = {'id': len(target['images']) + 1, 'file_name': _relative(path, root), 'width': width, 'height': height}
        target['images'].append(entry)
        known.setdefault(image.get('id'), entry)
    return known


def labelled_as_stored(image: dict, header: Header) -> bool:
    """Whether the labels of a photo that EXIF data turn count pixels as stored, as its size in the file says."""
    return (image.get('width'), image.get('height')) == header.stored != header.upright


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _clean(annotation: dict, image: dict, category: int, number: int) -> dict:
    x, y, width, height = box_of(annotation)
    left, top = max(x, 0.0), max(y, 0.0)
    box = [left, top, min(x + width, image['width']) - left, min(y + height, image['height']) - top]
    out = {'id': number, 'image_id': image['id'], 'category_id': category, 'bbox': box}
    out['iscrowd'] = int(bool(annotation.get('iscrowd')) or bool(annotation.get('ignore')))
    mask = mask_of(annotation)
    if mask is not None:
        out['segmentation'] = mask
    area = annotation.get('area')
    out['area'] = area if isinstance(area, (int, float)) and area > 0 else _area(mask, box)
    return out


def _area(mask: dict | list | None, box: list[float]) -> float:
    if isinstance(mask, dict):
        from pycocotools import mask as coco_mask

        return float(coco_mask.area(_encoded(mask)))
    if mask:
        return max(sum(_polygon_area(polygon) for polygon in mask), 1.0)
    return box[2] * box[3]


def _polygon_area(polygon: list[float]) -> float:
    x, y = polygon[::2], polygon[1::2]
    return abs(sum(a * d - b * c for a, b, c, d in zip(x, y, x[1:] + x[:1], y[1:] + y[:1]))) / 2


def has_masks(dataset: dict) -> int:
    """The number of annotations that have a mask."""
    return sum('segmentation' in annotation for annotation in dataset['annotations'])


def ignore_boxes_without_mask(dataset: dict) -> int:
    """Make the annotations without a mask, among others with one, regions that neither training nor evaluation counts.

    Returns:
        How many there were.
    """
    sizes = {image['id']: (image['height'], image['width']) for image in dataset['images']}
    bare = [annotation for annotation in dataset['annotations'] if 'segmentation' not in annotation]
    for annotation in bare:
        height, width = sizes[annotation['image_id']]
        x, y, w, h = annotation['bbox']
        annotation['segmentation'] = [[x, y, min(x + w, width), y, min(x + w, width), min(y + h, height), x, y + h]]
        annotation['iscrowd'] = 1
    return len(bare)


def take_images(dataset: dict, indices: Iterable[int]) -> dict:
    """The part of a clean dict with some of its images, by their place, and their annotations."""
    images = [dataset['images'][i] for i in sorted(indices)]
    ids = {image['id'] for image in images}
    annotations = [annotation for annotation in dataset['annotations'] if annotation['image_id'] in ids]
    return {**dataset, 'images': images, 'annotations': annotations}


def classes_by_image(dataset: dict) -> list[set[int]]:
    """The category ids in each image."""
    found: dict[int, set[int]] = {image['id']: set() for image in dataset['images']}
    for annotation in dataset['annotations']:
        found[annotation['image_id']].add(annotation['category_id'])
    return list(found.values())
