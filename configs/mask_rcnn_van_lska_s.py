# Mask R-CNN, VAN-LSKA-S, K = 23, COCO 2017, 12 epochs.
_base_ = 'mask_rcnn_van_lska_t.py'

model = dict(backbone=dict(arch='s'), neck=dict(in_channels=[64, 128, 320, 512]))
