"""Feed damaged files to the readers of the package, in a process with little memory: fuzz_driver.py KIND FIRST COUNT FOLDER.

Each seed makes one file wrong in some way. A reader may take it or refuse it by one of the errors that command lines print as one line;
anything else is printed as ESCAPED. The seed is printed first, so that a crash says which one it was.
"""

from __future__ import annotations

import io
import json
import random
import resource
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from pycocotools import mask as coco_mask

sys.path.insert(0, str(Path(__file__).parents[1] / 'own_data'))
import own_sets  # noqa: E402

from mmlska import images, weights  # noqa: E402
from mmlska.export.onnx_predictor import METADATA, OnnxPredictor  # noqa: E402
from mmlska.infer.sources import read_images, resolve  # noqa: E402
from mmlska.own_data.check_folder import check_folder  # noqa: E402
from mmlska.own_data.contact_sheet import write_sheet  # noqa: E402
from mmlska.own_data.repair import write_mended  # noqa: E402
from mmlska.own_data.use import read_coco, read_masks, split_coco  # noqa: E402

#: What a user is told in one line.
EXPECTED = (ValueError, TypeError, FileNotFoundError, FileExistsError)
MEMORY = 1 << 31
NASTY = (
    *(
        None,
        True,
        '',
        'x',
        [],
        {},
        [[]],
        [{}],
        [None],
        {'a': [1]},
        '\0',
        '\ud800',
        '../../x',
        '/etc/passwd',
        'x' * 5000,
    ),
    *(-1, 0, 0.5, 1e9, 1e300, 10**400, 2**63, float('nan'), float('inf'), -float('inf')),
)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, cut off, repeated or put in."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 4, 64))
        how = rng.choice(('flip', 'set', 'cut', 'repeat', 'insert', 'number'))
        # The head of a file says most about it.
        at = rng.randrange(min(len(data), 256) + 1) if rng.random() < 0.6 else at
        if how == 'flip' and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif how == 'set':
            data[at : at + length] = rng.choice((b'\0', b'\xff', b'\x7f')) * length
        elif how == 'cut':
            del data[at : at + rng.choice((1, 4, 64, len(data)))]
        elif how == 'repeat':
            data[at:at] = data[max(at - length, 0) : at] * rng.choice((1, 3, 50))
        elif how == 'insert':
            data[at:at] = rng.randbytes(length)
        elif how == 'number':
            data[at : at + 4] = rng.choice((2**31 - 1, 2**32 - 1, 100_000, 0)).to_bytes(
                4, rng.choice(('little', 'big'))
            )
    return bytes(data)


def disturbed(node, rng: random.Random):
    """JSON data with one node replaced, dropped or doubled."""
    places = []

    def visit(value) -> None:
        for key in value if isinstance(value, dict) else range(len(value)):
            places.append((value, key))
            if isinstance(value[key], (dict, list)):
                visit(value[key])

    node = json.loads(json.dumps(node))
    visit(node)
    for _ in range(rng.choice((1, 1, 2, 5))):
        owner, key = rng.choice(places)
        how = rng.random()
        if isinstance(owner, dict) and how < 0.1:
            owner.pop(key, None)
        elif isinstance(owner, list) and how < 0.2:
            owner[:] = owner * 2 if rng.random() < 0.5 else []
        elif isinstance(owner, dict) or key < len(owner):
            owner[key] = rng.choice(NASTY)
    return node


def write_json(path: Path, content, rng: random.Random) -> None:
    text = json.dumps(content)
    if rng.random() < 0.1:
        text = text.replace('[', '[' * 5000, 1)
    data = text.encode('utf-8', 'surrogatepass')
    path.write_bytes(damaged(data, rng) if rng.random() < 0.15 else data)


def encoded(rng: random.Random) -> tuple[str, bytes]:
    """A small picture in one of the formats."""
    suffix, name = rng.choice((('.jpg', 'JPEG'), ('.png', 'PNG'), ('.bmp', 'BMP'), ('.tif', 'TIFF'), ('.webp', 'WEBP')))
    mode = rng.choice(('RGB', 'L', 'RGB', 'P' if name in ('PNG', 'TIFF', 'BMP') else 'RGB'))
    pixels = np.random.default_rng(rng.randrange(99)).integers(0, 255, (20, 30, 3), np.uint8)
    options = dict(exif=Image.Exif()) if name in ('JPEG', 'PNG', 'TIFF', 'WEBP') else {}
    if options:
        options['exif'][0x0112] = rng.randrange(9)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, name, **options)
    return suffix, file.getvalue()


def picture(folder: Path, rng: random.Random) -> list:
    suffix, content = encoded(rng)
    path = folder / f'a{rng.choice((suffix, suffix, ".png", ".tif"))}'
    path.write_bytes(damaged(content, rng))
    return [
        lambda: images.read_header(path),
        lambda: images.read_photo(path),
        lambda: images.read_photo(path, as_stored=True),
        lambda: list(read_images(resolve(path))),
    ]


def _whole_set(folder: Path, root: Path) -> list:
    """All that tools/check_dataset.py does with a folder."""

    def check():
        checked = check_folder(str(root))
        json.dumps(checked.report.as_dict(), ensure_ascii=False, allow_nan=False).encode()
        checked.report.text().encode()
        parts = checked.files, checked.pairs, checked.labels
        for action in (
            lambda: write_mended(str(folder / 'new'), root, *parts),
            lambda: write_sheet(str(folder / 'sheet.png'), *parts, count=3),
        ):
            attempt(action)

    return [check]


