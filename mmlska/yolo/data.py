"""From COCO annotations to the folder layout that Ultralytics trains on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path

from ..datasets.coco_labels import THIN_BOX, has_size, problem
from ..engine.config import load_config
from ..files import is_inside, write_atomically, write_text
from ..own_data.annotations import check_entries
from ..own_data.label_text import read_json
from ..text import shown

#: The config of MMDetection on the fruits_nuts data, which holds out the same photos.
_FRUITS_CONFIG = 'configs/demo/mask_rcnn_van_lska_t_fruits.py'


def coco_to_yolo(
    splits: Mapping[str, tuple[Path, Path]], out: Path, only: Mapping[str, Collection[str]] | None = None
) -> Path:
    """Write images, box labels and data.yaml in Ultralytics' layout.

    Args:
        splits: For 'train' and 'val' the annotation file and the folder of images.
        out: New folder. It gets images/SPLIT, labels/SPLIT and data.yaml.
        only: For a split the file names to take from its annotations; by default all.

    Returns:
        The path of data.yaml.

    Raises:
        FileNotFoundError: If an annotation file or an image is missing.
        ValueError: If a split has no image or two of the same name, an image lies outside of its folder, an entry makes no sense,
            or the splits have different classes. Nothing is written then.
    """
    names: list[str] = []
    files: list[tuple[Path, str, str, str]] = []  # image, split, its name there, its labels
    for split, (ann_file, img_dir) in splits.items():
        coco = _read(split, Path(ann_file))
        classes, here = _classes(coco['categories'], ann_file)
        if files and names != here:
            raise ValueError(f'{split} has the classes {here}, the split before it {names}; they must be the same')
        names = here
        chosen = [
            im for im in coco['images'] if not (only and split in only) or Path(im['file_name']).name in only[split]
        ]
        if not chosen:
            raise ValueError(f'{split} has no image in {ann_file}; name images that are in it')
        labels = defaultdict(list)
        for annotation in coco['annotations']:
            if not annotation.get('iscrowd'):
                labels[annotation['image_id']].append(annotation)
        taken: dict[str, str] = {}  # Ultralytics finds the labels of an image by its name without folder and ending
        for image in chosen:
            source = _find_image(split, Path(img_dir), image['file_name'])
            if source.stem in taken:
                raise ValueError(
                    f'{split} images {taken[source.stem]!r} and {image["file_name"]!r} would both be {source.stem!r} in one '
                    f'folder; rename one of them'
                )
            taken[source.stem] = image['file_name']
            lines = [_line(classes, annotation, image) for annotation in labels[image['id']]]
            files.append((source, split, source.name, ''.join(lines)))
    for source, split, name, labels in files:
        write_atomically(out / 'images' / split / name, partial(shutil.copyfile, source))
        write_text(out / 'labels' / split / f'{Path(name).stem}.txt', labels)
    return _write_yaml(out, names)


def _read(split: str, ann_file: Path) -> dict:
    if not ann_file.is_file():
        raise FileNotFoundError(f'{split} annotations {ann_file} do not exist; give a COCO json')
    coco = read_json(ann_file)
    check_entries(ann_file, coco)
    if not isinstance(coco.get('categories'), list):
        raise ValueError(f'{ann_file} has no list "categories"; write it as a COCO file has it')
    wanted = dict(images=('id', 'file_name', 'width', 'height'), annotations=('image_id', 'category_id', 'bbox'))
    for key, fields in wanted.items():
        for entry in coco[key]:
            missing = next((field for field in fields if field not in entry), None)
            if missing:
                raise ValueError(f'{ann_file}: {key} has the entry {shown(entry)} without {missing!r}; correct it')
    for image in coco['images']:
        if not isinstance(image['file_name'], str) or not has_size(image):
            raise ValueError(f'{ann_file}: images has the entry {shown(image)}, without a name or a size; correct it')
    return coco


def _classes(categories: list, ann_file: Path) -> tuple[dict[int, int], list[str]]:
    """The index of each category by its id, and the names in order of the indices."""
    for category in categories:
        entry = category if isinstance(category, dict) else {}
        if type(entry.get('id')) is not int or not isinstance(entry.get('name'), str):
            raise ValueError(f'{ann_file}: category {shown(category)} needs a whole number as id and a text as name')
    ordered = sorted(categories, key=lambda category: category['id'])
    classes = {category['id']: index for index, category in enumerate(ordered)}
    if len(classes) < len(ordered):
        raise ValueError(f'{ann_file} has two categories of the same id; give each its own')
    return classes, [category['name'] for category in ordered]


def _find_image(split: str, folder: Path, name: str) -> Path:
    """An image by its file name, with or without the folders in it.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it lies outside of the folder.
    """
    found = [source for source in (folder / name, folder / Path(name).name) if source.is_file()]
    inside = [source for source in found if is_inside(source, folder)]
    if inside:
        return inside[0]
    if found:
        raise ValueError(f'{split} image {name!r} lies outside of {folder}; copy it there and correct its file_name')
    raise FileNotFoundError(f'{split} image {folder / name} does not exist; give the folder that holds the images')


def _write_yaml(out: Path, names: list[str]) -> Path:
    """Write data.yaml, which Ultralytics has to read as what was written: it runs what stands under ``download``."""
    import yaml
    from ultralytics.utils import YAML

    content = dict(path=str(out.absolute()), train='images/train', val='images/val', names=dict(enumerate(names)))
    odd = [text for text in (*names, content['path']) if not text.isprintable()]  # they need escapes

    def write(temporary: str) -> None:
        Path(temporary).write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=not odd), encoding='utf-8')
        if YAML.load(temporary) != content:
            raise ValueError('it reads back as something else')

    try:
        return write_atomically(out / 'data.yaml', write)
    except (ValueError, yaml.YAMLError) as error:
        reason = ' '.join(str(error).split())
        raise ValueError(f'{(odd or names)[0]!r} cannot be written to data.yaml ({reason}); rename it') from error


def fruits_to_yolo(root: Path, out: Path) -> Path:
    """Convert the fruits_nuts data (18 photos, three classes): 14 photos train, 4 validate."""
    ann_file = root / 'trainval.json'
    if not ann_file.is_file():
        raise FileNotFoundError(f'{ann_file} does not exist; give the folder of the fruits_nuts data')
    names = [Path(image['file_name']).name for image in _read('train', ann_file)['images']]
    places = load_config(_FRUITS_CONFIG).held_out
    if len(names) <= max(places):
        raise ValueError(f'{ann_file} has {len(names)} images, not the 18 of the fruits_nuts data; give their folder')
    held_out = {names[place] for place in places}
    source = (ann_file, root / 'images')
    return coco_to_yolo(dict(train=source, val=source), out, only=dict(train={*names} - held_out, val=held_out))


def data_name(data: Path) -> str:
    """Name a data.yaml by its folder, and any other file by its folder and itself.

    Example:
        >>> data_name(Path('data/fruits/data.yaml')), data_name(Path('data/sets/a.yaml'))
        ('fruits', 'sets_a')
    """
    data = data.resolve()
    return data.parent.name if data.stem == 'data' else f'{data.parent.name}_{data.stem}'


def fingerprint(data: Path) -> str:
    """Digest of what a data.yaml trains and validates on: classes, labels, names and sizes of the images, wherever the files lie.

    Raises:
        FileNotFoundError: If it or a folder that it names does not exist.
    """
    from ultralytics.data.utils import IMG_FORMATS, check_det_dataset, img2label_paths

    found = check_det_dataset(str(data), autodownload=False)  # which runs what stands under `download`
    digest = hashlib.sha256(json.dumps(list(found['names'].values())).encode())
    for split in ('train', 'val'):
        digest.update(split.encode())
        images: list[Path] = []
        for place in [found[split]] if isinstance(found[split], str) else found[split]:
            if Path(place).is_dir():
                images += Path(place).rglob('*.*')
            else:  # a list of files; those that begin with ./ lie beside it
                lines = Path(place).read_text(encoding='utf-8-sig').split('\n')
                images += [Path(place).parent / line if line.startswith('./') else Path(line) for line in lines]
        images = sorted(p for p in images if p.suffix[1:].lower() in IMG_FORMATS and p.is_file())
        for image, label in zip(images, map(Path, img2label_paths(images))):
            text = label.read_bytes() if label.is_file() else b''
            digest.update(f'{image.name} {image.stat().st_size} {len(text)} '.encode() + text)
    return digest.hexdigest()


def _line(classes: Mapping[int, int], annotation: Mapping, image: Mapping) -> str:
    fault = problem(dict(bbox=annotation['bbox'], category_id=annotation['category_id']), image, classes.keys())
    if fault and fault != THIN_BOX:
        raise ValueError(
            f'image {image["file_name"]!r} has the annotation {shown(annotation)}: {fault}; correct or remove it'
        )
    x, y, width, height = annotation['bbox']
    # What is outside of the image is cut off: Ultralytics leaves out images whose labels reach beyond them.
    left, right = (min(max(value, 0), image['width']) / image['width'] for value in (x, x + width))
    top, bottom = (min(max(value, 0), image['height']) / image['height'] for value in (y, y + height))
    numbers = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    return f'{classes[annotation["category_id"]]} {" ".join(f"{number:.6f}" for number in numbers)}\n'
