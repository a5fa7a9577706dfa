"""Read a data set as training would and list what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ..datasets.coco_labels import BAD_BOX, BAD_POLYGON, BAD_RUNS, WRONG_MASK_SIZE, box_of, has_size, mask_of, problem
from ..images import MAX_PIXELS, Header, ImageTooLarge, open_image, read_header, read_photo
from ..text import printable, shown
from .layout import LEADS_OUT, is_file, spelling
from .sources.coco import CocoFile, categories_of, labelled_as_stored
from .sources.masks import IGNORE, Labels, MaskPair, classes_in, scan_one

ERROR, WARNING = 'error', 'warning'
_TOO_LARGE = f'image of more than the {MAX_PIXELS / 1e6:.3g} million pixels that are read'
# Of a mistake in numbers the report shows them.
_SHOWN = {BAD_BOX: 'bbox', BAD_POLYGON: 'segmentation', BAD_RUNS: 'segmentation'}


@dataclass
class Finding:
    """One kind of problem and all the places that have it."""

    level: str
    kind: str
    places: list[str]

    @property
    def line(self) -> str:
        """The finding in one line, with its first places."""
        places = ', '.join(printable(place)[:200] for place in self.places[:3]) + (
            ', ...' if len(self.places) > 3 else ''
        )
        return f'{self.level}: {len(self.places)} x {printable(self.kind)}: {places}'


@dataclass
class Report:
    """What a data set holds and what is wrong with it."""

    images: int = 0
    labels: int = 0  # annotations, or masks
    classes: dict[str, int] = field(default_factory=dict)  # name -> annotations, or pixels
    in_images: dict[str, int] = field(default_factory=dict)  # name -> images that have the class
    unit: str = 'annotations'
    box_sizes: list[float] = field(default_factory=list)  # square root of the area, pixels of the network's input
    anchor_sizes: list[float] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add(self, level: str, kind: str, place: str) -> None:
        """Note one place of a problem."""
        # Names from data may hold halves of characters, which no file and no terminal takes.
        kind, place = (text.encode('utf-8', 'backslashreplace').decode() for text in (kind, place))
        for finding in self.findings:
            if (finding.level, finding.kind) == (level, kind):
                finding.places.append(place)
                return
        self.findings.append(Finding(level, kind, [place]))

    @property
    def errors(self) -> int:
        """The number of places with an error."""
        return sum(len(finding.places) for finding in self.findings if finding.level == ERROR)

    @property
    def warnings(self) -> int:
        """The number of places with a warning."""
        return sum(len(finding.places) for finding in self.findings if finding.level == WARNING)

    def as_dict(self) -> dict:
        """The report for a JSON file."""
        sizes = [list(row) for row in self.histogram()]
        return {
            **{key: value for key, value in asdict(self).items() if key != 'box_sizes'},
            'box_size_histogram': sizes,
            'errors': self.errors,
            'warnings': self.warnings,
        }

    def histogram(self) -> list[tuple[int, int, int, int]]:
        """(from, to, boxes, anchors) for sizes that double."""
        if not self.box_sizes:
            return []
        sizes, anchors = (np.array(values, float) for values in (self.box_sizes, self.anchor_sizes))
        edges = [0, *(2**i for i in range(3, 13))]
        last = edges[-1]  # which has all that are larger

        def count(values: np.ndarray, low: int, high: int) -> int:
            return int(((values >= low) & ((values < high) | (low == last))).sum())

        rows = [
            (low, high, count(sizes, low, high), count(anchors, low, high))
            for low, high in zip(edges, [*edges[1:], 10**6])
        ]
        used = [i for i, row in enumerate(rows) if row[2] or row[3]]
        return rows[used[0] : used[-1] + 1] if used else []

    def text(self) -> str:
        """The report to print."""
        lines = [
            f'{self.images} images, {self.labels} {"masks" if self.unit == "pixels" else self.unit}, {len(self.classes)} classes'
        ]
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
        order = sorted(self.findings, key=lambda finding: finding.level)
        return '\n'.join(
            [*lines, *(finding.line for finding in order), f'{self.errors} errors, {self.warnings} warnings']
        )


def check_image(report: Report, path: Path) -> Header | None:
    """Decode an image as training does; None where that fails."""
    if not is_file(path):
        report.add(ERROR, 'missing image', path.name)
        return None
    try:
        header = read_header(path)
        with open_image(path) as image:
            image.load()  # OpenCV takes half a JPEG for a whole one
            deep = image.mode.startswith('I') or image.mode == 'F'
        pixels = read_photo(path)
    except (ValueError, OSError) as error:
        kind = _TOO_LARGE if isinstance(error, ImageTooLarge) else 'image that can not be decoded'
        report.add(ERROR, kind, path.name)
        return None
    if deep and pixels.max() < 16:
        report.add(WARNING, '16-bit image that is nearly black when read in 8 bits; stretch its values', path.name)
    return header


def check_coco(
    files: Sequence[CocoFile], wanted: Sequence[str] | None = None, scale: Sequence[float] | None = None
) -> Report:
    """Check COCO files and their images.

    Args:
        files: See :func:`mmlska.own_data.sources.coco.find_coco`.
        wanted: The class names of a config that will read them as they are; None for a training by ``--data``, which takes the
            names from the files.
        scale: The longer and the shorter side that training resizes images to fit into, to count box sizes in; None for their own.
    """
    report = Report()
    try:
        classes, mapping, notes = categories_of(files)
    except ValueError as error:
        report.add(ERROR, 'bad categories', str(error))
        return report
    for note in notes:
        report.add(WARNING, 'class in two spellings', note)
    counts, in_images, seen = Counter(), Counter(), {}
    for item in files:
        for other in _check_coco_images(report, item):
            if seen.setdefault(other, item.path) != item.path:
                report.add(ERROR, f'image in {seen[other].name} and in {item.path.name}', other.name)
        found = _check_annotations(report, item, mapping, wanted is not None, scale)
        counts.update(label for labels in found for label in labels)
        in_images.update(label for labels in found for label in set(labels))
    report.classes = {name: counts[i] for i, name in enumerate(classes)}
    report.in_images = {name: in_images[i] for i, name in enumerate(classes)}
    for name in classes:
        if not report.classes[name]:
            report.add(WARNING, 'class without annotations', name)
    if wanted is not None:
        _check_names(report, files, list(wanted))
    return report


def _check_coco_images(report: Report, item: CocoFile) -> list[Path]:
    """Check the images of a file and correct their sizes in its content; return the paths of those that can be read."""
    ids, turned, paths = Counter(), {}, []
    for image in item.content['images']:
        name = str(image.get('file_name'))
        report.images += 1
        ids[image.get('id')] += 1
        if image.get('file_name') in item.outside:
            report.add(ERROR, LEADS_OUT, name)
            continue
        path = item.images.get(image.get('file_name'))
        header = check_image(report, path) if path else report.add(ERROR, 'missing image', name)
        if header is None:
            continue
        paths.append(path)
        size = (image.get('width'), image.get('height'))
        if size not in (header.upright, header.stored) and size != (None, None):
            report.add(
                ERROR,
                'size in the json unlike the image',
                f'{name} ({shown(size[0])}x{shown(size[1])}, not {header.upright[0]}x{header.upright[1]})',
            )
        as_stored = labelled_as_stored(image, header)
        if header.stored != header.upright:
            turned[name] = as_stored
        image['width'], image['height'] = header.stored if as_stored else header.upright
    for name in (name for name, as_stored in turned.items() if as_stored):
        kind = (
            'photo labelled as stored among others turned by EXIF'
            if not all(turned.values())
            else 'photo labelled as stored, not as EXIF turns it'
        )
        report.add(ERROR if not all(turned.values()) else WARNING, kind, name)
    for number, count in ids.items():
        if count > 1:
            report.add(ERROR, 'image id used twice', f'{number} in {item.path.name}')
    return paths


def _check_annotations(
    report: Report, item: CocoFile, mapping: dict, as_is: bool, scale: Sequence[float] | None
) -> list[list[int]]:
    """Check the annotations of a file, whether or not mmdet will read it as it is; return the classes in each image."""
    images = {image.get('id'): image for image in item.content['images']}
    category_ids = {number for path, number in mapping if path == item.path}
    found: dict = {number: [] for number in images}
    crowds, ids = Counter(), Counter()
    for position, annotation in enumerate(item.content['annotations']):
        report.labels += 1
        number = annotation.get('id')
        ids[number] += 1
        image = images.get(annotation.get('image_id'))
        name = str(image.get('file_name')) if image else item.path.name
        place = f'{name} (annotation {number if number is not None else f"at place {position}"})'
        if number == 0:
            report.add(ERROR, 'annotation id 0, which pycocotools counts as unmatched', place)
        if image is not None and not has_size(image):
            continue  # its image is missing, which is said already
        reason = problem(annotation, image, category_ids)
        if reason == WRONG_MASK_SIZE:
            size = shown(annotation['segmentation']['size'])
            place += f': {size}, not [{image["height"]}, {image["width"]}]'
        elif reason in _SHOWN:
            place += f': {shown(annotation.get(_SHOWN[reason]))}'
        if reason:
            report.add(ERROR, reason, place)
            continue
        _check_shape(report, annotation, image, place, as_is)
        found[annotation['image_id']].append(mapping[item.path, annotation['category_id']])
        crowds[annotation['image_id']] += bool(annotation.get('iscrowd'))
        width, height = box_of(annotation)[2:]
        report.box_sizes.append((width * height) ** 0.5 * _resized_by(image, scale))
    for number, count in ids.items():
        if count > 1:
            report.add(ERROR, 'annotation id used twice', f'{number} in {item.path.name}')
    for number, labels in found.items():
        if not labels:
            report.add(WARNING, 'image without annotations', str(images[number].get('file_name')))
        elif crowds[number] == len(labels):
            report.add(WARNING, 'image with crowds only', str(images[number].get('file_name')))
    return list(found.values())


def _resized_by(image: dict, scale: Sequence[float] | None) -> float:
    if not scale:
        return 1.0
    sides = image['width'], image['height']
    return min(max(scale) / max(sides), min(scale) / min(sides))


def _check_shape(report: Report, annotation: dict, image: dict, place: str, as_is: bool) -> None:
    x, y, width, height = box_of(annotation)
    if x < -1 or y < -1 or x + width > image['width'] + 1 or y + height > image['height'] + 1:
        report.add(WARNING, 'box partly outside the image', place)
    if annotation.get('segmentation') and mask_of(annotation) is None:
        level = ERROR if as_is and isinstance(annotation['segmentation'], dict) else WARNING
        report.add(level, 'mask of less than three points or broken runs', place)
    missing = [key for key in ('id', 'bbox', 'area') if key not in annotation]
    if as_is and missing:
        report.add(ERROR, f'annotation without {" and ".join(missing)}, which mmdet needs; --data fills it in', place)


def _check_names(report: Report, files: Sequence[CocoFile], wanted: list[str]) -> None:
    """Compare the category names of the files with those of a config, which mmdet matches to the letter."""
    names = Counter()
    for item in files:
        by_id = {category['id']: str(category['name']) for category in item.content['categories']}
        names.update(by_id[a['category_id']] for a in item.content['annotations'] if a.get('category_id') in by_id)
    total, matched = sum(names.values()), sum(names[name] for name in set(wanted))
    if matched < total:
        like = {spelling(name): name for name in wanted}
        strangers = [name for name in names if name not in wanted]
        pairs = [f'{name!r} is {like[spelling(name)]!r} in the config' for name in strangers if spelling(name) in like]
        rest = [repr(name) for name in strangers if spelling(name) not in like]
        text = '; '.join([*pairs, *([f'{", ".join(rest[:5])} not in the config'] if rest else [])])
        level = ERROR if pairs or not matched else WARNING
        report.add(level, f'{matched} of {total} annotations match the classes of the config', text)
    absent = [name for name in wanted if name not in names]
    if absent and matched:
        report.add(WARNING, 'class of the config without annotations', ', '.join(absent))


def check_masks(pairs: Sequence[MaskPair], labels: Labels | None, alone: Sequence[Path] = ()) -> Report:
    """Check pairs of image and mask that went through :func:`mmlska.own_data.sources.masks.scan` or not.

    Args:
        pairs: The pairs.
        labels: The classes of the masks; None where they are not known.
        alone: Images without a mask.
    """
    report = Report(unit='pixels', images=len(pairs) + len(alone))
    for path in alone:
        report.add(WARNING, 'image without a mask', path.name)
    counts, in_images, strange = Counter(), Counter(), Counter()
    for pair in pairs:
        header = check_image(report, pair.image)
        if not is_file(pair.mask):
            report.add(ERROR, 'missing mask', str(pair.mask))
            continue
        if not pair.values:
            try:
                scan_one(pair)
            except ValueError as error:
                kind = 'mask that can not be decoded' if error.__cause__ else 'mask that is a photo'
                if isinstance(error.__cause__, ImageTooLarge):
                    kind = f'mask: {_TOO_LARGE}'
                report.add(ERROR, kind, pair.mask.name)
                continue
        report.labels += 1
        if header and pair.size not in (header.upright, header.stored):
            sizes = f'{pair.size[0]}x{pair.size[1]}, image {header.upright[0]}x{header.upright[1]}'
            report.add(ERROR, 'mask size unlike the image', f'{pair.mask.name} ({sizes})')
        if labels is None:
            continue
        found = classes_in(pair, labels)
        if labels.plain:
            allowed = {*labels.values, IGNORE, *((0,) if labels.reduce_zero else ())}
            wrong = {value: n for value, n in pair.values.items() if value not in allowed}
            if wrong:
                shown = ', '.join(f'{value} in {n} pixels' for value, n in sorted(wrong.items())[:3])
                report.add(
                    ERROR, f'mask values beyond the {len(labels.classes)} classes', f'{pair.mask.name} ({shown})'
                )
        strange[pair.mask.name] = found[-1] / max(sum(found.values()), 1)
        counts.update({k: n for k, n in found.items() if k >= 0})
        in_images.update(k for k in found if k >= 0)
        if set(found) == {-1}:
            report.add(WARNING, 'mask without a labelled pixel', pair.mask.name)
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
