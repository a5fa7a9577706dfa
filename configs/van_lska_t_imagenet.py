# Classification, VAN-LSKA-T, K = 23, ImageNet-1k, 300 epochs.
_base_ = [
    '_base_/models/van_lska_classifier.py',
    '_base_/datasets/imagenet.py',
    '_base_/schedules/imagenet_300e.py',
    '_base_/cls_runtime.py',
]
