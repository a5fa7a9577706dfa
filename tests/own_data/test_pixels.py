"""Folders of images that are no photos of 8 bits: the config that trains on them, and what a check says."""

import json

import cv2
import numpy as np
import pytest
import tifffile
from band_sets import band_set, write_image
from mmengine.registry import MODELS, init_default_scope
from own_sets import MASK_RCNN, RETINANET, UPERNET, adapt, build, coco, image, mask_set, photo, simple
from tiny_models import TINY_MASK_RCNN, TINY_UPERNET

from mmlska.bands import PHOTO, BandReader, Pixels
from mmlska.engine.image_reading import band_reader, show_bands
from mmlska.own_data.check import check_config, check_folder
from mmlska.own_data.pixel_statistics import statistics
from mmlska.own_data.pixels import pixels_in
from mmlska.own_data.repair import write_repaired

SMALL = 'configs/demo/retinanet_van_lska_t_small.py'


def steps_of(cfg, split):
    return [step.type for step in build_config(cfg, split)]


def build_config(cfg, split):
    dataset = cfg[f'{split}_dataloader'].dataset
    while 'pipeline' not in dataset:
        dataset = dataset.get('dataset') or dataset.datasets[0]
    return dataset.pipeline


@pytest.mark.parametrize(
    'kind',
    [
        dict(channels=5),
        dict(channels=1, dtype='uint8', suffix='.png'),
        dict(channels=1, suffix='.png'),
        dict(channels=4, dtype='uint8'),
        dict(channels=2, dtype='float32'),
        dict(channels=3),
    ],
)
@pytest.mark.parametrize('config', [TINY_MASK_RCNN, TINY_UPERNET], ids=['mask_rcnn', 'upernet'])
def test_the_whole_config_follows_the_pixels(config, kind, tmp_path):
    masks = config == TINY_UPERNET
    (tmp_path / 'tiny.py').write_text(config)
    root = band_set(tmp_path / 'd', count=5, masks=masks, **kind)
    cfg, lines = adapt(str(tmp_path / 'tiny.py'), root, tmp_path / 'work')
    channels, dtype = kind['channels'], kind.get('dtype', 'uint16')
    for split in ('train', 'val', 'test'):
        steps = build_config(cfg, split)
        assert not {'LoadImageFromFile', 'PhotoMetricDistortion'}.intersection(step.type for step in steps)
        assert (steps[0].type, steps[0].channels, steps[0].dtype) == ('LoadBands', channels, dtype)
        sample = build(cfg, split)[0]
        assert sample['inputs'].shape[0] == channels
    trained = build(cfg)
    files = {trained.get_data_info(i)['img_path'] for i in range(len(trained))}
    every = np.concatenate([BandReader(channels, dtype).read(path).reshape(-1, channels) for path in sorted(files)])
    given = cfg.model.data_preprocessor
    assert given.mean == pytest.approx(every.astype(float).mean(0), rel=1e-4)
    assert given.std == pytest.approx(every.astype(float).std(0), rel=1e-3)
    assert given.type == 'BandsPreprocessor'
    assert 'bgr_to_rgb' not in given
    assert cfg.model.backbone.get('in_channels', 3) == channels
    assert any(line.startswith(f'pixels: {Pixels(channels, dtype)}; normalised by the mean [') for line in lines)
    if channels not in (1, 5):
        return
    model = MODELS.build(cfg.model)
    assert model.backbone.patch_embed1.projection.in_channels == channels
    batch = [build(cfg)[i] for i in range(2)]
    data = dict(inputs=[item['inputs'] for item in batch], data_samples=[item['data_samples'] for item in batch])
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    assert all(
        np.isfinite(float(v.detach()))
        for value in losses.values()
        for v in (value if isinstance(value, list) else [value])
    )


def test_pretrained_weights_are_adapted_and_said_so(tmp_path):
    cfg, lines = adapt(SMALL, band_set(tmp_path / 'd', count=4), tmp_path / 'work')
    assert 'in_channels=5: pretrained weights are adapted in their first convolution' in lines
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    model.backbone.init_weights()
    photos = MODELS.build(dict(cfg.model.backbone, in_channels=3))
    photos.init_weights()
    ours, theirs = (net.patch_embed1.projection.weight for net in (model.backbone, photos))
    assert np.allclose(
        ours.detach(), theirs.detach()[:, [0, 1, 2, 0, 1]] * 3 / 5, rtol=2e-3, atol=1e-6
    )  # the file has 16 bits


