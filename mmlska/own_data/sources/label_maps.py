"""Outlines and masks of single objects drawn into label maps, so that segmentors train on the labels of detectors.

Pixels of no object are the class ``background``. Large objects are drawn first and small ones over them, so that none hides another
of less area. Crowds, difficult objects and, among others with an outline, objects with a box alone are no label (255).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mmengine.config import Config
from PIL import Image

from ...datasets.coco_labels import mask_of
from ...files import write_atomically
from ...image_windows import header_of
from ..input_scale import InputScale
from ..label_drawing import draw_index, with_background
from ..mask_files import MaskPair
from ..report import ERROR, Report
from .instance_labels import InstanceLabels, LabelledImage
from .instances import InstanceSource
from .masks import mask_datasets, use_mask_files
from .source import Legend, Sample, Source, TrainingLabels


@dataclass
class LabelMapSource(Source):
    """The labels of another format, drawn."""

    scope = 'mmseg'
    root: Path
    objects: InstanceSource

    def __post_init__(self) -> None:
        self.name = self.objects.name

    def check(self, scale: InputScale | None = None) -> Report:
        report = self.objects.check(scale)
        if not any(mask_of(a) for item in self.objects.files for a in item.content['annotations']):
            report.add(ERROR, 'boxes without outlines, which a segmentor needs', str(self.root))
        return report

    def legend(self) -> Legend:
        legend = self.objects.legend()
        names, indices = with_background([name for name, _ in legend])
        colors = {index: color for index, (_, color) in zip(indices, legend)}
        return [(name, colors.get(index, (0, 0, 0))) for index, name in enumerate(names)]

    def samples(self) -> list[tuple[str, Callable[[], Sample | None]]]:
        _, indices = with_background([name for name, _ in self.objects.legend()])
        return [(name, partial(_sample, read, indices)) for name, read in self.objects.samples()]

    def repair(self, folder: Path) -> list[str]:
        return self.objects.repair(folder)

    def read(self) -> DrawnLabels:
        objects = self.objects.read()
        classes, indices = with_background(objects.classes)
        colors = dict(zip(indices, objects.palette))
        palette = [colors.get(index, (0, 0, 0)) for index in range(len(classes))]
        return DrawnLabels(
            self.root, classes, palette, objects.splits, objects.notes, objects.as_stored, objects, indices
        )


@dataclass
class DrawnLabels(TrainingLabels):
    """Objects, in images that are :class:`LabelledImage`, of which label maps are drawn when they are written."""

    objects: InstanceLabels
    indices: list[int]  # of their classes in the label maps

    def name_of(self, image: LabelledImage) -> str:
        return self.objects.name_of(image)

    def path_of(self, image: LabelledImage) -> Path:
        return self.objects.path_of(image)

    def classes_in(self, image: LabelledImage) -> set[int]:
        return {self.indices[number] for number in self.objects.classes_in(image)}

    def describe(self, images: list[LabelledImage]) -> str:
        return f'{self.objects.describe(images)} drawn into label maps'

    def trained(self, cfg: Config, images: list[LabelledImage]) -> int:
        self.objects.refuse_ignored(images)
        return super().trained(cfg, images)

    def adapt(self, cfg: Config) -> list[str]:
        self.objects.refuse_boxes_alone(cfg)
        learned = [a for image in self.splits[self.learned] for a in image.annotations]
        bare = sum('segmentation' not in annotation for annotation in learned)
        use_mask_files(cfg)
        note = f'{bare} of {len(learned)} annotations to train on have no outline: their boxes are no label'
        return [*self.objects.left_out_notes(), *([note] if bare else [])]

    def write(self, folder: Path, split: str, images: list[LabelledImage]) -> dict:
        self.objects.keep_extracted(folder, split, images)
        pairs = []
        for image in images:
            entry = image.entry
            objects = [(a['category_id'] - 1, a) for a in image.annotations]
            mask = folder / 'masks' / split / f'{entry["file_name"].lstrip("/")}.png'
            index = draw_index(objects, (entry['width'], entry['height']), self.indices)
            write_atomically(mask, Image.fromarray(index).save)
            pairs.append(MaskPair(self.root / entry['file_name'], mask, split))
        return mask_datasets(self.root, folder, split, pairs, reduce_zero=False)


def _sample(read: Callable[[], Sample | None], indices: list[int]) -> Sample | None:
    sample = read()
    if sample is None:
        return None
    try:
        header = header_of(sample.image)
    except (OSError, ValueError):
        return None
    size = header.stored if sample.as_stored else header.upright
    return Sample(sample.image, sample.as_stored, index=draw_index(sample.objects, size, indices))
