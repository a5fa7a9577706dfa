"""COCO to Ultralytics' layout: names are data, images stay inside, and nothing is overwritten."""

import json
from pathlib import Path

import pytest
from PIL import Image

from mmlska.yolo.data import coco_to_yolo, fingerprint

# Ultralytics runs what stands under `download` if there are no images at `val`.
CODE = '\nval: nowhere\ndownload: __import__("os").mkdir("canary")\n'


@pytest.fixture(autouse=True)
def canary(tmp_path, monkeypatch):
    """Where the code in these tests leaves its trace."""
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    yield
    assert not (tmp_path / 'here/canary').exists(), 'a name was run'


def write_set(folder: Path, names=('cat',), files=('0.png', '1.png'), **changes) -> dict:
    """A set of one box an image; the argument that coco_to_yolo takes."""
    for name in ('0.png', '1.png'):
        (folder / 'images').mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (40, 30)).save(folder / 'images' / name)
    content = dict(
        categories=[dict(id=i + 1, name=name) for i, name in enumerate(names)],
        images=[dict(id=i, file_name=name, width=40, height=30) for i, name in enumerate(files)],
        annotations=[dict(image_id=i, category_id=1, bbox=[4, 3, 8, 6]) for i in range(len(files))],
    )
    (folder / 'all.json').write_text(json.dumps({**content, **changes}))
    source = (folder / 'all.json', folder / 'images')
    return dict(train=source, val=source)


@pytest.mark.parametrize(
    'names',
    [
        (f'cat{CODE}',),
        ('cat', f'"dog"{CODE}'),
        ('cat' + CODE.replace('\n', '\r\n'),),
        ('cat' + CODE.replace('\n', '\x85'),),  # a line break of YAML too
        ('cat' + CODE.replace('\n', '\u2028'),),
        ('cat\nval: nowhere\ndownload: |\n  import os\n  os.mkdir("canary")',),
        (
            'yes',
            'null',
            '1.5',
            '',
            ' a ',
            '[x',
            '{a: b}',
            '&a',
            '*a',
            '- a',
            '? a',
            '\t',
            '\x07',
            '💥',
            '苹果',
            '%s',
            '---',
            "it's",
        ),
        ('!!python/object/apply:os.mkdir ["canary"]',),
    ],
)
def test_class_names_reach_ultralytics_as_they_are(tmp_path, names):
    from ultralytics.data.utils import check_det_dataset

    data = coco_to_yolo(write_set(tmp_path / 'set', names), tmp_path / 'out')
    assert tuple(check_det_dataset(str(data))['names'].values()) == names
    assert (data.parent / 'labels/val/1.txt').read_text() == '0 0.200000 0.200000 0.200000 0.200000\n'


def test_a_folder_of_any_name_is_found(tmp_path):
    from ultralytics.data.utils import check_det_dataset

    data = coco_to_yolo(write_set(tmp_path / 'set'), tmp_path / f'a: #{CODE}'.replace('/', ''))
    assert check_det_dataset(str(data))['path'] == data.parent


def test_a_name_that_no_yaml_holds_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'\\ud800' cannot be written to data.yaml"):
        coco_to_yolo(write_set(tmp_path / 'set', ('\ud800',)), tmp_path / 'out')
    assert not (tmp_path / 'out/data.yaml').exists()


