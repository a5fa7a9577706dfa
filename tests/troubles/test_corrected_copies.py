"""The advice to write a corrected copy: it is given only where something remains, and the copy is one that trains."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from own_sets import RETINANET, UPERNET, adapt, annotation, coco, image, mask_set, photo, simple
from PIL import Image

ADVICE = re.compile('mmlska check .* --fix NEW_DIR')


def resize_all(folder: Path, size, count=99) -> None:
    for file in sorted(folder.iterdir())[:count]:
        Image.open(file).resize(size, Image.Resampling.NEAREST).save(file)


def squares(root: Path) -> None:
    mask_set(root)
    resize_all(root / 'masks', (64, 64))


def turned(root: Path) -> None:
    mask_set(root)
    for file in (root / 'masks').iterdir():
        Image.open(file).transpose(Image.Transpose.ROTATE_90).save(file)


def broken_photos(root: Path) -> None:
    mask_set(root)
    for file in (root / 'images').iterdir():
        file.write_bytes(b'no image')


def stretched(root: Path) -> None:
    resize_all(simple(root) / 'images', (64, 64))


def no_photos(root: Path) -> None:
    for number, file in enumerate(sorted((simple(root) / 'images').iterdir())):
        file.rename(file.with_name(f'other {number}.png'))


def unread_photos(root: Path) -> None:
    for file in (simple(root) / 'images').iterdir():
        file.rename(file.with_suffix('.heic'))
    file = root / 'all.json'
    file.write_text(file.read_text().replace('.png', '.heic'))


def boxes_outside(root: Path) -> None:
    file = simple(root) / 'all.json'
    content = json.loads(file.read_text())
    for entry in content['annotations']:
        entry.update(bbox=[-60, -60, 20, 20], segmentation=[])
    file.write_text(json.dumps(content))


#: What can't be put right, the config that trains on it, what training says, and what ``--fix`` says.
HOPELESS = {
    'masks of another shape': (squares, UPERNET, 'save the masks in the sizes of their photos', 'no pair of photo'),
    'turned masks': (
        turned,
        UPERNET,
        'width and height are exchanged; turn the masks back',
        'turn the masks back by 90',
    ),
    'broken photos': (broken_photos, UPERNET, 'replace it', 'replace these: images/0.jpg'),
    'stretched photos': (
        stretched,
        RETINANET,
        'put back the photos that were labelled',
        'no image of .* can be copied',
    ),
    'missing photos': (no_photos, RETINANET, 'put them there under these names', 'put the photos that were labelled'),
    'unread photos': (unread_photos, RETINANET, 'under the same names as png or jpg', 'no image of .* can be copied'),
    'boxes outside': (boxes_outside, RETINANET, '6 box outside the image', '6 box outside the image'),
}


@pytest.mark.parametrize('name', HOPELESS)
def test_nothing_remains(name, refused, tmp_path):
    make, config, said, said_of_copy = HOPELESS[name]
    make(tmp_path / 'd')
    with pytest.raises((ValueError, OSError), match=said) as error:
        adapt(config, tmp_path / 'd', tmp_path / 'work')
    assert not ADVICE.search(str(error.value))
    assert re.search(said_of_copy, refused('check', tmp_path / 'd', '--fix', tmp_path / 'new'))
    assert not (tmp_path / 'new').exists()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != 'work') == ['d']


def some_squares(root: Path) -> None:
    mask_set(root, count=6)
    resize_all(root / 'masks', (64, 64), count=2)


def some_stretched(root: Path) -> None:
    resize_all(simple(root, count=6) / 'images', (64, 64), count=2)


def some_missing(root: Path) -> None:
    simple(root, count=6)
    (root / 'images/2.png').unlink()


def turned_in_two_ways(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(4):
        photo(root / f'images/{number}.jpg', exif=exif)
    sizes = [(80, 60), (60, 80)]
    images = [image(number, f'{number}.jpg', sizes[number % 2]) for number in range(4)]
    coco(root / 'all.json', images, [annotation(number + 1, number, 1) for number in range(4)])


SOME = {
    'masks of another shape': (some_squares, UPERNET, 4),
    'stretched photos': (some_stretched, RETINANET, 4),
    'missing photos': (some_missing, RETINANET, 5),
    'turned in two ways': (turned_in_two_ways, RETINANET, 4),
}


@pytest.mark.parametrize('name', SOME)
def test_the_advice_works(name, command, tmp_path):
    make, config, remain = SOME[name]
    make(tmp_path / 'd')
    with pytest.raises((ValueError, OSError)) as error:
        adapt(config, tmp_path / 'd', tmp_path / 'work')
    assert ADVICE.search(str(error.value))
    assert command('check', tmp_path / 'd', '--fix', tmp_path / 'new').code in (0, 1)
    ended = command('check', tmp_path / 'new')
    assert ended.code == 0, ended
    assert f'{remain} images' in ended.out
    _, lines = adapt(config, tmp_path / 'new', tmp_path / 'other')
    assert f'{remain} images' in lines[0]
