"""Masks and boxes of data files that would end the process or fill the memory: named, left out, never drawn."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from own_sets import SIZE, annotation, coco, image, mask, photo, simple
from picture_files import chunk, with_side
from pycocotools import mask as coco_mask

from mmlska.datasets.coco_labels import _run_lengths, mask_fault, problem, refuse_deadly_mask
from mmlska.own_data.check import check_folder
from mmlska.own_data.contact_sheet import write_sheet
from mmlska.own_data.mask_files import MaskPair, scan_one
from mmlska.own_data.repair import write_repaired

ROOT = Path(__file__).resolve().parents[2]
NAN, INF = float('nan'), float('inf')
WHOLE = 80 * 60
BAD_MASKS = {
    'far': [[0, 0, 1e9, 0, 1e9, 1e9]],
    'very far': [[0, 0, 1e300, 0, 1, 1e300]],
    'a few images away': [[0, 0, 500, 0, 5, 5]],
    'NaN': [[0, 0, NAN, 0, 1, 5]],
    'NaN first': [[NAN, 0, 10**400, 0, 1, 5]],
    'infinite': [[0, 0, INF, 0, 1, -INF]],
    'huge integer': [[0, 0, 10**400, 0, 1, 5]],
    'text': [['0', '0', '9', '0', '9', '9']],
    'bool': [[True, False, 9, 0, 9, 9]],
    'nested': [[[0, 0], [9, 0], [9, [9]]]],
    'beside a sound one': [[10, 10, 40, 10, 40, 40], [0, 0, -1e9, 0, 5, 5]],
    'no list': [[10, 10, 40, 10, 40, 40], 'abc'],
    'zigzag': [[-390.0, 0.0, 390.0, 0.0] * 8000],
    'runs that overrun': dict(size=[60, 80], counts=[100, 5000]),
    'runs that end early': dict(size=[60, 80], counts=[100, 50]),
    'negative runs': dict(size=[60, 80], counts=[-100, WHOLE + 100]),
    'runs of text': dict(size=[60, 80], counts=['100', '4700']),
    'runs of fractions': dict(size=[60, 80], counts=[100.5, 4699.5]),
    'huge runs': dict(size=[60, 80], counts=[10**400, WHOLE]),
    'bools as runs': dict(size=[60, 80], counts=[True, WHOLE - 1]),
    'garbage': dict(size=[60, 80], counts='ZZZZ\x00~~'),
    'cut off': dict(size=[60, 80], counts='ooo'),
    'too much': dict(size=[60, 80], counts='oooooooooooooo0'),
    'negative': dict(size=[60, 80], counts='O0'),
    'no ASCII': dict(size=[60, 80], counts='é\ud800'),
    'large': dict(size=[13000, 13000], counts=[13000**2]),
    'of another size': dict(size=[10**6, 10**6], counts='oo'),
    'size of text': dict(size=['60', '80'], counts=[WHOLE]),
    'size of bools': dict(size=[True, True], counts=[1]),
    'size of huge numbers': dict(size=[10**400, 80], counts=[WHOLE]),
}
BAD_BOXES = [
    *([1e6, 0, 1e6, 1e6], [0, 0, 1e300, 9], [0, 0, 10**400, 9], [NAN, 0, 9, 9], [0, 0, INF, INF], [-INF, 0, INF, 9]),
    *([True, 0, 9, 9], ['0', '0', '9', '9'], [[0], 0, 9, 9], [0, 0, 9], 'abc', {'x': 1}, 7),
]


# Forms that no COCO file has, which a folder's file is read in all the same.
READABLE = {'text', 'runs of text', 'size of text'}
READABLE_BOX = ['0', '0', '9', '9']


@pytest.mark.parametrize('name', BAD_MASKS)
def test_a_mask_that_is_none_is_named(name):
    entry = annotation(1, 1, 1, segmentation=BAD_MASKS[name])
    for item in (entry, {key: value for key, value in entry.items() if key != 'bbox'}):
        assert problem(item, dict(width=80, height=60), {1}) in (
            'mask of impossible numbers',
            'mask of broken run lengths',
            'mask size unlike the image',
        )
    with pytest.raises(ValueError, match=r'^mask .*; mmlska check lists'):
        refuse_deadly_mask(BAD_MASKS[name], dict(width=80, height=60))


@pytest.mark.parametrize('box', BAD_BOXES, ids=str)
def test_a_box_that_is_none_is_named(box):
    assert problem(dict(category_id=1, bbox=box), dict(width=80, height=60), {1}) == 'box of impossible numbers'


def test_pycocotools_also_reads_what_is_no_polygon():
    for segmentation in (
        [[0, 0, 1e9, 1e9]],
        [0, 0, 1e9, 1e9],
        dict(size=[10**6, 10**6, 1], counts='o'),
        dict(counts=''),
    ):
        with pytest.raises(ValueError, match='^mask of'):
            refuse_deadly_mask(segmentation, dict(width=80, height=60))
    with pytest.raises(ValueError, match='mask in an image of impossible size'):
        refuse_deadly_mask([[0, 0, 9, 0, 9, 9]], dict(width=10**6, height=10**6))
    for segmentation in (None, [], [[]], [[1, 2, 3, 4]], [[0, 0, 9, 0, 9, 9]], dict(size=[60, 80], counts=[WHOLE])):
        refuse_deadly_mask(segmentation, dict(width=80.0, height=60))


def test_compressed_runs_are_read_as_pycocotools_reads_them():
    rng = np.random.default_rng(0)
    for _ in range(300):
        shape = rng.integers(1, 90, 2)
        pixels = np.asfortranarray((rng.random(shape) < rng.random()).astype(np.uint8))
        if rng.random() < 0.3:
            pixels = np.asfortranarray(cv2.resize(pixels, None, fx=9, fy=9, interpolation=cv2.INTER_NEAREST))
        text = coco_mask.encode(pixels)['counts'].decode()
        flat = pixels.ravel(order='F')
        runs = np.diff([0, *(np.flatnonzero(np.diff(flat)) + 1), flat.size]).tolist()
        assert _run_lengths(text).tolist() == ([0, *runs] if flat[0] else runs)
        assert mask_fault(dict(size=[*pixels.shape], counts=text), *pixels.shape[::-1]) is None
        assert mask_fault(dict(size=[*pixels.shape], counts=text[:-1]), *pixels.shape[::-1]) if len(text) > 1 else True


def hostile_set(root: Path) -> Path:
    """A sound cat and a mask or box that is none on each image."""
    masks = [mask for name, mask in BAD_MASKS.items() if name not in READABLE]
    boxes = [box for box in BAD_BOXES if box != READABLE_BOX]
    count = len(masks) + len(boxes)
    images = [image(i, f'{i}.png') for i in range(count)]
    for entry in images:
        photo(root / 'images' / entry['file_name'])
    labels = [annotation(i + 1, i, 1, (5, 5, 20, 20)) for i in range(count)]
    for i, segmentation in enumerate(masks):
        labels.append(annotation(1000 + i, i, 2, segmentation=segmentation))
    for i, box in enumerate(boxes):
        labels.append({**annotation(2000 + i, len(masks) + i, 2), 'bbox': box, 'segmentation': []})
    coco(root / 'all.json', images, labels)
    return root


@pytest.fixture(scope='module')
def hostile(tmp_path_factory):
    return hostile_set(tmp_path_factory.mktemp('hostile') / 'd')


# What a training does with the data, in a process with little memory.
TRAIN = f"""
import json, resource, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / 'tests')!r})
from own_sets import MASK_RCNN, adapt, build
from mmlska.engine.errors import BadSampleError
from mmlska.engine.samples import GuardedDataset
from mmlska.engine.checks import _check_masks
from types import SimpleNamespace
from mmengine.registry import init_default_scope
import mmdet.registry, mmlska

