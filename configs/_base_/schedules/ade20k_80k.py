# LSKA and VAN, Semantic FPN: AdamW 1e-4, weight decay 1e-4, 80k iterations, poly 0.9 down to 0, batch 16 (8 GPUs x 2).
train_cfg = dict(type='IterBasedTrainLoop', max_iters=80000, val_interval=8000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4))
param_scheduler = [dict(type='PolyLR', by_epoch=False, begin=0, end=80000, power=0.9, eta_min=0.0)]
auto_scale_lr = dict(enable=False, base_batch_size=16)
