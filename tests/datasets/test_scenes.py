"""Generated scenes: the pixels, the files, the tool."""

import contextlib
import io
import itertools
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmlska.datasets import scenes
from mmlska.datasets.scenes import (
    DIFFICULTIES,
    SHAPES,
    TEXTURE_MODES,
    TEXTURES,
    make_scene,
    semantic_mask,
    write_scenes,
)

TOOL = Path(__file__).parents[2] / 'tools' / 'make_scenes.py'
OPTIONS = {'seed': 0, 'size': 96, 'num_classes': 5, 'difficulty': 'medium', 'texture': 'random'}
SMALL = {'num_train': 3, 'num_val': 2, 'size': (48, 64), 'num_classes': 8}


def draw(count=1, split='training', **changes):
    return [make_scene(index, split=split, **{**OPTIONS, **changes}) for index in range(count)]


def content(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob('*')) if path.is_file()}


# The pixels


def test_same_arguments_same_pixels_and_others_differ():
    (first,), (again,) = draw(), draw()
    assert np.array_equal(first.image, again.image)
    assert [item.bbox for item in first.instances] == [item.bbox for item in again.instances]
    others = [draw(seed=1)[0], draw(split='validation')[0], draw(2)[1]]
    for one, other in itertools.combinations([first, *others], 2):
        assert not np.array_equal(one.image, other.image)


@pytest.mark.parametrize('difficulty', DIFFICULTIES)
@pytest.mark.parametrize('texture', TEXTURE_MODES)
@pytest.mark.parametrize('size', [32, (47, 131)])
def test_masks_are_disjoint_and_boxes_tight(difficulty, texture, size):
    height, width = size if isinstance(size, tuple) else (size, size)
    for scene in draw(8, difficulty=difficulty, texture=texture, size=size, num_classes=8):
        assert scene.image.shape == (height, width, 3)
        assert scene.image.dtype == np.uint8
        assert 1 <= len(scene.instances) <= DIFFICULTIES[difficulty].objects[1]
        expected = np.ones((height, width), np.uint8)
        for item in scene.instances:
            assert item.mask.dtype == bool
            assert item.mask.sum() >= 16
            assert np.all(expected[item.mask] == 1), 'two objects own one pixel'
            expected[item.mask] = item.category + 2
            x, y, w, h = item.bbox
            box = np.zeros_like(item.mask)
            box[y : y + h, x : x + w] = True
            assert item.mask.sum() == (item.mask & box).sum()
            inside = item.mask[y : y + h, x : x + w]
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
        assert np.array_equal(semantic_mask(scene), expected)
        assert semantic_mask(scene).dtype == np.uint8


def test_later_objects_cover_earlier_ones():
    def solidity(mask):
        points = np.argwhere(mask)[:, ::-1].astype(np.int32)
        hull = cv2.fillConvexPoly(np.zeros(mask.shape, np.uint8), cv2.convexHull(points), 1)
        return mask.sum() / hull.sum()

    front, behind = [], []
    for scene in draw(20, num_classes=1, size=160):  # circles alone: whatever is not convex is covered
        *earlier, last = (solidity(item.mask) for item in scene.instances)
        front.append(last)
        behind.extend(earlier)
    assert min(front) > 0.97
    assert sum(value < 0.93 for value in behind) >= 5


def test_every_class_and_texture_occurs_equally():
    items = [item for scene in draw(150, num_classes=8, size=64) for item in scene.instances]
    for found in (
        np.bincount([item.category for item in items], minlength=len(SHAPES)),
        np.bincount([item.texture for item in items], minlength=len(TEXTURES)),
    ):
        assert len(found) == 8
        assert found.min() > 0.6 * found.mean()


def test_fewer_classes_are_the_first_shapes():
    assert {item.category for scene in draw(30, num_classes=3) for item in scene.instances} == {0, 1, 2}


