_base_ = 'default_runtime.py'

# Everything a classifier needs is in MMEngine or here.
default_scope = 'mmengine'
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2, save_best='accuracy/top1'),
)
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
visualizer = dict(type='Visualizer', name='visualizer', vis_backends=[dict(type='LocalVisBackend')])
# So that anyone gets the same weights; --seed sets another one.
randomness = dict(seed=0)
