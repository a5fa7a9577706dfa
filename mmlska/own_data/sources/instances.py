"""What all formats of single objects share: boxes and outlines as COCO has them, which detectors train on."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from shlex import quote

from mmengine.config import Config

from ...colors import distinct_colors
from ...datasets.coco_labels import area_of, box_of, is_ignored, mask_of, problem
from ...files import write_atomically, write_text
from ...image_windows import header_of
from ...text import counted, printable
from ..annotations import NONE_USED, AnnotationFile, categories_of, labelled_as_stored, odd_ids, own_categories
from ..check_annotations import check_annotations
from ..config_edits import each_transform, first_dataset, wants_masks
from ..folder import STAY_INSIDE
from ..image_copies import ImageCopies
from ..input_scale import InputScale, SizedBoxes
from ..report import Report, check_image, first_of
from .source import LabelFormat, Legend, Sample, TrainingLabels


@dataclass
class InstanceSource(LabelFormat):
    """Single objects in files that say the same as COCO files do."""

    scope = 'mmdet'
    root: Path
    files: list[AnnotationFile]
    wanted: Sequence[str] | None = None  # the class names of a config that reads the files as they are

    def check(self, scale: InputScale | None = None) -> Report:
        return check_annotations(self.files, self.wanted, scale)

    def legend(self) -> Legend:
        classes, _, _ = categories_of(self.files)
        return list(zip(classes, distinct_colors(len(classes))))

    def samples(self) -> list[tuple[str, Callable[[], Sample | None]]]:
        _, mapping, _ = categories_of(self.files)
        return [
            (image['file_name'], partial(_sample, item, image, mapping))
            for item in self.files
            for image in item.content['images']
            if image.get('file_name') in item.images
        ]

    def _refuse_nothing(self) -> None:
        """Raise ValueError, with the first reason, where no label file could be used."""
        reasons = [entry for item in self.files for entry in (*item.left_out, *item.dropped)]
        if reasons and not any(item.content['annotations'] for item in self.files):
            kind, place = reasons[0]
            more = f' and {len(reasons) - 1} more' if len(reasons) > 1 else ''
            raise ValueError(
                f'no label of {self.root} can be used: {kind}: {place}{more}; mmlska check {quote(str(self.root))} lists all'
            )

    def read(self) -> InstanceLabels:
        self._refuse_nothing()
        labels = _clean(self.files, self.root)
        if labels.left_out and not any(image.annotations for images in labels.splits.values() for image in images):
            lines = ', '.join(f'{count} {reason}' for reason, count in labels.left_out.most_common())
            raise ValueError(
                f'no annotation of {self.root} can be used: {lines}; mmlska check {quote(str(self.root))} lists all'
            )
        labels.notes += _notes(self.files)
        return labels

    def repair(self, folder: Path) -> list[str]:
        self._refuse_nothing()
        broken, merged, copies = set(), [], ImageCopies(self.root, folder / 'images')
        for item in self.files:
            images, seen, paths = [], set(), {}
            for image in item.content['images']:
                name, number = image.get('file_name'), image.get('id')
                path = item.images.get(name)
                if path is None or number in seen or check_image(Report(), path) is None:
                    broken.add(name)
                    continue
                seen.add(number)
                images.append(image)
                paths[name] = copies.add(path, labelled_as_stored(image, header_of(path)))
            content = {**item.content, 'images': images}
            merged.append(replace(item, content=content, images=paths))
        labels = _clean(merged, folder)
        used = {labels.path_of(image) for images in labels.splits.values() for image in images}
        for copied in {path for item in merged for path in item.images.values()} - used:
            copied.unlink()
        (folder / 'annotations').mkdir()
        lines = []
        for split, images in labels.splits.items():
            for image in images:  # file_name counts from images/, as in COCO
                image.entry['file_name'] = image.entry['file_name'].removeprefix('images/')
            file = folder / f'annotations/instances_{split or "all"}.json'
            file.write_text(labels.as_coco(images), encoding='utf-8')
            lines.append(f'{file.name}: {len(images)} images, {labels.describe(images)}')
        left_out = ', '.join(f'{count} {reason}' for reason, count in labels.left_out.items())
        rest = f'; annotations: {left_out}' if left_out else ''
        return [*lines, *labels.notes, *_notes(self.files), f'left out: {len(broken)} images{rest}']


def _notes(files: Sequence[AnnotationFile]) -> list[str]:
    """What could not be read of label files, and what was odd, each kind in a line."""
    lines = []
    for prefix, every in (
        ('left out: ', [entry for item in files for entry in item.left_out]),
        ('numbered anew: ', [entry for item in files for entry in odd_ids(item)]),
        ('', [(f'{fault}, {remedy}', place) for item in files for fault, remedy, place in item.repaired]),
        ('', [entry for item in files for entry in item.remarks]),
    ):
        kinds: dict[str, list[str]] = {}
        for kind, place in every:
            kinds.setdefault(kind, []).append(place)
        lines += [f'{prefix}{len(places)} x {kind}: {first_of(places)}' for kind, places in kinds.items()]
    return lines


def _sample(item: AnnotationFile, image: dict, mapping: dict) -> Sample | None:
    path = item.images[image['file_name']]
    try:
        header = header_of(path)
    except (OSError, ValueError):
        return None
    as_stored = labelled_as_stored(image, header)
    width, height = header.stored if as_stored else header.upright
    image = dict(image, width=width, height=height)
    ids = {number for source, number in mapping if source == item.path}
    sound = [
        (mapping[item.path, annotation['category_id']], annotation)
        for annotation in item.content['annotations']
        if annotation.get('image_id') == image.get('id') and not problem(annotation, image, ids)
    ]
    return Sample(path, as_stored, objects=sound)


@dataclass
class LabelledImage:
    """The clean COCO entry of an image and those of its annotations."""

    entry: dict
    annotations: list[dict] = field(default_factory=list)
    said: str = ''  # the name that a label file gives to the photo within, which lies elsewhere

    @property
    def name(self) -> str:
        return self.said or self.entry['file_name']


@dataclass
class InstanceLabels(TrainingLabels):
    """Sound boxes and outlines, in images that are :class:`LabelledImage`.

    Ids count from 1 without gaps, boxes lie inside their images, areas and sizes are there, file names are relative to the folder.
    """

    left_out: Counter  # annotations that training can't use, by reason

    def name_of(self, image: LabelledImage) -> str:
        return image.name

    def path_of(self, image: LabelledImage) -> Path:
        return self.root / image.entry['file_name']

    def classes_in(self, image: LabelledImage) -> set[int]:
        return {annotation['category_id'] - 1 for annotation in image.annotations}

    def boxes(self, images: list[LabelledImage]) -> list[SizedBoxes]:
        return [
            (
                (image.entry['width'], image.entry['height']),
                [a['bbox'] for a in image.annotations if not is_ignored(a)],
            )
            for image in images
        ]

    def describe(self, images: list[LabelledImage]) -> str:
        return f'{sum(len(image.annotations) for image in images)} annotations'

    def adapt(self, cfg: Config) -> list[str]:
        notes = self.left_out_notes()
        if wants_masks(cfg):
            return notes + self._ignore_boxes_without_mask(cfg)
        each_transform(cfg, 'LoadAnnotations', lambda t: t.update(with_mask=False))
        return notes

    def left_out_notes(self) -> list[str]:
        """What annotations training can't use, by reason."""
        reasons = ', '.join(f'{count} {reason}' for reason, count in self.left_out.most_common())
        total = sum(self.left_out.values())
        return [f'{total} annotations left out: {reasons} (mmlska check names them)'] if total else []

    def refuse_boxes_alone(self, cfg: Config) -> None:
        """Raise ValueError, for a model that needs masks, where nothing that is trained on has one."""
        learned = [a for image in self.splits[self.learned] for a in image.annotations]
        if learned and not any('segmentation' in annotation for annotation in learned):
            arch = cfg.model.get('backbone', {}).get('arch')
            arch = arch if arch in ('t', 's', 'b') else 't'
            raise ValueError(
                f'the {len(learned)} annotations to train on in {self.root} have boxes without masks, which {cfg.model.type} needs; '
                f'train a box detector: configs/retinanet_van_lska_{arch}.py'
            )

    def _ignore_boxes_without_mask(self, cfg: Config) -> list[str]:
        """Make the annotations without a mask, among others with one, regions that neither training nor evaluation counts."""
        self.refuse_boxes_alone(cfg)
        every = [(image.entry, a) for images in self.splits.values() for image in images for a in image.annotations]
        bare = [(entry, annotation) for entry, annotation in every if 'segmentation' not in annotation]
        for entry, annotation in bare:
            x, y, w, h = annotation['bbox']
            right, bottom = min(x + w, entry['width']), min(y + h, entry['height'])
            annotation['segmentation'] = [[x, y, right, y, right, bottom, x, y + h]]
            annotation['iscrowd'] = 1
        note = f'{len(bare)} of {len(every)} annotations have no mask: their boxes are ignored, not learned'
        return [note] if bare else []

    def write(self, folder: Path, split: str, images: list[LabelledImage]) -> dict:
        self.keep_extracted(folder, split, images)
        file = write_text(folder / f'{split}.json', self.as_coco(images))
        return dict(type='CocoDataset', ann_file=str(file), data_prefix=dict(img=''))

    def keep_extracted(self, folder: Path, split: str, images: list[LabelledImage]) -> None:
        """Copy the photos that came out of label files, and lie in a temporary folder, to where training finds them again."""
        for image in images:
            path = Path(image.entry['file_name'])
            if path.is_absolute():
                kept = folder / 'photos' / split / f'{image.entry["id"]}_{path.name}'
                write_atomically(kept, partial(shutil.copyfile, path))
                image.entry['file_name'] = str(kept)

    def as_coco(self, images: list[LabelledImage]) -> str:
        """The text of a COCO file."""
        annotations = sorted((a for image in images for a in image.annotations), key=lambda a: a['id'])
        categories = [{'id': i, 'name': name} for i, name in enumerate(self.classes, 1)]
        content = {'images': [image.entry for image in images], 'annotations': annotations, 'categories': categories}
        return json.dumps(content)

    def trained(self, cfg: Config, images: list[LabelledImage]) -> int:
        """The number of images that the recipe's filter keeps.

        Raises:
            ValueError: If there are none.
        """
        rules = first_dataset(cfg, 'train').get('filter_cfg') or {}
        smallest = rules.get('min_size', 0)
        kept = [image for image in images if min(image.entry['width'], image.entry['height']) >= smallest]
        if rules.get('filter_empty_gt'):
            kept = [image for image in kept if image.annotations]
        if not kept:
            reasons = ['have no annotation'] if rules.get('filter_empty_gt') else []
            reasons += [f'are smaller than {smallest} pixels'] if smallest else []
            left = f'none of the {counted(len(images), "training image")} of {self.root} is left: they {" or ".join(reasons)}'
            what = left if images else f'the labels of {self.root} name no image to train on'
            raise ValueError(f'{what}; label some, or run mmlska check {quote(str(self.root))}')
        return len(kept)


