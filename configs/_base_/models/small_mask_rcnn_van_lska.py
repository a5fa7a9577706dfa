# Mask R-CNN with narrow heads, which two CPU cores train from scratch in minutes.
_base_ = ['mask_rcnn_van_lska.py']

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
            norm_cfg=norm_cfg,
        ),
        mask_head=dict(num_convs=2, in_channels=64, conv_out_channels=64, norm_cfg=norm_cfg),
    ),
)
