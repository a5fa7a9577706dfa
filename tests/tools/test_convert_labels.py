"""`mmlska convert DIR --to FORMAT --out NEW_DIR`, called as a user calls it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from own_sets import mask_set, simple
from test_train_test import ok, run  # noqa: E402


def test_a_folder_is_written_in_another_format(tmp_path):
    simple(tmp_path / 'my set')
    output = ok(run('convert_weights.py', 'my set', '--to', 'yolo', '--out', 'new set', cwd=tmp_path))
    assert output.splitlines()[-2] == '6 objects (coco) in 4 photos: new set (yolo)'
    assert output.splitlines()[-1].startswith('no photo is for validation')
    assert (tmp_path / 'new set/data.yaml').read_text().splitlines() == [
        'train: images/train',
        'names:',
        '  0: cat',
        '  1: dog',
    ]
    again = run('convert_weights.py', 'new set', '--to', 'coco', '--out', 'back', '--format', 'yolo', cwd=tmp_path)
    assert ok(again).splitlines()[-1] == '6 objects (yolo) in 4 photos train: back (coco)'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            'masks --to yolo',
            'masks is a folder of labels: give --to (coco, yolo, voc, labelme, cvat, masks) and --out NEW_DIR',
        ),
        ('masks --out new', 'masks is a folder of labels: give --to (coco, yolo'),
        ('masks --to mmlska --out new', "--to 'mmlska' is unknown; use one of coco, yolo, voc, labelme, cvat, masks"),
        (
            'masks --to yolo --out new --ema',
            'masks is a folder of labels: give --to and --out NEW_DIR, and nothing that is for weights',
        ),
        ('masks --to yolo --out new', 'holds masks of classes; add --instances to take their pieces for objects'),
        (
            'masks --to yolo --out masks/new --instances',
            '--out masks/new lies inside the data; give a folder elsewhere',
        ),
        ('empty --to yolo --out new', 'no labels in '),
        ('w.pth x.pth --to yolo', '--to yolo is no layout of weights; use one of mmlska, '),
        (
            'w.pth x.pth --out new',
            '--out, --format, --instances and --palette go with a folder of labels, and w.pth is no folder',
        ),
    ],
)
def test_what_does_not_go_together(options, message, tmp_path, refused):
    mask_set(tmp_path / 'masks', [[60, 16, 152], [226, 169, 41]], count=2)
    (tmp_path / 'empty').mkdir()
    assert message in refused('convert_weights.py', *options.split(), cwd=tmp_path)
    assert not (tmp_path / 'new').exists()
