"""From COCO annotations to the folder layout that Ultralytics trains on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

#: The photos of the fruits_nuts data that its source suggests for validation; the others train.
FRUITS_VAL = ('3.jpg', '7.jpg', '11.jpg', '15.jpg')


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
        ValueError: If a split has no image, or the splits have different classes.
    """
    names: list[str] | None = None
    for split, (ann_file, img_dir) in splits.items():
        if not Path(ann_file).is_file():
            raise FileNotFoundError(f'{split} annotations {ann_file} do not exist; give a COCO json')
        coco = json.loads(Path(ann_file).read_text(encoding='utf-8'))
        categories = sorted(coco['categories'], key=lambda c: c['id'])
        classes = {c['id']: i for i, c in enumerate(categories)}
        here = [c['name'] for c in categories]
        if names not in (None, here):
            raise ValueError(f'{split} has the classes {here}, the split before it {names}; they must be the same')
        names = here
        chosen = [
            im for im in coco['images'] if not (only and split in only) or Path(im['file_name']).name in only[split]
        ]
        if not chosen:
            raise ValueError(f'{split} has no image in {ann_file}; name images that are in it')
        images, labels = out / 'images' / split, out / 'labels' / split
        images.mkdir(parents=True, exist_ok=True)
        labels.mkdir(parents=True, exist_ok=True)
        for image in chosen:
            source = Path(img_dir) / image['file_name']
            if not source.is_file():
                source = source.parent / source.name
            if not source.is_file():
                raise FileNotFoundError(f'{split} image {source} does not exist; give the folder that holds the images')
            shutil.copyfile(source, images / source.name)
            lines = [
                _line(classes[a['category_id']], a['bbox'], image['width'], image['height'])
                for a in coco['annotations']
                if a['image_id'] == image['id'] and not a.get('iscrowd')
            ]
            (labels / f'{source.stem}.txt').write_text(''.join(lines), encoding='utf-8')
    data = out / 'data.yaml'
    listed = ''.join(f'  {i}: {name}\n' for i, name in enumerate(names or []))
    data.write_text(f'path: {out.absolute()}\ntrain: images/train\nval: images/val\nnames:\n{listed}', encoding='utf-8')
    return data


def fruits_to_yolo(root: Path, out: Path) -> Path:
    """Convert the fruits_nuts data (18 photos, three classes): 14 photos train, 4 validate."""
    ann_file = root / 'trainval.json'
    if not ann_file.is_file():
        raise FileNotFoundError(f'{ann_file} does not exist; give the folder of the fruits_nuts data')
    every = {Path(im['file_name']).name for im in json.loads(ann_file.read_text(encoding='utf-8'))['images']}
    source = (ann_file, root / 'images')
    return coco_to_yolo(dict(train=source, val=source), out, only=dict(train=every - set(FRUITS_VAL), val=FRUITS_VAL))


def data_name(data: Path) -> str:
    """Name a data.yaml by its folder, and any other file by its folder and itself.

    Example:
        >>> data_name(Path('data/fruits/data.yaml')), data_name(Path('data/sets/a.yaml'))
        ('fruits', 'sets_a')
    """
    data = data.resolve()
    return data.parent.name if data.stem == 'data' else f'{data.parent.name}_{data.stem}'


def fingerprint(data: Path) -> str:
    """Digest of what is trained and validated on: classes, labels, names and sizes of the images, wherever the files lie.

    Args:
        data: Ultralytics' data.yaml.

    Raises:
        FileNotFoundError: If it or a folder that it names does not exist.
    """
    from ultralytics.data.utils import IMG_FORMATS, check_det_dataset, img2label_paths

    found = check_det_dataset(str(data))
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


def _line(label: int, bbox: list[float], width: int, height: int) -> str:
    x, y, w, h = bbox
    return f'{label} {(x + w / 2) / width:.6f} {(y + h / 2) / height:.6f} {w / width:.6f} {h / height:.6f}\n'
