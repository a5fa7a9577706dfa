"""Who takes part: the published code, three ways to run it faster, ours, and other engines, each as a function of one input."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..export.graphs import exportable
from ..models import VAN_LSKA, fold_for_inference

CONTENDERS = ('published', 'published-channels-last', 'published-compiled', 'mmlska')
# Of backbones and models in inference alone, the second in float32 on a CPU: a case of another kind leaves them out.
DEPLOYMENT = ('mmlska-unfolded', 'onnxruntime')
PASSES = ('forward', 'forward+backward')


class Contender(NamedTuple):
    """A module with its input in the layout that it likes."""

    module: Callable[[Tensor], object]
    parameters: list[Tensor]
    x: Tensor

    def forward(self) -> object:
        """One inference."""
        with torch.inference_mode():
            return self.module(self.x)

    def outputs(self) -> object:
        """Outputs that gradients can be taken of."""
        return self.module(self.x)

    def forward_backward(self) -> list[Tensor]:
        """Gradients of all parameters, and of the input where it needs one, for random gradients of the outputs, always the same."""
        outs = self.outputs()
        outs = [outs] if isinstance(outs, Tensor) else list(outs)
        wanted = [t for t in (self.x, *self.parameters) if t.requires_grad]
        return list(torch.autograd.grad(outs, wanted, [_gradient_of(out) for out in outs]))


@cache
def _random_values(shape: torch.Size, device: torch.device) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(device)


def _gradient_of(out: Tensor) -> Tensor:
    values = _random_values(out.shape, out.device)
    return torch.empty_like(out).copy_(values)  # in the layout of the output, as the layer after it would send it


def make_contender(
    module: nn.Module,
    x: Tensor,
    dtype: torch.dtype,
    memory_format: torch.memory_format = torch.contiguous_format,
    *,
    training: bool,
    input_grad: bool,
    compiled: bool = False,
) -> Contender:
    """A copy of a module, in the mode that it is timed in, with its input as a contender.

    Args:
        x: The input, on the device.
        dtype: Of maps and weights, as ``memory_format``.
        training: Whether there is a backward pass.
        input_grad: Whether it goes down to the input.
        compiled: By torch.compile.
    """
    module = copy.deepcopy(module).to(x.device, dtype).to(memory_format=memory_format)
    if not training:
        module.requires_grad_(False)
    run = module
    if compiled:
        # Cases share their code: later ones count as recompilations of the first, and would run uncompiled beyond eight.
        torch._dynamo.config.recompile_limit = 1000
        # On a GPU every contender is timed as a CUDA graph, of which the compiler need not make another. Its search for kernels takes
        # seconds for each convolution there.
        run = torch.compile(module, mode=None if x.device.type == 'cuda' else 'max-autotune')
    data = x.to(dtype).contiguous(memory_format=memory_format).requires_grad_(training and input_grad)
    return Contender(run, list(module.parameters()), data)


def make_contenders(
    names: tuple[str, ...], published: nn.Module, ours: nn.Module, x: Tensor, *, training: bool, input_grad: bool
) -> dict[str, Contender]:
    """The contenders of these names, of ``CONTENDERS`` and ``DEPLOYMENT``, that take part in a case of two modules with the same weights.

    ``x`` is the input, on the device and in the precision of the case; the rest as for :func:`make_contender`.
    """
    make = partial(make_contender, x=x, dtype=x.dtype, training=training, input_grad=input_grad)
    gpu, nhwc = x.device.type == 'cuda', torch.channels_last
    own_format = torch.contiguous_format if gpu else nhwc  # what the operators like, see mmlska/ops
    deployed = not training and any(isinstance(m, VAN_LSKA) for m in ours.modules())
    makers = {
        'published': lambda: make(published),
        'published-channels-last': lambda: make(published, memory_format=nhwc),
        'published-compiled': lambda: make(published, compiled=True),
        'mmlska': lambda: make(fold_for_inference(ours) if deployed else ours, memory_format=own_format),
    }
    if deployed:
        makers['mmlska-unfolded'] = lambda: make(ours, memory_format=own_format)
        if x.dtype == torch.float32 and not gpu:
            makers['onnxruntime'] = lambda: Contender(OnnxSession(ours, x), [], x.contiguous())
    return {name: makers[name]() for name in names if name in makers}


class OnnxSession:
    """A network as ``mmlska export`` writes it, run by onnxruntime with as many threads as torch has.

    Args:
        network: A backbone, or the maps of a whole model, in evaluation mode.
        x: An input, from which the number of outputs is counted.

    Shape:
        (N, 3, H, W) to the network's maps, in a list.
    """

    def __init__(self, network: nn.Module, x: Tensor) -> None:
        import onnxruntime

        # Importing these needs onnx and OpenCV, which the GPU check does without.
        from ..export.onnx_file import to_onnx

        with torch.inference_mode():
            count = len(network(x))
        file = to_onnx(exportable(network), [f'map{i}' for i in range(count)])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        # Its threads would spin on after a run, and take the cores from the contender that is next.
        options.add_session_config_entry('session.force_spinning_stop', '1')
        self._session = onnxruntime.InferenceSession(
            file.SerializeToString(), options, providers=['CPUExecutionProvider']
        )

    def __call__(self, x: Tensor) -> list[Tensor]:
        return [torch.from_numpy(value) for value in self._session.run(None, {'image': x.numpy()})]