def _clean(files: list[AnnotationFile], root: Path) -> InstanceLabels:
    """Merge annotation files by split; annotations that training can't use are left out and counted.

    Raises:
        FileNotFoundError: If images are missing.
        ValueError: If a file has no categories or an image can't be read.
    """
    classes, mapping, notes = categories_of(files)
    splits: dict[str, list[LabelledImage]] = {}
    left_out, numbers, kinds = Counter(), Counter(), {'upright': [], 'stored': [], 'other size': []}
    lost: set[str] = set()  # file names of images with annotations that are left out
    for item in files:
        split = item.split or ''
        images = _clean_images(item, root, splits.setdefault(split, []), kinds)
        left_out.update(reason for reason, _ in item.dropped)
        by_id: dict = {}
        for old, image in zip(item.content['images'], images):
            by_id.setdefault(old['id'], image)
        lost.update(by_id[number].entry['file_name'] for number in item.lost if number in by_id)
        ids = {category['id'] for category in own_categories(item)}
        for annotation in item.content['annotations']:
            image = by_id.get(annotation.get('image_id'))
            reason = problem(annotation, image and image.entry, ids)
            if reason is None and (item.path, annotation['category_id']) not in mapping:
                reason = 'unknown category id'
            if reason:
                left_out[reason] += 1
                if image is not None:
                    lost.add(image.entry['file_name'])
                continue
            numbers[split] += 1
            category = mapping[item.path, annotation['category_id']] + 1
            image.annotations.append(_clean_annotation(annotation, image.entry, category, numbers[split]))
    if kinds['stored'] and kinds['upright']:
        raise ValueError(
            f'{kinds["stored"][0]} is labelled as it is stored, {kinds["upright"][0]} turned as its EXIF data '
            f'say; write a corrected copy: mmlska check {quote(str(root))} --fix NEW_DIR'
        )
    palette = [tuple(color) for color in distinct_colors(len(classes))]
    lines = [text for _, text in notes]
    if kinds['other size']:
        lines.append(
            f'{counted(len(kinds["other size"]), "image")} of another size than the labels say: {first_of(kinds["other size"])}'
        )
    unused = _leave_out(splits, lost)
    if unused:
        lines.append(f'left out: {len(unused)} x {NONE_USED}: {first_of(unused)}')
    return InstanceLabels(root, classes, palette, splits, lines, bool(kinds['stored']), left_out)


