# What all recipes share. `custom_imports` is what makes VAN_LSKA known to MMEngine.
custom_imports = dict(imports=['mmlska'], allow_failed_imports=False)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    param_scheduler=dict(type='ParamSchedulerHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),  # the tools change it to gloo where there is no GPU
)
log_level = 'INFO'
load_from = None
resume = False
