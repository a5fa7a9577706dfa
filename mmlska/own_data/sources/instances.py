"""What all formats of single objects share: boxes and outlines as COCO has them, which detectors train on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from shlex import quote

from ...colors import distinct_colors
from ...datasets.coco_labels import problem
from ...image_windows import header_of
from ..annotations import AnnotationFile, categories_of, labelled_as_stored, odd_ids
from ..check_annotations import check_annotations
from ..data_folder import NOT_READ, DataFolder, is_unread, name_key
from ..folder import LABEL_SUFFIXES
from ..image_copies import ImageCopies
from ..input_scale import InputScale
from ..joined_labels import join_labels
from ..label_reach import LABELLED_SIZE, PASSES_BORDERS, note_reach
from ..label_scale import rescale_labels
from ..label_text import short
from ..photo_identity import separate
from ..repeated_objects import count_once
from ..report import Report, add_unsplit, check_image, first_of, lines_of
from ..turned_photos import TurnedPhotos
from .instance_labels import InstanceLabels, clean, has_its_size, missing_names
from .source import LabelFormat, Legend, Sample, learned_split


@dataclass
class InstanceSource(LabelFormat):
    """Single objects in files that say the same as COCO files do."""

    scope = 'mmdet'
    root: Path
    files: list[AnnotationFile]
    wanted: Sequence[str] | None = None  # the class names of a config that reads the files as they are

    def note_unread(self, folder: DataFolder) -> None:
        """Note the images of kinds that are not read: those that label files name, and others."""
        for item in self.files:
            item.unread = {name for name in missing_names(item) if folder.unread_photo(_stem(name))} - item.outside
        said = {name_key(_stem(name)) for item in self.files for name in item.unread}
        said |= {name_key(path.stem) for path in folder.with_suffix(*LABEL_SUFFIXES)}  # pairing names those
        said |= {name_key(path.stem) for path in folder.images}  # saved in another format
        rest = [path for path in folder.files if is_unread(path) and name_key(path.stem) not in said]
        self.files[0].remarks += [(NOT_READ, short(path, folder.root)) for path in rest]

    @cached_property
    def joined(self) -> list[AnnotationFile]:
        """The files as training reads them: labels of resized photos rescaled, what is there twice once, labels of one photo joined."""
        files = rescale_labels(self.files)
        count_once(files)
        files = join_labels(files)
        note_reach(files)
        return files

    def check(self, scale: InputScale | None = None) -> Report:
        files = self.files if self.wanted is not None else self.joined
        # The check corrects the sizes of images, which the others have to see.
        copies = [
            replace(
                item,
                content={**item.content, 'images': [dict(image) for image in item.content['images']]},
                doubts=list(item.doubts),
                remarks=list(item.remarks),
            )
            for item in files
        ]
        if self.wanted is not None:
            count_once(copies, leave_out=False)
            note_reach(copies)
        report = check_annotations(copies, self.wanted, scale)
        if self.wanted is None:
            add_unsplit(report, [(item.split, str(name)) for item in self.files for name in item.images])
        return report

    def legend(self) -> Legend:
        classes, _, _ = categories_of(self.joined)
        return list(zip(classes, distinct_colors(len(classes))))

    def samples(self) -> list[tuple[str, Callable[[], Sample | None]]]:
        _, mapping, _ = categories_of(self.joined)
        return [
            (image['file_name'], partial(_sample, item, image, mapping))
            for item in self.joined
            for image in item.content['images']
            if image.get('file_name') in item.images
        ]

    def _refuse_useless(self) -> None:
        """Raise ValueError, with the first reason, where no label file could be used, or the labels are those of other photos."""
        reasons = [entry for item in self.files for entry in (*item.left_out, *item.dropped)]
        if reasons and not any(item.content['annotations'] for item in self.files):
            kind, place = reasons[0]
            more = f' and {len(reasons) - 1} more' if len(reasons) > 1 else ''
            raise ValueError(
                f'no label of {self.root} can be used: {kind}: {place}{more}; mmlska check {quote(str(self.root))} lists all'
            )
        for kind, place in (entry for item in self.joined for entry in item.doubts):
            if kind == PASSES_BORDERS:
                raise ValueError(f'{self.root} has {kind}: {place}; {LABELLED_SIZE}')

    def _refuse_none_left(self, labels: InstanceLabels) -> None:
        """Raise ValueError, with the reasons, where no annotation is sound."""
        if labels.left_out and not any(image.annotations for images in labels.splits.values() for image in images):
            lines = ', '.join(f'{count} {reason}' for reason, count in labels.left_out.most_common())
            raise ValueError(
                f'no annotation of {self.root} can be used: {lines}; mmlska check {quote(str(self.root))} lists all'
            )

    def read(self) -> InstanceLabels:
        self._refuse_useless()
        labels = clean(self.joined, self.root)
        self._refuse_none_left(labels)
        labels.splits, apart = separate(labels.splits, labels.learned, labels.path_of)
        labels.notes += [*apart, *_notes(self.joined)]
        return labels

    def repair(self, folder: Path) -> list[str]:
        self._refuse_useless()
        broken, merged, copies = set(), [], ImageCopies(self.root, folder / 'images')
        sound: dict[str, list[tuple[AnnotationFile, dict]]] = {}
        for item in self.joined:
            seen = set()
            for image in item.content['images']:
                name, number = image.get('file_name'), image.get('id')
                path = item.images.get(name)
                header = None if path is None or number in seen else check_image(Report(), path)
                if header is None or not has_its_size(image, header):
                    broken.add(name)
                    continue
                seen.add(number)
                sound.setdefault(item.split or '', []).append((item, image))
        if broken and not sound:
            raise ValueError(
                f'no image of {self.root} can be copied: each is missing, is not read or has another shape than its labels say: '
                f'{first_of(sorted(map(str, broken)))}; put the photos that were labelled there, under these names'
            )
        sides, apart = separate(sound, learned_split(sound), lambda pair: pair[0].images[pair[1]['file_name']])
        turned = TurnedPhotos()
        for item, image in (pair for side in sound.values() for pair in side):
            turned.add('', header_of(item.images[image['file_name']]), _size_of(image))
        of_file: dict[int, list[dict]] = {}
        for owner, image in (pair for side in sides.values() for pair in side):
            of_file.setdefault(id(owner), []).append(image)
        for item in self.joined:
            images = of_file.get(id(item), [])
            files = {image['file_name']: item.images[image['file_name']] for image in images}
            stored = {
                image['file_name']: turned.takes_as_stored(header_of(files[image['file_name']]), _size_of(image))
                for image in images
            }
            paths = {name: copies.add(path, stored[name]) for name, path in files.items()}
            if images or not item.content['images']:
                content = {**item.content, 'images': images}
                # What the file names besides these is left out.
                merged.append(replace(item, content=content, images=paths, outside=set(), unread=set()))
        labels = clean(merged, folder)
        self._refuse_none_left(labels)
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
        return [*lines, *labels.notes, *apart, *_notes(self.joined), f'left out: {len(broken)} images{rest}']


def _size_of(image: dict) -> tuple:
    return image.get('width'), image.get('height')


def _notes(files: Sequence[AnnotationFile]) -> list[str]:
    """What could not be read of label files, and what was odd, each kind in a line."""
    left_out = [entry for item in files for entry in item.left_out]
    anew = [entry for item in files for entry in odd_ids(item)]
    repaired = [(f'{fault}, {remedy}', place) for item in files for fault, remedy, place in item.repaired]
    odd = [entry for item in files for entry in (*item.remarks, *item.doubts)]
    return [*lines_of(left_out, 'left out: '), *lines_of(anew, 'numbered anew: '), *lines_of(repaired), *lines_of(odd)]


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


def _stem(name: str) -> str:
    return PurePosixPath(name.replace('\\', '/')).stem
