# Classification, VAN-LSKA-B, K = 23, ImageNet-1k, 300 epochs.
_base_ = 'van_lska_t_imagenet.py'

model = dict(backbone=dict(arch='b'), head=dict(in_channels=512))
