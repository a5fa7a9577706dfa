# Semantic FPN, VAN-LSKA-B, K = 23, ADE20K, 80k iterations, crop 512.
_base_ = 'fpn_van_lska_t.py'

model = dict(backbone=dict(arch='b'), neck=dict(in_channels=[64, 128, 320, 512]))
