# RetinaNet, VAN-LSKA-B, K = 23, COCO 2017, 12 epochs.
_base_ = 'retinanet_van_lska_t.py'

model = dict(backbone=dict(arch='b'), neck=dict(in_channels=[64, 128, 320, 512]))