def say(what):
    print('said:', what)

root, work, mode = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
cfg, lines = adapt(MASK_RCNN, root, work)
init_default_scope('mmdet')
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
if mode == 'data':
    say(lines[1])
    for split in ('train', 'val'):
        built = build(cfg, split)
        built = getattr(built, 'dataset', built)  # without the repetition
        metric = mmdet.registry.METRICS.build(cfg.val_evaluator)
        for annotation in metric._coco_api.anns.values():
            metric._coco_api.annToMask(annotation)
        say(sum(len(built[i]['data_samples'].gt_instances) for i in range(len(built))))
else:  # as a config would read the file
    part = work / 'data/train.json'
    content = json.loads(part.read_text())
    content['annotations'][0]['segmentation'] = [[0, 0, 1e9, 0, 1e9, 1e9]]
    part.write_text(json.dumps(content))
    cfg.val_evaluator.ann_file = str(part)
    metric = mmdet.registry.METRICS.build(cfg.val_evaluator)
    loop = SimpleNamespace(evaluator=SimpleNamespace(metrics=[metric]), dataloader=SimpleNamespace(dataset=None))
    for attempt in (
        lambda: [data[i] for data in [GuardedDataset(cfg.train_dataloader.dataset)] for i in range(len(data))],
        lambda: _check_masks(loop, cfg, 'val'),
    ):
        try:
            attempt()
        except (BadSampleError, ValueError) as error:
            say(error)
say('alive')
"""


def run_training(root: Path, work: Path, mode: str) -> list[str]:
    command = [sys.executable, '-c', TRAIN, root, work, mode]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr[-800:]
    return [line[6:] for line in result.stdout.splitlines() if line.startswith('said: ')]


def test_training_lives(hostile, tmp_path):
    """Without the checks this process ends by SIGSEGV in pycocotools."""
    counts, *samples, alive = run_training(hostile, tmp_path / 'work', 'data')
    assert alive == 'alive'
    masks, boxes = len(BAD_MASKS) - len(READABLE), len(BAD_BOXES) - 1
    total = masks + boxes
    assert counts.startswith(f'{total} annotations left out: ')
    assert f'{boxes} box of impossible numbers' in counts
    assert sum(map(int, samples)) == total  # the sound ones


def test_a_config_on_such_a_file_is_refused_in_one_line(tmp_path):
    root = simple(tmp_path / 'd')
    sample, evaluated, alive = run_training(root, tmp_path / 'work', 'guarded')
    assert 'png cannot be used (ValueError: ' in sample
    assert 'png: mask of impossible numbers: [[0, 0, 1000000000.0, 0' in sample
    assert evaluated.startswith('val data: ')
    assert 'annotation 1: mask of impossible numbers' in evaluated
    assert alive == 'alive'


def test_check_sheet_and_corrected_copy(hostile, tmp_path):
    checked = check_folder(str(hostile))
    masks, boxes = len(BAD_MASKS) - len(READABLE), len(BAD_BOXES) - 1
    total = masks + boxes
    found = {f.kind: f for f in checked.report.findings}
    bad = [
        found[f'mask {kind}'] for kind in ('of impossible numbers', 'of broken run lengths', 'size unlike the image')
    ]
    assert {f.level for f in bad} == {'error'}
    assert sum(len(f.places) for f in bad) == masks
    assert len(found['box of impossible numbers'].places) == boxes
    assert checked.report.errors == total
    assert '0.png (annotation 1000): [[0, 0, 1000000000.0, 0, 1000000000.0, 1000000000.0]]' in checked.report.text()
    assert write_sheet(str(tmp_path / 'a.png'), checked.source, count=total) == total
    sound = tmp_path / 'sound'
    shutil.copytree(hostile, sound)
    content = json.loads((sound / 'all.json').read_text())
    (sound / 'all.json').write_text(json.dumps({**content, 'annotations': content['annotations'][:total]}))
    write_sheet(str(tmp_path / 'b.png'), check_folder(str(sound)).source, count=total)
    assert (tmp_path / 'a.png').read_bytes() == (tmp_path / 'b.png').read_bytes()
    lines = write_repaired(str(tmp_path / 'new'), checked.source)
    assert lines[0] == f'instances_all.json: {total} images, {total} annotations'
    assert check_folder(str(tmp_path / 'new')).report.errors == 0


def flat_png(path: Path, side: int, color: int) -> None:
    """A PNG of zeros, 8 bits, written in strips."""
    packer = zlib.compressobj(1)
    row = bytes(1 + side * (3 if color == 2 else 1))
    data = b''.join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    head = side.to_bytes(4, 'big') * 2 + bytes([8, color, 0, 0, 0])
    palette = chunk(b'PLTE', bytes([7, 8, 9])) if color == 3 else b''
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + palette + chunk(b'IDAT', data) + chunk(b'IEND', b''))


SCAN = """
import resource, sys
from pathlib import Path
from mmlska.own_data.mask_files import Labels, MaskPair, read_index, scan_one

scan_one(MaskPair(Path('small'), Path(sys.argv[2]), None))  # what is imported for it
used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (int(sys.argv[3]) << 20),) * 2)
pair = MaskPair(Path('image'), Path(sys.argv[1]), None)
scan_one(pair)
index = read_index(pair, Labels(['a', 'b'], [0, 1], [[0] * 3] * 2, True))
print(pair.values, pair.shown, index.shape, index.max())
"""


@pytest.mark.skipif(not os.path.exists('/proc/self/statm'), reason='no /proc')
def test_a_mask_of_13000_by_13000_takes_little_more_than_its_pixels(tmp_path):
    flat_png(tmp_path / 'large.png', 13000, 3)
    flat_png(tmp_path / 'small.png', 100, 3)
    command = [sys.executable, '-c', SCAN, tmp_path / 'large.png', tmp_path / 'small.png', '700']
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert result.stdout == f'{{0: {13000**2}}} {{0: 460809}} (13000, 13000) 0\n', result.stderr[-500:]


def test_a_mask_above_the_limit_is_refused_before_it_is_decoded(tmp_path):
    root = tmp_path / 'd'
    for i in range(3):
        photo(root / f'images/{i}.png')
        mask(root / f'masks/{i}.png', np.indices(SIZE[::-1])[1] // 40)
    content = with_side((root / 'masks/1.png').read_bytes(), 30_000)
    (root / 'masks/1.png').write_bytes(content)
    (root / 'images/2.png').write_bytes(content)
    with pytest.raises(
        ValueError, match=r'mask .*1.png has 30000x30000 pixels, more than the 179 million that are read'
    ):
        scan_one(MaskPair(root / 'images/1.png', root / 'masks/1.png', None))
    found = {f.kind: f.places for f in check_folder(str(root)).report.findings}
    assert found['mask: image of more than the 179 million pixels that are read'] == ['1.png']
    assert found['image of more than the 179 million pixels that are read'] == ['2.png']