def test_a_set_of_photos_trains_as_before(tmp_path):
    before, lines = adapt(RETINANET, simple(tmp_path / 'd'), tmp_path / 'work')
    assert build_config(before, 'train')[0].type == 'LoadImageFromFile'
    assert before.model.data_preprocessor.type == 'DetDataPreprocessor'
    assert 'in_channels' not in before.model.backbone
    photo(tmp_path / 'd/images/0.png', mode='L')
    mixed, others = adapt(RETINANET, tmp_path / 'd', tmp_path / 'work')
    assert mixed.model == before.model
    assert others == lines
    with pytest.raises(
        ValueError, match='--bands 3 2 1 is not needed: photos are shown in their colours; leave it out'
    ):
        adapt(RETINANET, tmp_path / 'd', tmp_path / 'other', bands=[3, 2, 1])
    assert not (tmp_path / 'other').exists()


def test_photos_of_8_and_16_bits_are_read_in_8_and_other_mixtures_refused(tmp_path):
    root = simple(tmp_path / 'd')
    deep = np.full((60, 80), 40_000, np.uint16)
    cv2.imwrite(str(root / 'images/1.png'), deep)
    cfg, lines = adapt(RETINANET, root, tmp_path / 'work')
    note = 'images of several kinds: they are read as photos of 8 bits; 1 of 1 channel of 16 bits (1.png); 3 of 3 channels of 8 bits'
    assert note in str(lines)
    assert build_config(cfg, 'train')[0].type == 'LoadImageFromFile'
    report = check_folder(str(root)).report
    assert not report.errors
    assert any(f.kind == 'images of several kinds' for f in report.findings)
    (root / 'images/1.png').unlink()
    tifffile.imwrite(
        root / 'images/1.png', np.zeros((60, 80, 5), np.uint16), photometric='minisblack', planarconfig='contig'
    )
    wrong = r'kinds: they cannot be trained on together: 3 of 3 channels of 8 bits \(.\.png\); 1 of 5 channels of 16 bits \(1.png\)'
    with pytest.raises(ValueError, match=wrong):
        adapt(RETINANET, root, tmp_path / 'other')
    assert not (tmp_path / 'other').exists()
    assert check_folder(str(root)).report.errors == 1


def test_bands_to_show_go_into_the_config(tmp_path):
    cfg, _ = adapt(MASK_RCNN, band_set(tmp_path / 'd', count=4), tmp_path / 'work', bands=[5, 2, 1])
    assert all(build_config(cfg, split)[0].shown == [5, 2, 1] for split in ('train', 'val', 'test'))
    assert band_reader(cfg).shown == [5, 2, 1]
    show_bands(cfg, [4])
    assert band_reader(cfg).shown == [4]
    for bands in ([6], [1, 2]):
        with pytest.raises(ValueError, match='cannot be shown; give one or three numbers from 1 to 5'):
            adapt(MASK_RCNN, tmp_path / 'd', tmp_path / 'other', bands=bands)


