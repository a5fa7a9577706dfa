"""What --tile changes in a config, and that models of mmdet and mmseg build from it."""

import pytest
from mmengine.config import Config

from mmlska.engine.config import load_config
from mmlska.engine.config_parts import datasets_of
from mmlska.engine.evaluation_options import use_tta
from mmlska.engine.image_reading import step_name
from mmlska.engine.tiling import (
    Tiles,
    check_tileable,
    choose_tiles,
    chosen_tiles,
    tiles_of,
    training_tiles,
    use_tiles,
    use_whole_images,
)

TILES = Tiles(320, 40)


def steps_of(cfg, split):
    (dataset,) = datasets_of(cfg, split)
    return {step_name(step): step for step in dataset.pipeline}


def test_a_detector_trains_and_is_evaluated_on_tiles():
    cfg = load_config('configs/mask_rcnn_van_lska_t.py')
    before = cfg.train_dataloader.dataset.copy()
    assert tiles_of(cfg) is None
    assert use_tiles(cfg, TILES) == []
    train = cfg.train_dataloader.dataset
    assert (train.type, train.tile, train.overlap) == ('TiledDataset', 320, 40)
    assert train.dataset.ann_file == before.ann_file
    for split in ('train', 'val', 'test'):
        assert steps_of(cfg, split)['Resize'] == dict(type='Resize', scale_factor=1.0, keep_ratio=True)
    assert steps_of(cfg, 'train')['LoadAnnotations'].with_mask
    assert cfg.val_cfg == dict(type='TiledValLoop', tile=320, overlap=40, tile_batch=cfg.train_dataloader.batch_size)
    assert cfg.test_cfg.type == 'TiledTestLoop'
    assert cfg.test_dataloader.dataset.type == cfg.val_dataloader.dataset.type == 'UnreadDataset'
    assert cfg.test_dataloader.batch_size == 1
    parts = cfg.model.train_cfg
    assert parts.rpn.assigner.type == parts.rcnn.assigner.type == 'TileAssigner'
    assert parts.rpn.assigner.pos_iou_thr == 0.7
    assert tiles_of(cfg) == TILES


def test_the_config_reads_back_and_takes_other_tiles(tmp_path):
    cfg = load_config('configs/cascade_mask_rcnn_van_lska_t.py')
    use_tiles(cfg, TILES)
    cfg.dump(tmp_path / 'tiled.py')
    again = Config.fromfile(tmp_path / 'tiled.py')
    assert tiles_of(again) == TILES
    assert {each.assigner.type for each in again.model.train_cfg.rcnn} == {'TileAssigner'}
    use_tiles(again, Tiles(640, 80))
    assert again.train_dataloader.dataset.dataset.type == 'CocoDataset', 'one wrapper, not two'
    assert again.train_dataloader.dataset.tile == 640
    assert tiles_of(again) == (640, 80)
    use_whole_images(again)
    assert tiles_of(again) is None
    assert again.test_dataloader.dataset.type == 'CocoDataset'
    assert again.test_cfg == dict(type='TestLoop')


def test_a_segmentor_keeps_its_crops_and_random_scales():
    cfg = load_config('configs/upernet_van_lska_t.py')
    use_tiles(cfg, Tiles(768, 96))
    steps = steps_of(cfg, 'train')
    assert steps['RandomScale'] == dict(type='RandomScale', ratio_range=(0.5, 2.0), keep_ratio=True)
    assert steps['RandomCrop'].crop_size == (512, 512)
    assert steps_of(cfg, 'test')['Resize'] == dict(type='Resize', scale_factor=1.0, keep_ratio=True)


def test_repeated_and_joined_data_sets_are_tiled_inside():
    cfg = load_config('configs/retinanet_van_lska_t.py')
    plain = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=3, dataset=plain)
    use_tiles(cfg, TILES)
    assert cfg.train_dataloader.dataset.type == 'RepeatDataset'
    assert cfg.train_dataloader.dataset.dataset.type == 'TiledDataset'
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[plain, plain])
    use_tiles(cfg, TILES)
    assert [dataset.type for dataset in cfg.train_dataloader.dataset.datasets] == ['TiledDataset'] * 2


def test_a_scale_chosen_at_random_is_said_to_go():
    cfg = load_config('configs/retinanet_van_lska_t.py')
    cfg.train_dataloader.dataset.pipeline[2] = dict(type='RandomChoiceResize', scales=[(640, 640)], keep_ratio=True)
    assert use_tiles(cfg, TILES) == ['tiles are not resized: RandomChoiceResize of the train pipeline is left out']


