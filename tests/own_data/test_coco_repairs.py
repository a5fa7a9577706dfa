"""Repairs of COCO files that must not guess, must not stop at odd JSON, and must not touch what is sound; and their speed-up."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from own_sets import SIZE, annotation, coco, image, photo

import mmlska.own_data.annotations as annotations_module
from mmlska.datasets.coco_labels import area_of, box_of, mask_fault, polygon_area
from mmlska.own_data.annotations import AnnotationFile
from mmlska.own_data.check import check_folder
from mmlska.own_data.coco_repairs import repair_annotations
from mmlska.own_data.coco_repairs.entries import CocoEntries, within
from mmlska.own_data.coco_repairs.ids import shared_images
from mmlska.own_data.coco_repairs.outlines import is_plain, measure
from mmlska.own_data.sources import require_source

NAMES = ['a.png', 'b.png', 'c.png', 'd.png']
TWO_ENTRIES = 'image_id that is the id of one entry and the name of another'
TWO_NAMES = 'image_id that is the name of several entries'


def file_of(names=NAMES, ids=None, labels=(), categories=((1, 'cat'), (2, 'dog'))) -> AnnotationFile:
    """A file of images 80x60 after its repairs, without photos."""
    images = [image(number, name) for number, name in zip(ids or range(1, 9), names)]
    content = dict(images=images, annotations=list(labels), categories=[dict(id=i, name=n) for i, n in categories])
    item = AnnotationFile(Path('all.json'), 'train', content)
    repair_annotations(item)
    return item


def image_ids(item: AnnotationFile) -> list:
    return [entry['image_id'] for entry in item.content['annotations']]


def reasons(item: AnnotationFile) -> Counter:
    return Counter(reason for reason, _ in item.dropped)


def test_a_name_of_several_images_is_that_of_none():
    names = ['v1/0001.jpg', 'v2/0001.jpg', 'v1/0002.jpg', 'v1/x.png', 'v1/x.jpg']
    used = ['0001.jpg', 'v2/0001.jpg', '0002.jpg', 'x', 'x.jpg', '0001']
    item = file_of(names, labels=[annotation(i, name, 1) for i, name in enumerate(used, 1)])
    assert image_ids(item) == [2, 3, 5]
    assert reasons(item) == {TWO_NAMES: 3}
    assert item.lost == {1, 2, 4, 5}  # any of these may have the object


def test_a_whole_name_comes_before_a_part_of_another():
    item = file_of(
        ['1.jpg', 'more/1.jpg'], ids=['p', 'q'], labels=[annotation(1, '1.jpg', 1), annotation(2, 'more/1.jpg', 1)]
    )
    assert image_ids(item) == ['p', 'q']
    assert not item.dropped


@pytest.mark.parametrize(
    ('names', 'used', 'wanted'),
    [
        # As a number each is another image than as a name.
        (['0002.jpg', '0001.jpg'], ['0002', '0001'], []),
        (['2.png', '3.png', '1.png'], ['1', '3'], []),
        # One that no image is called: the others are no names either.
        (['0.png', '1.png', '2.png', '3.png'], ['1', '4', '2'], [1, 4, 2]),
        # One that no image has as number: the others are no numbers.
        (['0.png', '1.png', '2.png', '3.png'], ['0', '1', '3'], [1, 2, 4]),
        (['0001.jpg', '0002.jpg'], ['0002', '0001'], [2, 1]),
        # An image id that is right says nothing about a text.
        (['0002.jpg', '0001.jpg'], [1, '0002'], [1]),
    ],
)  # fmt: skip
def test_text_that_is_an_id_and_a_name(names, used, wanted):
    item = file_of(names, labels=[annotation(i, one, 1) for i, one in enumerate(used, 1)])
    assert image_ids(item) == wanted
    assert reasons(item) == ({TWO_ENTRIES: len(used) - len(wanted)} if len(wanted) < len(used) else {})


def test_classes_that_are_called_as_the_ids_of_others():
    digits = [(i + 1, str(i)) for i in range(10)]
    item = file_of(labels=[annotation(i, 1, str(i)) for i in (1, 2, 9)], categories=digits)
    assert reasons(item) == {'category_id that is the id of one entry and the name of another': 3}
    item = file_of(labels=[annotation(i, 1, str(i)) for i in (1, 2, 10)], categories=digits)
    assert [entry['category_id'] for entry in item.content['annotations']] == [1, 2, 10]


@pytest.mark.parametrize(
    ('odd', 'kind'),
    [
        (dict(category_id=[9]), 'unknown category id'),
        (dict(category_id=['cow']), 'unknown category id'),
        (dict(category_id=['9']), 'unknown category id'),
        (dict(image_id=[99]), 'unknown image id'),
        (dict(image_id=['e.png']), 'unknown image id'),
        (dict(image_id=[{}]), 'image_id that is no id'),
        (dict(category_id=[[1]]), 'category_id that is no id'),
        (dict(category_id=True), 'category_id that is no id'),
    ],
    ids=str,
)
def test_a_list_that_is_no_id_costs_one_annotation(odd, kind, tmp_path):
    for name in NAMES:
        photo(tmp_path / name)
    labels = [annotation(i, i, 1 + i % 2) for i in range(1, 5)]
    labels[1].update(odd)
    coco(tmp_path / 'all.json', [image(i, name) for i, name in enumerate(NAMES, 1)], labels)
    checked = check_folder(str(tmp_path))
    assert kind in '\n'.join(finding.line for finding in checked.report.findings)
    labels = require_source(tmp_path, 'mmdet').read()
    assert sum(len(photo.annotations) for photo in labels.splits['']) == 3


def test_images_of_one_id_leave_their_names_with_them():
    images = [image(1, 'a.png'), image(1, 'b.png'), image(2, 'c.png'), image(2, 'c.png'), image(3, 'd.png')]
    images.append(image(4, 'd.png'))
    content = dict(
        images=images, annotations=[annotation(1, 2, 1), annotation(2, 1, 1)], categories=[dict(id=1, name='cat')]
    )
    item = AnnotationFile(Path('all.json'), 'train', content, images={name: Path(name) for name in NAMES})
    repair_annotations(item)
    assert item.images == {name: Path(name) for name in ('c.png', 'd.png')}
    assert image_ids(item) == [2]


class Compared(int):
    """An id that shares its hash with another, and counts how often the two are compared."""

    times = 0

    def __hash__(self) -> int:
        return int(self) % 1000

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return int(self) == other


def compared(count: int) -> int:
    """How often ids are compared where so many belong to two images, and so many to one image that is there twice."""
    numbers = [number for i in range(count) for number in (i, i, 1000 + i, 1000 + i)]
    names = [name for i in range(count) for name in (f'{i}.png', f'{i}b.png', f'{i}c.png', f'{i}c.png')]
    Compared.times = 0
    images = [image(Compared(number), name) for number, name in zip(numbers, names)]
    shared_images(CocoEntries(AnnotationFile(Path('all.json'), 'train', dict(images=images, annotations=[]))))
    return Compared.times


def test_the_work_grows_with_the_number_of_images_of_one_id():
    assert 0 < compared(200) < 3 * compared(100)


RING, HOLE = [0, 0, 50, 0, 50, 50, 0, 50], [5, 5, 45, 5, 45, 45, 5, 45]
KEPT = {
    'a hole': dict(bbox=[0, 0, 50, 50], segmentation=[RING, HOLE], area=900),
    'two holes': dict(bbox=[0, 0, 50, 50], segmentation=[HOLE[:], RING, [46, 46, 49, 46, 49, 49, 46, 49]], area=891),
    'two pieces': dict(
        bbox=[0, 0, 50, 50], segmentation=[[0, 0, 50, 0, 50, 20, 0, 20], [0, 30, 50, 30, 50, 50, 0, 50]], area=2000
    ),
    'a wire without mask': dict(bbox=[0, 0, 70, 50], segmentation=[], area=16),
    'a thin wire without mask': dict(bbox=[0, 0, 70, 50], area=1.5, segmentation=None),
    'the box': dict(bbox=[0, 0, 50, 50], segmentation=[RING, HOLE], area=2500),
}
FAR = {
    'less than the hole leaves': dict(bbox=[0, 0, 50, 50], segmentation=[RING, [9, 9, 19, 9, 19, 19, 9, 19]], area=500),
    'half of one ring': dict(bbox=[0, 0, 50, 50], segmentation=[RING], area=900),
    'a share of the photo': dict(bbox=[0, 0, 70, 50], segmentation=[], area=0.7),
    'more than the box': dict(bbox=[0, 0, 70, 50], segmentation=[], area=4000),
    'negative': dict(bbox=[0, 0, 70, 50], segmentation=[], area=-5),
}  # fmt: skip


@pytest.mark.parametrize('name', [*KEPT, *FAR])
def test_an_area_that_may_be_meant_is_kept(name):
    odd = {**KEPT, **FAR}[name]
    labels = [annotation(1, 1, 1, box=odd['bbox']), annotation(2, 2, 1), annotation(3, 3, 1, box=(1, 1, 9, 9))]
    labels[0].update(odd)
    item = file_of(labels=labels)
    kinds = [fault for fault, _, _ in item.repaired if 'area' in fault]
    assert kinds == (['area far from that of mask and box'] if name in FAR else [])
    if name in KEPT:
        assert item.content['annotations'][0]['area'] == odd['area']


@pytest.mark.parametrize('box', [[1, 0, 1, 1], [0, 0, 1, 1], [0.0, 0.0, 1.0, 1.0], [0, 1, 1, 0.5]], ids=str)
def test_boxes_of_a_pixel_are_no_fractions(box):
    labels = [annotation(i, i, 1, area=1, segmentation=[]) for i in range(1, 4)]
    for entry in labels:
        entry['bbox'] = [0, 0, 1, 1]
    labels[1]['bbox'] = list(box)
    item = file_of(labels=labels)
    scaled = [fault for fault, _, _ in item.repaired if 'fractions' in fault]
    assert len(scaled) == (3 if 0.5 in box else 0)
    assert item.content['annotations'][0]['bbox'] == ([0, 0, *SIZE] if 0.5 in box else [0, 0, 1, 1])


def test_outlines_of_a_pixel_are_no_fractions():
    labels = [annotation(i, i, 1, box=(0, 0, 1, 1)) for i in range(1, 4)]
    assert not file_of(labels=labels).repaired
    assert labels[0]['segmentation'] == [[0, 0, 1, 0, 1, 1, 0, 1]]


def test_a_photo_is_opened_once_to_know_its_size(tmp_path, monkeypatch):
    opened = Counter()

    def count(path):
        opened[path] += 1
        return real(path)

    real = annotations_module.header_of
    monkeypatch.setattr(annotations_module, 'header_of', count)
    photo(tmp_path / 'a.png', (40, 30))
    content = dict(images=[image(1, 'a.png')], annotations=[annotation(1, 1, 1)], categories=[dict(id=1, name='cat')])
    item = AnnotationFile(tmp_path / 'all.json', 'train', content, images={'a.png': tmp_path / 'a.png'})
    repair_annotations(item)
    assert item.headers[tmp_path / 'a.png'].stored == (40, 30)
    assert annotations_module.photo_header(item, tmp_path / 'a.png') is item.headers[tmp_path / 'a.png']
    assert opened == {tmp_path / 'a.png': 1}


def random_masks(count: int, seed: int) -> tuple[list[list], list[tuple[int, int]]]:
    """Outlines of whole and other numbers, in and beyond images of several sizes, some of them no mask at all."""
    rng = np.random.default_rng(seed)
    sizes = [tuple(int(side) for side in rng.integers(1, 4000, 2)) for _ in range(5)]
    odd = [float('nan'), float('inf'), -float('inf'), 1e300, 1e7, -1e7]
    masks, of = [], []
    for _ in range(count):
        size, mask = sizes[rng.integers(5)], []
        for _ in range(rng.integers(1, 4)):
            spread = rng.choice([0.1, 1.5, 5.1])
            numbers = rng.uniform(-spread, spread + 1, 2 * rng.integers(3, 40)) * max(size)
            ring = numbers.astype(int).tolist() if rng.random() < 0.3 else numbers.tolist()
            if rng.random() < 0.1:
                ring[rng.integers(len(ring))] = odd[rng.integers(len(odd))]
            mask.append(ring * 2000 if rng.random() < 0.02 else ring)
        masks.append(mask)
        of.append(size)
    return masks, of


@pytest.mark.parametrize('seed', range(3))
def test_many_outlines_measure_what_each_measures(seed):
    masks, sizes = random_masks(300, seed)
    assert all(map(is_plain, masks))
    measured = measure(masks, sizes)
    sound = [mask_fault(mask, *size) is None for mask, size in zip(masks, sizes)]
    assert 50 < sum(sound) < 300
    # None may be wrong for what each measures, as some outlines that are too long at first sight; it must not be there for what is no mask.
    assert not any(found for found, fine in zip(measured, sound) if not fine)
    assert sum(found is not None for found in measured) > 0.9 * sum(sound)
    for mask, size, found in zip(masks, sizes, measured):
        if found is not None:
            assert found.box == within(box_of({'segmentation': mask}), size)
            rings = [polygon_area(ring) for ring in mask]
            assert found.most == pytest.approx(area_of({'segmentation': mask}, []), rel=1e-9)
            assert found.least == pytest.approx(max(2 * max(rings) - sum(rings), 0), rel=1e-9, abs=1e-9 * sum(rings))


@pytest.mark.parametrize('odd', ['5', None, True, 10**400, [1, 2]], ids=['text', 'null', 'bool', 'huge', 'list'])
def test_what_is_no_number_is_measured_one_by_one(odd):
    sound = [[0, 0, 9, 0, 9, 9]]
    assert measure([sound, [[0, 0, 9, odd, 9, 9]]], [SIZE, SIZE]) == [None, None]
    labels = [annotation(i, i, 1) for i in (1, 2, 3)]
    labels[1]['segmentation'] = [[10, 10, 50, odd, 50, 40]]
    labels[2].update(bbox=[60, 50, 5, 5])  # beside its mask
    item = file_of(labels=json.loads(json.dumps(labels)))
    assert reasons(item) == {'box and mask in different places': 1}
