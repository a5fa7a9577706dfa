"""The interface of a format of labels: all that checking, drawing, repairing and training ask of it.

Another format is another file beside this one and its line in :data:`mmlska.own_data.sources.SOURCES`. One of single objects, for
detectors, derives from :class:`~mmlska.own_data.sources.instances.InstanceSource`, one of pixels, for segmentors, from
:class:`~mmlska.own_data.sources.masks.MaskSource`. It has to implement ``fits`` and ``find`` alone: whether there are files that look like
its own, and what they say, as boxes and outlines in COCO's form or as pairs of image and mask.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mmengine.config import Config

from ..data_folder import DataFolder
from ..input_scale import InputScale, SizedBoxes
from ..report import Report

#: Name and RGB colour of each class.
Legend = list[tuple[str, Sequence[int]]]


class Source(ABC):
    """The labels of a folder in one format, as they are, with their mistakes."""

    name: str  # what --format calls the format
    scope: ClassVar[str]  # the kind of models that train on it: 'mmdet' for detectors, 'mmseg' for segmentors
    root: Path  # the folder, outside of which nothing is read
    also: Sequence[str] = ()  # further formats that the folder seems to hold for the same kind of models

    def other_formats(self) -> list[str]:
        """What to say of labels that the folder seems to hold in other formats."""
        others = ' or '.join(f'--format {name}' for name in self.also)
        return [f'there are labels in another format too: {others} reads those'] if others else []

    @abstractmethod
    def check(self, scale: InputScale | None = None) -> Report:
        """List what is wrong, before the labels are drawn or repaired.

        Args:
            scale: What training resizes images to, to count box sizes in pixels of its input; None for their own.
        """

    @abstractmethod
    def legend(self) -> Legend:
        """The classes, by their numbers in the samples."""

    @abstractmethod
    def samples(self) -> list[tuple[str, Callable[[], Sample | None]]]:
        """The name of each image that may be drawn, and what reads its labels: None where that fails."""

    @abstractmethod
    def repair(self, folder: Path) -> list[str]:
        """Write a sound copy into a new folder, images too; lines that say what was written and left out.

        Raises:
            ValueError: If that can't be done, with the way out.
        """

    @abstractmethod
    def read(self) -> TrainingLabels:
        """What can be trained on; small mistakes are left out and noted.

        Raises:
            FileNotFoundError: If an image is missing.
            ValueError: If the labels make no sense.
        """


class LabelFormat(Source):
    """Labels that are recognised in a folder."""

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def fits(cls, folder: DataFolder) -> bool:
        """Whether there are files that look like labels of this format; quick, and without an error whatever they hold."""

    @classmethod
    @abstractmethod
    def find(cls, folder: DataFolder, palette: str | None = None) -> Source | None:
        """The labels in a folder; None where there are none of this format.

        Args:
            folder: The folder.
            palette: File with names and colours of the classes, for masks.

        Raises:
            ValueError: If a file can't be read at all.
        """


@dataclass
class Sample:
    """An image and its labels, to draw: objects, or the class of each pixel."""

    image: Path
    as_stored: bool  # the labels count pixels as stored, whatever the EXIF data of the photo say
    objects: list[tuple[int, dict]] = field(default_factory=list)  # class and sound COCO annotation
    index: np.ndarray | None = None  # (H, W) uint8, 255 without label


def learned_split(splits: Container[str]) -> str:
    """The one of these splits that is trained on."""
    return next((name for name in ('train', '', 'val', 'test') if name in splits), '')


@dataclass
class TrainingLabels(ABC):
    """Sound labels. An image of ``splits`` is an object of the format's own, which the methods understand."""

    root: Path
    classes: list[str]
    palette: Sequence[Sequence[int]]  # RGB of each class, for pictures
    splits: dict[str, list]  # the images of 'train', 'val', 'test', and of '' for those that nothing assigns to a split
    notes: list[str]  # what the user should know
    as_stored: bool | None  # they count pixels of photos that EXIF data turn as stored; None where they do not tell

    @property
    def learned(self) -> str:
        """The split that is trained on, or a part of it where no other is there to validate with."""
        return learned_split(self.splits)

    @abstractmethod
    def name_of(self, image: Any) -> str:
        """A name of an image; its hash decides about the split."""

    @abstractmethod
    def path_of(self, image: Any) -> Path:
        """The file of an image."""

    @abstractmethod
    def classes_in(self, image: Any) -> set[int]:
        """The classes that an image has."""

    def boxes(self, images: list) -> list[SizedBoxes]:
        """The size of each image and the boxes of its objects that are learned; none where labels are no objects."""
        return []

    @abstractmethod
    def describe(self, images: list) -> str:
        """What labels they are, for the summary, such as '6 annotations'."""

    @abstractmethod
    def adapt(self, cfg: Config) -> list[str]:
        """Make the pipelines of a config read these labels; further notes. ValueError if its model can't learn from them."""

    @abstractmethod
    def write(self, folder: Path, split: str, images: list) -> dict:
        """Write what training reads besides the images into a folder; the config of the data set."""

    def has_unlabelled(self, images: list) -> bool:
        """Whether masks that are read by the numbers of their classes have pixels without a label."""
        return False

    def trained(self, cfg: Config, images: list) -> int:
        """How many of the images the data set of a config keeps."""
        return len(images)