def _leave_out(splits: dict[str, list[LabelledImage]], lost: set[str]) -> list[str]:
    """Take images without annotations out that are among these; return their names."""
    unused = []
    for images in splits.values():
        unused += [image.name for image in images if not image.annotations and image.entry['file_name'] in lost]
        images[:] = [image for image in images if image.annotations or image.entry['file_name'] not in lost]
    return unused


def _clean_images(item: AnnotationFile, root: Path, before: list[LabelledImage], kinds: dict) -> list[LabelledImage]:
    """The clean entries of the images of a file; odd ones go into ``kinds``.

    Args:
        before: Those of other files of the split. New ones are added to them; a photo that another file names too keeps its entry.
    """
    total = len(item.content['images'])
    if item.outside:
        raise ValueError(
            f'{item.path} names {len(item.outside)} of {total} images that lead out of {root}, such as '
            f'{printable(min(item.outside))[:200]}; {STAY_INSIDE}'
        )
    missing = [
        str(image.get('file_name')) for image in item.content['images'] if image.get('file_name') not in item.images
    ]
    if missing:
        raise FileNotFoundError(
            f'{item.path} names {len(missing)} of {total} images that are not below {root}: '
            f'{first_of(missing)}; add them, or leave their labels out: mmlska check {quote(str(root))} --fix NEW_DIR'
        )
    images, known = [], {image.entry['file_name']: image for image in before}
    for image in item.content['images']:
        path = item.images[image['file_name']]
        header = header_of(path)
        as_stored = labelled_as_stored(image, header)
        if header.stored != header.upright:
            kinds['stored' if as_stored else 'upright'].append(path.name)
        said = image.get('width'), image.get('height')
        if None not in said and said not in (header.upright, header.stored):
            kinds['other size'].append(path.name)
        width, height = header.stored if as_stored else header.upright
        inside = path.relative_to(root).as_posix() if path.is_relative_to(root) else None
        name = inside or str(path)
        if name not in known:
            entry = {'id': len(before) + 1, 'file_name': name, 'width': width, 'height': height}
            known[name] = LabelledImage(entry, said='' if inside else str(image['file_name']))
            before.append(known[name])
        images.append(known[name])
    return images


def _clean_annotation(annotation: dict, image: dict, category: int, number: int) -> dict:
    x, y, width, height = box_of(annotation)
    left, top = max(x, 0.0), max(y, 0.0)
    box = [left, top, min(x + width, image['width']) - left, min(y + height, image['height']) - top]
    out = {'id': number, 'image_id': image['id'], 'category_id': category, 'bbox': box}
    out['iscrowd'] = int(is_ignored(annotation))
    mask = mask_of(annotation)
    if mask is not None:
        out['segmentation'] = mask
    out['area'] = area_of(annotation, box)
    return out