def test_ring_has_its_hole():
    holes = 0
    for scene in draw(40, difficulty='easy'):
        for item in scene.instances:
            if SHAPES[item.category] == 'ring':
                x, y, w, h = item.bbox
                holes += not item.mask[y + h // 2, x + w // 2]
                assert item.mask.sum() < 0.75 * w * h
    assert holes >= 5


def test_shapes_differ_under_every_rotation():
    grid = (np.mgrid[:36, :36] - 17.5) / 12  # an extent of 24 px

    def turned(name, degrees):
        angle = np.deg2rad(degrees)
        v, u = grid
        return scenes._SHAPES[name](u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle))

    for one, other in itertools.combinations(SHAPES, 2):
        still = turned(one, 0)
        overlaps = [
            (still & mask).sum() / (still | mask).sum() for mask in (turned(other, angle) for angle in range(0, 360, 5))
        ]
        assert max(overlaps) < 0.87, (one, other)


def test_texture_of_the_class():
    items = [item for scene in draw(30, texture='class', num_classes=8) for item in scene.instances]
    assert all(item.texture == item.category for item in items)


def test_conflict_takes_every_texture_but_the_own_one():
    items = [item for scene in draw(60, texture='conflict') for item in scene.instances]
    assert {(item.category, item.texture) for item in items} == set(itertools.permutations(range(5), 2))


def test_texture_modes_share_their_geometry():
    for scenes_of_one_index in zip(*(draw(5, texture=texture) for texture in TEXTURE_MODES)):
        first, *others = scenes_of_one_index
        for other in others:
            assert np.array_equal(semantic_mask(first), semantic_mask(other))
            assert not np.array_equal(first.image, other.image)


def test_background_shows_no_class_texture_in_class_and_conflict_modes():
    # Hard two-colour textures have edges, the plain noise has none: compare the steepest step without sensor noise.
    def steepest(texture):
        steps = []
        for scene in draw(12, texture=texture, difficulty='easy', size=128):
            ground = semantic_mask(scene) == 1
            step = np.abs(np.diff(scene.image.astype(int), axis=1)).max(2)
            steps.append(np.percentile(step[ground[:, 1:] & ground[:, :-1]], 99.5))
        return np.array(steps)

    assert steepest('class').max() < 17
    assert steepest('conflict').max() < 17
    assert (steepest('random') > 20).sum() >= 6


