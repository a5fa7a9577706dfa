# Mask R-CNN from scratch on generated scenes, on two CPU cores.
_base_ = [
    '../_base_/models/small_mask_rcnn_van_lska.py',
    '../_base_/datasets/scenes_instance.py',
    '../_base_/schedules/cpu_det.py',
    '../_base_/det_runtime.py',
]

model = dict(
    roi_head=dict(bbox_head=dict(num_classes=5), mask_head=dict(num_classes=5)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=200, max_per_img=100), rcnn=dict(sampler=dict(num=32))),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=50)),
)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=4, max_keep_ckpts=1))
