"""COCO files whose ids count from another number than those that they refer to, and outlines or boxes with rows before columns."""

import json
from pathlib import Path

import pytest
from own_sets import MASK_RCNN, adapt, everything, photo, simple

WANTED = {f'{i}.png': [(0, [10, 10, 50, 40], 0), *([(1, [50, 20, 70, 40], 0)] if i % 2 else [])] for i in range(4)}


def changed(root: Path, change, count: int = 4) -> Path:
    """A set whose content a function changes."""
    content = json.loads((simple(root, count) / 'all.json').read_text())
    change(content)
    (root / 'all.json').write_text(json.dumps(content))
    return root


def add(entries: str, number: int):
    def change(content: dict) -> None:
        for entry in content[entries]:
            entry['id'] += number

    return change


def swapped(values: list) -> list:
    return [value for x, y in zip(values[::2], values[1::2]) for value in (y, x)]


def swap_outlines(content: dict) -> None:
    for annotation in content['annotations']:
        annotation['segmentation'] = [swapped(annotation['segmentation'][0])]


def swap_boxes(content: dict) -> None:
    for annotation in content['annotations']:
        annotation['bbox'] = swapped(annotation['bbox'])


def corners(content: dict) -> None:
    for annotation in content['annotations']:
        x, y, width, height = annotation['bbox']
        annotation['bbox'] = [x, y, x + width, y + height]


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (add('images', 1), 'image_id counted from 0, where the images begin with 1; add 1 to each'),
        (add('images', 8), None),
        (add('images', -1), 'image_id counted from 0, where the images begin with -1; take 1 from each'),
        (add('categories', 1), 'category_id counted from 1, where the categories begin with 2; add 1 to each'),
        (add('categories', -1), 'category_id counted from 1, where the categories begin with 0; take 1 from each'),
    ],
)
def test_ids_that_count_from_another_number(tmp_path, command, refused, change, said):
    root = changed(tmp_path / 'd', change)
    ended = command('check', root)
    assert ended.code == 1
    if said is None:  # they are those of no image
        assert 'error: 6 x unknown image id' in ended.out
        return
    assert f'error: 6 x {said}: ' in ended.out
    line = refused('train', 'retinanet_van_lska_t', '--data', root, '--work-dir', tmp_path / 'work')
    assert f'can be used: {said}' in line
    assert not (tmp_path / 'work').exists()


def test_images_without_annotations_make_it_less_certain(tmp_path, command):
    def change(content: dict) -> None:
        add('images', 1)(content)
        content['annotations'] = [one for one in content['annotations'] if one['image_id'] not in (3, 5)]

    ended = command('check', changed(tmp_path / 'd', change, 12))
    assert ended.code == 1
    assert (
        'error: 1 x image_id counted from 0, where the images may begin with 1: each annotation would be on'
        in ended.out
    )


def test_one_annotation_of_no_image_is_one(tmp_path, command):
    def change(content: dict) -> None:
        content['annotations'][1]['image_id'] = 12  # beside images from 0 to 11

    out = command('check', changed(tmp_path / 'd', change, 12)).out
    assert 'error: 1 x unknown image id' in out
    assert 'counted from' not in out


OUTLINE = '6 x outline with rows first (y, x), read so'
CORNERS = '6 x box that is no x, y, width, height, read as corners (x1, y1, x2, y2)'
ROWS = '6 x box that is no x, y, width, height, read as rows first (y, x, height, width)'


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ([swap_outlines], [OUTLINE]),
        ([corners, swap_outlines], [OUTLINE, CORNERS]),
        ([swap_boxes], [ROWS]),
        (
            [corners, swap_boxes],
            ['6 x box that is no x, y, width, height, read as corners, rows first (y1, x1, y2, x2)'],
        ),
    ],
)
def test_the_reading_that_stays_in_the_photos_is_taken(tmp_path, command, changes, said):
    root = changed(tmp_path / 'd', lambda content: [change(content) for change in changes])
    cfg, lines = adapt(MASK_RCNN, root, tmp_path / 'work')
    assert everything(cfg) == WANTED
    text = '\n'.join(lines)
    assert [kind in text for kind in said] == [True] * len(said)
    out = command('check', root).out
    assert all(f'warning: {kind}' in out for kind in said)
    assert 'outside the image' not in out


@pytest.mark.parametrize('change', [swap_outlines, swap_boxes])
def test_square_photos_do_not_tell_which_is_right(tmp_path, command, refused, change):
    def square(content: dict) -> None:
        change(content)
        for image in content['images']:
            image.update(width=80, height=80)

    root = changed(tmp_path / 'd', square)
    for path in (root / 'images').iterdir():
        photo(path, (80, 80))
    line = refused('train', 'mask_rcnn_van_lska_t', '--data', root, '--work-dir', tmp_path / 'work')
    assert (
        'box and outline disagree: one of them has rows first (y, x), and the photos do not tell which; write both as columns first'
        in line
    )
    assert command('check', root).code == 1
