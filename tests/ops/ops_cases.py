"""Inputs for the operator tests, and the way they are compared with the reference in float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from mmlska import ops
from mmlska.ops import lska_attention, reference

# k_size: taps of the first pair, taps of the dilated pair, dilation. 47 has a dilated kernel that no specialised loop covers.
LADDER = {7: (3, 3, 2), 11: (3, 5, 2), 23: (5, 7, 3), 35: (5, 11, 3), 41: (5, 13, 3), 47: (5, 15, 3), 53: (5, 17, 3)}
LAYOUTS = ('channels_last', 'contiguous', 'strided')
_DENSE = {'channels_last': torch.channels_last, 'contiguous': torch.contiguous_format}
# Largest error of an element over the size of the terms it is made of. bfloat16 has 8 bits: 2^-8 = 4e-3 for each rounding, of which a
# gradient sees a few. float16 has 11, and float32 24, but a kernel rounds in it for every term.
TOLERANCE = {torch.float64: 1e-14, torch.float32: 3e-6, torch.float16: 2.5e-3, torch.bfloat16: 2e-2}


def make_map(
    shape: tuple[int, ...], dtype: torch.dtype, layout: str, seed: int = 0, device: str | torch.device = 'cpu'
) -> Tensor:
    """A map of random values, the same ones in each of ``LAYOUTS``."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return lay_out(x.to(device, dtype), layout)


def lay_out(x: Tensor, layout: str) -> Tensor:
    """The same map in one of ``LAYOUTS``; 'strided' is dense in no memory format and has NaN between its elements."""
    if layout in _DENSE:
        return x.contiguous(memory_format=_DENSE[layout])
    n, c, h, w = x.shape
    out = x.new_full((n, 2 * c, h, w + 1), torch.nan)[:, ::2, :, 1:]
    return out.copy_(x)


