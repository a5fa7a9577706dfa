"""Labels that say no size, or one that was changed with the photos: labels of resized photos show by where they lie."""

import json
from pathlib import Path

import numpy as np
import pytest
from own_sets import SIZE, adapt, annotation, coco, everything, image, photo

BOXES = 'configs/demo/retinanet_van_lska_t_small.py'

# Of photos of 160x120, which are halved.
WHOLE = [
    (10, 10, 60, 50),
    (60, 30, 150, 110),
    (80, 50, 155, 118),
    (20, 10, 140, 100),
    (90, 20, 150, 60),
    (5, 60, 60, 115),
]
PASSING = 'labels that pass the right and lower borders of their photos'


def boxes(root: Path, tmp_path: Path) -> tuple[list[list[float]], str]:
    """The boxes as training reads them, left, top, right and bottom, by the names of the photos, and the lines printed."""
    cfg, lines = adapt(BOXES, root, tmp_path / 'work')
    return [box for _, found in sorted(everything(cfg).items()) for _, box, _ in found], '\n'.join(lines)


def halved(root: Path, write, said: str = '') -> Path:
    """Photos of 80x60 with labels of when they had 160x120; ``said`` is 'whole' or 'halved' for a size in the labels."""
    size = {'whole': (160, 120), 'halved': SIZE}.get(said)
    for i in range(len(WHOLE)):
        photo(root / f'{i}.png', SIZE)
    write(root, size)
    return root


def without_size_coco(root: Path, size) -> None:
    sides = dict(zip(('width', 'height'), size or ()))
    boxes = [(x, y, right - x, bottom - y) for x, y, right, bottom in WHOLE]
    images = [dict(id=i, file_name=f'{i}.png', **sides) for i in range(len(WHOLE))]
    coco(root / 'all.json', images, [annotation(i + 1, i, 1, box) for i, box in enumerate(boxes)])


def without_size_voc(root: Path, size) -> None:
    sides = f'<size><width>{size[0]}</width><height>{size[1]}</height></size>' if size else ''
    for i, box in enumerate(WHOLE):
        ends = ''.join(f'<{end}>{value}</{end}>' for end, value in zip(('xmin', 'ymin', 'xmax', 'ymax'), box))
        thing = f'<object><name>cat</name><bndbox>{ends}</bndbox></object>'
        (root / f'{i}.xml').write_text(f'<annotation><filename>{i}.png</filename>{sides}{thing}</annotation>')


def without_size_labelme(root: Path, size) -> None:
    width, height = size or (None, None)
    for i, box in enumerate(WHOLE):
        shape = dict(label='cat', shape_type='rectangle', points=[box[:2], box[2:]])
        content = dict(imagePath=f'{i}.png', imageWidth=width, imageHeight=height, imageData=None, shapes=[shape])
        (root / f'{i}.json').write_text(json.dumps(content))


@pytest.mark.parametrize(
    ('write', 'said'),
    [(without_size_coco, ''), (without_size_coco, 'halved'), (without_size_voc, ''), (without_size_labelme, '')],
)
def test_labels_without_the_size_that_they_count_in(tmp_path, command, refused, write, said):
    root = halved(tmp_path / 'd', write, said)
    line = refused('train', 'retinanet_van_lska_t', '--data', root, '--work-dir', tmp_path / 'work')
    assert f'{PASSING}, as where these were resized after they were labelled: 5 of 6 boxes' in line
    assert 'up to 155x118 in 80x60 pixels; put back the photos that were labelled, or write into the labels' in line
    assert not (tmp_path / 'work').exists()
    ended = command('check', root)
    assert (ended.code, f'error: 1 x {PASSING}' in ended.out) == (1, True)
    refused('check', root, '--fix', tmp_path / 'new')
    assert not (tmp_path / 'new').exists()
    # What it advises works.
    found, lines = boxes(halved(tmp_path / 'sized', write, 'whole'), tmp_path)
    assert '6 x photo resized after it was labelled; its labels are rescaled by 0.5' in lines
    assert found[0] == [5, 5, 30, 25]


def test_objects_that_borders_hide_may_be_labelled_whole(tmp_path, command):
    """People at all borders: some labels pass the left one too; training says how many it cuts."""
    people = [(-20, 10, 60, 90), (10, 20, 50, 95), (60, 5, 105, 80), (50, 20, 99, 70), (30, 10, 60, 50), (0, 0, 10, 10)]
    for i in range(len(people)):
        photo(tmp_path / f'd/{i}.png', SIZE)
    every = [annotation(i + 1, i, 1, (x, y, right - x, bottom - y)) for i, (x, y, right, bottom) in enumerate(people)]
    coco(tmp_path / 'd/all.json', [image(i, f'{i}.png') for i in range(len(people))], every)
    assert command('check', tmp_path / 'd').code == 0
    found, lines = boxes(tmp_path / 'd', tmp_path)
    assert len(found) == len(people)
    assert '4 of 6 boxes pass a border of their photos and are cut there: 0.png, 1.png, 2.png, ...' in lines


def test_labels_of_photos_that_were_enlarged_are_doubted(tmp_path, command):
    for i in range(10):
        photo(tmp_path / f'd/{i}.png', (160, 120))
    every = [annotation(3 * i + j, i, 1, (20 * j, 5 + i, 15, 20)) for i in range(10) for j in range(1, 4)]
    coco(tmp_path / 'd/all.json', [dict(id=i, file_name=f'{i}.png') for i in range(10)], every)
    ended = command('check', tmp_path / 'd')
    assert ended.code == 0
    assert (
        'warning: 1 x labels in the upper left quarter of their photos alone, as where these were enlarged' in ended.out
    )


def test_tiles_that_own_the_objects_that_begin_in_them(tmp_path, command):
    rng = np.random.default_rng(3)
    every = []
    for i in range(8):
        photo(tmp_path / f'd/{i}.png', SIZE)
        for _ in range(8):
            x, y, width, height = (int(value) for value in (*rng.integers(0, SIZE), *rng.integers(10, 35, 2)))
            every.append(annotation(len(every) + 1, i, 1, (x, y, width, height)))
    coco(tmp_path / 'd/all.json', [image(i, f'{i}.png') for i in range(8)], every)
    ended = command('check', tmp_path / 'd', '--fix', tmp_path / 'new')
    assert 'warning: 1 x boxes that pass the right and lower borders of their photos alone' in ended.out
    assert (tmp_path / 'new').is_dir()
    found, lines = boxes(tmp_path / 'd', tmp_path)
    assert len(found) == len(every)
    assert 'boxes that pass the right and lower borders of their photos alone' in lines
