"""Labels that say another size than the photo has: rescaled where one factor explains it, else refused with the sizes."""

import base64
import io
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from own_sets import MASK_RCNN, SIZE, UPERNET, adapt, annotation, build, coco, image, mask, stripes
from PIL import Image
from pycocotools import mask as coco_mask

from mmlska.own_data import label_scale
from mmlska.own_data.annotations import AnnotationFile

BOXES = 'configs/demo/retinanet_van_lska_t_small.py'
BOX = (10, 20, 40, 30)
HALF = (SIZE[0] // 2, SIZE[1] // 2)
RESIZED = 'photo resized after it was labelled; its labels are rescaled by'


def picture(path: Path, size: tuple[int, int], **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(path.name) + sum(map(ord, path.name)))
    Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), np.uint8)).save(path, **options)


def labelled(root: Path, sizes, said=SIZE, box=BOX, **more) -> Path:
    """A COCO set whose photos have these sizes and whose labels say one or several others."""
    every = said if isinstance(said, list) else [said] * len(sizes)
    for i, size in enumerate(sizes):
        picture(root / f'images/{i}.png', size)
    images = [image(i, f'{i}.png', size) for i, size in enumerate(every)]
    coco(root / 'all.json', images, [annotation(i + 1, i, 1, box, **more) for i in range(len(sizes))])
    return root


def written(cfg) -> tuple[dict[str, tuple], dict[str, dict]]:
    """The size of each photo and its one annotation, as training reads them."""
    sizes, objects = {}, {}
    for split in ('train', 'val'):
        content = json.loads((Path(cfg.work_dir) / f'data/{split}.json').read_text())
        names = {entry['id']: Path(entry['file_name']).name for entry in content['images']}
        sizes.update({names[entry['id']]: (entry['width'], entry['height']) for entry in content['images']})
        objects.update({names[one['image_id']]: one for one in content['annotations']})
    return sizes, objects


def boxes(root: Path, tmp_path: Path, config: str = BOXES) -> tuple[list[list[float]], str]:
    cfg, lines = adapt(config, root, tmp_path / 'work')
    return [one['bbox'] for _, one in sorted(written(cfg)[1].items())], '\n'.join(lines)


def test_photos_halved_after_labelling(tmp_path, command):
    root = labelled(tmp_path / 'd', [HALF] * 4)
    cfg, lines = adapt(MASK_RCNN, root, tmp_path / 'work')
    sizes, objects = written(cfg)
    assert set(sizes.values()) == {HALF}
    for one in objects.values():
        assert one['bbox'] == [5, 10, 20, 15]
        assert one['segmentation'] == [[5, 10, 25, 10, 25, 25, 5, 25]]
        assert one['area'] == 300
    said = f'4 x {RESIZED} 0.5: 0.png (80x60 in the labels, 40x30 in the file), '
    assert said in '\n'.join(lines)
    ended = command('check', root, '--fix', tmp_path / 'new')
    assert ended.code == 0
    assert f'warning: {said}' in ended.out
    assert ended.out.count(said) == 2
    fixed = json.loads((tmp_path / 'new/annotations/instances_all.json').read_text())
    assert [one['bbox'] for one in fixed['annotations']] == [[5, 10, 20, 15]] * 4
    assert {(entry['width'], entry['height']) for entry in fixed['images']} == {HALF}
    assert 'rescaled' not in command('check', tmp_path / 'new').out


@pytest.mark.parametrize('name', ['list', 'compressed'])
def test_masks_of_run_lengths_follow(tmp_path, name):
    inside = np.zeros(SIZE[::-1], np.uint8)
    inside[20:50, 10:50] = 1
    runs = coco_mask.encode(np.asfortranarray(inside))
    counts = runs['counts'].decode()
    if name == 'list':
        flat = inside.T.ravel()
        edges = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
        counts = np.diff(edges).tolist()
    root = labelled(tmp_path / 'd', [HALF] * 3, segmentation=dict(size=list(SIZE[::-1]), counts=counts))
    cfg, _ = adapt(MASK_RCNN, root, tmp_path / 'work')
    assert len(written(cfg)[1]) == 3
    for one in written(cfg)[1].values():
        assert one['segmentation']['size'] == [30, 40]
        assert (coco_mask.decode(one['segmentation']) == inside[::2, ::2]).all()


