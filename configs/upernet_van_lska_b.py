# UperNet, VAN-LSKA-B, K = 23, ADE20K, 160k iterations, crop 512.
_base_ = 'upernet_van_lska_t.py'

model = dict(
    backbone=dict(arch='b'),
    decode_head=dict(in_channels=[64, 128, 320, 512]),
    auxiliary_head=dict(in_channels=320),
)