def test_statistics_leave_out_what_is_no_number(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(5, 3, (50, 60, 3)).astype(np.float32)
    values[..., 2] = 7
    values[:20, :20, 0], values[0, 0, 1] = np.nan, np.inf
    tifffile.imwrite(tmp_path / 'a.tif', values, photometric='minisblack', planarconfig='contig')
    mean, std, notes = statistics([tmp_path / 'a.tif'], BandReader(3, 'float32'))
    first, second = values[..., 0][np.isfinite(values[..., 0])], values[..., 1][np.isfinite(values[..., 1])]
    assert mean == pytest.approx([first.mean(), second.mean(), 7], rel=1e-5)
    assert std == pytest.approx([first.std(), second.std(), 1], rel=1e-4)
    assert notes == ['channel 3 has one value alone']


def test_statistics_of_a_large_image_come_from_windows(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 9000, (700, 900), dtype=np.uint16)
    values[:, 450:] //= 3
    tifffile.imwrite(tmp_path / 'a.tif', values, tile=(64, 64), compression='zlib')
    exact, deviation, _ = statistics([tmp_path / 'a.tif'], BandReader(1, 'uint16'))
    monkeypatch.setattr('mmlska.own_data.pixel_statistics._WHOLE', 1000)
    mean, std, _ = statistics([tmp_path / 'a.tif'], BandReader(1, 'uint16'))
    assert mean == pytest.approx(exact, rel=0.05)
    assert std == pytest.approx(deviation, rel=0.05)


def test_kinds():
    assert pixels_in({PHOTO: ['a', 'c'], Pixels(1, 'uint8'): ['b']}) == (None, '')
    note = 'they are read as photos in colours; 2 of 1 channel of 8 bits (b); 1 of 3 channels of 8 bits (a)'
    assert pixels_in({PHOTO: ['a'], Pixels(1, 'uint8'): ['b', 'c']}) == (None, note)
    assert pixels_in({Pixels(1, 'uint8'): ['b']}) == (Pixels(1, 'uint8'), '')
    assert pixels_in({Pixels(3, 'uint16'): ['b']}) == (Pixels(3, 'uint16'), '')


def test_check_counts_the_kinds_and_names_what_has_no_number(tmp_path):
    root = band_set(tmp_path / 'd', count=4, channels=2, dtype='float32')
    write_image(root / 'images/2.tif', np.full((96, 96, 2), np.nan, np.float32))
    report = check_folder(str(root)).report
    assert '  pixels: 2 channels of 32-bit floats: 3' in report.text().splitlines()
    assert report.as_dict()['pixels'] == {'2 channels of 32-bit floats': 3}
    assert [(f.kind, f.places) for f in report.findings if f.level == 'error'] == [
        ('image of which every pixel is NaN, infinite or without data', ['2.tif'])
    ]
    json.dumps(report.as_dict())
    content = (root / 'images/1.tif').read_bytes()
    (root / 'images/1.tif').write_bytes(content[: len(content) // 2])
    kinds = {f.kind: f.places for f in check_folder(str(root)).report.findings}
    assert kinds['image that can not be decoded'] == ['1.tif']


def test_check_of_a_config_compares_with_what_it_reads(tmp_path):
    root = band_set(tmp_path / 'd', count=5)
    cfg, _ = adapt(MASK_RCNN, root, tmp_path / 'work')
    assert not check_config(cfg).report.errors
    write_image(root / 'images/3.tif', np.zeros((96, 96, 4), np.uint16))
    report = check_config(cfg).report
    assert ('image of 4 channels of 16 bits, where the config reads 5 channels of 16 bits', ['3.tif']) in [
        (f.kind, f.places) for f in report.findings
    ]


def test_dark_photos_of_16_bits_are_a_warning_only_where_they_are_read_in_8(tmp_path):
    write_image(tmp_path / 'd/images/0.png', np.full((60, 80, 1), 900, np.uint16))
    photo(tmp_path / 'd/images/1.png')
    coco(tmp_path / 'd/all.json', [image(0, '0.png'), image(1, '1.png')], [])
    kinds = [f.kind for f in check_folder(str(tmp_path / 'd')).report.findings]
    assert '16-bit image that is nearly black when read in 8 bits; stretch its values' in kinds
    (tmp_path / 'd/images/1.png').unlink()
    write_image(tmp_path / 'd/images/1.png', np.full((60, 80, 1), 900, np.uint16))
    assert not any('black' in f.kind for f in check_folder(str(tmp_path / 'd')).report.findings)


def test_masks_of_grey_images_stay_masks(tmp_path):
    root = mask_set(tmp_path / 'd')
    for path in (root / 'images').iterdir():
        photo(path, mode='L')
    cfg, lines = adapt(UPERNET, root, tmp_path / 'work')
    assert any(line.startswith('pixels: 1 channel of 8 bits') for line in lines)
    sample = build(cfg)[0]
    assert sample['inputs'].shape[0] == 1
    assert sample['data_samples'].gt_sem_seg.data.max() <= 2


def test_values_far_from_the_others_are_named(tmp_path):
    values = np.random.default_rng(0).random((50, 60, 2)).astype(np.float32)
    values[:3, :20, 1] = -9999
    tifffile.imwrite(tmp_path / 'a.tif', values, photometric='minisblack', planarconfig='contig')
    *_, notes = statistics([tmp_path / 'a.tif'], BandReader(2, 'float32'))
    assert len(notes) == 1
    assert notes[0].startswith('channel 2 has values from -9999 to 0.99')
    assert 'name them in the GDAL nodata tag, or make them NaN' in notes[0]
    tags = [(42113, 's', 0, '-9999', True)]
    tifffile.imwrite(tmp_path / 'a.tif', values, photometric='minisblack', planarconfig='contig', extratags=tags)
    mean, _, notes = statistics([tmp_path / 'a.tif'], BandReader(2, 'float32'))
    assert mean[1] == pytest.approx(0.5, abs=0.05)
    assert not notes


def test_a_config_of_bands_is_adapted_anew(tmp_path):
    (tmp_path / 'tiny.py').write_text(TINY_UPERNET)
    five, four = (band_set(tmp_path / str(n), count=4, channels=n, masks=True) for n in (5, 4))
    cfg, _ = adapt(str(tmp_path / 'tiny.py'), five, tmp_path / 'work')
    cfg.dump(str(tmp_path / 'five.py'))
    same, _ = adapt(str(tmp_path / 'five.py'), five, tmp_path / 'work')
    assert same.model == cfg.model
    other, _ = adapt(str(tmp_path / 'five.py'), four, tmp_path / 'work_4')
    assert (
        band_reader(other).channels == other.model.backbone.in_channels == len(other.model.data_preprocessor.mean) == 4
    )
    assert {step.channels for step in build_config(other, 'train') if step.type == 'LoadBands'} == {4}
    photos = mask_set(tmp_path / 'photos')
    with pytest.raises(
        ValueError, match='the images are photos, and the config reads 5 channels of 16 bits; give the config'
    ):
        adapt(str(tmp_path / 'five.py'), photos, tmp_path / 'other')
    assert not (tmp_path / 'other').exists()


@pytest.mark.parametrize('channels', [1, 3])
def test_check_of_a_config_of_photos_or_grey_ones_names_other_images(channels, tmp_path):
    kind = (
        dict(channels=1, dtype='uint8', suffix='.png')
        if channels == 1
        else dict(channels=3, dtype='uint8', suffix='.png')
    )
    root = band_set(tmp_path / 'd', count=5, **kind)
    cfg, _ = adapt(MASK_RCNN, root, tmp_path / 'work')
    assert not check_config(cfg).report.errors
    (root / 'images/2.png').unlink()
    tifffile.imwrite(
        root / 'images/2.png', np.zeros((96, 96, 5), np.uint16), photometric='minisblack', planarconfig='contig'
    )
    reads = '1 channel of 8 bits' if channels == 1 else 'photos'
    kinds = {f.kind: f.places for f in check_config(cfg).report.findings}
    assert kinds[f'image of 5 channels of 16 bits, where the config reads {reads}'] == ['2.png']


def test_transparency_of_tiff_files_is_said_to_be_left_out(tmp_path):
    root = band_set(tmp_path / 'd', count=4, channels=4)
    for path in (root / 'images').iterdir():
        values = tifffile.imread(path)
        tifffile.imwrite(path, values, photometric='rgb', extrasamples=['unassalpha'])
    cfg, lines = adapt(MASK_RCNN, root, tmp_path / 'work')
    assert band_reader(cfg).channels == 3
    note = (
        'TIFF file with transparency, which is left out; if that is a channel, save it as an unspecified extra sample'
    )
    assert any(line.startswith(f'{note}: 4 x ') for line in lines)
    assert {f.kind: len(f.places) for f in check_folder(str(root)).report.findings}[note] == 4


def test_steps_for_photos_are_named(tmp_path):
    (tmp_path / 'tiny.py').write_text(TINY_UPERNET)
    settings = {'train_dataloader.dataset.pipeline.1.type': 'YOLOXHSVRandomAug'}
    root = band_set(tmp_path / 'd', count=4, masks=True)
    _, lines = adapt(str(tmp_path / 'tiny.py'), root, tmp_path / 'work', settings)
    assert 'the training pipeline has YOLOXHSVRandomAug, made for photos: leave out what stops the training' in lines


def test_a_damaged_image_stops_training_and_not_the_normalisation(tmp_path):
    root = band_set(tmp_path / 'd', count=4)
    content = (root / 'images/1.tif').read_bytes()
    (root / 'images/1.tif').write_bytes(content[: len(content) * 2 // 3])
    write_image(root / 'images/2.tif', np.zeros((96, 96, 5), np.uint16))
    mean, _, notes = statistics([root / 'images/0.tif', root / 'images/1.tif'], BandReader(5, 'uint16'))
    alone, *_ = statistics([root / 'images/0.tif'], BandReader(5, 'uint16'))
    assert mean == alone
    assert notes == ['the normalisation leaves out 1 image that cannot be read: 1.tif']


def test_check_gives_the_reason_and_fix_leaves_such_images_out(tmp_path):
    root = band_set(tmp_path / 'd', count=4, channels=2, dtype='float32')
    tifffile.imwrite(root / 'images/0.tif', np.zeros((96, 96), np.complex64))
    write_image(root / 'images/1.tif', np.full((96, 96, 2), np.nan, np.float32))
    checked = check_folder(str(root))
    kinds = {f.kind: f.places for f in checked.report.findings if f.level == 'error'}
    assert kinds['image that is not read: its values are of type complex64; save them as integers or floats'] == [
        '0.tif'
    ]
    write_repaired(str(tmp_path / 'new'), checked.source)
    assert sorted(path.name for path in (tmp_path / 'new/images').iterdir()) == ['2.tif', '3.tif']
    assert not check_folder(str(tmp_path / 'new')).report.errors


def test_check_of_photos_with_a_config_of_bands(tmp_path):
    (tmp_path / 'tiny.py').write_text(TINY_MASK_RCNN)
    cfg, _ = adapt(str(tmp_path / 'tiny.py'), band_set(tmp_path / 'd', count=4), tmp_path / 'work')
    assert not check_folder(str(tmp_path / 'd'), cfg=cfg).report.errors
    kinds = [f.kind for f in check_folder(str(simple(tmp_path / 'photos')), cfg=cfg).report.findings]
    assert 'photos, where the config reads 5 channels of 16 bits' in kinds
