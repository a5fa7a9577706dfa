"""What a module costs as it runs: multiply-adds, memory at once, memory kept for the backward pass, time. Plain torch."""

from __future__ import annotations

import copy
import statistics
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Cost(NamedTuple):
    """What one image costs in inference.

    Attributes:
        parameters: Number of parameters.
        flops: Multiply-adds of convolutions and matrix products.
        activations: Elements that convolutions and matrix products write.
        peak_memory: Bytes of all float32 maps alive at once, at the worst moment, in plain PyTorch operators; without the weights.
    """

    parameters: int
    flops: int
    activations: int
    peak_memory: int


class _Ledger(TorchDispatchMode):
    """Follows every operator and the memory of every tensor that is made, without allocating any on the meta device."""

    WRITERS = ('convolution', 'mm', 'addmm', 'bmm', 'baddbmm')

    def __init__(self, module: nn.Module, x: Tensor) -> None:
        super().__init__()
        self.live = self.peak = self.activations = self.flops = self.dense_flops = 0  # two for a multiply-add
        # Views of weights are no memory of their own.
        self._known = weakref.WeakSet(t.untyped_storage() for t in (*module.parameters(), *module.buffers()))
        self._follow(x)

    def _follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()  # views share it
        if storage not in self._known:
            self._known.add(storage)
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._drop, storage.nbytes())

    def _drop(self, nbytes: int) -> None:
        self.live -= nbytes

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        for tensor in tensors:
            self._follow(tensor)
        packet = func.overloadpacket
        if packet.__name__ in self.WRITERS:
            self.activations += sum(tensor.numel() for tensor in tensors)
        if packet in flop_registry:
            flops = flop_registry[packet](*args, **(kwargs or {}), out_val=out)
            self.flops += flops
            if packet is torch.ops.aten.convolution and args[8] == 1:  # its groups
                self.dense_flops += flops
        return out


def _run_on_meta(module: nn.Module, x: Tensor) -> _Ledger:
    """Run a module for inference on PyTorch's meta device, where nothing is computed; it loses its weights."""
    module, x = module.to('meta'), x.to('meta')
    module.eval()  # returns None in some backbones
    fast_attention = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one fused operator, in which nothing could be counted
    try:
        with torch.no_grad(), _Ledger(module, x) as ledger:
            module(x)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_attention)
    return ledger


def count(module: nn.Module, shape: Sequence[int]) -> Cost:
    """Count what one inference costs.

    Args:
        module: Any module; it is moved to PyTorch's meta device, where nothing is computed, and its weights are lost.
        shape: Of its input, (N, C, H, W).

    Example:
        >>> count(nn.Conv2d(3, 8, 3, padding=1, bias=False), (1, 3, 10, 10))
        Cost(parameters=216, flops=21600, activations=800, peak_memory=4400)
    """
    ledger = _run_on_meta(module, torch.empty(*shape, device='meta'))
    parameters = sum(p.numel() for p in module.parameters())
    return Cost(parameters, ledger.flops // 2, ledger.activations, ledger.peak)


def dense_flops(network: nn.Module, x: Tensor) -> int:
    """Count the FLOPs (two for a multiplication and addition) of a network's convolutions without groups, 1x1s included.

    Example:
        >>> dense_flops(nn.Conv2d(4, 8, 1), torch.rand(2, 4, 5, 5))
        3200
    """
    return _run_on_meta(copy.deepcopy(network), x).dense_flops


def saved_bytes(function: Callable[[], object], parameters: Iterable[Tensor]) -> int:
    """Count the bytes that autograd keeps between forward (the function) and backward, each piece of memory once, the parameters' aside.

    On the meta device nothing is allocated.
    """
    own = {p.untyped_storage()._cdata for p in parameters}
    kept: dict[int, tuple[Tensor, int]] = {}  # the tensors too: the place of one that is freed is used again

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = tensor, storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = function()  # alive until the count is done, so that no memory is used twice
    del out
    return sum(size for _, size in kept.values())


def latency(module: nn.Module, x: Tensor, repeats: int = 20, warm_up: int = 3) -> float:
    """Median seconds of one inference in ``repeats`` after ``warm_up``; the module is in eval mode, on the device of its input."""
    wait: Callable[[], None] = partial(torch.cuda.synchronize, x.device) if x.is_cuda else lambda: None
    seconds = []
    with torch.inference_mode():
        for _ in range(warm_up + repeats):
            wait()
            start = time.perf_counter()
            module(x)
            wait()
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[warm_up:])
