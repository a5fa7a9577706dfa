"""Labels of objects that can be trained on, merged of label files of any format."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from shlex import quote

from mmengine.config import Config

from ...colors import distinct_colors
from ...datasets.coco_labels import area_of, box_of, is_cut, is_ignored, mask_of, problem
from ...files import write_atomically, write_text
from ...image_windows import header_of
from ...images import Header
from ...text import counted, printable
from ..annotations import NONE_LEARNED, NONE_USED, AnnotationFile, categories_of, labelled_as_stored, own_categories
from ..config_edits import each_transform, first_dataset, wants_masks
from ..folder import STAY_INSIDE
from ..input_scale import SizedBoxes
from ..report import first_of, lines_of
from ..turned_photos import TurnedPhotos
from .source import TrainingLabels


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

    def refuse_ignored(self, images: list[LabelledImage]) -> None:
        """Raise ValueError where these images have annotations and none of them is learned."""
        every = [annotation for image in images for annotation in image.annotations]
        if every and all(map(is_ignored, every)):
            raise ValueError(
                f'the {counted(len(every), "annotation")} to train on in {self.root} are all {NONE_LEARNED}; '
                'write 0 there for single objects, or label some'
            )

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
            ValueError: If there are none, or all of their annotations are ignored.
        """
        self.refuse_ignored(images)
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


def clean(files: list[AnnotationFile], root: Path) -> InstanceLabels:
    """Merge annotation files by split; annotations that training can't use are left out and counted.

    Raises:
        FileNotFoundError: If images are missing.
        ValueError: If a file has no categories or an image can't be read.
    """
    classes, mapping, notes = categories_of(files)
    splits: dict[str, list[LabelledImage]] = {}
    left_out, numbers, turned, others = Counter(), Counter(), TurnedPhotos(), []
    cut: list[str] = []  # photos of boxes that pass their borders
    lost: set[str] = set()  # file names of images with annotations that are left out
    for item in files:
        split = item.split or ''
        images = _clean_images(item, root, splits.setdefault(split, []), turned, others)
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
            if is_cut(box_of(annotation), image.entry):
                cut.append(image.name)
            numbers[split] += 1
            category = mapping[item.path, annotation['category_id']] + 1
            image.annotations.append(_clean_annotation(annotation, image.entry, category, numbers[split]))
    if turned.mixed:
        raise ValueError(
            f'{turned.stored[0]} is labelled as it is stored, {(turned.upright or turned.unsized)[0]} turned as its EXIF data '
            f'say; write a corrected copy: mmlska check {quote(str(root))} --fix NEW_DIR'
        )
    if others:
        count, total = len(others), sum(len(item.content['images']) for item in files)
        raise ValueError(
            f'{others[0]}, like {count} of {total} images: no one factor makes one size of the other; put '
            f'back the photos that were labelled{_or_without("these", count, total, root)}'
        )
    palette = [tuple(color) for color in distinct_colors(len(classes))]
    lines = [*(text for _, text in notes), *lines_of(turned.untold_remarks())]
    if cut:
        lines.append(
            f'{len(cut)} of {sum(numbers.values())} boxes pass a border of their photos and are cut there: {first_of(cut)}'
        )
    unused = _leave_out(splits, lost)
    if unused:
        lines.append(f'left out: {len(unused)} x {NONE_USED}: {first_of(unused)}')
    return InstanceLabels(root, classes, palette, splits, lines, turned.as_stored, left_out)


def _leave_out(splits: dict[str, list[LabelledImage]], lost: set[str]) -> list[str]:
    """Take images without annotations out that are among these; return their names."""
    unused = []
    for images in splits.values():
        unused += [image.name for image in images if not image.annotations and image.entry['file_name'] in lost]
        images[:] = [image for image in images if image.annotations or image.entry['file_name'] not in lost]
    return unused


def _clean_images(
    item: AnnotationFile, root: Path, before: list[LabelledImage], turned: TurnedPhotos, others: list[str]
) -> list[LabelledImage]:
    """The clean entries of the images of a file; those that EXIF data turn go into ``turned``, those of another size into ``others``.

    Args:
        before: Those of other files of the split. New ones are added to them; a photo that another file names too keeps its entry.
    """
    total = len(item.content['images'])
    if item.outside:
        raise ValueError(
            f'{item.path} names {len(item.outside)} of {total} images that lead out of {root}, such as '
            f'{printable(min(item.outside))[:200]}; {STAY_INSIDE}'
        )
    if item.unread:
        raise ValueError(
            f'{item.path} names {len(item.unread)} of {total} images of a kind that is not read: '
            f'{first_of(sorted(item.unread))}; save them under the same names as png or '
            f'jpg{_or_without("their labels", len(item.unread), total, root)}'
        )
    missing = missing_names(item)
    if missing:
        raise FileNotFoundError(
            f'{item.path} names {len(missing)} of {total} images that are not below {root}: '
            f'{first_of(missing)}; put them there under these names{_or_without("their labels", len(missing), total, root)}'
        )
    images, known = [], {image.entry['file_name']: image for image in before}
    for image in item.content['images']:
        path = item.images[image['file_name']]
        header = item.headers.get(path) or header_of(path)
        as_stored = labelled_as_stored(image, header)
        turned.add(path.name, header, (image.get('width'), image.get('height')))
        if not has_its_size(image, header):
            size = (
                f'{header.upright[0]}x{header.upright[1]} pixels and its labels say {image["width"]}x{image["height"]}'
            )
            others.append(f'{printable(path.name)} has {size}')
        width, height = header.stored if as_stored else header.upright
        inside = path.relative_to(root).as_posix() if path.is_relative_to(root) else None
        name = inside or str(path)
        if name not in known:
            entry = {'id': len(before) + 1, 'file_name': name, 'width': width, 'height': height}
            known[name] = LabelledImage(entry, said='' if inside else str(image['file_name']))
            before.append(known[name])
        images.append(known[name])
    return images


def _or_without(what: str, count: int, total: int, root: Path) -> str:
    """The way to leave images out, which is one only where others are left."""
    return f', or leave {what} out: mmlska check {quote(str(root))} --fix NEW_DIR' if count < total else ''


def has_its_size(image: dict, header: Header) -> bool:
    """Whether the labels say the size that the file has, or none."""
    return (image.get('width'), image.get('height')) in (header.upright, header.stored, (None, None))


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


def missing_names(item: AnnotationFile) -> list[str]:
    """The names of the images that are not there."""
    names = (image.get('file_name') for image in item.content['images'])
    return [str(name) for name in names if name not in item.images]
