"""Who looks at a call besides autograd: compilers, dispatch modes, transforms, forward-mode differentiation."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.autograd import forward_ad

Pair = tuple[Tensor, Tensor]  # weight and bias of a convolution
FLOATS = (torch.float32, torch.float16, torch.bfloat16)  # what autocast lowers, and what the Triton kernels read


def is_eager(x: Tensor) -> bool:
    """Tell whether nothing but autograd looks at what happens to x: a plain tensor with memory of its own, outside of compiled graphs."""
    if torch.compiler.is_compiling() or type(x) not in (Tensor, torch.nn.Parameter):
        return False
    return not torch._C._len_torch_dispatch_stack() and not torch._C._are_functorch_transforms_active()


def is_transformed(x: Tensor, pairs: Iterable[Pair | None] = ()) -> bool:
    """Tell whether torch.func transforms the call, or one of the tensors has a tangent: no kernel has a rule for that."""
    if torch._C._are_functorch_transforms_active():  # which torch.compile understands too
        return True
    if forward_ad._current_level < 0:  # nobody differentiates in forward mode
        return False
    tensors = x, *(t for pair in pairs for t in pair or ())
    return any(forward_ad.unpack_dual(t).tangent is not None for t in tensors)


def is_differentiated(grad: Tensor) -> bool:
    """Tell whether someone differentiates this gradient too, or transforms the backward pass, which plain PyTorch alone can do."""
    if torch.is_grad_enabled():
        return True
    # A batch of gradients in one pass, as vectorized jacobians have it, comes as a kind of tensor that no transform announces.
    return not torch.compiler.is_compiling() and (
        is_transformed(grad) or torch._C._functorch.is_legacy_batchedtensor(grad)
    )
