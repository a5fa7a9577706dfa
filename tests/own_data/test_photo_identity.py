"""Which files are one photo, and what it costs to find out."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from own_sets import MASK_RCNN, UPERNET, adapt, annotation, build, coco, image, mask, photo, stripes
from PIL import Image

from mmlska import files
from mmlska.own_data import photo_identity
from mmlska.own_data.check import check_folder
from mmlska.own_data.sources import require_source

ALIKE = 'one picture is most of the images, on several sides of the split; each file counts as a photo of its own'
BOTH = 'one photo in two splits, as two files of the same content'


def blank_frames(root: Path, split: str, count: int) -> list[str]:
    """Files of one picture, as a camera that was covered leaves."""
    names = [f'blank{split}{i}.png' for i in range(count)]
    for name in names:
        (root / split).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(root / split / name)
    return names


def mostly_blank(root: Path) -> Path:
    """Sixteen photos, of which ten are one blank frame and three others are in train/ and in val/."""
    names = {split: blank_frames(root, split, count) for split, count in dict(train=7, val=3).items()}
    for name in 'abc':
        photo(root / f'train/{name}.png')
        shutil.copy(root / f'train/{name}.png', root / f'val/x{name}.png')
        names['train'].append(f'{name}.png')
        names['val'].append(f'x{name}.png')
    for split, every in names.items():
        images = [image(i, name) for i, name in enumerate(every, 1)]
        coco(root / split / '_annotations.coco.json', images, [annotation(i, i, 1) for i in range(1, len(every) + 1)])
    return root


def test_one_blank_frame_does_not_hide_the_other_copies(tmp_path):
    root = mostly_blank(tmp_path / 'd')
    _, lines = adapt(MASK_RCNN, root, tmp_path / 'work')
    text = '\n'.join(lines)
    left_out = '3 of 10 training images are validation images too, by file or content, and are left out of training'
    assert f'{left_out}: a.png, b.png, c.png' in text
    assert f'{ALIKE}: 10 of 13: blanktrain0.png, blanktrain1.png, blanktrain2.png, ...' in text
    found = {f.kind: (f.level, len(f.places)) for f in check_folder(str(root)).report.findings}
    assert (found[BOTH], found[ALIKE]) == (('error', 3), ('warning', 1))


def test_copies_beside_blank_frames_are_joined(tmp_path):
    root = tmp_path / 'd'
    names = blank_frames(root, 'images', 5)
    for name in 'abc':
        photo(root / f'images/{name}.png')
    shutil.copy(root / 'images/a.png', root / 'images/a (1).png')
    every = [*names, 'a.png', 'b.png', 'c.png', 'a (1).png']
    coco(
        root / 'all.json',
        [image(i, name) for i, name in enumerate(every, 1)],
        [annotation(i, i, 1) for i in range(1, 10)],
    )
    assert len(require_source(root, 'mmdet').read().splits['']) == 8


def test_masks_of_copies_beside_blank_frames_are_taken_once(tmp_path):
    root = tmp_path / 'd'
    names = blank_frames(root, 'images', 5)
    for name in ('a.png', 'b.png', 'c.png'):
        photo(root / 'images' / name)
    shutil.copy(root / 'images/a.png', root / 'images/a-copy.png')
    for name in (*names, 'a.png', 'b.png', 'c.png', 'a-copy.png'):
        mask(root / 'masks' / name, stripes([0, 1, 2]))
    assert len(require_source(root, 'mmseg').read().splits['']) == 8


def test_a_set_of_one_picture_is_still_split(tmp_path):
    """As it is in a first try, with a picture that stands in for photos."""
    for name in blank_frames(tmp_path / 'd', 'images', 5):
        mask(tmp_path / 'd/masks' / name, stripes([0, 1, 2]))
    cfg, _ = adapt(UPERNET, tmp_path / 'd', tmp_path / 'work')
    assert (len(build(cfg, 'train')), len(build(cfg, 'val'))) == (4, 1)


def test_a_set_of_one_picture_is_one_of_many_photos(tmp_path):
    names = [tmp_path / 'd' / name for name in blank_frames(tmp_path, 'd', 4)]
    assert len(set(photo_identity.photo_names(names).values())) == 4
    assert photo_identity.photo_names([]) == {}
    link = tmp_path / 'd/link.png'
    link.symlink_to(names[0])
    assert photo_identity.photo_names([*names, link])[link] == photo_identity.photo_names([*names, link])[names[0]]


def with_border(path: Path, seed: int) -> None:
    """An uncompressed photo with a black border above and below, of more than the first and last 4 KiB."""
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[20:40] = np.random.default_rng(seed).integers(0, 255, (20, 80, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def hashed(monkeypatch) -> list[str]:
    """The files that are read whole."""
    found = []

    def count(path, *more):
        found.append(Path(path).name)
        return open(path, *more)  # noqa: SIM115

    monkeypatch.setattr(files, 'open', count, raising=False)
    return found


def test_files_of_one_size_and_beginning_are_not_read_whole(tmp_path, hashed):
    root = tmp_path / 'd'
    for split, numbers in dict(train=range(6), val=range(6, 10)).items():
        for i in numbers:
            with_border(root / split / f'{i}.bmp', i)
        images = [image(i, f'{i}.bmp') for i in numbers]
        coco(root / split / 'all.json', images, [annotation(i + 1, i, 1) for i in numbers])
    assert BOTH not in {f.kind for f in check_folder(str(root)).report.findings}
    assert not hashed
    shutil.copy(root / 'train/0.bmp', root / 'val/6.bmp')
    assert BOTH in {f.kind for f in check_folder(str(root)).report.findings}
    assert sorted(hashed) == ['0.bmp', '6.bmp']  # once, though joining and the check both compare


def test_a_file_is_read_again_only_where_it_changed(tmp_path, monkeypatch):
    paths = [tmp_path / f'd/{i}.bmp' for i in range(5)]
    for i, path in enumerate(paths):
        with_border(path, i)
    opened, read = [], Path.open
    monkeypatch.setattr(Path, 'open', lambda path, *more, **named: opened.append(path) or read(path, *more, **named))
    for _ in range(3):
        assert len(set(photo_identity.photo_names(paths).values())) == 5
    assert sorted(opened) == paths
    shutil.copy(paths[0], paths[1])
    assert len(set(photo_identity.photo_names(paths).values())) == 4


@pytest.mark.parametrize('size', [1, 4095, 4096, 4097, 8191, 12289, 40000])
def test_files_of_any_length_are_told_apart(tmp_path, size):
    paths = [tmp_path / name for name in ('a', 'b', 'copy', 'c', 'd', 'e')]
    content = np.random.default_rng(0).integers(0, 255, size, np.uint8)
    for path, place in zip(paths, (None, 0, None, size // 2, size - 1, size // 3)):
        changed = content.copy()
        if place is not None:
            changed[place] += 1 + paths.index(path)
        path.write_bytes(changed.tobytes())
    known = photo_identity.photo_names(paths)
    assert known[paths[2]] == paths[0]
    assert len(set(known.values())) == 5