def test_each_photo_has_its_factor(tmp_path):
    """As the longest side of photos of several shapes was made 40."""
    said = [(80, 60), (60, 80), (200, 50), (40, 30), (81, 61)]
    sizes = [(40, 30), (30, 40), (40, 10), (40, 30), (40, 30)]
    root = labelled(tmp_path / 'd', sizes, said, box=(8, 4, 20, 12))
    found, lines = boxes(root, tmp_path)
    wanted = [(0.5, 0.5), (0.5, 0.5), (0.2, 0.2), (1, 1), (40 / 81, 30 / 61)]
    for box, (across, down) in zip(found, wanted):
        assert box == pytest.approx([8 * across, 4 * down, 20 * across, 12 * down])
    assert f'4 x {RESIZED} 0.2 to 0.5: ' in lines


def test_photos_enlarged_after_labelling(tmp_path):
    found, lines = boxes(labelled(tmp_path / 'd', [(160, 120)] * 3), tmp_path)
    assert found == [[20, 40, 80, 60]] * 3
    assert f'3 x {RESIZED} 2: ' in lines


@pytest.mark.parametrize('size', [(80, 80), (60, 60), (80, 30)], ids=['padded', 'cropped', 'stretched'])
def test_other_shapes_stop_training(tmp_path, command, refused, size):
    root = labelled(tmp_path / 'd', [SIZE, size, SIZE, SIZE])
    line = refused('train', 'retinanet_van_lska_t', '--data', root, '--work-dir', tmp_path / 'work')
    assert f'1.png has {size[0]}x{size[1]} pixels and its labels say 80x60, like 1 of 4 images' in line
    assert f'mmlska check {root} --fix NEW_DIR' in line
    ended = command('check', root, '--fix', tmp_path / 'new')
    assert ended.code == 1
    kind = 'error: 1 x size in the labels unlike the image'
    assert f'{kind}: 1.png (80x60, not {size[0]}x{size[1]})' in ended.out
    # What it advises works.
    assert 'left out: 1 images' in ended.out
    assert len(boxes(tmp_path / 'new', tmp_path)[0]) == 3


def test_a_photo_without_objects_has_no_size_to_disagree_with(tmp_path, command):
    root = labelled(tmp_path / 'd', [SIZE] * 3)
    content = json.loads((root / 'all.json').read_text())
    content['images'].append(image(9, '9.png', (100, 20)))
    (root / 'all.json').write_text(json.dumps(content))
    picture(root / 'images/9.png', SIZE)
    cfg, _ = adapt(BOXES, root, tmp_path / 'work')
    assert set(written(cfg)[0].values()) == {SIZE}
    assert command('check', root).code == 0


@pytest.mark.parametrize('said', [(0, 0), (1, 1), (-1, -1), (64, 1), ('?', None)], ids=str)
def test_a_size_that_is_none_gives_way_to_that_of_the_file(tmp_path, command, said):
    root = labelled(tmp_path / 'd', [(60, 60), (90, 60), (60, 70)], said)
    found, lines = boxes(root, tmp_path)
    assert found == [list(BOX)] * 3
    assert '3 x photo' in lines
    assert 'that of the file' in lines
    ended = command('check', root)
    assert (ended.code, 'warning: 3 x photo' in ended.out) == (0, True), ended.out


@pytest.mark.parametrize('factor', [2, 3])
def test_one_size_written_for_all_photos(tmp_path, factor):
    """Objects lie beyond it: it is no size that the labels count by, though one factor makes it that of the file."""
    size = (80 * factor, 60 * factor)
    root = labelled(tmp_path / 'd', [size, size, (200, 170)], box=(90, 70, 60, 45))
    found, lines = boxes(root, tmp_path)
    assert found == [[90, 70, 60, 45]] * 3
    assert (
        '3 x photo with objects beyond the size that its labels say; that of the file, where they fit, is taken'
        in lines
    )


def test_one_wrong_box_among_many_does_not_stop_the_rescaling(tmp_path):
    root = labelled(tmp_path / 'd', [(160, 120)] * 12)
    content = json.loads((root / 'all.json').read_text())
    content['annotations'][3].update(bbox=[90, 20, 40, 30], segmentation=[])
    (root / 'all.json').write_text(json.dumps(content))
    found, lines = boxes(root, tmp_path)
    assert f'12 x {RESIZED} 2: ' in lines
    assert found.count([20, 40, 80, 60]) == 11


