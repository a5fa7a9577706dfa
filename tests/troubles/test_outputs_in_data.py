"""What mmlska wrote into a data folder is no data: predictions, pictures, contact sheets, trainings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from own_sets import RETINANET, adapt, annotation, coco, everything, image, mask, mask_set, photo, simple, stripes
from PIL import Image

from mmlska.outputs import RECORD
from mmlska.own_data.training import refuse_work_dir_of_data

NOT_USED = 'file that mmlska wrote, not used'
TRAINING = 'work directory of a training, not read'


@pytest.fixture
def predict(tiny_models, command):
    def run(model: str, photos: Path, out: Path, format: str, *args) -> None:
        files = ['--config', tiny_models[model].config, '--checkpoint', tiny_models[model].checkpoint]
        assert (
            command('predict', photos, *files, '--out', out, '--format', format, '--score-thr', 0.15, *args).code == 0
        )

    return run


def labelme(path: Path) -> None:
    shape = dict(label='cat', points=[[10, 10], [50, 10], [50, 40]], shape_type='polygon')
    content = dict(shapes=[shape], imagePath=f'{path.stem}.jpg', imageData=None, imageHeight=60, imageWidth=80)
    path.write_text(json.dumps(content))


def labelme_set(root: Path, count=4) -> Path:
    for number in range(count):
        photo(root / f'{number}.jpg')
        labelme(root / f'{number}.json')
    return root


def yolo_set(root: Path, count=4) -> Path:
    (root / 'labels').mkdir(parents=True)
    for number in range(count):
        photo(root / f'images/{number}.jpg')
        (root / f'labels/{number}.txt').write_text('0 0.5 0.5 0.5 0.5\n')
    (root / 'classes.txt').write_text('cat')
    return root


SETS = {
    'labelme': (labelme_set, '', 4),
    'coco': (simple, 'images', 6),
    'yolo': (yolo_set, 'images', 4),
}


@pytest.mark.parametrize(
    ('kind', 'format', 'place'),
    [
        ('labelme', 'labelme', 'pred'),
        ('coco', 'coco', 'pred'),
        ('coco', 'coco', ''),
        ('coco', 'labelme', 'annotations/pred'),
        ('yolo', 'yolo', 'auto'),
        ('yolo', 'voc', 'auto'),
        ('yolo', 'cvat', 'images/auto'),
    ],
)
def test_predictions_beside_labels_made_by_hand(kind, format, place, predict, tmp_path, command):
    make, photos, count = SETS[kind]
    root = make(tmp_path / 'd')
    before = everything(adapt(RETINANET, root, tmp_path / 'before')[0])
    predict('retinanet', root / photos, root / place, format)
    ended = command('check', root)
    assert ended.code == 0
    assert f'format {kind}' in ended.out
    assert f'4 images, {count} annotations' in ended.out
    assert NOT_USED in ended.out
    cfg, lines = adapt(RETINANET, root, tmp_path / 'after')
    assert everything(cfg) == before
    assert any(NOT_USED in line for line in lines)


@pytest.mark.parametrize('out', ['pred', 'masks_pred', 'images/pred'])
def test_predicted_masks_and_their_pictures(out, predict, tmp_path, command):
    root = mask_set(tmp_path / 'd')
    predict('fpn', root / 'images', root / out, 'png')
    ended = command('check', root)
    assert ended.code == 0
    assert '4 images, 4 masks, 3 classes' in ended.out
    assert f'8 x {NOT_USED}' in ended.out


@pytest.mark.parametrize('sheet', ['sheet.png', 'images/sheet.png', 'labels/sheet.png'])
def test_a_contact_sheet(sheet, tmp_path, command):
    root = yolo_set(tmp_path / 'd')
    assert command('check', root, '--sheet', root / sheet, '--json', root / 'report.json').code == 0
    ended = command('check', root)
    assert '4 images, 4 annotations' in ended.out
    assert f'2 x {NOT_USED}: ' in ended.out
    Image.open(root / sheet).convert('L').save(root / sheet)  # a picture of the user's now
    assert f'1 x {NOT_USED}: report.json' in command('check', root).out


def test_predicted_labels_are_data_where_there_are_no_others(predict, tmp_path, command):
    for number in range(4):
        photo(tmp_path / f'd/photos/{number}.jpg')
    predict('retinanet', tmp_path / 'd/photos', tmp_path / 'd/labels', 'labelme')
    ended = command('check', tmp_path / 'd')
    assert 'format labelme' in ended.out
    assert '4 images' in ended.out
    assert '4 x label file as a model predicted it, used' in ended.out
    assert f'4 x {NOT_USED}: labels/overlays/0.png' in ended.out


@pytest.mark.parametrize('place', ['', 'auto'])
def test_a_corrected_label_brings_the_others_of_its_folder(place, predict, tmp_path, command):
    for number in range(4):
        photo(tmp_path / f'photos/{number}.jpg')
    predict('retinanet', tmp_path / 'photos', tmp_path / 'd/auto', 'yolo')
    label = tmp_path / 'd/auto/labels/train/0.txt'
    label.write_text('0 0.5 0.5 0.5 0.5\n')
    ended = command('check', tmp_path / 'd' / place)
    assert 'format yolo' in ended.out
    assert '4 images' in ended.out
    assert '3 x label file as a model predicted it, used' in ended.out


def test_predicted_labels_among_those_made_by_hand(predict, tmp_path, command):
    root = labelme_set(tmp_path / 'd', 3)
    for name in ('4', '5'):
        photo(root / f'{name}.jpg')
        predict('retinanet', root / f'{name}.jpg', root, 'labelme')
    ended = command('check', root)
    assert '5 images' in ended.out
    assert '2 x label file as a model predicted it, used; correct those that are wrong: 4.json, 5.json' in ended.out


def test_predicted_masks_alone(predict, tmp_path, command):
    for number in range(4):
        photo(tmp_path / f'd/images/{number}.jpg')
    predict('fpn', tmp_path / 'd/images', tmp_path / 'd/masks', 'png')
    assert '4 images, 4 masks' in command('check', tmp_path / 'd').out


def test_predictions_that_are_no_labels_alone(predict, tmp_path, command, refused):
    for number in range(4):
        photo(tmp_path / f'd/images/{number}.jpg')
    predict('retinanet', tmp_path / 'd/images', tmp_path / 'd/pred', 'coco')
    line = refused('check', tmp_path / 'd')
    assert f'5 x {NOT_USED}; to train on what mmlska wrote there, delete pred/{RECORD}; ' in line
    (tmp_path / 'd/pred' / RECORD).unlink()
    assert 'format coco' in command('check', tmp_path / 'd').out


def test_one_mask_serves_one_photo(tmp_path, command):
    root = mask_set(tmp_path / 'd')
    for number in range(4):
        photo(root / f'vis/{number}.png')
    ended = command('check', root)
    assert '4 images, 4 masks, 3 classes' in ended.out
    assert (
        '4 x image whose mask is that of another image, not used: vis/0.png, where images/0.jpg is nearer' in ended.out
    )
    (root / 'images').rename(root / 'rgb')
    assert 'vis/0.png, where rgb/0.jpg is nearer' in command('check', root).out
    (root / 'vis').rename(root / 'rgb_night')
    ended = command('check', root)
    assert '8 images' in ended.out
    assert '4 x mask of several images that are equally near, used for each' in ended.out


def _run(root: Path, name: str) -> Path:
    """A work directory as a training leaves it."""
    adapt(RETINANET, root, root / name)
    return root / name


def test_labels_in_the_work_directory_of_a_training(tmp_path, command):
    root = simple(tmp_path / 'd')
    _run(root, 'run1')
    assert (root / 'run1/data/train.json').is_file()
    images = [image(number, f'{number}.png') for number in range(4)]
    coco(root / 'all.json', images, [annotation(number + 1, number, 2, (40, 20, 20, 20)) for number in range(4)])
    ended = command('check', root)
    assert '4 images, 4 annotations' in ended.out
    assert f'1 x {TRAINING}: run1' in ended.out
    cfg, lines = adapt(RETINANET, root, root / 'run2')
    assert {tuple(map(int, box)) for labels in everything(cfg).values() for _, box, _ in labels} == {(40, 20, 60, 40)}
    assert f'1 x {TRAINING}: run1' in lines


@pytest.mark.parametrize('make', [yolo_set, labelme_set])
def test_a_training_does_not_change_the_format(make, tmp_path, command):
    root = make(tmp_path / 'd')
    before = command('check', root).out
    _run(root, 'runs/first')
    after = command('check', root).out
    assert before.splitlines()[:4] == after.splitlines()[:4]
    assert f'{TRAINING}: runs/first' in after


def test_trainings_of_others(tmp_path, command):
    root = yolo_set(tmp_path / 'd')
    for folder, file in (('runs/detect/train', 'args.yaml'), ('upernet', 'last_checkpoint')):
        photo(root / folder / 'labels.jpg')
        (root / folder / file).write_text('task: detect\n')
    (root / 'runs/detect/train/weights').mkdir()
    ended = command('check', root)
    assert '4 images' in ended.out
    assert f'2 x {TRAINING}: runs/detect/train, upernet' in ended.out
    # Labels may have the name of our record.
    shutil.rmtree(root / 'upernet')
    simple(tmp_path / 'c')
    (tmp_path / 'c/all.json').rename(tmp_path / 'c/training.json')
    assert '4 images, 6 annotations' in command('check', tmp_path / 'c').out


def test_a_work_directory_around_the_data(tmp_path):
    for place in ('data/pets', 'pets'):
        simple(tmp_path / place)
        refuse_work_dir_of_data(str(tmp_path), str(tmp_path / place))
    for place, work in (('data', '.'), ('pets', 'pets')):
        simple(tmp_path / place)
        with pytest.raises(ValueError, match='which the files of a training would be mixed with'):
            refuse_work_dir_of_data(str(tmp_path / work), str(tmp_path / place))


@pytest.mark.parametrize('work_dir', ['.', 'images', 'annotations'])
def test_a_work_directory_among_the_data(work_dir, tiny_models, tmp_path, refused):
    root = simple(tmp_path / 'd')
    (root / 'annotations').mkdir()
    (root / 'all.json').rename(root / 'annotations/all.json')
    before = sorted(root.rglob('*'))
    config = tiny_models['retinanet'].config
    line = refused('train', config, '--data', root, '--work-dir', root / work_dir, '--epochs', 1)
    assert f'holds data of --data {root}, which the files of a training would be mixed with; leave it out, or' in line
    assert sorted(root.rglob('*')) == before
    assert json.loads((root / 'annotations/all.json').read_text())['images']


@pytest.mark.parametrize('made', [0, 3])
@pytest.mark.parametrize('corrected', [0, 1, 4])
def test_predicted_masks_in_a_folder_of_any_name(corrected, made, predict, tmp_path, command):
    root = mask_set(tmp_path / 'd')
    for number in range(made, 4):
        (root / f'masks/{number}.png').unlink()
    predict('fpn', root / 'images', root / 'pred', 'png')
    for number in range(corrected):
        mask(root / f'pred/{number}.png', stripes([0, 1, 2, 1]))
    ended = command('check', root)
    assert ended.code == 0, ended.out
    count = 3 if made and not corrected else 4
    assert f'4 images, {count} masks' in ended.out or f'{count} images, {count} masks' in ended.out


@pytest.mark.parametrize('line', ['["ab", 5]', 'null', 'true', '[null, "0.jpg"]', '[["a"], "0.jpg"]', '{}', '"ab"'])
def test_a_record_of_somebody_else(line, tmp_path, command):
    root = yolo_set(tmp_path / 'd')
    (root / RECORD).write_text(f'{line}\n')
    assert '4 images, 4 annotations' in command('check', root).out