def test_steps_that_resize_are_found_in_others_and_in_wrappers():
    cfg = load_config('configs/retinanet_van_lska_t.py')
    plain = cfg.train_dataloader.dataset
    inner = dict(type='RandomChoiceResize', scales=[(640, 640)], keep_ratio=True)
    plain.pipeline[2] = dict(
        type='RandomChoice', transforms=[[dict(inner)], [dict(inner), dict(type='RandomFlip', prob=0.5)]]
    )
    outer = [
        dict(type='mmdet.RandomResize', scale=(640, 640), ratio_range=(0.1, 2.0)),
        dict(type='RandomCenterCropPadResize'),
    ]
    cfg.train_dataloader.dataset = dict(type='MultiImageMixDataset', dataset=plain, pipeline=outer)
    lines = use_tiles(cfg, TILES)
    assert lines == [
        'the train pipeline has RandomCenterCropPadResize, which may resize tiles: leave it out if objects get smaller',
        'tiles are not resized: RandomChoiceResize of the train pipeline is left out',
    ]
    mixed = cfg.train_dataloader.dataset
    assert mixed.pipeline[0] == dict(type='RandomScale', ratio_range=(0.1, 2.0))
    assert 'RandomChoiceResize' not in str(mixed.dataset)
    assert mixed.dataset.type == 'TiledDataset'


def test_a_test_on_tiles_leaves_the_pipeline_as_it_is():
    cfg = load_config('configs/retinanet_van_lska_t.py')
    choose_tiles(cfg, None)
    assert tiles_of(cfg) is None
    choose_tiles(cfg, 256)
    assert tiles_of(cfg) == (256, 32)
    assert steps_of(cfg, 'test')['Resize'].scale == (1333, 800)
    assert cfg.train_dataloader.dataset.type == 'CocoDataset'
    choose_tiles(cfg, None, 64)
    assert tiles_of(cfg) == (256, 64)
    with pytest.raises(ValueError, match='^--tta does not go with --tile 256; leave out one of them$'):
        use_tta(cfg)
    choose_tiles(cfg, 0)
    assert tiles_of(cfg) is None


@pytest.mark.parametrize(
    ('tile', 'overlap', 'why'),
    [
        (16, None, '--tile and --overlap: tile=16 must be at least 32 pixels, or 0 for whole images'),
        (-4, None, '--tile and --overlap: tile=-4 must be at least 32 pixels, or 0 for whole images'),
        (320, 200, '--tile and --overlap: overlap=200 must be 0 to 106, a third of tile=320'),
        (None, 20, '--overlap 20 is that of tiles; give --tile N too, or leave --overlap out'),
        (0, 20, '--overlap 20 is that of tiles; give --tile N too, or leave --overlap out'),
    ],
)
def test_impossible_tiles_are_refused(tile, overlap, why):
    with pytest.raises(ValueError, match=f'^{why}$'):
        choose_tiles(load_config('configs/retinanet_van_lska_t.py'), tile, overlap)


def test_the_overlap_is_an_eighth_or_the_one_asked_for():
    cfg = load_config('configs/retinanet_van_lska_t.py')
    assert chosen_tiles(cfg, 640) == (640, 80)
    assert chosen_tiles(cfg, 640, 0) == (640, 0)
    assert chosen_tiles(cfg, 0) is chosen_tiles(cfg, None) is None


def test_a_training_on_tiles_is_not_turned_into_one_of_whole_images():
    cfg = load_config('configs/retinanet_van_lska_t.py')
    assert training_tiles(cfg, 0) is None
    use_tiles(cfg, TILES)
    assert training_tiles(cfg, None) == TILES
    with pytest.raises(
        ValueError, match='^--tile 0: this config was made for tiles .*; train the config that it was made'
    ):
        training_tiles(cfg, 0)
    choose_tiles(cfg, 0)
    with pytest.raises(ValueError, match='^--tta scales whole images, .*; leave --tta out$'):
        use_tta(cfg)


def test_half_precision_stays():
    cfg = load_config('configs/retinanet_van_lska_t.py')
    cfg.test_cfg = dict(type='TestLoop', fp16=True)
    choose_tiles(cfg, 256)
    assert cfg.test_cfg.fp16
    choose_tiles(cfg, 0)
    assert cfg.test_cfg == dict(type='TestLoop', fp16=True)


def test_configs_whose_images_are_not_read_in_tiles_are_refused():
    with pytest.raises(
        ValueError, match="^--tile is for detectors and segmentors, and this config has default_scope='mm"
    ):
        check_tileable(load_config('configs/van_lska_t_imagenet.py'))
    cfg = load_config('configs/retinanet_van_lska_t.py')
    cfg.train_dataloader.dataset.pipeline[0].color_type = 'grayscale'
    with pytest.raises(ValueError, match="^--tile: train images are read with color_type='grayscale'; use color$"):
        check_tileable(cfg)
    cfg.train_dataloader.dataset.pipeline[0] = dict(type='LoadImageFromNDArray')
    with pytest.raises(ValueError, match='^--tile: the train pipeline begins with LoadImageFromNDArray; give one that'):
        check_tileable(cfg)
    cfg.train_dataloader = None
    with pytest.raises(ValueError, match='^--tile: the config has no data set in train_dataloader; give one, or leave'):
        check_tileable(cfg)