class Counted(dict):
    """An annotation that counts how often somebody asks for its photo."""

    asked = 0

    def get(self, key, default=None):
        Counted.asked += key == 'image_id'
        return super().get(key, default)


@pytest.mark.parametrize('said', [(160, 120), SIZE[::-1], (100, 33)], ids=['resized', 'swapped', 'stretched'])
@pytest.mark.parametrize('boxed', [True, False])
def test_the_work_grows_with_the_photos_not_with_their_square(tmp_path, monkeypatch, said, boxed):
    picture(tmp_path / 'a.png', SIZE)
    count = 300
    images = [image(i, 'a.png', said) for i in range(count)]
    # What has no box in plain numbers is an object too.
    annotations = [Counted(annotation(i, i, 1) if boxed else dict(id=i, image_id=i)) for i in range(count)]
    content = dict(images=images, annotations=annotations, categories=[])
    looked = []

    def watch(rule, *of) -> bool:
        looked.append(rule)
        return rule(*of)

    for name in ('_fits', '_centre_is_beyond'):
        monkeypatch.setattr(label_scale, name, partial(watch, getattr(label_scale, name)))
    monkeypatch.setattr(Counted, 'asked', 0)
    file = AnnotationFile(tmp_path / 'all.json', None, content, {'a.png': tmp_path / 'a.png'})
    found = label_scale.rescale_labels([file])
    assert len(looked) <= 2 * count
    assert Counted.asked <= 4 * count
    sizes = {(entry['width'], entry['height']) for entry in found[0].content['images']}
    assert sizes == ({said} if said == (100, 33) else {SIZE})


def test_height_written_for_width(tmp_path, refused):
    root = labelled(tmp_path / 'd', [SIZE] * 3, SIZE[::-1], box=(50, 10, 28, 40))
    found, lines = boxes(root, tmp_path)
    assert found == [[50, 10, 28, 40]] * 3
    assert '3 x photo whose labels say its height for its width; the size of the file is taken' in lines
    # Photos that were turned after they were labelled.
    root = labelled(tmp_path / 'turned', [SIZE] * 3, SIZE[::-1], box=(10, 50, 40, 28))
    line = refused('train', 'retinanet_van_lska_t', '--data', root, '--work-dir', tmp_path / 'work')
    assert '0.png has 80x60 pixels and its labels say 60x80, like 3 of 3 images' in line


def test_a_photo_that_exif_turns_may_be_resized(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    root = labelled(tmp_path / 'd', [HALF] * 2, [SIZE[::-1]] * 2, box=(10, 20, 40, 50))
    for i in range(2):
        picture(root / f'images/{i}.png', HALF, exif=exif)
    cfg, _ = adapt(BOXES, root, tmp_path / 'work')
    sizes, objects = written(cfg)
    assert set(sizes.values()) == {HALF[::-1]}
    assert [one['bbox'] for one in objects.values()] == [[5, 10, 20, 25]] * 2


def test_a_pixel_more_or_less_is_no_other_photo(tmp_path, command):
    root = labelled(tmp_path / 'd', [(80, 59), (79, 60), SIZE])
    found, lines = boxes(root, tmp_path)
    assert found == [list(BOX)] * 3
    assert '2 x photo that is a pixel larger or smaller than its labels say' in lines
    assert command('check', root).code == 0


def voc(root: Path) -> None:
    for i in range(3):
        (root / f'{i}.xml').write_text(
            f'<annotation><filename>{i}.png</filename><size><width>80</width><height>60</height></size><object><name>cat</name>'
            '<bndbox><xmin>10</xmin><ymin>20</ymin><xmax>50</xmax><ymax>50</ymax></bndbox></object></annotation>'
        )


def labelme(root: Path) -> None:
    shape = dict(label='cat', shape_type='rectangle', points=[[10, 20], [50, 50]])
    for i in range(3):
        content = dict(imagePath=f'{i}.png', imageWidth=80, imageHeight=60, imageData=None, shapes=[shape])
        (root / f'{i}.json').write_text(json.dumps(content))


def cvat(root: Path) -> None:
    shape = '<box label="cat" xtl="10" ytl="20" xbr="50" ybr="50"/>'
    images = ''.join(f'<image id="{i}" name="{i}.png" width="80" height="60">{shape}</image>' for i in range(3))
    (root / 'annotations.xml').write_text(f'<annotations><meta/>{images}</annotations>')


def supervisely(root: Path) -> None:
    shape = dict(classTitle='cat', geometryType='rectangle', points=dict(exterior=[[10, 20], [50, 50]], interior=[]))
    for i in range(3):
        file = root / f'ds/ann/{i}.png.json'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(dict(size=dict(width=80, height=60), objects=[shape])))
        (root / 'ds/img').mkdir(exist_ok=True)
        (root / f'{i}.png').rename(root / f'ds/img/{i}.png')
    (root / 'meta.json').write_text(json.dumps(dict(classes=[dict(title='cat', shape='rectangle')])))


