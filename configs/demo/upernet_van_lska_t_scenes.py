# UperNet from scratch on generated scenes, on two CPU cores.
_base_ = [
    '../_base_/models/upernet_van_lska.py',
    '../_base_/datasets/scenes_semantic.py',
    '../_base_/schedules/cpu_seg.py',
    '../_base_/seg_runtime.py',
]

norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(drop_path_rate=0.0, norm_cfg=norm_cfg),
    decode_head=dict(channels=64, dropout_ratio=0.0, num_classes=6, norm_cfg=norm_cfg),
    auxiliary_head=dict(channels=64, dropout_ratio=0.0, num_classes=6, norm_cfg=norm_cfg),
)
# More steps count for more than more images in each.
train_dataloader = dict(batch_size=6)
auto_scale_lr = dict(base_batch_size=6)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=200, max_keep_ckpts=1))
