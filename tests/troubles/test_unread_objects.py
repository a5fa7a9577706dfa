"""Photos of whose objects none can be used are no photos without objects: neither learned as background nor counted in a validation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from own_sets import RETINANET, UPERNET, adapt, build, everything, photo

SQUARE = [[10, 10], [50, 10], [50, 40], [10, 40]]
NONE_READ = 'photo of whose objects none can be read: '
RUNS = '601 30 661 30 721 30'


def labelme(root: Path, **odd) -> None:
    for number in range(4):
        photo(root / f'{number}.png')
        shape = dict(label='cat', shape_type='polygon', points=SQUARE, flags={}) | (odd if number == 0 else {})
        content = dict(imagePath=f'{number}.png', imageWidth=80, imageHeight=60, shapes=[shape])
        (root / f'{number}.json').write_text(json.dumps(content))


def cvat(root: Path, odd: str) -> None:
    good = '<box label="cat" xtl="10" ytl="10" xbr="50" ybr="40"/>'
    images = ''
    for number in range(4):
        photo(root / f'{number}.png')
        images += f'<image id="{number}" name="{number}.png" width="80" height="60">{good if number else odd}</image>'
    (root / 'annotations.xml').write_text(f'<annotations><version>1.1</version>{images}</annotations>')


def via(root: Path, **odd) -> None:
    content = {}
    for number in range(4):
        photo(root / f'{number}.png')
        shape = dict(name='rect', x=10, y=10, width=40, height=30) if number else odd
        region = dict(shape_attributes=shape, region_attributes={'class': 'cat'})
        content[f'{number}'] = dict(filename=f'{number}.png', size=1, regions=[region], file_attributes={})
    (root / 'via.json').write_text(json.dumps(content))


def supervisely(root: Path, kind: str) -> None:
    for number in range(4):
        photo(root / f'ds/img/{number}.png')
        thing = dict(classTitle='cat', geometryType='polygon', points=dict(exterior=SQUARE, interior=[]))
        content = dict(size=dict(width=80, height=60), objects=[thing | ({} if number else {'geometryType': kind})])
        file = root / f'ds/ann/{number}.png.json'
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content))


def voc(root: Path, name: str) -> None:
    box = '<bndbox><xmin>10</xmin><ymin>10</ymin><xmax>50</xmax><ymax>40</ymax></bndbox>'
    for number in range(4):
        photo(root / f'{number}.png')
        thing = f'<object><name>{"cat" if number else name}</name>{box}</object>'
        (root / f'{number}.xml').write_text(f'<annotation><filename>{number}.png</filename>{thing}</annotation>')


def rle(root: Path, runs: str, head: str = 'ImageId,EncodedPixels', row: str = '{name},{runs}') -> None:
    lines = [head]
    for number in range(4):
        photo(root / f'{number}.png')
        lines.append(row.format(name=f'{number}.png', runs=RUNS if number else runs))
    (root / 'train.csv').write_text('\n'.join(lines))


#: What writes a set whose photo 0 has but one object, of no use, and whether that is a mistake.
ODD: dict[str, tuple[Callable[[Path], None], bool]] = {
    'labelme point': (lambda root: labelme(root, shape_type='point', points=[[30, 30]]), False),
    'labelme linestrip': (lambda root: labelme(root, shape_type='linestrip'), False),
    'labelme ignored': (lambda root: labelme(root, label='__ignore__'), False),
    'cvat points': (lambda root: cvat(root, '<points label="cat" points="10,10;20,20"/>'), False),
    'cvat skeleton': (
        lambda root: cvat(root, '<skeleton label="cat"><points label="1" points="1,1"/></skeleton>'),
        False,
    ),
    'cvat cuboid': (lambda root: cvat(root, '<cuboid label="cat" xtl1="10" ytl1="10"/>'), False),
    'via point': (lambda root: via(root, name='point', cx=30, cy=30), False),
    'via polyline': (
        lambda root: via(root, name='polyline', all_points_x=[10, 50, 50], all_points_y=[10, 10, 40]),
        False,
    ),
    'supervisely line': (lambda root: supervisely(root, 'line'), False),
    'supervisely cuboid': (lambda root: supervisely(root, 'cuboid'), False),
    'voc without a name': (lambda root: voc(root, ''), True),
    'run beyond the photo': (lambda root: rle(root, '1 99999999'), True),
    'negative run': (lambda root: rle(root, '-5 30'), True),
    'odd runs': (lambda root: rle(root, '5 30 7'), True),
    'runs of a second class': (
        lambda root: rle(root, '5 30 7', 'ImageId,ClassId,EncodedPixels', '{name},1,{runs}\n{name},2,'),
        True,
    ),
}
TRAINED = ('labelme point', 'cvat cuboid', 'via polyline', 'supervisely line', 'voc without a name', 'negative run')


@pytest.mark.parametrize('name', ODD)
def test_it_is_left_out(name, command, tmp_path):
    make, mistake = ODD[name]
    make(tmp_path / 'd')
    ended = command('check', tmp_path / 'd')
    assert ended.code == int(mistake), ended
    assert f'{"error" if mistake else "warning"}: 1 x {NONE_READ}' in ended.out
    assert '3 images, 3 annotations' in ended.out
    assert 'image without annotations' not in ended.out
    if name in TRAINED:
        cfg, lines = adapt(RETINANET, tmp_path / 'd', tmp_path / 'work')
        assert any(NONE_READ in line for line in lines)
        assert sorted(everything(cfg)) == ['1.png', '2.png', '3.png']


def test_a_segmentor_does_not_learn_it_as_background(tmp_path):
    labelme(tmp_path / 'd', shape_type='linestrip')
    cfg, lines = adapt(UPERNET, tmp_path / 'd', tmp_path / 'work')
    assert any(NONE_READ in line for line in lines)
    data = [build(cfg, split) for split in ('train', 'val')]
    names = {Path(part.get_data_info(i)['img_path']).name for part in data for i in range(len(part))}
    assert names == {'1.png', '2.png', '3.png'}


def test_photos_without_objects_stay(command, tmp_path):
    labelme(tmp_path / 'labelme', label='_background_')
    cvat(tmp_path / 'cvat', '<tag label="sunny"/>')
    rle(tmp_path / 'rle', '-1')
    for name in ('labelme', 'cvat', 'rle'):
        ended = command('check', tmp_path / name)
        assert ended.code == 0, ended
        assert '4 images, 3 annotations' in ended.out


def test_points_alone_are_no_labels(command, refused, tmp_path):
    root = tmp_path / 'd'
    for number in range(3):
        photo(root / f'{number}.png')
        shape = dict(label='cat', shape_type='point', points=[[30, 30]])
        (root / f'{number}.json').write_text(json.dumps(dict(imagePath=f'{number}.png', shapes=[shape])))
    ended = command('check', root)
    assert ended.code == 1, ended
    assert 'warning: 3 x shape without area: point: 0.json shape 1' in ended.out
    line = refused('train', RETINANET, '--data', root, '--work-dir', tmp_path / 'work')
    assert f'no label of {root} can be used: no label file has an object' in line
