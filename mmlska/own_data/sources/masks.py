"""Images and masks of the same name in the folders where people have them: the class of each pixel, for segmentors."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mmengine.config import Config
from mmengine.fileio import list_from_file
from PIL import Image

from ...colors import unpack_rgb
from ...engine.ignored_label import IGNORED
from ...files import write_atomically
from ...images import ImageTooLarge, read_header
from ..check_splits import check_contents
from ..class_files import NamedClass
from ..config_edits import set_mask_reader
from ..data_folder import DataFolder
from ..folder import is_file
from ..image_copies import ImageCopies
from ..input_scale import InputScale
from ..label_scale import same_size
from ..label_text import encoding_remarks, short
from ..mask_classes import understand
from ..mask_files import FractionsError, Labels, MaskPair, classes_in, read_index, scan_one
from ..mask_numbers import check_covered
from ..mask_pairing import find_pairs, photos_and_masks
from ..mask_photos import (
    are_as_stored,
    fit_masks,
    fits,
    is_as_stored,
    join_pairs,
    no_fit,
    turned_photos,
    with_fitting_mask,
)
from ..mask_white import white_among_ones
from ..palettes import class_file, is_class_file, is_sure, read_palette
from ..photo_identity import separate
from ..report import ERROR, TOO_LARGE, WARNING, Report, add_unsplit, check_image, first_of, lines_of
from ..turned_photos import TurnedPhotos
from .source import LabelFormat, Legend, Sample, TrainingLabels, learned_split


@dataclass
class MaskSource(LabelFormat):
    """Pairs of image and mask."""

    name = 'masks'
    scope = 'mmseg'
    root: Path
    pairs: list[MaskPair]
    alone: Sequence[Path] = ()  # images without a mask
    palette: str | None = None  # the file with names and colours of the classes that the user named
    classes: Path | None = None  # the one that lies in the folder
    remarks: Sequence[tuple[str, str]] = ()  # the kind of what is not used, and its place
    labels: Labels | None = None  # what the masks mean, where a config says it or a check found it out
    as_is: bool = False  # a config reads the files as they are

    @classmethod
    def fits(cls, folder: DataFolder) -> bool:
        return bool(photos_and_masks(folder)[1])

    @classmethod
    def find(cls, folder: DataFolder, palette: str | None = None, objects: bool = False) -> MaskSource | None:
        """Pair images with masks of the same name, in other folders or with endings such as ``_mask``.

        Folders of instance masks, such as Pascal VOC's ``SegmentationObject``, are skipped, but where ``objects`` are wanted and no other
        masks are there.

        Raises:
            ValueError: If two masks fit an image equally well.
        """
        found = find_pairs(folder, objects)
        if not found.pairs:
            return None
        classes, said = class_file(folder) if palette is None else (None, [])
        files = [path for path in (classes, Path(palette) if palette else None) if path and is_file(path)]
        remarks = [*found.remarks, *said, *encoding_remarks(files, folder.root)]
        return cls(folder.root, found.pairs, found.alone, palette, classes, remarks)

    def check(self, scale: InputScale | None = None) -> Report:
        message = self._understand() if self.labels is None else None
        pairs, remarks, doubts = (self.pairs, [], []) if self.as_is else join_pairs(self.pairs)
        report = _check_pairs(pairs, self.labels, self.alone, self.as_is)
        for level, entries in ((WARNING, remarks), (ERROR, doubts)):
            for kind, place in entries:
                report.add(level, kind, place)
        check_contents(report, ((pair.split, pair.image) for pair in pairs))
        add_unsplit(report, [(pair.split, short(pair.image, self.root)) for pair in self.pairs])
        if message and not report.errors:
            report.add(ERROR, 'classes', message)
        for kind, place in [*self.remarks, *(('classes', note) for note in (self.labels.notes if self.labels else ()))]:
            report.add(WARNING, kind, place)
        return report

    def _named(self) -> list[NamedClass] | None:
        """The classes of the file asked for, or else of the one in the folder."""
        file = Path(self.palette) if self.palette else self.classes
        return read_palette(file) if file else None

    def _meaning(self, pairs: Sequence[MaskPair], objects: bool = False) -> Labels:
        """What masks mean by the class file; without it where it does not fit them and may be for something else."""
        named = self._named()
        if not self._is_guessed():
            return understand(pairs, named, asked=bool(self.palette), objects=objects)
        place = short(self.classes, self.root)
        try:
            check_covered(named, pairs, sure=is_sure(self.classes, named))
            labels = understand(pairs, named, asked=False, objects=objects)
            labels.notes.insert(0, f'the names are those of {place}; if it is for something else, give --palette')
        except ValueError as error:
            labels = understand(pairs, None, asked=False, objects=objects)
            labels.notes.insert(0, f'{place} does not fit the masks and is not used: {error}')
        return labels

    def _is_guessed(self) -> bool:
        """Whether the file with the classes may be for something else."""
        return not self.palette and self.classes is not None and not is_class_file(self.classes)

    def _understand(self) -> str | None:
        """Find out what the masks that can be read mean; the reason where they make no sense."""
        readable = []
        for pair in self.pairs:
            try:
                scan_one(pair)
                readable.append(pair)
            except ValueError:
                continue  # the check names it
        named = self._named()
        try:
            self.labels = self._meaning(readable) if readable else None
        except ValueError as error:
            if named and not self._is_guessed() and named[0].number is None and all(pair.indexed for pair in readable):
                names = [c.name for c in named]
                self.labels = Labels(names, list(range(len(names))), [[0, 0, 0]] * len(names), plain=True)
            return str(error)
        return None

    def legend(self) -> Legend:
        return list(zip(self.labels.classes, self.labels.palette)) if self.labels else []

    def samples(self) -> list[tuple[str, Callable[[], Sample | None]]]:
        pairs = self.pairs if self.labels else []
        return [(pair.image.name + str(pair.image.parent), partial(_sample, pair, self.labels)) for pair in pairs]

    def read(self, objects: bool = False) -> MaskLabels:
        """What can be trained on.

        Args:
            objects: Single objects are wanted; see :func:`mmlska.own_data.mask_classes.understand`.
        """
        pairs, remarks, doubts = join_pairs(self.pairs)
        for pair in pairs:
            scan_one(pair)
        labels = self._meaning(pairs, objects)
        notes = list(labels.notes)
        if self.alone:
            first = self.alone[0].relative_to(self.root)
            notes.append(f'{len(self.alone)} images have no mask and are left out, such as {first}')
        notes += lines_of(self.remarks)
        headers = [(pair, read_header(pair.image)) for pair in pairs]
        resized = fit_masks(headers)
        turned = turned_photos(headers)
        as_stored = are_as_stored(headers, turned, self.root)
        splits: dict[str, list[MaskPair]] = {}
        for pair in pairs:
            splits.setdefault(pair.split or '', []).append(pair)
        splits, apart = separate(splits, learned_split(splits), lambda pair: pair.image)
        notes += [*apart, *lines_of([*resized, *remarks, *doubts, *turned.untold_remarks()])]
        return MaskLabels(self.root, labels.classes, labels.palette, splits, notes, as_stored, labels)

    def repair(self, folder: Path) -> list[str]:
        if self.labels is None:
            raise ValueError('the masks can not be corrected before their classes are known; give --palette')
        written, cleared = 0, 0
        copies = ImageCopies(self.root, folder / 'images', paired=True)
        pairs, _, doubts = join_pairs(self.pairs)
        headers = {id(pair): check_image(Report(), pair.image) if pair.values else None for pair in pairs}
        sound = [(pair, header) for pair in pairs if (header := headers[id(pair)])]
        resized = fit_masks(sound)
        turned = turned_photos(sound)
        splits: dict[str, list[MaskPair]] = {}
        for pair, header in sound:
            if fits(pair, header):
                splits.setdefault(pair.split or '', []).append(pair)
        if not splits:
            wrong = [(pair, header) for pair, header in sound if not fits(pair, header)]
            places = first_of([short(pair.image, self.root) for pair in self.pairs])
            reason = (
                no_fit(wrong, len(wrong), self.root)
                if wrong
                else f'each has a photo or mask that can not be read, replace these: {places}'
            )
            raise ValueError(f'no pair of photo and mask can be copied: {reason}')
        left_out = len(self.pairs) - sum(map(len, splits.values()))
        splits, apart = separate(splits, learned_split(splits), lambda pair: pair.image)
        for pair in (pair for side in splits.values() for pair in side):
            header = headers[id(pair)]
            index = read_index(pair, self.labels)
            if self.labels.plain:
                cleared += len(pair.values.keys() - self.labels.allowed)
            target = copies.add(pair.image, turned.takes_as_stored(header, pair.photo_size or pair.size))
            mask = folder / 'masks' / target.relative_to(copies.folder).with_suffix('.png')
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(index).save(mask)
            written += 1
        classes = [{'name': name} for name in self.labels.classes]
        text = json.dumps(classes, ensure_ascii=False, indent=1) + '\n'
        (folder / 'classes.json').write_text(text, encoding='utf-8')
        return [
            f'{written} pairs of image and mask, {len(classes)} classes',
            *apart,
            *lines_of([*resized, *doubts]),
            f'left out: {left_out} pairs; {cleared} strange values cleared',
        ]


@dataclass
class MaskLabels(TrainingLabels):
    """Masks of known classes, in pairs that are :class:`MaskPair`."""

    labels: Labels

    def name_of(self, image: MaskPair) -> str:
        return '/'.join(image.image.parts[-3:])

    def path_of(self, image: MaskPair) -> Path:
        return image.image

    def classes_in(self, image: MaskPair) -> set[int]:
        return {number for number in classes_in(image, self.labels) if number >= 0}

    def describe(self, images: list[MaskPair]) -> str:
        return 'index masks' if self.labels.plain else 'masks by colour'

    def has_unlabelled(self, images: list[MaskPair]) -> bool:
        return any(classes_in(image, self.labels)[-1] for image in images)

    def adapt(self, cfg: Config) -> list[str]:
        use_mask_files(cfg, None if self.labels.plain else [unpack_rgb(value) for value in self.labels.values])
        return []

    def write(self, folder: Path, split: str, images: list[MaskPair]) -> dict:
        fitting = [with_fitting_mask(pair, folder / 'masks' / split, self.root) for pair in images]
        return mask_datasets(self.root, folder, split, fitting, self.labels.reduce_zero)


def use_mask_files(cfg: Config, colors: Sequence[Sequence[int]] | None = None) -> None:
    """Make the pipelines of a config read masks, by these colours of the classes or as indices, of images of any size."""
    set_mask_reader(cfg, colors)
    for split in ('val', 'test'):  # photos of several sizes do not fit into one batch
        if cfg.get(f'{split}_dataloader'):
            cfg[f'{split}_dataloader'].batch_size = 1


def mask_datasets(root: Path, folder: Path, split: str, pairs: Sequence[MaskPair], reduce_zero: bool) -> dict:
    """The config of a data set for each pair of folders; the lists of names that they read are written into ``folder``."""

    def place(path: Path) -> str:
        return path.parent.relative_to(root).as_posix() if path.is_relative_to(root) else str(path.parent)

    groups: dict[tuple, list[str]] = {}
    for pair in pairs:
        shared = os.path.commonprefix([pair.image.name, pair.mask.name])
        shared = shared[: min(len(shared), len(pair.image.stem), len(pair.mask.stem))].rstrip()
        key = (place(pair.image), place(pair.mask), pair.image.name[len(shared) :], pair.mask.name[len(shared) :])
        groups.setdefault(key, []).append(shared)
    datasets = []
    for number, ((image_dir, mask_dir, image_end, mask_end), stems) in enumerate(groups.items()):
        list_file = folder / f'{split}_{number}.txt'
        _write_names(list_file, stems)
        datasets.append(
            dict(
                type='BaseSegDataset',
                ann_file=str(list_file),
                data_prefix=dict(img_path=image_dir, seg_map_path=mask_dir),
                img_suffix=image_end,
                seg_map_suffix=mask_end,
                reduce_zero_label=reduce_zero,
            )
        )
    return datasets[0] if len(datasets) == 1 else dict(type='ConcatDataset', datasets=datasets)


def _check_pairs(
    pairs: Sequence[MaskPair], labels: Labels | None, alone: Sequence[Path], as_is: bool = False
) -> Report:
    """Check pairs that were scanned or not; ``labels`` are None where it is not known what the masks mean.

    Args:
        as_is: A config reads the masks as they are: none is resized.
    """
    report = Report(unit='pixels', images=len(pairs) + len(alone))
    for path in alone:
        report.add(WARNING, 'image without a mask', path.name)
    counts, in_images, strange, headers, turned = Counter(), Counter(), Counter(), [], TurnedPhotos()
    for pair in pairs:
        header = check_image(report, pair.image)
        if not is_file(pair.mask):
            report.add(ERROR, 'missing mask', str(pair.mask))
            continue
        if not pair.values:
            try:
                scan_one(pair)
            except ValueError as error:
                kind, place = (
                    'mask that can not be decoded' if error.__cause__ else 'mask that is a photo',
                    pair.mask.name,
                )
                if isinstance(error, FractionsError):
                    kind, place = f'mask of floats that are no classes; {error.fix}', f'{place} ({error.value:g})'
                if isinstance(error.__cause__, ImageTooLarge):
                    kind = f'mask: {TOO_LARGE}'
                report.add(ERROR, kind, place)
                continue
        report.labels += 1
        if as_is and pair.wide:
            report.add(ERROR, 'mask of numbers that training does not read; save it as PNG in 8 bits', pair.mask.name)
        if header:
            headers.append((pair, header))
            pair.photo_size = None if as_is else same_size(header, pair.size)
            turned.add(pair.image.name, header, pair.photo_size or pair.size)
        if header and not fits(pair, header):
            sizes = f'{pair.size[0]}x{pair.size[1]}, image {header.upright[0]}x{header.upright[1]}'
            report.add(ERROR, 'mask size unlike the image', f'{pair.mask.name} ({sizes})')
        if labels is None:
            continue
        found = classes_in(pair, labels)
        if labels.plain:
            wrong = {value: n for value, n in pair.values.items() if value not in labels.allowed}
            if wrong:
                shown = ', '.join(f'{value} in {n} pixels' for value, n in sorted(wrong.items())[:3])
                kind = f'mask values beyond the {len(labels.classes)} classes'
                if labels.ignored != IGNORED:
                    kind += f'; {labels.ignored} is for pixels without a label (ignore_index of the head)'
                report.add(ERROR, kind, f'{pair.mask.name} ({shown})')
        strange[pair.mask.name] = found[-1] / max(sum(found.values()), 1)
        counts.update({k: n for k, n in found.items() if k >= 0})
        in_images.update(k for k in found if k >= 0)
        if set(found) == {-1}:
            report.add(WARNING, 'mask without a labelled pixel', pair.mask.name)
    for pair in white_among_ones(pairs) if as_is and labels is not None and labels.plain else ():
        report.add(ERROR, 'mask with white where others have 1; white is no label here', pair.mask.name)
    for kind, place in () if as_is else fit_masks(headers):
        report.add(WARNING, kind, place)
    for level, entries in ((ERROR, turned.faults()), (WARNING, turned.remarks(by_config=as_is))):
        for kind, name in entries:
            report.add(level, kind, name)
    if labels is not None:
        report.classes = {name: counts[i] for i, name in enumerate(labels.classes)}
        report.in_images = {name: in_images[i] for i, name in enumerate(labels.classes)}
        for name in labels.classes:
            if report.labels and not report.classes[name]:
                report.add(WARNING, 'class without pixels', name)
        if not labels.plain:
            for name, share in strange.items():
                if share > 0.2:
                    report.add(WARNING, 'mask with over 20% of pixels in colours of no class', f'{name} ({share:.0%})')
    return report


def _sample(pair: MaskPair, labels: Labels) -> Sample | None:
    if not pair.values:
        return None
    try:
        header = read_header(pair.image)
    except (OSError, ValueError):
        return None
    return Sample(pair.image, is_as_stored(pair, header), index=read_index(pair, labels))


def _write_names(file: Path, names: list[str]) -> None:
    """Write the list of names that BaseSegDataset reads: one a line, white space around it left away.

    Raises:
        ValueError: If it would read other names, which may lie in any folder.
    """

    def write(temporary: str) -> None:
        Path(temporary).write_text(''.join(f'{name}\n' for name in names), encoding='utf-8')
        if [line.strip() for line in list_from_file(temporary)] != names:
            raise ValueError('it has a line break or white space at its beginning')

    try:
        write_atomically(file, write)
    except ValueError as error:  # a name that is no Unicode is one too
        odd = next((name for name in names if name != name.strip() or not name.isprintable()), names[0])
        raise ValueError(f'file name {odd!r} cannot be listed ({error}); rename the image and its mask') from error
