"""The GPU backend: Triton kernels as PyTorch operators, and outside of compiled graphs as autograd functions, which cost the CPU less.

operators.py makes the operators of launches of kernels, of which chain.py, chain_gradient.py, pointwise.py and depthwise.py have each with
its settings and say why they are cut that way. A channels_last map is copied for the chain, so on a GPU the contiguous format, PyTorch's
default, is the faster one for LSKA. Sums are in float32, and float32 maps are multiplied as three tf32 products, which is as exact as
float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import reference
from ..autograd import alike_pairs, all_four, eager, flat_depthwise_gelu, flat_lska, flat_pointwise, register
from ..context import FLOATS, Pair, is_eager
from ..fallback import fall_back
from .checks import checked
from .errors import fix_of, is_refusal, lost_a_race
from .launch import INTERPRETED, dense, dense_format

NAME = 'triton'
# The kernels read float32 weights beside 16-bit maps, so autocast need not convert them in every step.
MIXES = True


def _missing() -> str | None:
    try:
        return None if find_spec('triton') else 'triton is not installed; `pip install triton` brings it'
    except (ImportError, ValueError) as error:
        return f'triton cannot be imported ({error}); `pip install --force-reinstall triton` fixes that'


PROBLEM = _missing()


def supports(device_type: str, dtype: torch.dtype) -> bool:
    """Tell whether the kernels are correct there."""
    return (device_type == 'cuda' or (device_type == 'cpu' and INTERPRETED)) and dtype in FLOATS


def pays(op: str, x: Tensor) -> bool:
    """Tell whether the kernels are faster: on every GPU, and never in the interpreter."""
    return x.is_cuda


def lska_attention(
    x: Tensor, h0: Pair, v0: Pair, h1: Pair | None, v1: Pair | None, pointwise: Pair, dilation: int, gelu: bool = False
) -> Tensor:
    """See :func:`mmlska.ops.lska_attention`."""
    parameters = (*all_four(x, h0, v0, h1, v1), *pointwise)
    if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *parameters)):
        call = _EAGER.lska_training if is_eager(x) else torch.ops.mmlska_triton.lska_training
        return call(dense(x), *parameters, dilation, gelu)[0]
    call = _OPERATORS.lska_inference if is_eager(x) else torch.ops.mmlska_triton.lska_inference
    return call(dense(x), *parameters, dilation, gelu)


def mlp(x: Tensor, expand: Pair | None, depthwise: Pair, pointwise: Pair | None) -> Tensor:
    """See :func:`mmlska.ops.mlp`."""
    calls = _EAGER if is_eager(x) else torch.ops.mmlska_triton
    x = dense(x) if expand is None else calls.pointwise(dense(x), *expand)
    if pointwise is None:
        return calls.depthwise_gelu(x, *depthwise)
    return calls.depthwise_gelu_pointwise(x, *depthwise, *pointwise)


# ---- kernels, or plain PyTorch where they cannot run ----


# What users know an operator by, by the beginning of its name.
_WORDS = {'lska': 'lska_attention', 'depthwise_gelu': 'depthwise_gelu', 'pointwise': 'a 1x1 convolution'}
# What Triton cannot compile or start: the reason and the next step, by operator and inputs.
_refused: dict[tuple, str] = {}


def _run(name: str, *inputs) -> Any:
    """An operator's result: the kernels', or plain PyTorch's where Triton cannot compile or start them for these inputs, or for none here.

    Each is tried once. Other errors, those of the GPU among them, are raised: plain PyTorch would hide them or fail too.
    """
    backward = name.endswith('_backward')
    x = inputs[backward]
    if x.numel() == 0:
        return _plain(name, x, inputs)

    def key() -> tuple:
        what = next(words for start, words in _WORDS.items() if name.startswith(start))
        what = f'the gradient of {what}' if backward else what
        shapes = (t.shape if isinstance(t, Tensor) else t for t in inputs)
        return what, x.device, x.dtype, dense_format(x), x.shape, *shapes

    def fused():
        return getattr(_kernels(), name)(*inputs)

    if PROBLEM is None and not (_refused and key() in _refused):
        try:
            if not x.is_cuda or x.device.index == torch.cuda.current_device():
                return fused()
            with torch.cuda.device_of(x):  # Triton launches on the current one
                return fused()
        except Exception as error:
            if lost_a_race(error):
                return fused()
            if INTERPRETED or not _remember(error, key()):
                raise
            _tell(key())  # here, so that the traceback of the error of MMLSKA_STRICT has this one in it
    else:
        _tell(key())
    return _plain(name, x, inputs)


@cache
def _kernels() -> ModuleType:
    from . import operators  # which imports triton

    return operators


def _tell(key: tuple) -> None:
    if PROBLEM is not None:
        return fall_back(NAME, PROBLEM)
    what, device, dtype, _, shape, *_ = key
    return fall_back(key, _refused[key], f'{what} of a map of shape {tuple(shape)} and {dtype} on {device}')


def _remember(error: Exception, key: tuple) -> bool:
    """Note what an error says of these inputs or of the whole installation; False if it says nothing of them."""
    global PROBLEM
    # The last line tells most, except the command that repeats a failure of ptxas.
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith('Repro command')]
    reason = f'{type(error).__name__}: {lines[-1].strip()}' if lines else type(error).__name__
    if is_refusal(error):
        smaller = 'OutOfResources' in reason and key[2] == torch.float32
        step = 'float16 or bfloat16 needs less' if smaller else '`pip install -U triton` may fix that'
        _refused[key] = f'the Triton kernels do not compile or fit ({reason}); {step}, else please report this line'
        return True
    step = fix_of(error)
    if step is not None:
        PROBLEM = f'the Triton kernels do not compile or start here ({reason}); {step}'
    return step is not None


def _plain(name: str, x: Tensor, inputs: tuple) -> Tensor | tuple[Tensor, Tensor] | list[Tensor]:
    """The same in plain PyTorch: a map in the format of x, and what else there is contiguous."""
    found = _PLAIN[name](*inputs)
    if isinstance(found, Tensor):
        return found.contiguous(memory_format=dense_format(x))
    first, *others = found
    return type(found)([first.contiguous(memory_format=dense_format(x)), *(t.contiguous() for t in others)])


def _plain_lska_training(x: Tensor, *inputs) -> tuple[Tensor, Tensor]:
    *flat, dilation, gelu = inputs
    x = F.gelu(x) if gelu else x
    *four, last = alike_pairs(x, *flat)
    kept = reference.depthwise_chain(x, *four, dilation)
    return x * F.conv2d(kept, *last), kept


def _plain_grads(twin: Callable[..., Tensor], grad: Tensor, *inputs) -> list[Tensor]:
    leaves = [t.detach().requires_grad_() if isinstance(t, Tensor) else t for t in inputs]
    with torch.enable_grad():
        return list(torch.autograd.grad(twin(*leaves), [t for t in leaves if isinstance(t, Tensor)], grad))


_PLAIN = {
    'lska_inference': flat_lska,
    'lska_training': _plain_lska_training,
    'lska_backward': lambda grad, x, kept, *rest: _plain_grads(flat_lska, grad, x, *rest),
    'depthwise_gelu': flat_depthwise_gelu,
    'depthwise_gelu_backward': partial(_plain_grads, flat_depthwise_gelu),
    'depthwise_gelu_pointwise': flat_depthwise_gelu,
    'depthwise_gelu_pointwise_backward': lambda *inputs: _plain_grads(
        flat_depthwise_gelu, *inputs, inputs[-1].new_zeros(inputs[-1].shape[0])
    ),
    'pointwise': flat_pointwise,
    'pointwise_backward': partial(_plain_grads, flat_pointwise),
}

# ---- registration ----

_OPERATORS = SimpleNamespace(**{name: partial(_run, name) for name in _PLAIN})
register('mmlska_triton', list(_PLAIN), dense_format, torch.contiguous_format)
for _name, _operator in vars(_OPERATORS).items():
    torch.library.impl(f'mmlska_triton::{_name}', ('cuda', 'cpu'))(checked(_name, _operator))
_EAGER = eager(_OPERATORS)
