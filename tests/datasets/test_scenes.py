"""Generated scenes and their files."""

import contextlib
import io
import itertools
import json

import cv2
import numpy as np
import pytest

from mmlska.bands import BandFile, Pixels
from mmlska.datasets import scenes
from mmlska.datasets.scenes import SHAPES, TEXTURES, make_scene, semantic_mask, write_scenes

OPTIONS = {'split': 'training', 'seed': 0, 'size': 96, 'num_classes': 5, 'difficulty': 'medium', 'texture': 'random'}
SMALL = {'num_train': 3, 'num_val': 2, 'size': (48, 64), 'num_classes': 8}


def content(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob('*')) if path.is_file()}


def test_same_arguments_same_pixels_and_others_differ():
    first, again = (make_scene(0, **OPTIONS) for _ in range(2))
    assert np.array_equal(first.image, again.image)
    assert [item.bbox for item in first.instances] == [item.bbox for item in again.instances]
    others = [make_scene(0, **OPTIONS | changes) for changes in ({'seed': 1}, {'split': 'validation'})]
    for one, other in itertools.combinations([first, *others, make_scene(1, **OPTIONS)], 2):
        assert not np.array_equal(one.image, other.image)


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
        make_scene(0, **OPTIONS | changes)
    assert '\n' not in str(caught.value)


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


@pytest.mark.parametrize('bands', [1, 3, 5])
def test_scenes_of_bands_are_those_in_colours_in_16_bits(bands, tmp_path):
    write_scenes(tmp_path / 'colours', **SMALL)
    summary = write_scenes(tmp_path / 'bands', **SMALL, bands=bands)
    assert not write_scenes(tmp_path / 'bands', **SMALL, bands=bands)['created']
    with pytest.raises(FileExistsError, match=rf'holds other scenes \(bands {bands}\); use --overwrite'):
        write_scenes(tmp_path / 'bands', **SMALL)
    with pytest.raises(ValueError, match='bands 65 is impossible; use 1 to 64'):
        write_scenes(tmp_path / 'others', **SMALL, bands=65)
    image = BandFile(tmp_path / 'bands/images/training/000001.tif')
    assert image.pixels == Pixels(bands, 'uint16')
    colours = cv2.imread(str(tmp_path / 'colours/images/training/000001.png'))[..., ::-1].astype(float)
    steps = (image[:, :].astype(float) - 1000) / 200
    wanted = colours if bands > 1 else colours.mean(2, keepdims=True)
    assert np.abs(steps[..., :3] - wanted).max() < 0.01
    if bands > 3:
        index = cv2.imread(str(tmp_path / 'bands/annotations/training/000001.png'), 0)
        means = [steps[index == label, 4].mean() for label in np.unique(index)]
        assert np.diff(means).min() > 20
    images = json.loads((tmp_path / 'bands/annotations/instances_training.json').read_text())['images']
    assert {image['file_name'] for image in images} == {
        path.name for path in (tmp_path / 'bands/images/training').iterdir()
    }
    assert summary['parameters']['bands'] == bands


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
