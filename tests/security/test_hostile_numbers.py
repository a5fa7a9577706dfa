"""Numbers of data files that would print a traceback: said in lines."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from own_sets import MASK_RCNN, SIZE, annotation, coco, image, mask, photo, simple
from PIL import Image
from test_hostile_masks import BAD_BOXES

from mmlska.own_data.check import check_folder
from mmlska.own_data.repair import write_repaired
from mmlska.own_data.sources import require_source

ROOT = Path(__file__).resolve().parents[2]
NAN, INF = float('nan'), float('inf')


def entries(root: Path) -> tuple[list, list]:
    simple(root)
    content = json.loads((root / 'all.json').read_text())
    return content['images'], content['annotations']


def changed(where: str, number: int, **values):
    """A set with an entry changed."""

    def make(root: Path) -> None:
        images, labels = entries(root)
        (images if where == 'images' else labels)[number].update(values)
        coco(root / 'all.json', images, labels)

    return make


def without(**keys: str):
    """A set whose first image or annotation lacks a key."""

    def make(root: Path) -> None:
        images, labels = entries(root)
        for where, key in keys.items():
            del (images if where == 'images' else labels)[0][key]
        coco(root / 'all.json', images, labels)

    return make


def with_categories(categories):
    def make(root: Path) -> None:
        images, labels = entries(root)
        content = dict(images=images, annotations=labels, categories=categories)
        (root / 'all.json').write_text(json.dumps(content))

    return make


def raw(old: str, new: str):
    def make(root: Path) -> None:
        simple(root)
        text = (root / 'all.json').read_text()
        assert old in text
        (root / 'all.json').write_text(text.replace(old, new))

    return make


def class_file(text: str):
    def make(root: Path) -> None:
        for i in range(2):
            photo(root / f'images/{i}.png')
            mask(root / f'masks/{i}.png', np.indices(SIZE[::-1])[1] // 40)
        (root / 'classes.json').write_text(text, encoding='utf-8')

    return make


def deep(count: int) -> list:
    value: list = []
    for _ in range(count):
        value = [value]
    return value


HOSTILE = {
    **{f'image id {v!r:.20}': changed('images', 0, id=v) for v in (True, {}, [], [1], NAN, 1.5, 10**400, 'a', None)},
    **{f'image_id {v!r:.20}': changed('annotations', 0, image_id=v) for v in (True, {}, [], INF, 'a', None, 10**400)},
    **{f'category_id {v!r:.20}': changed('annotations', 0, category_id=v) for v in (True, {}, [], 'a', None, 10**400)},
    **{f'id {v!r:.20}': changed('annotations', 0, id=v) for v in (True, {}, [], '\ud800', None, 10**400)},
    **{
        f'{side} {v!r:.20}': changed('images', 1, **{side: v, 'scale': v})
        for side in ('width', 'height')
        for v in (True, '80', 10**400, INF, NAN, -1, 0, [80], 1e9, None)
    },
    **{
        f'size {v!r:.20} of a missing image': changed('images', 1, file_name='none.png', width=v, height=v)
        for v in (True, '80', 10**400, INF, [80], 1e9)
    },
    **{
        f'file_name {v!r:.20}': changed('images', 2, file_name=v)
        for v in (
            *('x' * 5000, 'x/' * 2500, 'a\0b.png', '\ud800.png', 'a\x1b[31m\n.png', '..', '/', '', None, 7, [], {}),
            *('../' * 2000, '1.png/2.png'),
        )
    },
    **{f'area {v!r:.20}': changed('annotations', 1, area=v) for v in (INF, NAN, 10**400, True, '5', [5], 1e300)},
    **{f'bbox {v!r:.30}': changed('annotations', 1, bbox=v) for v in BAD_BOXES},
    **{f'no {key} of an image': without(images=key) for key in image(0, '0.png')},
    **{f'no {key} of an annotation': without(annotations=key) for key in annotation(1, 0, 1)},
    'no id and no image_id': without(images='id', annotations='image_id'),
    'deep segmentation': changed('annotations', 1, segmentation=deep(500)),
    'deep entry': changed('annotations', 1, id=deep(500)),
    'deep id of a category': with_categories([dict(id=deep(500), name='a')]),
    'deep name': with_categories([dict(id=1, name=deep(500))]),
    'names of all kinds': with_categories([dict(id=i + 1, name=v) for i, v in enumerate((5, True, NAN, 'a', 10**400))]),
    'name with half a character': with_categories([dict(id=1, name='\ud800'), dict(id=2, name='b')]),
    'name that moves the cursor': with_categories([dict(id=1, name='\x1b[2J'), dict(id=2, name='b\nc')]),
    'no name': with_categories([dict(id=1, name=None)]),
    'bool as category': with_categories([dict(id=True, name='a')]),
    'huge category': with_categories([dict(id=10**400, name='a'), dict(id=1, name='b'), dict(id=2, name='c')]),
    'no object': with_categories(['a', 5]),
    'supercategory': with_categories([dict(id=i, name=f'{i}', supercategory=deep(500)) for i in (1, 2)]),
    'number of 5,000 digits': raw('"id": 1,', f'"id": {"1" * 5000},'),
    'number that overflows': raw('"area": 1200', '"area": 1e999'),
    'deep file': raw('[10, 10', '[' * 100_000),
    'deep classes': class_file('[' * 100_000),
    'nested classes': class_file(json.dumps([deep(500), deep(500)])),
    'nested colours': class_file(json.dumps(dict(a=deep(500), b=[1, 2, 3]))),
    'bools as colours': class_file('{"a": [true, false, true], "b": [0, 0, 0]}'),
    'numbers as classes': class_file('[1, 2]'),
    'half a character as class': class_file('["\\ud800", "b"]'),
    'huge colours': class_file(f'{{"a": [{10**400}, 0, 0], "b": [0, 0, 0]}}'),
    'no UTF-8': lambda root: (class_file('')(root), (root / 'classes.json').write_bytes(b'\xff\xfe')),
    'many classes': class_file(json.dumps([f'{i}' for i in range(50_000)])),
}


def run_tool(name: str, words, monkeypatch, capsys):
    """Run a tool in this process; its exit code and what it printed."""
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, words)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / f'tools/{name}.py'), run_name='__main__')
    return end.value.code, capsys.readouterr()


@pytest.mark.parametrize('name', HOSTILE)
def test_the_tool_says_it_in_lines(name, tmp_path, monkeypatch, capsys):
    HOSTILE[name](tmp_path / 'd')
    words = [tmp_path / 'd', '--json', tmp_path / 'r.json', '--sheet', tmp_path / 's.png', '--fix', tmp_path / 'new']
    code, printed = run_tool('check_dataset', words, monkeypatch, capsys)
    printed.out.encode()
    assert printed.out.replace('\n', '').isprintable()
    assert code in (0, 1, 2)
    if code == 2:
        assert len(printed.err.strip().splitlines()) == 1
        assert printed.err.startswith('check_dataset.py: error: ')
        assert len(printed.err) < 1000
        assert 'unhashable' not in printed.err
        assert ' ' in printed.err.split(': error: ')[1]  # of a KeyError only the key would be printed
    if (tmp_path / 'r.json').exists():
        json.loads((tmp_path / 'r.json').read_text(encoding='utf-8'), parse_constant=lambda _: pytest.fail('NaN'))
    try:
        require_source(tmp_path / 'd', 'mmdet').read()
    except (ValueError, FileNotFoundError) as error:
        assert len(str(error)) < 1000  # noqa: PT017


def test_the_data_of_a_training_are_refused_in_one_line(tmp_path, monkeypatch, capsys):
    for number, name in enumerate(('image id {}', 'deep file', "file_name 'xxxxxxxxxxxxxxxxxxx", 'deep name')):
        root = tmp_path / str(number)
        HOSTILE[name](root)
        for options in ([], ['--check']):
            words = [ROOT / MASK_RCNN, '--data', root, '--work-dir', tmp_path / 'work', *options]
            code, printed = run_tool('train', words, monkeypatch, capsys)
            assert code in (1, 2)
            assert len(printed.err.strip().splitlines()) == code - 1
            assert 'unhashable' not in printed.err


def test_a_name_that_is_too_long_for_the_system(tmp_path, monkeypatch, capsys):
    for words in (['x' * 5000], [tmp_path, '--palette', 'x' * 5000], [simple(tmp_path / 'd'), '--json', 'x' * 5000]):
        code, printed = run_tool('check_dataset', words, monkeypatch, capsys)
        assert code == 2
        assert len(printed.err.strip().splitlines()) == 1


@pytest.mark.parametrize('name', [name for name in HOSTILE if 'classes' in name or 'colours' in name])
def test_a_palette_is_understood_or_refused_in_one_line(name, tmp_path, monkeypatch, capsys):
    HOSTILE[name](tmp_path / 'd')
    (tmp_path / 'd/classes.json').rename(tmp_path / 'p.json')
    code, printed = run_tool('check_dataset', [tmp_path / 'd', '--palette', tmp_path / 'p.json'], monkeypatch, capsys)
    assert code in (0, 1, 2)
    assert len(printed.err.strip().splitlines()) == (code == 2)
    assert len(printed.err) < 1000


def test_a_photo_of_a_camera_with_a_preview_keeps_its_quality(tmp_path):
    """Such a JPEG is of the format MPO, whose quality Pillow would not keep."""
    exif = Image.Exif()
    exif[0x0112] = 6
    root = tmp_path / 'd'
    photo(root / 'images/0.jpg')
    picture = cv2.resize(cv2.imread(str(root / 'images/0.jpg')), SIZE)
    frames = [Image.fromarray(picture), Image.fromarray(picture[::2, ::2])]
    frames[0].save(
        root / 'images/0.jpg', 'MPO', save_all=True, append_images=frames[1:], quality=98, exif=exif, subsampling=0
    )
    coco(root / 'all.json', [image(0, '0.jpg')], [annotation(1, 0, 1)])
    write_repaired(str(tmp_path / 'new'), check_folder(str(root)).source)
    before, after = (
        cv2.imread(str(p / 'images/0.jpg'), cv2.IMREAD_IGNORE_ORIENTATION | 1) for p in (root, tmp_path / 'new')
    )
    assert np.abs(before.astype(int) - after).mean() < 2
    with Image.open(tmp_path / 'new/images/0.jpg') as file:
        assert file.format == 'JPEG'
        assert 0x0112 not in file.getexif()
