"""Write a folder of labels in another format: what ``mmlska convert DIR --to FORMAT --out NEW_DIR`` calls."""

from __future__ import annotations

from shlex import quote

from ..text import counted, shown
from .folder import find_folder, refuse_leading_out
from .repair import check_target, new_folder
from .sources import find_source, nothing_found
from .sources.instance_labels import InstanceLabels
from .sources.masks import MaskLabels
from .writers import WRITERS, PhotoToWrite


def convert_labels(
    data: str,
    to: str,
    out: str,
    *,
    palette: str | None = None,
    label_format: str | None = None,
    instances: bool = False,
) -> list[str]:
    """Read the labels of a folder and write them, with copies of the photos, into a new one.

    Args:
        data: The folder, in any format that training reads; see docs/own_data.md.
        to: One of :data:`mmlska.own_data.writers.WRITERS`.
        out: The new folder.
        palette, label_format, instances: As for :func:`mmlska.own_data.adapt_config.use_own_data`.

    Returns:
        Lines that say what was written, and what was not.

    Raises:
        FileExistsError: If the new folder exists and is not empty.
        FileNotFoundError: If there is no such folder, or an image is missing.
        ValueError: If the format is unknown, or the labels can't be read or written in it.
    """
    if to not in WRITERS:
        raise ValueError(f'--to {shown(to)} is unknown; use one of {", ".join(WRITERS)}')
    root = find_folder(data)
    if root is None:
        raise FileNotFoundError(f'{data} is not a folder; give the one that holds the images and labels')
    check_target(out, '--out')
    refuse_leading_out(root)
    source = find_source(root, None, palette, label_format, instances)
    if source is None:
        raise ValueError(nothing_found(root, None, label_format))
    labels = source.read()
    if isinstance(labels, MaskLabels):
        raise ValueError(f'{root} holds masks of classes; add --instances to take their pieces for objects')
    photos = _photos(labels)
    if not any(photo.objects for photo in photos):
        raise ValueError(
            f'the labels of {root} have no object that can be used; mmlska check {quote(str(root))} says why'
        )
    with new_folder(out, root, '--out') as folder:
        lines = WRITERS[to](photos, labels.classes, folder)
    splits = ', '.join(f'{counted(len(images), "photo")} {split}'.strip() for split, images in labels.splits.items())
    total = sum(len(photo.objects) for photo in photos)
    return [
        f'{counted(total, "object")} ({source.name}) in {splits}: {out} ({to})',
        *lines,
        *source.other_formats(),
        *labels.left_out_notes(),
        *labels.notes,
    ]


def _photos(labels: InstanceLabels) -> list[PhotoToWrite]:
    return [
        PhotoToWrite(
            labels.root / image.entry['file_name'],
            image.name,
            split,
            (image.entry['width'], image.entry['height']),
            bool(labels.as_stored),
            [(annotation['category_id'] - 1, annotation) for annotation in image.annotations],
        )
        for split, images in labels.splits.items()
        for image in images
    ]
