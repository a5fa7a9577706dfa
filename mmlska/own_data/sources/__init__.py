"""The formats of labels that a user's folder may have, one file each; :mod:`.source` says what a format has to offer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from ...images import is_image
from ...text import counted, shown
from ..data_folder import DataFolder, is_unread
from ..folder import is_file, refuse_leading_out, walk
from ..label_text import read_text, short
from ..mask_pairing import pictures_of_objects, unpaired_masks
from ..written_files import SortedFiles, record_of
from .boxes_csv import CsvSource
from .coco import CocoSource
from .cvat import CvatSource
from .dota import DotaSource
from .instances import InstanceSource
from .kaggle_rle import RleSource
from .label_maps import LabelMapSource
from .labelme import LabelmeSource
from .mask_pieces import PieceSource
from .masks import MaskSource
from .source import LabelFormat, Source
from .supervisely import SuperviselySource
from .via import ViaSource
from .voc import VocSource
from .yolo import YoloSource

#: In the order in which they are tried: a folder of COCO files may hold masks beside them.
SOURCES: list[type[LabelFormat]] = [
    CocoSource,
    DotaSource,  # its classes may be numbers: YOLO's reader would take such lines too
    YoloSource,
    VocSource,
    CvatSource,
    LabelmeSource,
    ViaSource,
    SuperviselySource,
    RleSource,
    CsvSource,
    MaskSource,
]
_LARGEST = 1 << 26  # bytes of a label file that is only looked at for advice
_KINDS = {'mmdet': 'a detector', 'mmseg': 'a segmentor'}


def format_names(scope: str | None = None) -> list[str]:
    """What ``--format`` may say, for models of a scope ('mmdet', 'mmseg') or of any; segmentors train on labels of objects too."""
    return [kind.name for kind in SOURCES if scope in (None, 'mmseg', kind.scope)]


def find_source(
    root: Path,
    scope: str | None = None,
    palette: str | None = None,
    label_format: str | None = None,
    instances: bool = False,
) -> Source | None:
    """Recognise the labels of a folder; None where no format fits.

    Args:
        root: The folder, resolved.
        scope: The kind of models that they are for, 'mmdet' or 'mmseg'; None for any.
        palette: File with names and colours of the classes; only masks have one.
        label_format: The format to read, one of :func:`format_names`; None for the first that fits.
        instances: Take the connected pieces of masks for objects; see :mod:`.mask_pieces`.

    Raises:
        ValueError: If there is no such format for these models, or a file can't be read at all.
    """
    folder = DataFolder(root)
    if instances:
        if scope == 'mmseg' or label_format not in (None, MaskSource.name):
            raise ValueError('--instances takes objects from masks, for detectors; leave it out')
        folder = _with_labels(folder, [PieceSource])
        return _with_remarks(PieceSource.find(folder, palette), folder)
    _check_format(label_format, scope)
    if palette and label_format not in (None, MaskSource.name):
        raise ValueError('--palette is for masks; leave it out, or give --format masks')
    if palette:
        label_format = MaskSource.name
    kinds = [kind for kind in SOURCES if kind.name in format_names(scope) and label_format in (None, kind.name)]
    if scope == 'mmseg':  # masks first; outlines of objects are drawn
        kinds.sort(key=lambda kind: kind.scope != scope)
    folder = _with_labels(folder, kinds)
    for number, kind in enumerate(kinds):
        source = _with_remarks(kind.find(folder, palette), folder)
        if source is None:
            continue
        if scope == 'mmseg' and isinstance(source, InstanceSource):
            source = LabelMapSource(root, source)
        rest = kinds[number + 1 :]
        source.also = [
            other.name for other in rest if (scope is None or other.scope == kind.scope) and other.fits(folder)
        ]
        return source
    return None


def _with_labels(folder: DataFolder, kinds: Sequence[type[LabelFormat]]) -> DataFolder:
    """The folder with the labels that a model predicted, where it has no others of these formats."""
    alone = folder.sorted_files.predicted and not any(kind.fits(folder) for kind in kinds)
    return folder.with_predictions() if alone else folder


def _with_remarks(source: Source | None, folder: DataFolder) -> Source | None:
    """Labels with what is to be said of the files of their folder."""
    if isinstance(source, InstanceSource):
        if not isinstance(source, PieceSource):  # whose masks name them
            source.note_unread(folder)
        source.files[0].remarks += [*folder.class_remarks(), *folder.left_remarks()]
    elif isinstance(source, MaskSource):
        source.remarks = [*source.remarks, *folder.class_remarks(), *folder.left_remarks()]
    return source


def require_source(
    root: Path, scope: str, palette: str | None = None, label_format: str | None = None, instances: bool = False
) -> Source:
    """Recognise the labels of a folder that is to be trained on; arguments as for :func:`find_source`.

    Raises:
        ValueError: If there are none for that kind of models; the message says what is there instead. Or if something leads out of the
            folder.
    """
    refuse_leading_out(root)
    source = find_source(root, scope, palette, label_format, instances)
    if source is not None:
        return source
    wanted = MaskSource.name if instances or palette else label_format
    raise ValueError(nothing_found(root, scope, wanted) + _where_else(root, scope))


def _beginning(path: Path) -> str:
    """How a file of lines begins that is of no format, which shows what is wrong with it."""
    try:
        first = next(filter(None, map(str.strip, read_text(path).splitlines())), '') if path.suffix == '.txt' else ''
    except (OSError, ValueError):
        return ''
    return f': it begins with {shown(first)}' if first else ''


def nothing_found(root: Path, scope: str | None = None, label_format: str | None = None) -> str:
    """What to say of a folder without labels for models of a scope: what was looked for, and what is there instead."""
    folder = DataFolder(root)
    wanted = [label_format] if label_format else format_names(scope)
    for_what = f' for {_KINDS[scope]}' if scope in _KINDS else ''
    parts = [f'no labels{for_what} in {root}: looked for {", ".join(wanted)}']
    parts += [
        f'there are labels as {kind.name}'
        + (', of which --instances takes the pieces for objects' if kind is MaskSource else '')
        for kind in SOURCES
        if kind.name not in wanted and kind.fits(folder)
    ]
    objects = scope == 'mmdet' and label_format == MaskSource.name
    unpaired = unpaired_masks(folder, objects) if MaskSource.name in wanted else None
    if unpaired:
        parts.append(unpaired)
    elif not objects and not MaskSource.fits(folder) and (pictures := pictures_of_objects(folder)):
        parts.append(
            f'{counted(len(pictures), "picture")} of single objects ({short(pictures[0], root)}, ...), which a detector reads with '
            '--instances; masks of classes belong into masks/'
        )
    unread = [path for path in folder.files if is_unread(path)]
    if unread:
        kinds = ', '.join(sorted({path.suffix.lower() for path in unread}))
        parts.append(f'{counted(len(unread), "image")} of a kind that is not read ({kinds}); save them as png or jpg')
    arrays = list(folder.with_suffix('.npy', '.npz', '.mat'))
    if arrays:
        parts.append(
            f'{counted(len(arrays), "file")} of arrays such as {short(arrays[0], root)} are not read; save each mask as a png of the same '
            f"name, as by PIL.Image.fromarray(array.astype('uint8')).save(...)"
        )
    packed = next(folder.with_suffix('.zip', '.rar', '.7z', '.tar', '.gz', '.tgz'), None)
    strange = next(folder.with_suffix('.json', '.xml', '.csv', '.txt'), None)
    if packed:
        parts.append(f'unpack {short(packed, root)}')
    elif strange and len(parts) == 1:
        parts.append(f'{short(strange, root)} is none of them{_beginning(strange)}')
    parts += [f'{count} x {kind}' for kind, count in Counter(kind for kind, _ in folder.left_remarks()).items()]
    if folder.sorted_files.outputs:
        record = record_of(folder.sorted_files.outputs[0], root)
        parts.append(f'to train on what mmlska wrote there, delete {short(record, root)}')
    if scope == 'mmseg' and not label_format:
        parts.append('put images into images/ and masks of the same names into masks/')
    elif not folder.images:
        parts.append('there is no image either')
    return '; '.join([*parts, 'see docs/own_data.md'])


def _check_format(label_format: str | None, scope: str | None) -> None:
    if label_format is None or label_format in format_names(scope):
        return
    for_what = f' for {_KINDS[scope]}' if scope in _KINDS else ''
    raise ValueError(f'--format {label_format!r} is unknown{for_what}; use one of {", ".join(format_names(scope))}')


def _where_else(root: Path, scope: str) -> str:
    """Advice for people who named the folder of the images: the folder above, if it seems to hold the labels."""
    for above in list(root.parents)[:2]:
        near = _Neighbours(above, root)
        if near.files and any(kind.fits(near) for kind in SOURCES if kind.name in format_names(scope)):
            return f'; or are the labels those in {above}? then give that folder'
    return ''


@dataclass
class _Neighbours(DataFolder):
    """The files of a folder that lie where labels usually do, and some of the images: the folder may hold much else."""

    given: Path

    @cached_property
    def sorted_files(self) -> SortedFiles:
        return SortedFiles(self._near)

    @cached_property
    def _near(self) -> list[Path]:
        folders = [self.root / name for name in ('annotations', 'Annotations', 'labels', 'masks', 'labelTxt')]
        try:
            below = [
                path for folder in [self.given, *folders] if folder.is_dir() for path in islice(walk(folder), 1000)
            ]
            files = [*(path for path in sorted(self.root.iterdir()) if is_file(path)), *below]
            return [path for path in files if is_image(path) or path.stat().st_size <= _LARGEST]
        except OSError:  # a folder that is closed
            return []
