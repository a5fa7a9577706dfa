# Semantic FPN from scratch on generated scenes whose textures agree with the classes, on two CPU cores: scripts/run_study.py.
# Its head pools nothing over the image, so context comes from the attention kernels alone.
_base_ = [
    '../_base_/models/fpn_van_lska.py',
    '../_base_/datasets/scenes_semantic.py',
    '../_base_/schedules/cpu_seg.py',
    '../_base_/seg_runtime.py',
]

data_root = '{{$MMLSKA_DATA:data}}/study/class/'
data_help = 'make it with: mmlska make-scenes {data_root} --texture class'

norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(drop_path_rate=0.0, norm_cfg=norm_cfg),
    neck=dict(out_channels=64, norm_cfg=norm_cfg),
    decode_head=dict(in_channels=[64] * 4, channels=64, dropout_ratio=0.0, num_classes=6, norm_cfg=norm_cfg),
)
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
iterations = 1000
train_cfg = dict(max_iters=iterations, val_interval=iterations)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', by_epoch=False, begin=50, end=iterations, power=0.9, eta_min=0.0),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=200, max_keep_ckpts=1))
