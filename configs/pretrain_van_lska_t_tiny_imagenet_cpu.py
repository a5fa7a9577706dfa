# The same network in hours on two CPU cores: fewer epochs, so a smaller batch for more steps and little to make learning harder.
_base_ = 'pretrain_van_lska_t_tiny_imagenet.py'

epochs = 10
warm_up = 1
image_size = 64
model = dict(
    data_preprocessor=dict(
        crop_scale=(0.5, 1.0), size=None, jitter=0.0, erase_prob=0.0, mixup=0.0, cutmix=0.0, mix_prob=1.0
    ),
    backbone=dict(drop_path_rate=0.0),
    image_size=image_size,
)
train_dataloader = dict(batch_size=128)
train_cfg = dict(max_epochs=epochs, val_interval=1)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=True, begin=0, end=warm_up, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=warm_up, end=epochs, eta_min=1e-5, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=128)