def csv(root: Path) -> None:
    rows = ''.join(f'{i}.png,80,60,cat,10,20,50,50\n' for i in range(3))
    (root / 'labels.csv').write_text(f'filename,width,height,class,xmin,ymin,xmax,ymax\n{rows}')


def fractions(root: Path) -> None:
    rows = ''.join(f'{i}.png,99,33,cat,0.125,{1 / 3},0.625,{5 / 6}\n' for i in range(3))
    (root / 'labels.csv').write_text(f'filename,width,height,class,xmin,ymin,xmax,ymax\n{rows}')


@pytest.mark.parametrize('write', [voc, labelme, cvat, supervisely, csv, fractions])
def test_every_format_that_says_a_size(tmp_path, command, write):
    root = tmp_path / 'd'
    for i in range(3):
        picture(root / f'{i}.png', HALF)
    write(root)
    found, lines = boxes(root, tmp_path)
    assert found == [pytest.approx([5, 10, 20, 15])] * 3
    assert (f'3 x {RESIZED} 0.5: ' in lines) == (write is not fractions)
    assert command('check', root).code == 0


def test_a_labelme_mask_follows_its_photo(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.full((31, 41), 255, np.uint8)).save(buffer, format='PNG')
    shape = dict(label='cat', shape_type='mask', points=[[10, 20], [50, 50]])
    shape['mask'] = base64.b64encode(buffer.getvalue()).decode()
    for i in range(3):
        picture(tmp_path / f'd/{i}.png', HALF)
        content = dict(imagePath=f'{i}.png', imageWidth=80, imageHeight=60, imageData=None, shapes=[shape])
        (tmp_path / f'd/{i}.json').write_text(json.dumps(content))
    cfg, _ = adapt(MASK_RCNN, tmp_path / 'd', tmp_path / 'work')
    for one in written(cfg)[1].values():
        inside = coco_mask.decode(one['segmentation'])
        assert inside.shape == (30, 40)
        assert inside[10:25, 5:25].all()
        assert inside.sum() <= 16 * 21


@pytest.mark.parametrize('palette', [None, [[0, 0, 0], [60, 16, 152], [226, 169, 41]]], ids=['index', 'palette'])
def test_masks_of_photos_that_were_halved(tmp_path, command, palette):
    root = tmp_path / 'd'
    for i in range(4):
        picture(root / f'images/{i}.png', HALF)
        mask(root / f'masks/{i}.png', stripes([0, 1, 2]), 'P' if palette else None, palette)
    (root / 'classes.json').write_text('["sky", "cat", "dog"]')
    cfg, lines = adapt(UPERNET, root, tmp_path / 'work')
    said = '4 x photo resized after it was labelled; its mask is rescaled by 0.5: 0.png (80x60, the photo 40x30)'
    assert said in '\n'.join(lines)
    read = build(cfg, 'val')[0]['data_samples'].gt_sem_seg.data.numpy()[0]
    assert (read == stripes([0, 1, 2])[1::2, 1::2]).all()
    ended = command('check', root, '--fix', tmp_path / 'new')
    assert (ended.code, f'warning: {said}' in ended.out) == (0, True), ended.out
    assert '4 pairs of image and mask' in ended.out
    with Image.open(tmp_path / 'new/masks/0.png') as fixed:
        assert (np.asarray(fixed) == stripes([0, 1, 2])[1::2, 1::2]).all()


