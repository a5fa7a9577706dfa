# UperNet from scratch on 28 aerial tiles of Dubai (8 more are held out), on two CPU cores.
_base_ = [
    '../_base_/models/upernet_van_lska.py',
    '../_base_/schedules/cpu_seg.py',
    '../_base_/seg_runtime.py',
]

data_root = '{{$MMLSKA_DATA:data}}/dubai_aerial/'
data_help = (
    'the folders Tile_1, Tile_2, ... of https://github.com/nive927/Dubai-Satellite-Imagery-Multiclass-Segmentation'
)
classes = ('building', 'land', 'road', 'vegetation', 'water')
palette = [[60, 16, 152], [132, 41, 246], [110, 193, 228], [254, 221, 58], [226, 169, 41]]
tiles = (1, 2, 3, 6)
held_out = (2, 6)  # image_part_003 and image_part_007 of every tile

norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor=dict(size=(256, 256), test_cfg=dict(size_divisor=32)),
    backbone=dict(drop_path_rate=0.0, norm_cfg=norm_cfg),
    decode_head=dict(channels=64, num_classes=5, norm_cfg=norm_cfg),
    auxiliary_head=dict(channels=64, num_classes=5, norm_cfg=norm_cfg),
)

# Half the resolution shows each crop more of its surroundings; predictions are compared at the full one.
scale = (512, 512)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadColorAnnotations', palette=palette),
    dict(type='RandomResize', scale=scale, ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(256, 256), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomFlip', prob=0.5, direction='vertical'),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadColorAnnotations', palette=palette),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(
                type='BaseSegDataset',
                data_root=data_root,
                metainfo=dict(classes=classes, palette=palette),
                data_prefix=dict(img_path=f'Tile_{tile}/images', seg_map_path=f'Tile_{tile}/masks'),
                indices=[0, 1, 3, 4, 5, 7, 8],
                pipeline=train_pipeline,
            )
            for tile in tiles
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ConcatDataset',
        datasets=[dict(d, indices=held_out, pipeline=test_pipeline) for d in train_dataloader['dataset']['datasets']],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

iterations = 600
train_cfg = dict(max_iters=iterations, val_interval=iterations)
# A smaller batch than the scenes', with a rate to match.
optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', by_epoch=False, begin=50, end=iterations, power=0.9, eta_min=0.0),
]
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=200, max_keep_ckpts=1))
