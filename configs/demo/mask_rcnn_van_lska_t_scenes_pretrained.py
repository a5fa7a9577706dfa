# What `make demo` trains: Mask R-CNN on generated scenes from the weights that come with the package, in half the epochs.
_base_ = 'mask_rcnn_van_lska_t_scenes.py'

model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='mmlska://van_lska_t_k23_tiny_imagenet_112')),
    # A backbone that has learnt leaves less to the heads, and shallow ones are right sooner.
    roi_head=dict(bbox_head=dict(num_shared_convs=0), mask_head=dict(num_convs=1)),
)
epochs = 3
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=epochs, eta_min=1e-5, convert_to_iter_based=True),
]
