"""A folder of pictures and one page of HTML to look through a model's errors, without a network and without a server."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from ..bands import read_picture
from ..engine.ignored_label import IGNORED
from ..images import shrink
from ..text import printable
from .predictions import BoxImage, MapImage, Predictions

GENERATOR = 'mmlska.analysis.gallery'
_PAGE = Path(__file__)  # beside it are .html, .css and .js
_THUMB, _FULL = 320, 1280  # longest sides in pixels
_WRONG = (220, 30, 90)


def write_gallery(
    folder: str | Path,
    predictions: Predictions,
    errors: dict,
    *,
    title: str,
    about: dict[str, str] | None = None,
    limit: int = 500,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write ``index.html``, its pictures and the errors as ``errors.json``: all of it, or nothing.

    Args:
        folder: Folder to make; it may be there if it is empty.
        predictions: Those of a test set.
        errors: What :func:`mmlska.analysis.errors.find_errors` made of them.
        title: Heading of the page.
        about: More to say there, such as config and checkpoint.
        limit: At most so many images, the costliest.
        overwrite: Replace a gallery that is there already; a folder that holds anything else is never replaced.
        progress: Called as ``progress(done, total)`` after each image.

    Returns:
        The path of ``index.html``.

    Raises:
        FileExistsError: If the folder holds a gallery and ``overwrite`` is False, or anything else.
        FileNotFoundError: If an image is not there.
        ValueError: If an image cannot be read, or ``limit`` is not positive.
    """
    if limit < 1:
        raise ValueError(f'limit {limit} is impossible; use 1 image or more')
    folder = Path(folder).expanduser().resolve()
    check_folder(folder, overwrite)
    by_path = {image.path: image for image in predictions.images}
    chosen = errors['images'][:limit]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{folder.name}-', dir=folder.parent) as temporary:
        new = Path(temporary, 'new')
        (new / 'images').mkdir(parents=True)
        entries = []
        for number, entry in enumerate(chosen):
            pictures = _write_pictures(new / 'images', f'{number:05d}', by_path[entry['path']], predictions)
            entries.append({**{k: v for k, v in entry.items() if k != 'path'}, **pictures})
            if progress is not None:
                progress(number + 1, len(chosen))
        data = {
            **errors,
            'title': title,
            'about': about or {},
            'total': len(errors['images']),
            'palette': predictions.palette,
            'images': entries,
        }
        (new / 'index.html').write_text(render_page(data), encoding='utf-8')
        saved = {'generator': GENERATOR, 'title': title, 'about': about or {}, **errors}
        (new / 'errors.json').write_text(json.dumps(saved, allow_nan=False) + '\n', encoding='utf-8')
        if folder.exists():
            folder.rename(Path(temporary, 'old'))
        new.rename(folder)
    return folder / 'index.html'


def render_page(data: dict) -> str:
    """Return the page with its style, its script and its data inside; nothing in the data can end the script element or be run."""
    text = json.dumps(data, separators=(',', ':'), allow_nan=False).replace('<', '\\u003c').replace('>', '\\u003e')
    page, style, script = (_PAGE.with_suffix(suffix).read_text(encoding='utf-8') for suffix in ('.html', '.css', '.js'))
    return page.replace('__STYLE__', style).replace('__SCRIPT__', script).replace('__DATA__', text)


def check_folder(folder: Path, overwrite: bool) -> None:
    """Make sure that a gallery may be written to a folder.

    Raises:
        FileExistsError: If it holds a gallery and ``overwrite`` is False, or anything else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        ours = json.loads((folder / 'errors.json').read_text(encoding='utf-8'))['generator'] == GENERATOR
    except (OSError, ValueError, LookupError, TypeError):
        ours = False
    if not ours or {path.name for path in folder.iterdir()} - {'index.html', 'errors.json', 'images'}:
        raise FileExistsError(f'{folder} holds more than a gallery, which even --overwrite keeps; use another folder')
    if not overwrite:
        raise FileExistsError(f'{folder} holds a gallery; use --overwrite or another folder')


def _write_pictures(folder: Path, stem: str, image: BoxImage | MapImage, predictions: Predictions) -> dict:
    """Write the pictures of one image; return their names and the size of the image."""
    try:
        # Turned by their EXIF data where the test turned them.
        pixels = read_picture(image.path, as_stored=predictions.as_stored, bands=predictions.bands)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'image {printable(image.path)} cannot be read; give the config of that test'
        ) from error
    height, width = pixels.shape[:2]
    files = {'size': [width, height], 'full': f'{stem}.jpg', 'thumb': f'{stem}.jpg'}
    _write(folder / files['full'], shrink(pixels, _FULL))
    if max(height, width) > _THUMB:
        files['thumb'] = f'{stem}_s.jpg'
        _write(folder / files['thumb'], shrink(pixels, _THUMB))
    if isinstance(image, MapImage):
        palette = np.array([*predictions.palette, *[(0, 0, 0)] * (256 - len(predictions.palette))], np.uint8)[:256]
        valid = image.truth != IGNORED
        wrong = valid & (image.truth != image.prediction)
        layers = {
            'labelled': (palette[image.truth % 256], valid),
            'predicted': (palette[image.prediction % 256], np.ones_like(valid)),
            'wrong': (np.broadcast_to(np.uint8(_WRONG), (*wrong.shape, 3)), wrong),
        }
        for name, (colors, visible) in layers.items():
            files[name] = f'{stem}_{name}.png'
            alpha = np.where(visible, np.uint8(255), np.uint8(0))[..., None]
            _write(
                folder / files[name], shrink(np.concatenate([colors[..., ::-1], alpha], 2), _FULL, cv2.INTER_NEAREST)
            )
    return files


def _write(path: Path, pixels: np.ndarray) -> None:
    options = [cv2.IMWRITE_JPEG_QUALITY, 92] if path.suffix == '.jpg' else []
    path.write_bytes(cv2.imencode(path.suffix, pixels, options)[1].tobytes())
