# RetinaNet from scratch on generated scenes, on two CPU cores.
_base_ = [
    '../_base_/models/retinanet_van_lska.py',
    '../_base_/datasets/scenes_instance.py',
    '../_base_/schedules/cpu_det.py',
    '../_base_/det_runtime.py',
]

# Without pretrained weights the heads need a norm to learn in minutes.
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    backbone=dict(drop_path_rate=0.0),
    # Objects are 19 to 63 px wide: three levels with anchors of 24 to 152 px hold them.
    neck=dict(out_channels=64, num_outs=3, norm_cfg=norm_cfg),
    bbox_head=dict(
        num_classes=5,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        norm_cfg=norm_cfg,
        anchor_generator=dict(octave_base_scale=3, strides=[8, 16, 32]),
    ),
)
val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator
# One stage learns the boxes more slowly than two, but its iterations take half the time.
epochs = 9
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=epochs, eta_min=1e-5, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=4, max_keep_ckpts=1))
