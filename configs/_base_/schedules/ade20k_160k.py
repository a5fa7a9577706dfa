# VAN's recipe for UperNet (the LSKA paper prints none): AdamW 6e-5, weight decay 0.01 but none on norms, 160k iterations,
# warm-up 1500, poly 1.0 down to 0, batch 16 (8 GPUs x 2).
train_cfg = dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=16000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', by_epoch=False, begin=1500, end=160000, power=1.0, eta_min=0.0),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)