@pytest.mark.parametrize('name', ['../secret.png', 'a/../../secret.png', '/SECRET', 'link.png', 'folder/secret.png'])
def test_no_image_from_outside_is_copied(tmp_path, name):
    splits = write_set(tmp_path / 'set', files=(name.replace('/SECRET', str(tmp_path / 'set/secret.png')),))
    Image.new('RGB', (40, 30)).save(tmp_path / 'set/secret.png')
    (tmp_path / 'set/images/a').mkdir()
    (tmp_path / 'set/images/link.png').symlink_to(tmp_path / 'set/secret.png')
    (tmp_path / 'set/images/folder').symlink_to(tmp_path / 'set')
    with pytest.raises(ValueError, match='lies outside of'):
        coco_to_yolo(splits, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_an_image_is_found_by_its_name_where_its_folders_are_others(tmp_path):
    data = coco_to_yolo(write_set(tmp_path / 'set', files=('/content/images/0.png', '../1.png')), tmp_path / 'out')
    assert sorted(path.name for path in (data.parent / 'images/train').iterdir()) == ['0.png', '1.png']


def test_boxes_are_cut_at_the_border_and_thin_ones_stay(tmp_path):
    from ultralytics.data.utils import verify_image_label

    boxes = [dict(image_id=0, category_id=1, bbox=box) for box in ([-4, 3, 8, 60], [39.5, 0, 0.5, 30])]
    data = coco_to_yolo(write_set(tmp_path / 'set', annotations=boxes), tmp_path / 'out')
    label = data.parent / 'labels/train/0.txt'
    assert label.read_text() == '0 0.050000 0.550000 0.100000 0.900000\n0 0.993750 0.500000 0.012500 1.000000\n'
    image = data.parent / 'images/train/0.png'
    *_, corrupt, message = verify_image_label((str(image), str(label), '', False, 1, 0, 0, False))
    assert not corrupt, message


def test_images_of_one_name_are_refused_and_nothing_is_written(tmp_path):
    splits = write_set(tmp_path / 'set', files=('a/0.png', 'b/0.jpg'))
    for name in ('a/0.png', 'b/0.jpg'):
        (tmp_path / 'set/images' / name).parent.mkdir()
        Image.new('RGB', (40, 30)).save(tmp_path / 'set/images' / name)
    with pytest.raises(ValueError, match="'a/0.png' and 'b/0.jpg' would both be '0'"):
        coco_to_yolo(splits, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_no_link_in_the_new_folder_is_written_through(tmp_path):
    (tmp_path / 'out/images/train').mkdir(parents=True)
    (tmp_path / 'mine').write_text('mine')
    (tmp_path / 'out/images/train/0.png').symlink_to(tmp_path / 'mine')
    with pytest.raises(FileExistsError, match='link'):
        coco_to_yolo(write_set(tmp_path / 'set'), tmp_path / 'out')
    assert (tmp_path / 'mine').read_text() == 'mine'


@pytest.mark.parametrize(
    'changes',
    [
        dict(categories=[dict(id=1, name=3)]),
        dict(categories=[dict(id='1', name='a')]),
        dict(categories=[dict(id=1, name='a'), dict(id=1, name='b')]),
        dict(categories=['cat']),
        dict(categories={'1': 'cat'}),
        dict(images=[dict(id=0, file_name=['0.png'], width=40, height=30)]),
        dict(images=[dict(id=0, file_name='0.png')]),
        dict(images=[dict(id=0, file_name='0.png', width=0, height=30)]),
        dict(annotations=[dict(image_id=0, category_id=9, bbox=[1, 2, 3, 4])]),
        dict(annotations=[dict(image_id=0, category_id=1, bbox=[1, 2, 3])]),
        dict(annotations=[dict(image_id=0, category_id=1, bbox=['4', '3', '8', '6'])]),
        dict(annotations=[dict(image_id=0, category_id=1, bbox=[4, 3, -8, 6])]),
        dict(annotations=[dict(image_id=0, category_id=1, bbox=[100, 3, 8, 6])]),
        dict(annotations=[dict(image_id=0, category_id=1, bbox=[1, 2, 'x', 4])]),
        dict(annotations=[dict(image_id=0, category_id=1, bbox=[1, 2, float('nan'), 4])]),
        dict(annotations=[dict(image_id=0, category_id=1, bbox=[1, 2, 10**400, 4])]),
        dict(annotations='none'),
    ],
)
def test_entries_that_make_no_sense_are_named_and_nothing_is_written(tmp_path, changes):
    with pytest.raises(ValueError) as error:
        coco_to_yolo(write_set(tmp_path / 'set', **changes), tmp_path / 'out')
    assert '\n' not in str(error.value)
    assert not (tmp_path / 'out').exists()


def test_the_digest_of_a_foreign_set_runs_nothing_of_it(tmp_path):
    data = tmp_path / 'data.yaml'
    data.write_text(f'path: {tmp_path}\ntrain: images\nnames: [cat]{CODE}')
    with pytest.raises(FileNotFoundError):
        fingerprint(data)
