# RetinaNet for photos with boxes, small enough for two CPU cores, from the weights that come with the package: for `--data DIR`.
_base_ = 'retinanet_van_lska_t_scenes.py'

model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='mmlska://van_lska_t_k23_tiny_imagenet_112')),
    # Photos are scaled to 320 pixels: four levels with anchors of 24 to 305 pixels hold what is on them.
    neck=dict(out_channels=96, num_outs=4),
    bbox_head=dict(in_channels=96, feat_channels=96, anchor_generator=dict(strides=[8, 16, 32, 64])),
)

scale = (320, 320)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=scale, ratio_range=(0.6, 1.4), keep_ratio=True),
    dict(type='RandomCrop', crop_size=scale),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# The backbone has learnt already.
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.5))))
epochs = 10
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=epochs, eta_min=1e-5, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=5, max_keep_ckpts=1))
