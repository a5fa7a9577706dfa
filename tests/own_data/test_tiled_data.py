"""A user's folder trained on in tiles: the config, the lines, and images too large to be read at once."""

import json

import numpy as np
import pytest
import tifffile
from own_sets import MASK_RCNN, RETINANET, UPERNET, adapt, annotation, build, coco, image, mask, photo, simple

from mmlska.bands import BandFile
from mmlska.engine.config import load_config
from mmlska.engine.tiling import tiles_of
from mmlska.image_windows import header_of
from mmlska.images import MAX_PIXELS, ImageError, read_header
from mmlska.own_data.anchors import take_anchors, take_anchors_of_run
from mmlska.own_data.check import check_folder
from mmlska.own_data.contact_sheet import write_sheet
from mmlska.own_data.training import use_data_and_options

SIDE = 13500  # of a photo above the limit of what is read at once


def line(lines, start):
    (found,) = [text for text in lines if text.startswith(start)]
    return found


def large(root, count=4, size=(200, 150), boxes=((10, 10, 12, 12), (150, 100, 12, 12))):
    images, annotations = [], []
    for i in range(count):
        photo(root / f'images/{i}.png', size)
        images.append(image(i, f'{i}.png', size))
        annotations += [annotation(len(annotations) + j + 1, i, 1, box) for j, box in enumerate(boxes)]
    coco(root / 'all.json', images, annotations)
    return root


def test_a_detector_is_adapted_with_its_tiles(tmp_path):
    cfg, lines = adapt(
        MASK_RCNN, large(tmp_path / 'd'), tmp_path / 'work', tile=64, overlap=16, val_fraction=0.25, epochs=2
    )
    said = line(lines, 'tiles: ')
    trained = build(cfg)
    inner = trained.dataset if hasattr(trained, 'times') else trained
    assert f'{len(inner)} tiles of 64 pixels from 3 training images, 9 with objects; ' in said
    assert 'more without objects are left out; neighbours share 16 pixels; results are those of whole images' in said
    assert len(inner) == 18, 'as many tiles without an object as with one'
    assert '2 passes over the images' in lines[0]
    assert tiles_of(cfg) == (64, 16)
    assert {tuple(trained[i]['inputs'].shape[-2:]) for i in range(3)} != {(150, 200)}
    sample = build(cfg, 'val')[0]
    assert list(sample) == ['data_samples']
    assert sample['data_samples'].ori_shape == (150, 200)


def test_a_config_with_tiles_keeps_them_for_another_folder(tmp_path):
    cfg, _ = adapt(MASK_RCNN, large(tmp_path / 'd'), tmp_path / 'work', tile=64)
    cfg.dump(tmp_path / 'tiled.py')
    again, lines = adapt(str(tmp_path / 'tiled.py'), large(tmp_path / 'e'), tmp_path / 'again')
    assert tiles_of(again) == (64, 8)
    assert line(lines, 'tiles: ')
    other, _ = adapt(str(tmp_path / 'tiled.py'), large(tmp_path / 'f'), tmp_path / 'other', tile=96)
    assert tiles_of(other) == (96, 12)


def test_objects_larger_than_a_tile_are_said(tmp_path):
    root = large(tmp_path / 'd', boxes=((10, 10, 180, 30), (150, 100, 12, 12)))
    _, lines = adapt(MASK_RCNN, root, tmp_path / 'work', tile=64, val_fraction=0.25)
    assert '3 objects are larger than a tile, and learned and found in pieces: give a larger --tile' in lines


def test_images_without_objects_give_tiles_of_background(tmp_path):
    root, size = tmp_path / 'd', (200, 150)
    for i in range(4):
        photo(root / f'images/{i}.png', size)
    entries = [image(i, f'{i}.png', size) for i in range(4)]
    spots = ((10, 10), (60, 10), (150, 120))
    coco(root / 'train.json', entries[:3], [annotation(i + 1, 0, 1, (*spot, 12, 12)) for i, spot in enumerate(spots)])
    coco(root / 'val.json', entries[3:], [annotation(1, 3, 1)])
    cfg, lines = adapt(RETINANET, root, tmp_path / 'work', tile=96)
    assert 'tiles of 96 pixels from 3 training images, ' in line(lines, 'tiles: ')
    trained = build(cfg)
    trained = trained.dataset if hasattr(trained, 'times') else trained
    assert {trained.get_data_info(i)['img_id'] for i in range(len(trained))} == {1, 2, 3}


