# Mask R-CNN from scratch on 14 photos of dates, figs and hazelnuts (4 more are held out), on two CPU cores.
_base_ = [
    '../_base_/models/small_mask_rcnn_van_lska.py',
    '../_base_/schedules/cpu_det.py',
    '../_base_/det_runtime.py',
]

data_root = '{{$MMLSKA_DATA:data}}/fruits_nuts/'
data_help = (
    'a folder with trainval.json and images/; see https://github.com/Tony607/mmdetection_instance_segmentation_demo'
)
metainfo = dict(classes=('date', 'fig', 'hazelnut'))
# 11.jpg, 15.jpg, 3.jpg and 7.jpg, which its source suggests for validation, by their place in trainval.json.
held_out = [3, 7, 11, 15]

model = dict(
    roi_head=dict(bbox_head=dict(num_classes=3), mask_head=dict(num_classes=3)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=300, max_per_img=200), rcnn=dict(sampler=dict(num=64))),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=200)),
)

scale = (400, 300)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomResize', scale=scale, ratio_range=(0.7, 1.4), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(256, 256)),
    dict(type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        # With the instances in the sample the metric needs no annotation file of the held-out photos alone.
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances'),
    ),
]
dataset = dict(
    type='CocoDataset',
    data_root=data_root,
    metainfo=metainfo,
    ann_file='trainval.json',
    data_prefix=dict(img='images/'),
)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='RepeatDataset',
        times=16,
        dataset=dict(**dataset, indices=sorted({*range(18)}.difference(held_out)), pipeline=train_pipeline),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, indices=held_out, test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoMetric', metric=['bbox', 'segm'])
test_evaluator = val_evaluator

epochs = 10
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
# A smaller batch than the scenes', with a rate to match.
optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=epochs, eta_min=1e-5, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(logger=dict(interval=14), checkpoint=dict(interval=4, max_keep_ckpts=1))