def test_difficulty_lowers_contrast():
    def contrast(difficulty):
        found = []
        for scene in draw(30, difficulty=difficulty):
            ground = scene.image[semantic_mask(scene) == 1].mean(0)
            found += [np.linalg.norm(scene.image[item.mask] - ground, axis=1).mean() for item in scene.instances]
        return np.mean(found)

    assert contrast('easy') > contrast('medium') > contrast('hard')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'difficulty': 'cruel'}, "difficulty 'cruel' is unknown; use one of easy, medium, hard"),
        ({'texture': 'wool'}, "texture 'wool' is unknown; use one of random, class, conflict"),
        ({'split': 'test'}, "split 'test' is unknown; use one of training, validation"),
        ({'num_classes': 0}, 'num_classes 0 is impossible; use 1 to 8'),
        ({'num_classes': 9}, 'num_classes 9 is impossible; use 1 to 8'),
        ({'num_classes': 2.0}, 'num_classes 2.0 is not a whole number; use 1 to 8'),
        ({'num_classes': 1, 'texture': 'conflict'}, "texture 'conflict' takes textures of other classes"),
        ({'size': 31}, 'size 31 is impossible; use 32 or more'),
        ({'size': (64, 8)}, 'size 8 is impossible; use 32 or more'),
        ({'size': (64, 64, 3)}, r'size \(64, 64, 3\) is impossible; use one side or \(height, width\)'),
        ({'size': '64'}, "size '64' is not a whole number; use 32 or more"),
        ({'seed': -1}, 'seed -1 is impossible; use 0 or more'),
    ],
)
def test_impossible_arguments(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        draw(**changes)
    assert '\n' not in str(caught.value)


# The files


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'scenes'
    summary = write_scenes(root, num_train=12, num_val=6, size=(80, 112), texture='conflict', seed=3)
    return root, summary


def scenes_of(summary, split, count):
    options = {key: value for key, value in summary['parameters'].items() if not key.startswith('num_t')}
    del options['num_val']
    return [make_scene(index, split=split, **options) for index in range(count)]


@pytest.mark.parametrize(('split', 'count'), [('training', 12), ('validation', 6)])
def test_ade20k_layout(dataset, split, count):
    root, summary = dataset
    names = [f'{index:06d}.png' for index in range(count)]
    assert sorted(path.name for path in (root / 'images' / split).iterdir()) == names
    assert sorted(path.name for path in (root / 'annotations' / split).iterdir()) == names
    for name, scene in zip(names, scenes_of(summary, split, count)):
        image = cv2.imread(str(root / 'images' / split / name))[..., ::-1]
        assert np.array_equal(image, scene.image)
        mask = cv2.imread(str(root / 'annotations' / split / name), cv2.IMREAD_UNCHANGED)
        assert mask.dtype == np.uint8
        assert np.array_equal(mask, semantic_mask(scene))
        assert mask.min() == 1
        assert mask.max() <= 1 + len(summary['classes'])


@pytest.mark.parametrize(('split', 'count'), [('training', 12), ('validation', 6)])
def test_coco_format_read_by_pycocotools(dataset, split, count):
    coco_module = pytest.importorskip('pycocotools.coco')
    cocoeval_module = pytest.importorskip('pycocotools.cocoeval')
    root, summary = dataset
    with contextlib.redirect_stdout(io.StringIO()):
        coco = coco_module.COCO(str(root / f'annotations/instances_{split}.json'))
    assert [category['name'] for category in coco.loadCats(coco.getCatIds())] == list(SHAPES[:5])
    assert coco.getCatIds() == [1, 2, 3, 4, 5]
    assert min(coco.anns) == 1
    for scene, image_id in zip(scenes_of(summary, split, count), coco.getImgIds(), strict=True):
        image = coco.imgs[image_id]
        assert (image['height'], image['width']) == (80, 112)
        assert (root / 'images' / split / image['file_name']).is_file()
        annotations = coco.loadAnns(coco.getAnnIds(image_id))
        for item, annotation in zip(scene.instances, annotations, strict=True):
            assert np.array_equal(coco.annToMask(annotation), item.mask)
            assert annotation['area'] == item.mask.sum()
            assert tuple(annotation['bbox']) == item.bbox
            assert annotation['category_id'] == item.category + 1
            assert annotation['iscrowd'] == 0
            assert annotation['texture'] == TEXTURES[item.texture] != TEXTURES[item.category]

    perfect = [
        {**{key: annotation[key] for key in ('image_id', 'category_id', 'bbox')}, 'score': 1.0}
        for annotation in coco.anns.values()
    ]
    masks = [coco.annToRLE(annotation) for annotation in coco.anns.values()]
    for kind in ('bbox', 'segm'):
        results = [dict(item, segmentation=mask) if kind == 'segm' else item for item, mask in zip(perfect, masks)]
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = cocoeval_module.COCOeval(coco, coco.loadRes([dict(item) for item in results]), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        assert evaluation.stats[0] == pytest.approx(1.0)


def test_run_lengths_of_a_mask_that_starts_and_ends_with_ones():
    assert scenes._run_lengths(np.array([[1, 0], [0, 1]], bool)) == [0, 1, 2, 1]
    assert scenes._run_lengths(np.array([[0, 1], [0, 1]], bool)) == [2, 2]


def test_summary_file(dataset):
    root, summary = dataset
    written = json.loads((root / 'scenes.json').read_text())
    assert summary == {**written, 'root': str(root), 'created': True}
    assert written['classes'] == list(SHAPES[:5])
    assert written['textures'] == list(TEXTURES)
    assert written['parameters'] == {
        'num_train': 12,
        'num_val': 6,
        'size': [80, 112],
        'num_classes': 5,
        'difficulty': 'medium',
        'texture': 'conflict',
        'seed': 3,
    }
    for split in ('training', 'validation'):
        annotations = json.loads((root / f'annotations/instances_{split}.json').read_text())['annotations']
        assert sum(written['instances'][split].values()) == len(annotations) > 0


def test_image_does_not_depend_on_the_count(tmp_path):
    write_scenes(tmp_path / 'few', **SMALL)
    write_scenes(tmp_path / 'more', **{**SMALL, 'num_train': 5})
    few, more = content(tmp_path / 'few'), content(tmp_path / 'more')
    pictures = [name for name in few if name.endswith('.png')]
    assert len(pictures) == 10
    assert all(few[name] == more[name] for name in pictures)


def test_files_are_the_same_bytes_twice(tmp_path):
    for name in 'ab':
        write_scenes(tmp_path / name, **SMALL)
    assert content(tmp_path / 'a') == content(tmp_path / 'b')


def test_second_call_does_nothing(tmp_path):
    root = tmp_path / 'scenes'
    first = write_scenes(root, **SMALL)
    times = {path: path.stat().st_mtime_ns for path in root.rglob('*')}
    calls = []
    again = write_scenes(root, **SMALL, progress=lambda *args: calls.append(args))
    assert (first.pop('created'), again.pop('created')) == (True, False)
    assert first == again
    assert calls == []
    assert {path: path.stat().st_mtime_ns for path in root.rglob('*')} == times


def test_progress_counts_every_image(tmp_path):
    calls = []
    write_scenes(tmp_path / 'scenes', **SMALL, progress=lambda *args: calls.append(args))
    assert calls == [(done, 5) for done in range(1, 6)]


def test_other_scenes_are_replaced_only_when_told(tmp_path):
    root = tmp_path / 'scenes'
    write_scenes(root, **SMALL)
    before = content(root)
    changed = {**SMALL, 'seed': 5, 'num_val': 1}
    message = r'scenes holds other scenes \(num_val 2, seed 0\); use --overwrite or another folder'
    with pytest.raises(FileExistsError, match=message):
        write_scenes(root, **changed)
    assert content(root) == before
    assert write_scenes(root, **changed, overwrite=True)['created']
    assert len(list((root / 'images/validation').iterdir())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ['scenes']


def test_incomplete_scenes_are_noticed(tmp_path):
    root = tmp_path / 'scenes'
    write_scenes(root, **SMALL)
    (root / 'images/validation/000001.png').unlink()
    with pytest.raises(FileExistsError, match=r'\(validation incomplete\); use --overwrite'):
        write_scenes(root, **SMALL)
    write_scenes(root, **SMALL, overwrite=True)
    assert (root / 'images/validation/000001.png').is_file()


def test_scenes_of_another_generator_version_are_noticed(tmp_path, monkeypatch):
    write_scenes(tmp_path / 'scenes', **SMALL)
    monkeypatch.setattr(scenes, 'VERSION', 99)
    with pytest.raises(FileExistsError, match=r'holds other scenes \(generator version 1\)'):
        write_scenes(tmp_path / 'scenes', **SMALL)


@pytest.mark.parametrize('foreign', ['notes.txt', 'scenes.json'])
@pytest.mark.parametrize('overwrite', [False, True])
def test_a_folder_of_others_is_never_touched(tmp_path, foreign, overwrite):
    root = tmp_path / 'mine'
    root.mkdir()
    (root / foreign).write_text('{"generator": "another"}')
    with pytest.raises(FileExistsError, match='mine holds more than scenes, which even --overwrite keeps'):
        write_scenes(root, **SMALL, overwrite=overwrite)
    assert [path.name for path in tmp_path.rglob('*')] == ['mine', foreign]


def test_a_file_among_the_scenes_is_never_deleted(tmp_path):
    root = tmp_path / 'scenes'
    write_scenes(root, **SMALL)
    (root / 'weights.pth').write_text('valuable')
    assert not write_scenes(root, **SMALL)['created']
    with pytest.raises(FileExistsError, match='scenes holds more than scenes, which even --overwrite keeps'):
        write_scenes(root, **{**SMALL, 'seed': 5}, overwrite=True)
    assert (root / 'weights.pth').read_text() == 'valuable'


def test_an_empty_folder_is_filled_and_a_file_is_not_replaced(tmp_path):
    (tmp_path / 'empty').mkdir()
    assert write_scenes(tmp_path / 'empty', **SMALL)['created']
    (tmp_path / 'file').write_text('text')
    with pytest.raises(FileExistsError, match='file holds more than scenes'):
        write_scenes(tmp_path / 'file', **SMALL, overwrite=True)
    assert (tmp_path / 'file').read_text() == 'text'


def test_nothing_is_left_of_a_failed_call(tmp_path):
    def fail(done, total):
        if done == 3:
            raise RuntimeError('stop here')

    with pytest.raises(RuntimeError, match='stop here'):
        write_scenes(tmp_path / 'scenes', **SMALL, progress=fail)
    assert list(tmp_path.iterdir()) == []
    write_scenes(tmp_path / 'scenes', **SMALL)
    before = content(tmp_path)
    with pytest.raises(RuntimeError, match='stop here'):
        write_scenes(tmp_path / 'scenes', **{**SMALL, 'seed': 5}, overwrite=True, progress=fail)
    assert content(tmp_path) == before


def test_a_split_may_be_empty_but_not_both(tmp_path):
    write_scenes(tmp_path / 'scenes', **{**SMALL, 'num_train': 0})
    training = json.loads((tmp_path / 'scenes/annotations/instances_training.json').read_text())
    assert training['images'] == training['annotations'] == []
    assert not write_scenes(tmp_path / 'scenes', **{**SMALL, 'num_train': 0})['created']
    with pytest.raises(ValueError, match='num_train and num_val are both 0; use at least one image'):
        write_scenes(tmp_path / 'none', num_train=0, num_val=0)
    with pytest.raises(ValueError, match='num_val -1 is impossible; use 0 or more'):
        write_scenes(tmp_path / 'none', num_val=-1)
    assert not (tmp_path / 'none').exists()


# The tool


def run_tool(*args, cwd):
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(
        [sys.executable, str(TOOL), *args], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )


def test_tool_writes_scenes_and_preview(tmp_path):
    options = 'out --train 2 --val 1 --size 40x56 --classes 3 --difficulty easy --conflict --seed 7 --preview look.png'
    done = run_tool(*options.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ['3/3 scenes', f'Written to {tmp_path / "out"}']
    parameters = json.loads((tmp_path / 'out/scenes.json').read_text())['parameters']
    assert parameters == {
        'num_train': 2,
        'num_val': 1,
        'size': [40, 56],
        'num_classes': 3,
        'difficulty': 'easy',
        'texture': 'conflict',
        'seed': 7,
    }
    sheet = cv2.imread(str(tmp_path / 'look.png'))
    assert sheet.shape == (4 * (7 * 40 + 2), 4 * (7 * 56 + 2), 3)
    assert (sheet == 255).all(2).sum() > 1000  # the outlines and the labels
    assert sorted(path.name for path in tmp_path.iterdir()) == ['look.png', 'out']


def test_tool_fails_in_one_line_without_traceback(tmp_path):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/notes.txt').write_text('text')
    done = run_tool('mine', cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, '')
    message = f'{tmp_path / "mine"} holds more than scenes, which even --overwrite keeps; use another folder'
    assert done.stderr == f'make_scenes: error: {message}\n'


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        ('--classes 9', 'num_classes 9 is impossible; use 1 to 8'),
        ('--size big', "argument --size: invalid sides value: 'big'"),
        ('--size 40x16', 'size 16 is impossible; use 32 or more'),
        ('--train 0 --val 0', 'num_train and num_val are both 0; use at least one image'),
        ('--shape round', 'unrecognized arguments: --shape round'),
    ],
)
def test_tool_rejects_impossible_arguments(tmp_path, monkeypatch, capsys, args, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['make_scenes.py', 'out', *args.split()])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(TOOL), run_name='__main__')
    assert caught.value.code == 2
    assert capsys.readouterr() == ('', f'make_scenes: error: {message}\n')
    assert list(tmp_path.iterdir()) == []
