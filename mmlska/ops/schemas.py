"""The schemas of the operators that the fused backends register as ``torch.ops.mmlska_cpu`` and ``torch.ops.mmlska_triton``.

Each stands here once. A backend has those operators that are faster there as one: the C++ kernels the whole MLP, the Triton kernels a 1x1
alone.
"""

from __future__ import annotations

import re

_LSKA = (
    'Tensor h0w, Tensor h0b, Tensor v0w, Tensor v0b, Tensor h1w, Tensor h1b, Tensor v1w, Tensor v1b, '
    'Tensor pw, Tensor pb, int dilation, bool gelu'
)
_MLP = 'Tensor ew, Tensor eb, Tensor weight, Tensor bias, Tensor pw, Tensor pb'
# What is trained returns, after its output, the one intermediate map that the backward pass reads. Backward operators return the gradients
# of the inputs, in their order.
SCHEMAS = {
    'lska_inference': f'(Tensor x, {_LSKA}) -> Tensor',
    'lska_training': f'(Tensor x, {_LSKA}) -> (Tensor, Tensor)',
    'lska_backward': f'(Tensor grad, Tensor x, Tensor kept, {_LSKA}) -> Tensor[]',
    'depthwise_gelu': '(Tensor x, Tensor weight, Tensor bias) -> Tensor',
    'depthwise_gelu_backward': '(Tensor grad, Tensor x, Tensor weight, Tensor bias) -> Tensor[]',
    'depthwise_gelu_pointwise': '(Tensor x, Tensor weight, Tensor bias, Tensor pw, Tensor pb) -> Tensor',
    'depthwise_gelu_pointwise_backward': '(Tensor grad, Tensor x, Tensor weight, Tensor bias, Tensor pw) -> Tensor[]',
    'mlp_inference': f'(Tensor x, {_MLP}) -> Tensor',
    'mlp_training': f'(Tensor x, {_MLP}) -> (Tensor, Tensor)',
    'mlp_backward': '(Tensor grad, Tensor x, Tensor wide, Tensor ew, Tensor weight, Tensor bias, Tensor pw) -> Tensor[]',
    'pointwise': '(Tensor x, Tensor weight, Tensor bias) -> Tensor',
    'pointwise_backward': '(Tensor grad, Tensor x, Tensor weight, Tensor bias) -> Tensor[]',
}


def input_names(name: str) -> list[str]:
    """What the schema of an operator calls its inputs, in order.

    Example:
        >>> input_names('depthwise_gelu_backward')
        ['grad', 'x', 'weight', 'bias']
    """
    return re.findall(r'\b(?:Tensor|int|bool) (\w+)', SCHEMAS[name])