def test_masks_of_another_shape_stop_training(tmp_path, refused):
    root = tmp_path / 'd'
    for i in range(4):
        picture(root / f'images/{i}.png', (60, 60) if i == 2 else SIZE)
        mask(root / f'masks/{i}.png', stripes([0, 1, 2]))
    line = refused('train', 'upernet_van_lska_t', '--data', root, '--work-dir', tmp_path / 'work')
    assert 'masks/2.png is 80x60 and its image 60x60, like 1 of 4' in line


def test_a_config_takes_the_sizes_on_trust(tmp_path, command):
    """MMDetection does not rescale: there a size unlike that of the file is an error, whatever the factor."""
    root = labelled(tmp_path / 'd', [HALF] * 4)
    cfg, _ = adapt(BOXES, root, tmp_path / 'work')
    for split in ('train', 'val'):
        file = Path(cfg.work_dir) / f'data/{split}.json'
        content = json.loads(file.read_text())
        for entry in content['images']:
            entry['width'], entry['height'] = SIZE
        file.write_text(json.dumps(content))
    cfg.dump(str(tmp_path / 'c.py'))
    ended = command('check', tmp_path / 'c.py')
    assert (ended.code, 'size in the labels unlike the image' in ended.out) == (1, True)


def runs_of_size(root: Path, size: tuple[int, int], box=BOX, cut: int | None = None, count: int = 4) -> Path:
    """A COCO set whose first masks are run lengths of another size, or cut off."""
    labelled(root, [SIZE] * 4, box=box)
    content = json.loads((root / 'all.json').read_text())
    inside = np.zeros(SIZE[::-1], np.uint8)
    inside[BOX[1] : BOX[1] + BOX[3], BOX[0] : BOX[0] + BOX[2]] = 1
    runs = coco_mask.encode(np.asfortranarray(Image.fromarray(inside).resize(size, Image.Resampling.NEAREST)))
    for entry in content['annotations'][:count]:
        entry['segmentation'] = dict(size=list(size[::-1]), counts=runs['counts'].decode()[:cut])
    (root / 'all.json').write_text(json.dumps(content))
    return root


@pytest.mark.parametrize(('size', 'factor'), [(HALF, '2'), ((160, 120), '0.5'), ((20, 15), '4')])
def test_runs_of_another_size_follow_the_photo(size, factor, command, tmp_path):
    root = runs_of_size(tmp_path / 'd', size)
    ended = command('check', root)
    assert ended.code == 0, ended
    assert f'warning: 4 x run lengths for an image of another size, rescaled by {factor}: 0.png' in ended.out
    cfg, _ = adapt(MASK_RCNN, root, tmp_path / 'work')
    (boxes,) = {
        tuple(instance['bbox']) for i in range(len(build(cfg))) for instance in build(cfg).get_data_info(i)['instances']
    }
    assert boxes == (10, 20, 50, 50)
    mask_read = build(cfg)[0]['data_samples'].gt_instances.masks
    assert len(mask_read) == 1


def test_where_most_runs_are_broken_boxes_are_left(command, tmp_path):
    root = runs_of_size(tmp_path / 'd', SIZE, cut=-2)
    ended = command('check', root)
    assert ended.code == 0, ended
    assert 'warning: 4 x mask of broken run lengths, the box is used alone: 0.png' in ended.out
    _, lines = adapt(BOXES, root, tmp_path / 'work')
    assert '4 images, 2 classes (cat, dog), 4 annotations' in lines[0]
    stretched = runs_of_size(tmp_path / 'stretched', (64, 64))
    assert '4 x mask size unlike the image, the box is used alone' in command('check', stretched).out


def test_runs_that_nothing_explains_are_left_out(command, tmp_path):
    few = runs_of_size(tmp_path / 'few', SIZE, cut=-2, count=1)
    assert 'error: 1 x mask of broken run lengths: 0.png' in command('check', few).out
    small = runs_of_size(tmp_path / 'small', HALF, box=(5, 10, 20, 15))  # the box counts by the small size too
    assert 'error: 4 x mask size unlike the image: 0.png' in command('check', small).out
