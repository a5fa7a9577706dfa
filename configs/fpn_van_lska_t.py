# Semantic FPN, VAN-LSKA-T, K = 23, ADE20K, 80k iterations, crop 512.
_base_ = [
    '_base_/models/fpn_van_lska.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/ade20k_80k.py',
    '_base_/seg_runtime.py',
]
