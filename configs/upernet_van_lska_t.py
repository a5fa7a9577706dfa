# UperNet, VAN-LSKA-T, K = 23, ADE20K, 160k iterations, crop 512.
_base_ = [
    '_base_/models/upernet_van_lska.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/ade20k_160k.py',
    '_base_/seg_runtime.py',
]
