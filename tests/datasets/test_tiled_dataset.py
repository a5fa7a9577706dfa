"""Tiles of mmdet's and mmseg's own data sets: pixels, labels, which are kept, and the whole images of an evaluation."""

import json
import pickle

import cv2
import numpy as np
import pytest
import tifffile
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

import mmlska  # noqa: F401  registers the data sets
from mmlska.bands import BandFile
from mmlska.datasets.tiled_dataset import TiledDataset, UnreadDataset
from mmlska.engine.samples import Draw, GuardedDataset
from mmlska.images import read_photo

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (70, 100, 3), np.uint8)
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]


def coco(folder, boxes, pixels=PIXELS, name='a.png', **image):
    """A COCO set of one image."""
    if name.endswith('.png'):
        cv2.imwrite(str(folder / name), pixels[..., ::-1])
    height, width = pixels.shape[:2]
    annotations = [
        dict(id=i, image_id=1, category_id=1, bbox=box, area=box[2] * box[3], iscrowd=0, **rest)
        for i, (box, rest) in enumerate(boxes, 1)
    ]
    content = dict(
        images=[dict(id=1, file_name=name, **dict(dict(height=height, width=width), **image))],
        annotations=annotations,
        categories=[dict(id=1, name='thing')],
    )
    (folder / 'a.json').write_text(json.dumps(content))
    return folder


def detection(folder, steps=LOAD, **options):
    init_default_scope('mmdet')
    pack = dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape'))
    return dict(
        type='CocoDataset',
        data_root=f'{folder}/',
        ann_file='a.json',
        data_prefix=dict(img=''),
        metainfo=dict(classes=('thing',)),
        pipeline=[*steps, pack],
        **options,
    )


def tiled(inner, tile=40, overlap=10):
    return TiledDataset(inner, tile, overlap)


def test_tiles_have_the_pixels_and_the_boxes_of_their_place(tmp_path):
    coco(tmp_path, [([35, 5, 10, 10], {}), ([62, 42, 6, 20], {})])
    dataset = tiled(detection(tmp_path))
    assert len(dataset) == 2 * 3
    assert dataset.counts == dict(images=1, tiles=6, with_objects=4, left_out=0, larger=0)
    for index in range(len(dataset)):
        y, x, y_end, x_end = dataset.get_data_info(index)['tile']
        item = dataset[index]
        assert np.array_equal(item['inputs'].numpy().transpose(1, 2, 0)[..., ::-1], PIXELS[y:y_end, x:x_end])
        assert item['data_samples'].img_shape == item['data_samples'].ori_shape == (40, 40)
    first = dataset[0]['data_samples']
    assert first.gt_instances.bboxes.tensor.tolist() == [[35, 5, 40, 15]]
    assert dataset[1]['data_samples'].gt_instances.bboxes.tensor.tolist() == [[5, 5, 15, 15]]
    assert dataset.metainfo['classes'] == ('thing',)
    assert pickle.loads(pickle.dumps(dataset.get_data_info(0)))['height'] == 40


def test_a_piece_of_an_object_is_ignored_not_background(tmp_path):
    coco(tmp_path, [([36, 5, 20, 10], {})])
    dataset = tiled(detection(tmp_path))
    sample = dataset[0]['data_samples']
    assert len(sample.gt_instances) == 0
    assert sample.ignored_instances.bboxes.tensor.tolist() == [[36, 5, 40, 15]]


@pytest.mark.parametrize('mask', ['polygon', 'runs'])
def test_masks_are_cut(tmp_path, mask):
    whole = np.zeros(PIXELS.shape[:2], np.uint8)
    whole[10:30, 20:50] = 1
    flat = whole.ravel(order='F')
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [2]])))
    runs = dict(size=list(whole.shape), counts=np.diff(np.concatenate([[0], edges])).tolist())
    segmentation = [[20, 10, 50, 10, 50, 30, 20, 30]] if mask == 'polygon' else runs
    coco(tmp_path, [([20, 10, 30, 20], dict(segmentation=segmentation))])
    steps = [LOAD[0], dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]
    dataset = tiled(detection(tmp_path, steps))
    found = [index for index in range(len(dataset)) if len(dataset[index]['data_samples'].gt_instances)]
    assert found == [0, 1]
    for index in found:
        y, x, y_end, x_end = dataset.get_data_info(index)['tile']
        sample = dataset[index]['data_samples'].gt_instances
        assert np.array_equal(sample.masks.masks[0], whole[y:y_end, x:x_end])
    guarded = GuardedDataset(dict(type='TiledDataset', dataset=detection(tmp_path, steps), tile=40, overlap=10))
    assert len(guarded[Draw(0, 1)]['data_samples'].gt_instances) == 1


