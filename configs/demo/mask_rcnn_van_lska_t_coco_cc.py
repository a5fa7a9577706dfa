# The 80-class COCO model on 53 photos of COCO under free licences: for testing, they are too few to train on.
_base_ = '../mask_rcnn_van_lska_t.py'

data_root = '{{$MMLSKA_DATA:data}}/coco_cc/'
data_help = 'a folder with images/val2017 and annotations/instances_val2017.json in COCO format'

train_dataloader = dict(dataset=dict(data_root=data_root, data_prefix=dict(img='images/train2017/')))
val_dataloader = dict(dataset=dict(data_root=data_root, data_prefix=dict(img='images/val2017/')))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator
