# Mask R-CNN from scratch on generated scenes, on two CPU cores.
_base_ = [
    '../_base_/models/mask_rcnn_van_lska.py',
    '../_base_/datasets/scenes_instance.py',
    '../_base_/schedules/cpu_det.py',
    '../_base_/det_runtime.py',
]

# Without pretrained weights the heads need a norm to learn in minutes.
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    backbone=dict(drop_path_rate=0.0),
    neck=dict(out_channels=64, norm_cfg=norm_cfg),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        mask_roi_extractor=dict(out_channels=64),
        bbox_head=dict(
            type='ConvFCBBoxHead',
            in_channels=64,
            num_shared_convs=2,
            num_shared_fcs=1,
            conv_out_channels=64,
            fc_out_channels=256,
            num_classes=5,
            norm_cfg=norm_cfg,
        ),
        mask_head=dict(num_convs=2, in_channels=64, conv_out_channels=64, num_classes=5, norm_cfg=norm_cfg),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=32)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=50)),
)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=4, max_keep_ckpts=1))
