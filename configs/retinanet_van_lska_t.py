# RetinaNet, VAN-LSKA-T, K = 23, COCO 2017, 12 epochs.
_base_ = [
    '_base_/models/retinanet_van_lska.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/coco_1x.py',
    '_base_/det_runtime.py',
]