def test_tiles_that_cut_nothing_are_said(tmp_path):
    _, lines = adapt(MASK_RCNN, large(tmp_path / 'd'), tmp_path / 'work', tile=1000)
    assert 'no image is larger than a tile: nothing is cut, and images keep their own size' in lines


def test_nothing_to_learn_in_any_tile(tmp_path):
    root, work = tmp_path / 'd', tmp_path / 'work'
    photo(root / 'images/0.png', (200, 150))
    photo(root / 'images/1.png', (200, 150))
    entries = [image(i, f'{i}.png', (200, 150)) for i in range(2)]
    coco(root / 'all.json', entries, [annotation(i + 1, i, 1) for i in range(2)])
    cfg, _ = adapt(RETINANET, root, work, val_fraction=0.5)
    file = work / 'data/train.json'
    content = json.loads(file.read_text())
    content['annotations'] = [{**one, 'iscrowd': 1} for one in content['annotations']]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='none of the tiles of 64 pixels has an object to learn'):
        use_data_and_options(cfg, None, dict(tile=64))


def test_a_segmentor_is_adapted_with_its_tiles(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(4):
        photo(tmp_path / f'd/images/{i}.png', (200, 150))
        mask(tmp_path / f'd/masks/{i}.png', rng.integers(0, 3, (150, 200)))
    (tmp_path / 'd/classes.txt').write_text('a\nb\nc\n')
    cfg, lines = adapt(UPERNET, tmp_path / 'd', tmp_path / 'work', tile=96, val_fraction=0.25)
    assert '18 tiles of 96 pixels from 3 training images; neighbours share 12 pixels' in line(lines, 'tiles: ')
    first, val = build(cfg)[0], build(cfg, 'val')
    assert first['inputs'].shape[-2:] == first['data_samples'].gt_sem_seg.shape
    assert val[0]['data_samples'].gt_sem_seg.shape == (150, 200)


def test_anchors_are_chosen_unless_they_are_to_be_kept(tmp_path):
    root = large(tmp_path / 'd', count=12, boxes=[(x, 40, 9, 9) for x in (10, 50, 90, 130)])
    small = adapt(RETINANET, root, tmp_path / 'a', tile=96)
    generator = small[0].model.bbox_head.anchor_generator
    assert generator.octave_base_scale < 4
    assert line(small[1], 'anchors: ').startswith(f'anchors: octave_base_scale 4 -> {generator.octave_base_scale}, ')
    kept = adapt(RETINANET, root, tmp_path / 'b', tile=96, keep_anchors=True)
    assert kept[0].model.bbox_head.anchor_generator.octave_base_scale == 4
    assert not [text for text in kept[1] if text.startswith('anchors')]
    fine = adapt('configs/demo/retinanet_van_lska_t_small.py', simple(tmp_path / 'e', count=20), tmp_path / 'c')
    assert line(fine[1], 'anchors of the config ')


def test_a_config_with_its_own_data_is_given_tiles(tmp_path):
    cfg, _ = adapt(RETINANET, large(tmp_path / 'd'), tmp_path / 'work')
    lines = use_data_and_options(cfg, None, dict(tile=64, epochs=3))
    assert line(lines, 'tiles: ')
    assert '3 passes over the images' in lines[-1]
    assert tiles_of(cfg) == (64, 8)
    with pytest.raises(ValueError, match='--tile and --overlap: tile=10 must be at least 32 pixels'):
        use_data_and_options(cfg, None, dict(tile=10))


def test_a_segmentor_refuses_what_its_label_maps_do_not_allow(tmp_path, monkeypatch):
    monkeypatch.setattr('mmlska.own_data.adapt_config.is_huge', lambda header: True)
    simple(tmp_path / 'd')
    with pytest.raises(ValueError, match=r'^4 images of more than 179 .*; cut them up, as label maps are read whole'):
        adapt(UPERNET, tmp_path / 'd', tmp_path / 'work', tile=64)
    assert not (tmp_path / 'work/data').exists()


def test_images_with_more_objects_than_ap_counts_are_said(tmp_path):
    boxes = [(10 + 2 * i % 150, 10 + i % 100, 12, 12) for i in range(101)]
    _, lines = adapt(MASK_RCNN, large(tmp_path / 'd', boxes=boxes), tmp_path / 'work', val_fraction=0.5)
    assert (
        '2 validation images have more than 100 objects: box and mask AP count 100 of a class in an image, AP50 1000'
        in lines
    )


def test_a_resumed_training_keeps_the_anchors_of_its_weights(tmp_path):
    root = large(tmp_path / 'd', count=12, boxes=[(x, 40, 9, 9) for x in (10, 50, 90, 130)])
    cfg, _ = adapt(RETINANET, root, tmp_path / 'work', tile=96)
    cfg.dump(tmp_path / 'work/retinanet_van_lska_t.py')
    new = load_config(RETINANET)
    new.work_dir = str(tmp_path / 'work')
    assert take_anchors_of_run(new, RETINANET)
    assert new.model.bbox_head.anchor_generator == cfg.model.bbox_head.anchor_generator
    new.work_dir = str(tmp_path / 'nowhere')
    assert not take_anchors_of_run(new, RETINANET)
    assert not take_anchors(load_config('configs/upernet_van_lska_t.py'), cfg)


def huge_tiff(path, spots, side=SIDE, tile=1024):
    """A photo of nothing but some bright squares of 12 pixels; never as a whole in memory."""

    def tiles():
        for y in range(0, side, tile):
            for x in range(0, side, tile):
                pixels = np.zeros((tile, tile, 3), np.uint8)
                for left, top in spots:
                    pixels[max(top - y, 0) : max(top + 12 - y, 0), max(left - x, 0) : max(left + 12 - x, 0)] = 255
                yield pixels

    path.parent.mkdir(parents=True, exist_ok=True)
    options = dict(photometric='rgb', compression='zlib', tile=(tile, tile))
    tifffile.imwrite(path, tiles(), shape=(side, side, 3), dtype=np.uint8, **options)


@pytest.mark.slow(60)
def test_a_huge_image_is_checked_and_trained_on_by_window(tmp_path, monkeypatch):
    root, spots = tmp_path / 'd', [(100, 200), (13000, 9000)]
    size = (SIDE, SIDE)
    assert SIDE**2 > MAX_PIXELS
    huge_tiff(root / 'images/0.tif', spots)
    photo(root / 'images/1.png')
    entries = [image(0, '0.tif', size), image(1, '1.png')]
    boxes = [annotation(i + 1, 0, 1, (*spot, 12, 12)) for i, spot in enumerate(spots)]
    coco(root / 'train.json', [entries[0]], boxes)
    coco(root / 'val.json', [entries[1]], [annotation(1, 1, 1)])
    with pytest.raises(
        ValueError, match=r'^1 image of more than 179 million pixels, .*: 0.tif; train on tiles of them'
    ):
        adapt(MASK_RCNN, root, tmp_path / 'refused')
    assert not (tmp_path / 'refused/data').exists()

    def whole(*args, **options):
        raise AssertionError('read whole')

    monkeypatch.setattr(BandFile, '_read_whole', whole)
    cfg, lines = adapt(MASK_RCNN, root, tmp_path / 'work', tile=512)
    assert (
        '10 tiles of 512 pixels from 1 training image, 5 with objects; 890 more without objects are left out; '
        in line(lines, 'tiles: ')
    )
    trained = build(cfg)
    trained = trained.dataset if hasattr(trained, 'times') else trained
    info = next(info for info in map(trained.get_data_info, range(10)) if info['instances'])
    y, x, *_ = info['tile']
    assert info['instances'][0]['bbox'] == [100 - x, 200 - y, 112 - x, 212 - y]
    reads = trained._read(info)['img']
    assert reads.shape == (512, 512, 3)
    assert reads[200 - y : 212 - y, 100 - x : 112 - x].min() == 255
    assert reads.sum() == 12 * 12 * 3 * 255
    checked = check_folder(str(root), tiled=True)
    found = {finding.kind: finding.places for finding in checked.report.findings}
    assert found['image of more than the 179 million pixels that are read at once: train with --tile'] == ['0.tif']
    assert checked.report.errors == 0, found
    assert write_sheet(tmp_path / 'sheet.png', checked.source) == 2


def test_a_huge_image_that_has_no_windows_is_refused(tmp_path, monkeypatch):
    photo(tmp_path / 'a.png', (300, 200))
    monkeypatch.setattr('mmlska.image_windows.MAX_PIXELS', 1000)
    monkeypatch.setattr('mmlska.image_windows.read_header', lambda path, max_pixels=1000: read_header(path, max_pixels))
    with pytest.raises(ImageError, match='more than'):
        header_of(tmp_path / 'a.png')
