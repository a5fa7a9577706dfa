"""Names of photos in labels that are not theirs: of files that were copied or renamed, of uploads and addresses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from own_sets import annotation, coco, image, photo

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


def test_photos_renamed_with_their_label_files(tmp_path):
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


SPELT = {
    'codes of an address': ('my cat {}', 'my%20cat%20{}.png'),
    'an address with a signature': ('{}', 'https://bucket.example/set/{}.png?sig=a/b&w=80'),
    'an upload': ('{}', '/data/upload/1/a1b2c3d{}-{}.png'),
    'an upload with codes': ('die katze {}', 'upload/7/0123abc{}-die%20katze%20{}.png'),
    'a local file of the tool': ('{}', '/data/local-files/?d=images/{}.png'),
}


def spelt(root: Path, kind: str, form: str) -> None:
    """Four photos under the names of one kind, labelled in a format."""
    stem, said = SPELT[kind]
    names = [said.replace('{}', str(number)) for number in range(4)]
    for number in range(4):
        photo(root / f'images/{stem.format(number)}.png')
    if form == 'coco':
        coco(
            root / 'result.json',
            [image(number, name) for number, name in enumerate(names)],
            [annotation(number + 1, number, 1) for number in range(4)],
        )
    elif form == 'csv':
        rows = ''.join(f'"{name}",80,60,cat,10,10,50,40\n' for name in names)
        (root / 'labels.csv').write_text(f'filename,width,height,class,xmin,ymin,xmax,ymax\n{rows}')
    else:
        (root / 'labels').mkdir()
        (root / 'classes.txt').write_text('cat')
        for name in names:
            (root / f'labels/{Path(name).stem}.txt').write_text('0 0.5 0.5 0.5 0.5\n')


@pytest.mark.parametrize('form', ['coco', 'csv'])
@pytest.mark.parametrize('kind', SPELT)
def test_names_as_tools_spell_them(form, kind, tmp_path, command):
    spelt(tmp_path, kind, form)
    ended = command('check', tmp_path)
    assert ended.code == 0
    assert '4 images, 4 annotations' in ended.out
    assert len(classes(tmp_path)) == 4


@pytest.mark.parametrize('kind', ['an upload', 'codes of an address'])
def test_label_files_that_are_called_like_uploads(kind, tmp_path, command):
    spelt(tmp_path, kind, 'yolo')
    assert command('check', tmp_path).code == 0
    assert set(map(len, classes(tmp_path).values())) == {1}


def test_uploads_of_one_name_are_not_one_photo(tmp_path, command):
    spelt(tmp_path, 'an upload', 'coco')
    content = json.loads((tmp_path / 'result.json').read_text())
    content['images'][1]['file_name'] = '/data/upload/2/ffffffff-0.png'
    (tmp_path / 'result.json').write_text(json.dumps(content))
    ended = command('check', tmp_path)
    assert ended.code == 1
    assert '2 x missing image' in ended.out


def test_a_photo_that_has_the_name_of_an_upload(tmp_path):
    spelt(tmp_path, 'an upload', 'coco')
    for number in range(4):
        photo(tmp_path / f'images/a1b2c3d{number}-{number}.png')
    assert sorted(Path(name).name for name in classes(tmp_path)) == [f'a1b2c3d{n}-{n}.png' for n in range(4)]


def test_codes_of_an_address_in_folders_of_splits(tmp_path):
    names = [f'{split}/my cat.png' for split in ('train', 'val')]
    for name in names:
        photo(tmp_path / name)
    images = [image(number, name.replace(' ', '%20')) for number, name in enumerate(names)]
    coco(tmp_path / 'all.json', images, [annotation(number + 1, number, 1) for number in range(2)])
    (item,) = require_source(tmp_path, 'mmdet').files
    assert sorted(path.relative_to(tmp_path).as_posix() for path in item.images.values()) == names
