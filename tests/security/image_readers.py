"""Give files to the readers of images in a process with little memory: image_readers.py MEGABYTES JSON.

The JSON is a list of pairs, a reader's name and a path. Printed are each pair, and what the reader said, null if it took the file, as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from mmlska import bands, images
from mmlska.analysis import gallery, photos, predictions
from mmlska.app.views import read_photo
from mmlska.classification import PhotoFolder
from mmlska.engine.hooks import OverlayHook
from mmlska.export import onnx_predictor
from mmlska.infer import sources


def opened(path: str) -> None:
    with images.open_image(path) as image:
        image.load()


def predicted(path: str) -> None:
    list(sources.read_images(sources.resolve(path)))


def as_bands(path: str) -> None:
    kind = bands.pixels_of(path)
    bands.BandReader(kind.channels, kind.dtype).read(path)


def pretrained(path: str) -> None:
    """The file lies in ROOT/SPLIT/CLASS."""
    root, split, name = Path(path).parents[2], Path(path).parents[1].name, Path(path).parent.name
    PhotoFolder(str(root), dict(img=split), classes=[name])


def in_gallery(path: str) -> None:
    nothing = np.zeros((0, 4))
    image = predictions.BoxImage(path, nothing, *[nothing[:, 0]] * 2, nothing, *[nothing[:, 0]] * 2)
    gallery._write_pictures(Path(path).parent, 'out', image, predictions.Predictions('detection', (), (), [image], {}))


def overlaid(path: str) -> None:
    class Sample(dict):
        img_path = path

        def cpu(self) -> Sample:
            return self

    runner = SimpleNamespace(visualizer=SimpleNamespace(add_datasample=lambda *args, **options: None))
    OverlayHook('out', imdecode_backend='pillow').after_test_iter(runner, 0, outputs=[Sample()])


READERS = {
    'header': images.read_header,
    'photo': images.read_photo,
    'opened': opened,
    'predicted': predicted,
    'as bands': as_bands,
    'as a picture': bands.read_picture,
    'tiled': lambda path: list(sources.read_images(sources.resolve(path), by_window=True)),
    'on the page': lambda path: read_photo(path, 50),
    'analysed': photos.read_photo,
    'pretrained': pretrained,
    'in the gallery': in_gallery,
    'overlaid': overlaid,
    'alone': lambda path: onnx_predictor._read(path, {}),
}


def main() -> None:
    import mmcv  # noqa: F401, so that its memory counts as used

    used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    limit = used + (int(sys.argv[1]) << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for name, path in json.loads(sys.argv[2]):
        print(json.dumps([name, path]), flush=True)
        try:
            READERS[name](path)
        except (ValueError, FileNotFoundError) as error:
            print(json.dumps(str(error)), flush=True)
        else:
            print('null', flush=True)


if __name__ == '__main__':
    main()
