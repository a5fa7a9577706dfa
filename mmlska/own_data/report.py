"""What a check found in a data set, as text and as JSON, and the check of a single image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np

from ..bands import PHOTO, BandFile, Pixels, pixels_of
from ..image_windows import header_of, is_huge
from ..images import MAX_PIXELS, Header, ImageTooLarge, NotRead, open_image, read_photo
from ..text import printable
from .folder import is_file
from .input_scale import SizedBoxes

ERROR, WARNING = 'error', 'warning'
ALPHA = 'TIFF file with transparency, which is left out; if that is a channel, save it as an unspecified extra sample'
_STRIP = 1 << 24  # values that are checked at once
TOO_LARGE = f'image of more than the {MAX_PIXELS / 1e6:.3g} million pixels that are read'


def first_of(places: list[str]) -> str:
    """Some of the places, for a message."""
    return ', '.join(printable(place)[:200] for place in places[:3]) + (', ...' if len(places) > 3 else '')


def lines_of(entries: Iterable[tuple[str, str]], prefix: str = '') -> list[str]:
    """A line for each kind of what was found, with its first places.

    Example:
        >>> lines_of([('broken line', 'a.txt'), ('broken line', 'b.txt')], 'left out: ')
        ['left out: 2 x broken line: a.txt, b.txt']
    """
    kinds: dict[str, list[str]] = {}
    for kind, place in entries:
        kinds.setdefault(kind, []).append(place)
    return [f'{prefix}{len(places)} x {kind}: {first_of(places)}' for kind, places in kinds.items()]


@dataclass
class Finding:
    """One kind of problem and all the places that have it."""

    level: str
    kind: str
    places: list[str]

    @property
    def line(self) -> str:
        """The finding in one line, with its first places."""
        return f'{self.level}: {len(self.places)} x {printable(self.kind)}: {first_of(self.places)}'


@dataclass
class Report:
    """What a data set holds and what is wrong with it."""

    images: int = 0
    labels: int = 0  # annotations, or masks
    classes: dict[str, int] = field(default_factory=dict)  # name -> annotations, or pixels
    in_images: dict[str, int] = field(default_factory=dict)  # name -> images that have the class
    unit: str = 'annotations'
    box_sizes: list[float] = field(default_factory=list)  # square root of the area, pixels of the network's input
    boxes: dict[str, list[SizedBoxes]] = field(default_factory=dict)  # split -> images and the boxes learned in them
    anchor_sizes: list[float] = field(default_factory=list)
    anchor_choice: str = ''  # the anchors that training by --data would take
    findings: list[Finding] = field(default_factory=list)
    pixels: dict[Pixels, list[str]] = field(default_factory=dict)  # kind -> names of its images
    dim: list[str] = field(default_factory=list)  # names of those of 16 bits that are nearly black in 8
    clear: list[str] = field(default_factory=list)  # names of those with transparency

    def add(self, level: str, kind: str, place: str) -> None:
        """Note one place of a problem."""
        # Names from data may hold halves of characters, which no file and no terminal takes.
        kind, place = (text.encode('utf-8', 'backslashreplace').decode() for text in (kind, place))
        for finding in self.findings:
            if (finding.level, finding.kind) == (level, kind):
                finding.places.append(place)
                return
        self.findings.append(Finding(level, kind, [place]))

    def count(self, level: str) -> int:
        """The number of places with an error, or with a warning."""
        return sum(len(finding.places) for finding in self.findings if finding.level == level)

    @property
    def learned(self) -> list[SizedBoxes]:
        """The images that a training learns from, before some are held out, and their boxes."""
        return next((self.boxes[split] for split in ('train', '', 'val', 'test') if split in self.boxes), [])

    @property
    def errors(self) -> int:
        """The number of places with an error."""
        return self.count(ERROR)

    def as_dict(self) -> dict:
        """The report for a JSON file."""
        content = {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if item.name not in ('box_sizes', 'boxes', 'dim', 'clear')
        }
        content['findings'] = [asdict(finding) for finding in self.findings]
        content['pixels'] = {str(kind): len(names) for kind, names in self.pixels.items()}
        sizes = [list(row) for row in self.histogram()]
        return dict(content, box_size_histogram=sizes, errors=self.errors, warnings=self.count(WARNING))

    def histogram(self) -> list[tuple[int, int, int, int]]:
        """(from, to, boxes, anchors) for sizes that double."""
        if not self.box_sizes:
            return []
        edges = [0, *(2**i for i in range(3, 13))]
        counts = [np.histogram(sizes, [*edges, np.inf])[0].tolist() for sizes in (self.box_sizes, self.anchor_sizes)]
        rows = list(zip(edges, [*edges[1:], 10**6], *counts))  # the last has all that are larger
        used = [i for i, row in enumerate(rows) if row[2] or row[3]]
        return rows[used[0] : used[-1] + 1] if used else []

    def text(self) -> str:
        """The report to print."""
        lines = [
            f'{self.images} images, {self.labels} {"masks" if self.unit == "pixels" else self.unit}, {len(self.classes)} classes'
        ]
        if self.pixels.keys() - {PHOTO}:
            lines.append(
                f'  pixels: {", ".join(f"{kind}: {len(names)}" for kind, names in sorted(self.pixels.items()))}'
            )
        total = max(sum(self.classes.values()), 1)
        names = {name: printable(name)[:200] for name in self.classes}
        width = max([len(name) for name in names.values()] + [5])
        lines.append(f'  {"class":<{width}}  {self.unit:>12}  share  images')
        for name, count in self.classes.items():
            share, images = count / total, self.in_images.get(name, 0)
            lines.append(f'  {names[name]:<{width}}  {count:>12}  {share:>5.1%}  {images:>6}')
        rows = self.histogram()
        if rows:
            most = max(row[2] for row in rows)
            lines.append(
                '  box size, pixels'
                + (" of the network's input; anchors of the config at the right" if self.anchor_sizes else '')
            )
            for low, high, boxes, anchors in rows:
                label = f'{low}-{high}' if high < 10**6 else f'{low}-'
                bar = '#' * round(30 * boxes / max(most, 1))
                lines.append(f'  {label:>10}  {boxes:>7}  {bar:<30}  {"A" * anchors}'.rstrip())
        if self.anchor_choice:
            lines.append(f'  training by --data: {self.anchor_choice}')
        order = sorted(self.findings, key=lambda finding: finding.level)
        return '\n'.join(
            [*lines, *(finding.line for finding in order), f'{self.errors} errors, {self.count(WARNING)} warnings']
        )


def add_unsplit(report: Report, images: Sequence[tuple[str | None, str]]) -> None:
    """Warn of images of no split beside others of the training split, given with their splits: they are not used."""
    if any(split == 'train' for split, _ in images):
        for name in (name for split, name in images if split is None):
            report.add(WARNING, 'image of no split, beside others for training, not used', name)


def check_image(report: Report, path: Path) -> Header | None:
    """Decode an image as training does; None where that fails."""
    if not is_file(path):
        report.add(ERROR, 'missing image', path.name)
        return None
    try:
        header = header_of(path)
        pixels = pixels_of(path)
        if pixels.is_photo and not is_huge(header):
            with open_image(path) as image:
                image.load()  # OpenCV takes half a JPEG for a whole one
            read_photo(path)
        elif not _check_values(report, path, pixels):
            return None
    except (ValueError, OSError) as error:
        report.add(ERROR, _kind_of(error), path.name)
        return None
    report.pixels.setdefault(pixels, []).append(path.name)
    if is_huge(header):
        report.add(WARNING, f'{TOO_LARGE} at once: train with --tile', path.name)
    if pixels.alpha:
        report.clear.append(path.name)
    return header


def _kind_of(error: Exception) -> str:
    """What a report calls an image that cannot be read."""
    if isinstance(error, ImageTooLarge):
        return TOO_LARGE
    return f'image that is not read: {error.reason}' if isinstance(error, NotRead) else 'image that can not be decoded'


def _check_values(report: Report, path: Path, pixels: Pixels) -> bool:
    """Decode an image that is no photo of 8 bits, strip by strip; whether it has a finite value."""
    file = BandFile(path)
    height, width, channels = file.shape
    step = max(_STRIP // (width * channels), 1)
    most, finite = 0.0, False
    for top in range(0, height, step):
        values = file[top : top + step, :]
        values = values[np.isfinite(values)]
        if values.size:
            most, finite = max(most, float(values.max())), True
    if not finite:
        report.add(ERROR, 'image of which every pixel is NaN, infinite or without data', path.name)
    if pixels.dtype == 'uint16' and most < 16 * 256:
        report.dim.append(path.name)
    return finite