def coco(folder: Path, rng: random.Random) -> list:
    root = own_sets.simple(folder / 'set', count=3)
    file = root / 'all.json'
    content = json.loads(file.read_text())
    runs = coco_mask.encode(np.asfortranarray(np.ones((60, 80), np.uint8)))
    content['annotations'][1]['segmentation'] = dict(size=[60, 80], counts=runs['counts'].decode())
    content['annotations'][2]['segmentation'] = dict(size=[60, 80], counts=[100, 200, 4500])
    write_json(file, disturbed(content, rng), rng)

    def train():
        parts, _ = split_coco(read_coco(root.resolve()), 0.4)
        for part in parts.values():
            sizes = {image['id']: (image['height'], image['width']) for image in part['images']}
            for annotation in part['annotations']:
                height, width = sizes[annotation['image_id']]
                mask = annotation.get('segmentation')
                # As mmdet makes a bitmap of it.
                if isinstance(mask, list):
                    coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(mask, height, width)))
                elif mask is not None:
                    runs = coco_mask.frPyObjects(mask, *mask['size']) if isinstance(mask['counts'], list) else mask
                    assert coco_mask.decode(runs).shape == (height, width)

    return [*_whole_set(folder, root), train]


def masks(folder: Path, rng: random.Random) -> list:
    root = folder / 'set'
    for i in range(3):
        own_sets.photo(root / f'images/{i}.png')
        mask = np.random.default_rng(i).integers(0, 3, own_sets.SIZE[::-1], np.uint8)
        (root / 'masks').mkdir(exist_ok=True)
        Image.fromarray(mask).save(root / f'masks/{i}.png')
    named = dict(classes=[dict(name=f'c{i}', color=[i, i, i]) for i in range(3)])
    (root / 'classes.json').write_text(json.dumps(named))
    if rng.random() < 0.5:
        path = root / rng.choice(('masks/0.png', 'images/1.png'))
        path.write_bytes(damaged(path.read_bytes(), rng))
    else:
        write_json(root / 'classes.json', disturbed(named, rng), rng)
    return [*_whole_set(folder, root), lambda: read_masks(root.resolve(), None)]


def checkpoint(folder: Path, rng: random.Random) -> list:
    tensors = dict(a=torch.rand(4, 3), b=torch.arange(5), c=torch.rand(8).half())
    file, kind = io.BytesIO(), rng.choice(('zip', 'legacy', 'safetensors', 'repacked'))
    if kind == 'safetensors':
        content = safetensors.torch.save(tensors)
    else:
        torch.save(dict(state_dict=tensors, meta=dict(epoch=1)), file, _use_new_zipfile_serialization=kind != 'legacy')
        content = file.getvalue()
    if kind == 'repacked':  # the checksums of zip would catch every damage within a part
        file, old = io.BytesIO(), zipfile.ZipFile(io.BytesIO(content))
        with zipfile.ZipFile(file, 'w') as new:
            for name in old.namelist():
                part = old.read(name)
                new.writestr(name, damaged(part, rng) if name.endswith('.pkl') else part)
        content = file.getvalue()
    else:
        content = damaged(content, rng)
    path = folder / 'a.pth'
    path.write_bytes(content)

    def read():
        found = weights.read_checkpoint(path).content
        attempt(lambda: weights.inspect_state_dict(found))
        attempt(lambda: weights.convert_state_dict(found))

    return [read]


def onnx(folder: Path, rng: random.Random) -> list:
    import onnx
    from onnx import TensorProto, helper

    rule = dict(
        resize=dict(scale=[64, 48], scale_factor=None, keep_ratio=True),
        **dict(channels='RGB', mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], pad_divisor=32, pad_value=0),
    )
    facts = dict(kind='segmentor', model='EncoderDecoder', classes=['a', 'b', 'c'], input=rule, threshold=0.5)
    shape = [1, 3, 'h', 'w']
    inputs, outputs = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name in ('image', 'logits'))
    graph = helper.make_graph([helper.make_node('Relu', ['image'], ['logits'])], 'g', inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    text = json.dumps(disturbed(facts, rng))
    helper.set_model_props(model, {METADATA: text.encode('utf-8', 'replace').decode()})
    content = model.SerializeToString()
    path = folder / 'a.onnx'
    path.write_bytes(damaged(content, rng) if rng.random() < 0.3 else content)
    onnx.checker  # noqa: B018 (what a user has imported changes nothing)
    return [lambda: OnnxPredictor(path, threads=1)([np.zeros((20, 30, 3), np.uint8)])[0].to_dict()]


KINDS = dict(picture=picture, coco=coco, masks=masks, checkpoint=checkpoint, onnx=onnx)


def attempt(action) -> None:
    """Run a reader; an error that no user should see is printed."""
    try:
        action()
    except EXPECTED as error:
        if isinstance(error, UnicodeError) or len(str(error).strip().splitlines()) != 1:
            print(f'ESCAPED {type(error).__name__}: {error!r:.200}')
    except BaseException as error:
        import traceback

        last = traceback.extract_tb(error.__traceback__)[-1]
        print(f'ESCAPED {type(error).__name__}: {error!s:.200} ({last.filename}:{last.lineno})')


def main(kind: str, first: int, count: int, folder: Path) -> None:
    own = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own + MEMORY,) * 2)
    canary = folder / 'outside'
    canary.mkdir(parents=True)
    (canary / 'x').write_text('mine')
    for seed in range(first, first + count):
        print(f'seed {seed}', flush=True)
        place = folder / 'place'
        place.mkdir()
        for action in KINDS[kind](place, random.Random(f'{kind} {seed}')):
            attempt(action)
        if (
            sorted(path.name for path in folder.iterdir()) != ['outside', 'place']
            or (canary / 'x').read_text() != 'mine'
        ):
            print('ESCAPED: a file outside')
        shutil.rmtree(place)


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
