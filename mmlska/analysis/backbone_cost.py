"""What backbones cost: the four attention designs over kernel sizes, by closed forms and as they run, beside other backbones.

Multiply-adds are those of convolutions and matrix products, one multiply-add counted as one. Norms, activations, additions and the
multiplication by the attention map are not counted, nor are biases.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
import weakref
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ..engine.hooks import to_channels_last
from ..models.attention import ATTENTIONS, kernel_ladder
from ..models.van_lska import ARCHS, VAN_LSKA
from ..torchvision_cpu import mend_torchvision


class ClosedForm(NamedTuple):
    """Parameters and multiply-adds by formula."""

    parameters: int
    flops: int


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


def ladder(limit: int = 121) -> list[int]:
    """The kernel sizes from 7 to ``limit`` that split into a dense and a dilated kernel.

    Example:
        >>> ladder(41)
        [7, 11, 17, 23, 29, 35, 41]
    """
    return [k for k in range(7, limit + 1) if _splits(k)]


def _splits(k_size: int) -> bool:
    try:
        kernel_ladder(k_size)
    except ValueError:
        return False
    return True


def attention_cost(attention: str, dim: int, k_size: int, height: int, width: int) -> ClosedForm:
    """Parameters and multiply-adds of one attention module on a map of height x width.

    Raises:
        ValueError: If the design is unknown or has no such kernel.

    Source: LSKA paper, section 3.3.

    Example:
        >>> attention_cost('lska', 64, 23, 56, 56)
        ClosedForm(parameters=5952, flops=17661952)
    """
    if attention in ('lska', 'lka'):
        first, dilated, _ = kernel_ladder(k_size)
        taps, convolutions = (2 * (first + dilated), 4) if attention == 'lska' else (first**2 + dilated**2, 2)
    elif attention == 'lska_trivial':
        taps, convolutions = 2 * k_size, 2
    elif attention == 'lka_trivial':
        taps, convolutions = k_size**2, 1
    else:
        raise ValueError(f'attention={attention!r} is unknown; choose one of {", ".join(map(repr, ATTENTIONS))}')
    parameters = dim * (taps + convolutions) + dim * dim + dim
    return ClosedForm(parameters, height * width * (dim * taps + dim * dim))


def van_cost(arch: str, attention: str, k_size: int, height: int, width: int) -> ClosedForm:
    """Parameters and multiply-adds of a VAN_LSKA, summed over its layers by formula."""
    settings = ARCHS[arch]
    parameters = flops = 0
    channels, kernel, stride = 3, 7, 4
    for dim, depth, ratio in zip(settings['embed_dims'], settings['depths'], settings['ffn_ratios']):
        height, width = -(-height // stride), -(-width // stride)
        pixels, hidden = height * width, dim * ratio
        attend = attention_cost(attention, dim, k_size, height, width)
        projections, mlp = 2 * dim * dim, 2 * dim * hidden + 9 * hidden
        # biases of both projections and of the MLP; two BatchNorms, two layer scales
        extras = 2 * dim + (2 * hidden + dim) + 4 * dim + 2 * dim
        parameters += channels * dim * kernel**2 + dim + 2 * dim  # patch embedding and its BatchNorm
        parameters += depth * (projections + mlp + extras + attend.parameters) + 2 * dim  # blocks, then a LayerNorm
        flops += pixels * channels * dim * kernel**2 + depth * (pixels * (projections + mlp) + attend.flops)
        channels, kernel, stride = dim, 3, 2
    return ClosedForm(parameters, flops)


class _Ledger(TorchDispatchMode):
    """Follows the memory of every tensor that is made, without allocating any on the meta device."""

    WRITERS = ('convolution', 'mm', 'addmm', 'bmm', 'baddbmm')

    def __init__(self, module: nn.Module, x: torch.Tensor) -> None:
        super().__init__()
        self.live = self.peak = self.activations = 0
        # Views of weights are no memory of their own.
        self._known = weakref.WeakSet(t.untyped_storage() for t in (*module.parameters(), *module.buffers()))
        self._follow(x)

    def _follow(self, tensor: torch.Tensor) -> None:
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
        tensors = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        for tensor in tensors:
            self._follow(tensor)
        if func.overloadpacket.__name__ in self.WRITERS:
            self.activations += sum(tensor.numel() for tensor in tensors)
        return out


def count(module: nn.Module, shape: Sequence[int]) -> Cost:
    """Run a module on PyTorch's meta device, where nothing is computed, and count.

    Args:
        module: Any module in eval mode; it is moved to the meta device and its weights are lost.
        shape: Of its input, (N, C, H, W).

    Example:
        >>> count(nn.Conv2d(3, 8, 3, padding=1, bias=False), (1, 3, 10, 10))
        Cost(parameters=216, flops=21600, activations=800, peak_memory=4400)
    """
    module = module.to('meta')
    x = torch.empty(*shape, device='meta')
    fast_attention = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one fused operator, in which nothing could be counted
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as flops:
            module(x)
        with torch.no_grad(), _Ledger(module, x) as ledger:
            module(x)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_attention)
    parameters = sum(p.numel() for p in module.parameters())
    return Cost(parameters, flops.get_total_flops() // 2, ledger.activations, ledger.peak)


def build_van(arch: str, attention: str, k_size: int) -> VAN_LSKA:
    """A VAN_LSKA without memory for its weights."""
    with torch.device('meta'):
        return VAN_LSKA(arch, k_size, attention).eval()


#: The backbones that the papers compare with: the package that has them and their config.
OTHERS: dict[str, tuple[str, dict]] = {
    'ResNet-50': ('mmdet', dict(type='ResNet', depth=50)),
    'Swin-T': (
        'mmdet',
        dict(type='SwinTransformer', embed_dims=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), window_size=7),
    ),
    'PVTv2-B2': ('mmdet', dict(type='PyramidVisionTransformerV2', embed_dims=64, num_layers=[3, 4, 6, 3])),
    'ConvNeXt-T': (
        'mmpretrain',
        dict(type='ConvNeXt', arch='tiny', out_indices=(0, 1, 2, 3), gap_before_final_norm=False),
    ),
    'MSCAN-T': (
        'mmseg',
        dict(type='MSCAN', embed_dims=[32, 64, 160, 256], mlp_ratios=[8, 8, 4, 4], depths=[3, 3, 5, 2]),
    ),
    'MSCAN-B': (
        'mmseg',
        dict(type='MSCAN', embed_dims=[64, 128, 320, 512], mlp_ratios=[8, 8, 4, 4], depths=[3, 3, 12, 3]),
    ),
}


def build_other(name: str) -> nn.Module | None:
    """One of ``OTHERS`` in eval mode, or None where its package is not installed."""
    scope, cfg = OTHERS[name]
    if importlib.util.find_spec(scope) is None:
        return None
    mend_torchvision()  # which any of them imports where it is installed
    importlib.import_module(f'{scope}.models')
    init_default_scope(scope)
    if scope == 'mmseg':
        cfg = dict(cfg, norm_cfg=dict(type='BN'))  # its default is for several GPUs
    module = MODELS.build(cfg)
    module.eval()  # returns None in some of them
    return module


def latency(module: nn.Module, shape: Sequence[int], repeats: int = 20, warm_up: int = 3) -> float:
    """Median seconds of one inference, on the GPU if there is one, else on the CPU in channels_last.

    Args:
        module: In eval mode, with memory for its weights.
        shape: Of its input, (N, C, H, W).
        repeats: Measured runs.
        warm_up: Runs before them.
    """
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    module, x = module.to(device), torch.rand(*shape, device=device)
    if device == 'cpu':
        to_channels_last(module)
    wait: Callable[[], None] = torch.cuda.synchronize if device == 'cuda' else lambda: None
    seconds = []
    with torch.inference_mode():
        for _ in range(warm_up + repeats):
            wait()
            start = time.perf_counter()
            module(x)
            wait()
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[warm_up:])


def compare_designs(
    archs: Sequence[str],
    k_sizes: Sequence[int],
    shape: Sequence[int] = (1, 3, 224, 224),
    *,
    attentions: Sequence[str] = tuple(ATTENTIONS),
    timed: bool = False,
) -> list[dict]:
    """Count VAN_LSKA of every arch, design and kernel size.

    Returns:
        A row for each: arch, attention, k_size, the fields of :class:`Cost`, 'closed_form' with the same counts by formula, and
        'latency' in seconds if ``timed``.

    Raises:
        ValueError: If an arch, a design or a kernel size does not exist.
    """
    rows = []
    for arch in archs:
        for attention in attentions:
            for k_size in k_sizes:
                cost = count(build_van(arch, attention, k_size), shape)
                formula = van_cost(arch, attention, k_size, *shape[2:])
                row = dict(
                    arch=arch, attention=attention, k_size=k_size, **cost._asdict(), closed_form=formula._asdict()
                )
                if timed:
                    row['latency'] = latency(VAN_LSKA(arch, k_size, attention).eval(), shape)
                rows.append(row)
    return rows


def compare_others(shape: Sequence[int] = (1, 3, 224, 224), *, timed: bool = False) -> list[dict]:
    """Count the backbones of other papers; one whose package is missing has a 'missing' entry instead of counts."""
    rows = []
    for name, (scope, _) in OTHERS.items():
        module = build_other(name)
        if module is None:
            rows.append(dict(name=name, missing=f'{scope} is not installed'))
            continue
        seconds = dict(latency=latency(module, shape)) if timed else {}
        rows.append(dict(name=name, package=scope, **count(module, shape)._asdict(), **seconds))
    return rows