def make_pair(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> tuple[Tensor, Tensor]:
    """Weight and bias that keep values near 1 and that are all far from zero."""
    g = torch.Generator().manual_seed(seed)
    fan_in = shape[1] * shape[2] * shape[3]
    weight = torch.randn(shape, generator=g, dtype=torch.float64) / fan_in**0.5
    bias = torch.randn(shape[0], generator=g, dtype=torch.float64)
    return weight.to(dtype), bias.to(dtype)


def lska_tensors(c: int, k_size: int, dtype: torch.dtype) -> tuple[list[Tensor], int]:
    """The ten parameters of an LSKA, flat, and its dilation."""
    k0, k1, dilation = LADDER[k_size]
    shapes = [(c, 1, 1, k0), (c, 1, k0, 1), (c, 1, 1, k1), (c, 1, k1, 1), (c, c, 1, 1)]
    return [t for i, shape in enumerate(shapes) for t in make_pair(shape, dtype, 10 * k_size + i)], dilation


def as_pairs(flat: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return list(zip(flat[::2], flat[1::2]))


def outputs_and_grads(function, inputs: list[Tensor], grad: Tensor) -> list[Tensor]:
    """``function(*inputs)`` and the gradients of all inputs for this gradient of the output."""
    leaves = [t.detach().requires_grad_() for t in inputs]
    out = function(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


class _Record(TorchFunctionMode):
    """Keeps the squares of what the convolutions give and of the gradients that they get."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[Tensor] = []
        self.grads: dict[int, Tensor] = {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is F.conv2d:
            i = len(self.outputs)
            self.outputs.append(out.detach().square())
            out.register_hook(lambda grad: self.grads.update({i: grad.square()}))
        return out


class _Squares(TorchFunctionMode):
    """Given squares, an operator adds up the squares of its terms. Its intermediates count at their recorded size where that is larger."""

    def __init__(self, record: _Record) -> None:
        super().__init__()
        self.record = record
        self.count = itertools.count()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.gelu:
            return args[0]  # GELU keeps an error, and makes nothing larger
        out = func(*args, **(kwargs or {}))
        if func is F.conv2d:
            i = next(self.count)
            out = out + (self.record.outputs[i] - out).clamp_min(0).detach()
            out.register_hook(lambda grad: torch.maximum(grad, self.record.grads[i]))
        return out


def in_float64(twin, inputs: list[Tensor], grad: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Output and all gradients of the twin in float64, each with the sizes that the errors of its elements are measured by.

    A sum's rounding errors are as large as its terms and as random in sign: they add up to the root of the sum of the terms' squares,
    which is also the usual size of the sum itself. Where the terms cancel the sum is smaller, and its errors are not.
    """
    record = _Record()
    with record:
        wanted = outputs_and_grads(twin, [t.double() for t in inputs], grad.double())
    with _Squares(record):
        squares = outputs_and_grads(twin, [t.double().square() for t in inputs], grad.double().square())
    return [(a, torch.maximum(a.abs(), s.sqrt())) for a, s in zip(wanted, squares)]


def assert_close_to_reference(
    fused,
    twin,
    inputs: list[Tensor],
    layouts: Iterable[str] = ('channels_last',),
    out_channels: int | None = None,
    slack: float = 1,
    case: str = '',
) -> list[Tensor]:
    """Compare output and all gradients of a fused operator with its twin in float64, and the output where no gradient is wanted.

    Returns those of the last layout, that output last.
    """
    x = inputs[0]
    grad = make_map((x.shape[0], out_channels or x.shape[1], *x.shape[2:]), x.dtype, 'contiguous', 1, x.device)
    wanted = in_float64(twin, inputs, grad)
    # What a kernel adds up in. The gradient of a parameter has a term for each pixel: added one by one, n of them take n roundings.
    accumulator = torch.promote_types(x.dtype, torch.float32)
    growing = (x.numel() / x.shape[1]) ** 0.5 * torch.finfo(accumulator).eps / 2
    for layout in layouts:
        tensors = [lay_out(x, layout), *inputs[1:]]
        found = outputs_and_grads(fused, tensors, lay_out(grad, layout))
        with torch.no_grad():
            found.append(fused(*tensors))
        names = ['output', *(f'gradient of input {i}' for i in range(len(inputs))), 'output without gradients']
        for i, (a, (b, size)) in enumerate(zip(found, [*wanted, wanted[0]], strict=True)):
            name = f'{names[i]} of {case or tuple(x.shape)}, {layout}'
            assert a.dtype == x.dtype, name
            assert a.shape == b.shape, name
            tolerance = slack * TOLERANCE[x.dtype] + (growing if 1 < i < len(wanted) else 0)
            error = ((a.double() - b).abs() / size.clamp_min(torch.finfo(x.dtype).tiny)).max().item()
            # Not `error > tolerance`: a NaN must fail.
            assert error <= tolerance, f'{name}: error {error:.1e}, allowed {tolerance:.1e}'
    return found


def lska(x: Tensor, *flat_and_dilation, gelu=False, backend=None) -> Tensor:
    """The front door with flat parameters."""
    *flat, dilation = flat_and_dilation
    return lska_attention(x, *as_pairs(flat), dilation, gelu=gelu, backend=backend)


def lska_trivial(x: Tensor, *flat: Tensor, backend=None) -> Tensor:
    """The front door of a design without dilated kernels."""
    h0, v0, pointwise = as_pairs(flat)
    return lska_attention(x, h0, v0, None, None, pointwise, 1, backend=backend)


def lska_twin(x: Tensor, *flat_and_dilation, gelu=False) -> Tensor:
    *flat, dilation = flat_and_dilation
    return reference.lska_attention(x, *as_pairs(flat), dilation, gelu)


def mlp_tensors(
    c: int, dtype: torch.dtype, out_channels: int | None = None, in_channels: int | None = None
) -> list[Tensor]:
    """Weights and biases, flat: of the 1x1 before the 3x3 if ``in_channels`` is given, the 3x3, the 1x1 after it if ``out_channels`` is."""
    expand = [] if in_channels is None else make_pair((c, in_channels, 1, 1), dtype, 7)
    pointwise = [] if out_channels is None else make_pair((out_channels, c, 1, 1), dtype, 6)
    return [*expand, *make_pair((c, 1, 3, 3), dtype, 5), *pointwise]


def mlp(x: Tensor, *flat: Tensor, expand: bool = False, backend=None) -> Tensor:
    """The front door with flat parameters, as :func:`mlp_tensors` orders them; with ``expand``, the first pair is that."""
    return ops.mlp(x, *_mlp_pairs(flat, expand), backend=backend)


def mlp_twin(x: Tensor, *flat: Tensor, expand: bool = False) -> Tensor:
    return reference.mlp(x, *_mlp_pairs(flat, expand))


def _mlp_pairs(flat: tuple[Tensor, ...], expand: bool) -> tuple:
    before, depthwise, after = [*([] if expand else [None]), *as_pairs(flat), None][:3]
    return before, depthwise, after


def check_lska(
    backend: str,
    shape: tuple[int, ...],
    k_size: int,
    dtype: torch.dtype,
    layouts: Iterable[str] = ('channels_last',),
    gelu: bool = False,
    device: str | torch.device = 'cpu',
    slack: float = 1,
) -> list[Tensor]:
    """:func:`assert_close_to_reference` of an LSKA."""
    flat, dilation = lska_tensors(shape[1], k_size, dtype)
    inputs = [make_map(shape, dtype, 'contiguous', device=device), *(t.to(device) for t in flat)]
    case = f'{backend} lska {tuple(shape)}, k_size {k_size}, {dtype}, gelu {gelu}'

    def fused(*tensors):
        return lska(*tensors, dilation, gelu=gelu, backend=backend)

    def twin(*tensors):
        return lska_twin(*tensors, dilation, gelu=gelu)

    return assert_close_to_reference(fused, twin, inputs, layouts, slack=slack, case=case)


def check_mlp(
    backend: str,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    layouts: Iterable[str] = ('channels_last',),
    out_channels: int | None = None,
    device: str | torch.device = 'cpu',
    slack: float = 1,
    in_channels: int | None = None,
) -> list[Tensor]:
    """:func:`assert_close_to_reference` of the MLP; ``shape`` is that of the 3x3's map."""
    n, c, h, w = shape
    tensors = mlp_tensors(c, dtype, out_channels, in_channels)
    x = make_map((n, in_channels or c, h, w), dtype, 'contiguous', device=device)
    case = f'{backend} mlp {tuple(shape)}, in_channels {in_channels}, out_channels {out_channels}, {dtype}'
    expand = in_channels is not None
    fused, twin = partial(mlp, expand=expand, backend=backend), partial(mlp_twin, expand=expand)
    inputs = [x, *(t.to(device) for t in tensors)]
    return assert_close_to_reference(fused, twin, inputs, layouts, out_channels or c, slack, case)


class Ops(nn.Module):
    """Both front doors, the MLP without a 1x1, with one and with both, and their weights as parameters."""

    def __init__(
        self, c: int = 8, k_size: int = 23, backend: str | None = None, device: str | torch.device = 'cpu'
    ) -> None:
        super().__init__()
        flat, self.dilation = lska_tensors(c, k_size, torch.float32)
        groups = (
            flat,
            mlp_tensors(c, torch.float32),
            mlp_tensors(c, torch.float32, c),
            mlp_tensors(4 * c, torch.float32, c, c),
        )
        self.flat, self.mlp, self.reducing_mlp, self.whole_mlp = (
            nn.ParameterList(group).to(device) for group in groups
        )
        self.backend = backend

    def forward(self, x: Tensor) -> Tensor:
        groups = self.flat, self.mlp, self.reducing_mlp, self.whole_mlp
        # By index: the compiler of torch 2.11 does not unpack a ParameterList.
        flat, single, reducing, whole = ([group[i] for i in range(len(group))] for group in groups)
        x = lska(x, *flat, self.dilation, backend=self.backend)
        x = mlp(x, *single, backend=self.backend)
        x = mlp(x, *reducing, backend=self.backend)
        return mlp(x, *whole, expand=True, backend=self.backend)


def results(model: nn.Module, x: Tensor, call: Callable[[Tensor], Tensor] | None = None) -> list[Tensor]:
    """What a model makes of a map, called by itself or in another way, and the gradients of the map and of its parameters."""
    x = x.detach().requires_grad_()
    y = model(x) if call is None else call(x)
    return [y.detach(), *torch.autograd.grad(y.square().sum(), [x, *model.parameters()])]


def channels_last(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A map in that format."""
    return make_map(shape, dtype, 'channels_last')


def lska_arguments() -> dict:
    """Right arguments of the front door."""
    flat, dilation = lska_tensors(4, 7, torch.float32)
    names = ('h0', 'v0', 'h1', 'v1', 'pointwise')
    return dict(x=torch.rand(1, 4, 5, 6), **dict(zip(names, as_pairs(flat))), dilation=dilation)


def record_fused_calls(function) -> list[str]:
    """The names of the operators that a function calls."""
    calls = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func.namespace.startswith('mmlska'):
                calls.append(func._opname)
            return func(*args, **(kwargs or {}))

    with Recorder():
        function()
    return calls


def saved_for_backward(function, *parameters: Tensor) -> int:
    """Bytes of distinct memory, other than the parameters', that autograd keeps between forward and backward."""
    own = {p.untyped_storage().data_ptr() for p in parameters}
    kept = {}

    def pack(t):
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = function()
    del out
    return sum(size for pointer, size in kept.items() if pointer not in own)