def test_tiles_without_objects_are_kept_up_to_those_with_one(tmp_path):
    pixels = np.zeros((400, 400, 3), np.uint8)
    coco(tmp_path, [([10, 10, 10, 10], {}), ([300, 300, 10, 10], {})], pixels)
    some = tiled(detection(tmp_path), overlap=0)
    assert some.counts == dict(images=1, tiles=4, with_objects=2, left_out=96, larger=0)
    empty = [some.get_data_info(i)['tile'] for i in range(4) if not some.get_data_info(i)['instances']]
    assert len(empty) == 2
    assert abs(empty[0][0] - empty[1][0]) > 100, 'evenly spread'
    assert some.get_cat_ids(0) in ([0], [])


def test_an_object_larger_than_a_tile_is_counted_and_learned_in_one(tmp_path):
    coco(tmp_path, [([5, 5, 90, 60], {})])
    dataset = tiled(detection(tmp_path))
    assert dataset.counts['larger'] == 1
    assert sum(len(dataset[i]['data_samples'].gt_instances) for i in range(len(dataset))) == 1


def test_images_smaller_than_a_tile_are_one(tmp_path):
    coco(tmp_path, [([5, 5, 20, 20], {})])
    dataset = tiled(detection(tmp_path), tile=128, overlap=16)
    assert len(dataset) == 1
    assert dataset[0]['inputs'].shape == (3, 70, 100)


def test_a_large_tiff_is_read_by_window(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / 'a.tif', PIXELS, tile=(32, 32), photometric='rgb')
    coco(tmp_path, [([35, 5, 10, 10], {})], name='a.tif')
    monkeypatch.setattr('mmlska.bands.LARGE', 1000)
    monkeypatch.setattr(BandFile, '_read_whole', lambda self: pytest.fail('read whole'))
    monkeypatch.setattr('mmlska.image_windows.read_photo', lambda *a, **k: pytest.fail('read whole'))
    dataset = tiled(detection(tmp_path))
    y, x, y_end, x_end = dataset.get_data_info(1)['tile']
    assert np.array_equal(dataset[1]['inputs'].numpy().transpose(1, 2, 0)[..., ::-1], PIXELS[y:y_end, x:x_end])


def test_other_channels_are_read_as_load_bands_says(tmp_path):
    values = RNG.integers(0, 60000, (70, 100, 5), np.uint16)
    tifffile.imwrite(tmp_path / 'a.tif', values, photometric='minisblack', planarconfig='contig')
    coco(tmp_path, [([35, 5, 10, 10], {})], name='a.tif')
    dataset = tiled(detection(tmp_path, [dict(type='LoadBands', channels=5, dtype='uint16'), LOAD[1]]))
    y, x, y_end, x_end = dataset.get_data_info(1)['tile']
    found = dataset[1]['inputs'].numpy().transpose(1, 2, 0)
    assert np.array_equal(found, values[y:y_end, x:x_end].astype(np.float32))


@pytest.mark.parametrize('as_stored', [False, True])
def test_a_turned_photo_is_cut_as_its_labels_count(tmp_path, as_stored):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(tmp_path / 'a.jpg', exif=exif, quality=95)
    turned = PIXELS if as_stored else PIXELS.swapaxes(0, 1)
    coco(tmp_path, [([5, 5, 20, 20], {})], turned, name='a.jpg')
    color = 'color_ignore_orientation' if as_stored else 'color'
    dataset = tiled(detection(tmp_path, [dict(LOAD[0], color_type=color), LOAD[1]]))
    whole = read_photo(tmp_path / 'a.jpg', as_stored=as_stored)
    y, x, y_end, x_end = dataset.get_data_info(1)['tile']
    assert np.array_equal(dataset[1]['inputs'].numpy().transpose(1, 2, 0), whole[y:y_end, x:x_end])


