_base_ = 'default_runtime.py'

default_scope = 'mmpretrain'
# MMPretrain imports torchvision; the second import makes the registry's torchvision usable beside a CPU build of torch.
custom_imports = dict(imports=['mmlska', 'mmlska.classification.mmpretrain'])
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=100),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=3, save_best='auto'),
    visualization=dict(type='VisualizationHook', enable=False),
)
visualizer = dict(type='UniversalVisualizer', name='visualizer', vis_backends=[dict(type='LocalVisBackend')])
