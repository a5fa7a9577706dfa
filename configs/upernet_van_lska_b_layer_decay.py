# UperNet, VAN-LSKA-B, K = 23, ADE20K, with layer-wise learning-rate decay.
_base_ = 'upernet_van_lska_b.py'

optim_wrapper = dict(
    constructor='LayerDecayOptimWrapperConstructor',
    # 0.9 per block: ConvNeXt-B's rate with UperNet on ADE20K (arXiv 2201.03545, appendix A.3); not tuned for VAN-LSKA.
    paramwise_cfg=dict(_delete_=True, layer_decay_rate=0.9, print_groups=True),
)
