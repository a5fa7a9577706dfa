"""What a training says of the data that a config names, before it trains: nothing to learn, photos that validate too, other sizes."""

import shutil
from pathlib import Path

import pytest
from own_sets import ROOT, annotation, coco, image, photo
from PIL import Image
from two_class_set import IMAGES, LABELS, change


def as_coco(root: Path) -> None:
    coco(root / 'all.json', IMAGES, [one | dict(iscrowd=1) for one in LABELS])


def as_ignored_coco(root: Path) -> None:
    coco(root / 'all.json', IMAGES, [one | dict(ignore=1) for one in LABELS])


def as_difficult_voc(root: Path) -> None:
    box = '<bndbox><xmin>10</xmin><ymin>10</ymin><xmax>50</xmax><ymax>40</ymax></bndbox>'
    thing = f'<object><name>cat</name><difficult>1</difficult>{box}</object>'
    for number in range(4):
        text = f'<annotation><filename>{number}.png</filename>{thing}</annotation>'
        (root / f'images/{number}.xml').write_text(text)


@pytest.mark.parametrize(
    ('config', 'write'),
    [('det.py', as_coco), ('det.py', as_ignored_coco), ('seg.py', as_coco), ('box.py', as_difficult_voc)],
)
def test_nothing_to_learn_in_a_folder(refuses, command, folder, config, write):
    (folder / 'box.py').write_text(f'_base_ = {str(ROOT / "configs/demo/retinanet_van_lska_t_small.py")!r}\n')
    for number in range(4):
        photo(folder / f'own/images/{number}.png')
    write(folder / 'own')
    # Nor without validation, which other lines advise.
    for options in ((), ('--cfg-options', 'val_dataloader=None', 'val_evaluator=None', 'val_cfg=None')):
        line = refuses(config, '', '--data', 'own', *options)
        assert 'all crowds (iscrowd), difficult or ignored, of which nothing is learned; write 0 there for' in line
    ended = command('check', 'own', cwd=folder)
    assert ended.code == 1
    assert 'error: 1 x annotations to train on that are all crowds (iscrowd), difficult or ignored' in ended.out


PRINTED = ('--no-report', '--work-dir', 'work', '--resume')  # nothing to resume: the run ends before it trains


@pytest.fixture
def doubts(command, folder):
    """What a training of the config says of its data, each in a line, before it trains."""

    def run(config: str = 'det.py') -> list[str]:
        ended = command('train', config, *PRINTED, 'missing.pth', cwd=folder)
        assert 'missing.pth' in ended.last
        return [line for line in ended.out.splitlines() if line.startswith('warning: ') and 'scope' not in line]

    return run


def test_a_sound_set_is_not_doubted(doubts, folder):
    change(folder / 'set/train.json', images=IMAGES[2:], annotations=LABELS[2:])
    assert doubts() == []


def test_photos_of_training_that_validate(doubts, folder):
    found = doubts()
    assert found == [
        'warning: 2 of 2 validation photos are training photos too, by file or content: 0.png, 1.png; '
        'results are better than they will be on new photos'
    ]
    # Half of them, as copies of other names.
    change(folder / 'set/train.json', images=IMAGES[1:], annotations=LABELS[1:])
    shutil.copy(folder / 'set/images/1.png', folder / 'set/images/copy.png')
    change(folder / 'set/val.json', images=[IMAGES[0], image(1, 'copy.png')])
    assert '1 of 2 validation photos are training photos too, by file or content: copy.png' in doubts()[0]


def test_masks_of_training_that_validate(doubts, folder):
    text = (folder / 'seg.py').read_text()
    assert doubts('seg.py') == []
    prefix = "dict(img_path='images/validation', seg_map_path='annotations/validation')"
    (folder / 'seg.py').write_text(f"{text}train_dataloader['dataset'].update(data_prefix={prefix})\n")
    (found,) = doubts('seg.py')
    assert '2 of 2 validation photos are training photos too, by file or content: ' in found


def test_photos_halved_after_labelling(doubts, folder):
    change(folder / 'set/train.json', images=IMAGES[2:], annotations=LABELS[2:])
    for number in range(2, 4):
        path = folder / f'set/images/{number}.png'
        Image.open(path).resize((40, 30)).save(path)
    (found,) = doubts()
    assert (
        'train.json: 2 of 2 photos looked at have another size than it says, such as 2.png (80x60, not 40x30)' in found
    )
    assert 'MMDetection does not rescale labels: train with --data FOLDER' in found


@pytest.mark.parametrize(
    ('entry', 'said'),
    [
        (dict(bbox=[10, 10, -5, 5], segmentation=[]), '1 x box of negative width or height'),
        (dict(segmentation=[[10, 10, float('nan'), 5, 6, 7]]), '1 x mask of impossible numbers'),
        (dict(image_id=77), '1 x unknown image id'),
        (dict(bbox=[200, 10, 20, 20], segmentation=[]), '1 x box outside the image'),
        (dict(image_id=3), '1 x object written twice, read once'),
        (dict(segmentation={'size': [60, 80], 'counts': [9, 9]}), '1 x mask of broken run lengths'),
    ],
)
def test_annotations_that_check_calls_errors(doubts, folder, entry, said):
    labels = [annotation(9, 3, 1), annotation(10, 3, 2, (5, 5, 20, 20)), annotation(11, 2, 1) | entry]
    change(folder / 'set/train.json', images=IMAGES[2:], annotations=labels)
    (found,) = doubts()
    assert f'train.json: 1 fault in 3 annotations: {said}; MMDetection leaves such out, learns them' in found
    assert found.endswith('det.py names them')
