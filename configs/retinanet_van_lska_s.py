# RetinaNet, VAN-LSKA-S, K = 23, COCO 2017, 12 epochs.
_base_ = 'retinanet_van_lska_t.py'

model = dict(backbone=dict(arch='s'), neck=dict(in_channels=[64, 128, 320, 512]))
