"""The formats of labels that a user's folder may have, one file each; :mod:`.source` says what a format has to offer."""

from __future__ import annotations

from pathlib import Path

from ...images import is_image
from ..folder import refuse_leading_out, walk
from .coco import CocoSource
from .masks import MaskSource
from .source import Source

#: In the order in which they are tried: a folder of COCO files may hold masks beside them.
SOURCES: list[type[Source]] = [CocoSource, MaskSource]
# What is said where there are no labels for a kind of models: without and with a json file.
_NOTHING = {
    'mmdet': (
        'no COCO file in {}: a detector needs a .json in COCO format; a segmentor config reads folders of masks',
        'no COCO file in {}: its json files have no "images" and "annotations"; convert them to COCO format',
    ),
    'mmseg': (
        'no pair of image and mask in {}: put images into images/ and masks of the same names into masks/',
        'no pair of image and mask in {}: COCO files are for detectors, such as configs/mask_rcnn_van_lska_t.py',
    ),
}


def find_source(root: Path, scope: str | None = None, palette: str | None = None) -> Source | None:
    """Recognise the labels of a folder, for models of a scope ('mmdet', 'mmseg') or of any; None where no format fits.

    Arguments and errors as for :meth:`Source.find`; only masks have a palette.
    """
    for kind in SOURCES:
        if scope in (None, kind.scope) and not (palette and kind.scope == 'mmdet'):
            source = kind.find(root, palette)
            if source is not None:
                return source
    return None


def require_source(root: Path, scope: str, palette: str | None = None) -> Source:
    """Recognise the labels of a folder that is to be trained on.

    Raises:
        ValueError: If there are none for that kind of models; the message says what is there instead. Or if something leads out of the
            folder.
    """
    refuse_leading_out(root)
    source = find_source(root, scope, palette)
    if source is not None:
        return source
    has_json = any(path.suffix.lower() == '.json' for path in walk(root))
    raise ValueError(_NOTHING[scope][has_json].format(root) + _where_else(root, scope))


def _where_else(root: Path, scope: str) -> str:
    """Advice for people who named the folder of the images: the folder above, if it seems to hold the labels.

    Only the places of common layouts are looked at: the folder above may hold much else.
    """
    for above in list(root.parents)[:2]:
        if scope == 'mmseg':
            folders = (above / name for name in ('masks', 'annotations'))
            found = any(is_image(path) for folder in folders if folder.is_dir() for path in walk(folder))
        else:
            found = any(map(_begins_as_coco, (*above.glob('*.json'), *above.glob('annotations/*.json'))))
        if found:
            return f'; or are the labels those in {above}? then give that folder'
    return ''


def _begins_as_coco(path: Path) -> bool:
    try:
        with open(path, 'rb') as file:
            start = file.read(1 << 16)
    except OSError:
        return False
    return b'"images"' in start or b'"annotations"' in start
