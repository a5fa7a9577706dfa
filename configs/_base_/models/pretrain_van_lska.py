# VAN-LSKA-T with a linear layer on the averaged last map, as VAN classifies.
model = dict(
    type='PretrainingClassifier',
    data_preprocessor=dict(type='BatchPreprocessor'),
    backbone=dict(type='VAN_LSKA', arch='t', k_size=23, out_indices=(3,), drop_path_rate=0.1, norm_cfg=dict(type='BN')),
    num_classes=200,
    label_smoothing=0.1,
)
