"""Label files that were copied or renamed with their photos still say the name that they had."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from own_sets import photo

from mmlska.own_data.sources import require_source

SAME = 'second label file of one photo, the same, read once'


def label(path: Path, name: str, kind: str = 'cat') -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = dict(label=kind, points=[[10, 10], [50, 10], [50, 40]], shape_type='polygon')
    content = dict(shapes=[shape], imagePath=name, imageData=None, imageHeight=60, imageWidth=80)
    path.write_text(json.dumps(content))


@pytest.fixture
def labelled(tmp_path) -> Path:
    """Four photos, each with a label file of a class of its own."""
    for number in range(4):
        photo(tmp_path / f'{number}.png')
        label(tmp_path / f'{number}.json', f'{number}.png', f'kind_{number}')
    return tmp_path


def classes(root: Path) -> dict[str, list[str]]:
    """The classes of the objects of each photo, by its name."""
    labels = require_source(root, 'mmdet').read()
    return {
        image.name: [labels.classes[a['category_id'] - 1] for a in image.annotations]
        for images in labels.splits.values()
        for image in images
    }


WANTED = {f'{number}.png': [f'kind_{number}'] for number in range(4)}


@pytest.mark.parametrize('copies', [['0 - Copy'], ['0 (1)', '0 copy 2'], ['0_backup', '2 - Kopie']])
def test_copies_of_a_label_file(copies, labelled, command):
    for name in copies:
        shutil.copy(labelled / f'{name[0]}.json', labelled / f'{name}.json')
    ended = command('check', labelled)
    assert ended.code == 0
    assert f'{len(copies)} x {SAME}: ' in ended.out
    assert classes(labelled) == WANTED


def test_the_label_file_of_the_name_of_the_photo_wins_over_a_changed_copy(labelled, command):
    label(labelled / '0 - Copy.json', '0.png', 'old')
    ended = command('check', labelled)
    assert '1 x second label file of one photo: 0 - Copy.json beside 0.json' in ended.out
    assert classes(labelled) == WANTED


def test_two_changed_copies_without_the_first_one(labelled, command):
    (labelled / '0.json').unlink()
    for name in ('0 (1)', '0 (2)'):
        label(labelled / f'{name}.json', '0.png', name)
    assert '1 x photo with two label files, neither of which is nearer' in command('check', labelled).out
    shutil.copy(labelled / '0 (1).json', labelled / '0 (2).json')
    assert classes(labelled)['0.png'] == ['0 (1)']


def test_a_photo_copied_with_its_label_file(labelled, command):
    for end in ('json', 'png'):
        shutil.copy(labelled / f'0.{end}', labelled / f'0 - Copy.{end}')
    ended = command('check', labelled)
    assert ended.code == 0
    assert '4 images, 4 annotations' in ended.out
    assert classes(labelled) == WANTED


@pytest.mark.parametrize('said', ['0.png', '..\\imgs\\0.png', '/home/me/0.png', 'C:\\photos\\0.jpg'])
@pytest.mark.parametrize('folders', [('', ''), ('photos', 'photos'), ('images', 'labels')])
def test_one_name_in_all_label_files(said, folders, tmp_path, command):
    photos, labels = folders
    for number in range(4):
        photo(tmp_path / photos / f'{number}.png')
        label(tmp_path / labels / f'{number}.json', said, f'kind_{number}')
    assert command('check', tmp_path).code == 0
    assert {Path(name).name: kinds for name, kinds in classes(tmp_path).items()} == WANTED


def test_photos_renamed_with_their_label_files(tmp_path, command):
    """The names of before are those of other photos now, or of none."""
    for number in range(4):
        photo(tmp_path / f'{number}.png')
        label(tmp_path / f'{number}.json', f'{number + 2}.png', f'kind_{number}')
    assert classes(tmp_path) == WANTED


def test_label_files_of_other_names_than_their_photos(tmp_path, command):
    for number in range(4):
        photo(tmp_path / f'images/IMG_{number}.png')
        label(tmp_path / f'labels/task_7_{number}.json', f'../images/IMG_{number}.png', f'kind_{number}')
    assert command('check', tmp_path).code == 0
    assert {Path(name).name[4:]: kinds for name, kinds in classes(tmp_path).items()} == WANTED


def test_copied_label_files_of_other_formats(tmp_path, command):
    for number in range(4):
        photo(tmp_path / f'{number}.png')
        box = '<bndbox><xmin>10</xmin><ymin>10</ymin><xmax>50</xmax><ymax>40</ymax></bndbox>'
        content = f'<filename>0.png</filename><object><name>kind_{number}</name>{box}</object>'
        (tmp_path / f'{number}.xml').write_text(f'<annotation>{content}</annotation>')
    shutil.copy(tmp_path / '0.xml', tmp_path / '0 - Copy.xml')
    assert f'1 x {SAME}: 0 - Copy.xml beside 0.xml' in command('check', tmp_path).out
    assert classes(tmp_path) == WANTED
