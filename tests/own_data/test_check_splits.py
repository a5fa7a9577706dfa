"""What a check says of the sides of a split, and of class names that look like one."""

import shutil
from pathlib import Path

import pytest
from own_sets import annotation, coco, image, photo

from mmlska.own_data.check import check_folder


def two_sides(root: Path, train: int, val: int, side: float = 20) -> Path:
    """As many photos with a box of 20 pixels for training, and some with another one for validation."""
    for split, count, width in (('train', train, 20), ('val', val, side)):
        names = [f'{split}{"x" * i}.jpg' for i in range(count)]  # the longer the name, the other the noise
        for i, name in enumerate(names):
            photo(root / split / name, quality=70 + i + 10 * (split == 'val'))
        labels = [annotation(i + 1, i, 1, (0, 0, width, width)) for i in range(count)]
        coco(root / f'{split}.json', [image(i, name) for i, name in enumerate(names)], labels, [(1, 'cat')])
    return root


def findings(root: Path) -> dict[str, tuple[str, list[str]]]:
    return {f.kind: (f.level, f.places) for f in check_folder(str(root)).report.findings}


def test_sound_splits_have_no_findings(tmp_path):
    assert findings(two_sides(tmp_path, 4, 2)) == {}


def test_more_photos_to_validate_than_to_train(tmp_path):
    kind = 'fewer images to train on than to validate with; are they swapped?'
    assert findings(two_sides(tmp_path, 1, 2)) == {kind: ('warning', ['1 and 2'])}


def test_one_photo_under_two_names(tmp_path):
    root = two_sides(tmp_path, 3, 2)
    shutil.copy(root / 'train/trainx.jpg', root / 'val/val.jpg')
    kind = 'one photo in two splits, as two files of the same content'
    level, places = findings(root)[kind]
    assert (level, len(places)) == ('error', 1)
    assert places[0].endswith('train/trainx.jpg (train) and ' + '/'.join((root / 'val/val.jpg').parts[-3:]) + ' (val)')


@pytest.mark.parametrize(('side', 'found'), [(60, False), (60.5, True)])
def test_objects_of_other_sizes(tmp_path, side, found):
    kind = 'objects of other sizes in train and val; do both show the same?'
    text = 'those of val are 3.0 times as large, beside their photos, as those of train'
    assert (findings(two_sides(tmp_path, 20, 20, side)).get(kind) == ('warning', [text])) == found


def test_classes_that_may_be_one(tmp_path):
    photo(tmp_path / 'a.jpg')
    names = [(1, 'Octohedrons'), (2, 'Octahedron'), (3, 'cube')]
    coco(tmp_path / 'a.json', [image(1, 'a.jpg')], [annotation(i, 1, i, (i, 10, 40, 30)) for i in (1, 2, 3)], names)
    kind = 'class names that differ by a letter or two; are they one class?'
    assert findings(tmp_path) == {kind: ('warning', ["'Octohedrons' and 'Octahedron'"])}


def test_a_class_above_the_others(tmp_path):
    photo(tmp_path / 'a.jpg')
    coco(tmp_path / 'a.json', [image(1, 'a.jpg')], [annotation(1, 1, 1)], [(0, 'animals'), (1, 'cat')])
    file = tmp_path / 'a.json'
    file.write_text(file.read_text().replace('"name": "cat"', '"name": "cat", "supercategory": "animals"'))
    assert findings(tmp_path) == {
        'class without annotations': ('warning', ["'animals' stands above the others and is left out"])
    }