def test_labels_of_another_size_name_the_file(tmp_path):
    coco(tmp_path, [([35, 5, 10, 10], {})], height=200, width=200)
    dataset = tiled(detection(tmp_path))
    with pytest.raises(ValueError, match='^the image has 100x70 pixels, but tiles were laid for 200x200, '):
        dataset[len(dataset) - 1]


def test_a_crop_without_objects_takes_another_sample(tmp_path):
    coco(tmp_path, [([45, 45, 10, 10], {})])
    crop = dict(type='RandomCrop', crop_size=(12, 12), allow_negative_crop=False)
    dataset = tiled(detection(tmp_path, [*LOAD, crop]))
    np.random.seed(0)  # noqa: NPY002
    assert len(dataset[0]['data_samples'].gt_instances) == 1


def segmentation(folder, kind='index'):
    init_default_scope('mmseg')
    (folder / 'img').mkdir()
    (folder / 'ann').mkdir()
    cv2.imwrite(str(folder / 'img/a.png'), PIXELS[..., ::-1])
    labels = RNG.integers(0, 3, PIXELS.shape[:2], np.uint8)
    cv2.imwrite(str(folder / 'ann/a.png'), labels)
    return labels, dict(
        type='BaseSegDataset',
        data_root=str(folder),
        data_prefix=dict(img_path='img', seg_map_path='ann'),
        img_suffix='.png',
        seg_map_suffix='.png',
        metainfo=dict(classes=('a', 'b', 'c')),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')],
    )


def test_label_maps_are_cut_with_their_photos(tmp_path):
    labels, inner = segmentation(tmp_path)
    dataset = tiled(inner)
    assert dataset.counts == dict(images=1, tiles=6, with_objects=0, left_out=0, larger=0)
    for index in range(len(dataset)):
        y, x, y_end, x_end = dataset.get_data_info(index)['tile']
        item = dataset[index]
        assert np.array_equal(item['inputs'].numpy().transpose(1, 2, 0)[..., ::-1], PIXELS[y:y_end, x:x_end])
        assert np.array_equal(item['data_samples'].gt_sem_seg.data[0].numpy(), labels[y:y_end, x:x_end])


def test_a_label_map_of_another_size_is_refused(tmp_path):
    _, inner = segmentation(tmp_path)
    cv2.imwrite(str(tmp_path / 'ann/a.png'), np.zeros((140, 200), np.uint8))
    for dataset in (tiled(inner), UnreadDataset(inner)):
        with pytest.raises(ValueError, match='^the label map has 200x140 pixels, but tiles were laid for 100x70, '):
            dataset[0]


def test_images_of_an_evaluation_are_not_read(tmp_path):
    labels, inner = segmentation(tmp_path)
    (tmp_path / 'img/a.png').write_bytes(
        (tmp_path / 'img/a.png').read_bytes()[:60]
    )  # of which only the header is whole
    item = UnreadDataset(inner)[0]
    assert list(item) == ['data_samples']
    assert item['data_samples'].ori_shape == (70, 100)
    assert np.array_equal(item['data_samples'].gt_sem_seg.data[0].numpy(), labels)
    coco(tmp_path, [([35, 5, 10, 10], {})])
    inner = detection(tmp_path, [LOAD[0], dict(type='Resize', scale=(50, 50)), LOAD[1]], test_mode=True)
    sample = UnreadDataset(inner)[0]['data_samples']
    assert sample.gt_instances.bboxes.tensor.tolist() == [[35, 5, 45, 15]], 'not resized'
    assert (sample.img_id, sample.ori_shape) == (1, (70, 100))


def test_tiles_stand_inside_other_wrappers(tmp_path):
    coco(tmp_path, [([35, 5, 10, 10], {})])
    inner = dict(type='TiledDataset', dataset=detection(tmp_path), tile=40, overlap=10)
    repeated = DATASETS.build(dict(type='RepeatDataset', times=2, dataset=inner))
    joined = DATASETS.build(dict(type='ConcatDataset', datasets=[inner, inner]))
    assert len(repeated) == len(joined) == 8
    assert np.array_equal(repeated[5]['inputs'], joined[1]['inputs'])
    balanced = DATASETS.build(dict(type='ClassBalancedDataset', oversample_thr=0.9, dataset=inner))
    assert len(balanced) > 4
