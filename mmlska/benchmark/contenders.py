"""What is timed: one case is one operator, backbone or model at one input size, with a function for each contender."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..cost import dense_flops
from ..models import fold_for_inference
from ..models.attention import ATTENTIONS
from ..models.van_lska import ARCHS, VAN_LSKA, MixFFN
from ..ops import depthwise_gelu
from .published import PublishedAttention, PublishedDepthwiseGELU, PublishedMLP, PublishedVAN, published_twin

CONTENDERS = ('published', 'published-channels-last', 'published-compiled', 'mmlska')
# Of backbones and models in inference alone, the second in float32 on a CPU: a case of another kind leaves them out.
DEPLOYMENT = ('mmlska-unfolded', 'onnxruntime')
PASSES = ('forward', 'forward+backward')
# Relative error of an output or gradient in the Frobenius norm, against `published` in float64 for one operator and in float32 for a
# network, where the roundings of dozens of layers add up: `published` itself is off by 0.2 in the gradients of VAN-T in bfloat16.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 1e-2}
NETWORK_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.4, torch.float16: 0.1}


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


class Case(NamedTuple):
    """Contenders for the same job."""

    settings: dict
    contenders: dict[str, Contender]
    exact: Contender
    tolerance: float
    dense_flops: int  # of its dense convolutions; 0 where these are not what the time goes to


class OurDepthwiseGELU(nn.Module):
    """The MLP's depthwise convolution and GELU as the package runs them where the 1x1 after them is not part of the comparison."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        return depthwise_gelu(x, self.dwconv.weight, self.dwconv.bias)


def op_case(
    op: str,
    dim: int,
    size: tuple[int, int],
    *,
    batch: int,
    k_size: int,
    dtype: torch.dtype,
    passes: str,
    device: torch.device,
    names: tuple[str, ...],
    ratio: int = 4,
) -> Case:
    """Build a case of one operator.

    Args:
        op: One of the four attention designs, 'depthwise_gelu', or 'mlp' with the 1x1 before and after.
        dim: Channels.
        size: Height and width of the map.
        batch: Images.
        k_size: Extent of the attention kernel; unused elsewhere.
        dtype: Of maps and weights.
        passes: 'forward' or 'forward+backward'.
        device: Where to run.
        names: Those of ``CONTENDERS`` and ``DEPLOYMENT`` to build.
        ratio: How many times as wide the MLP is inside; unused elsewhere.
    """
    torch.manual_seed(0)
    if op == 'depthwise_gelu':
        published, ours = PublishedDepthwiseGELU(dim), OurDepthwiseGELU(dim)
    elif op == 'mlp':
        ours = MixFFN(dim, dim * ratio, dict(type='GELU'), 0.0)
        published = PublishedMLP(copy.deepcopy(ours))
    else:
        published, ours = PublishedAttention(op, dim, k_size), ATTENTIONS[op](dim, k_size)
    ours.load_state_dict(published.state_dict())
    x = torch.randn(batch, dim, *size)
    settings = dict(op=op, k_size=k_size if op in ATTENTIONS else None)
    return _case(settings, published, ours, x, dtype, passes, device, names, exact_dtype=torch.float64, input_grad=True)


def backbone_case(
    arch: str,
    size: tuple[int, int],
    *,
    batch: int,
    k_size: int,
    attention: str,
    dtype: torch.dtype,
    passes: str,
    device: torch.device,
    names: tuple[str, ...],
) -> Case:
    """Build a case of a whole backbone: inference in deploy mode for ours, or a training step without the optimiser.

    Args:
        arch: 't', 's', 'b' or 'l'.
        size: Height and width of the image.
        batch: Images.
        k_size: Extent of the attention kernel.
        attention: One of the four designs.
        dtype: Of maps and weights.
        passes: 'forward' (inference) or 'forward+backward' (training).
        device: Where to run.
        names: Those of ``CONTENDERS`` and ``DEPLOYMENT`` to build.
    """
    torch.manual_seed(0)
    published = PublishedVAN(arch, k_size, attention)
    ours = VAN_LSKA(arch, k_size=k_size, attention=attention, drop_path_rate=0.0)
    randomise(published)
    ours.load_state_dict(published.state_dict())
    x = torch.randn(batch, 3, *size)
    settings = dict(op='backbone', arch=arch, k_size=k_size, attention=attention)
    return _case(
        settings, published, ours, x, dtype, passes, device, names, exact_dtype=torch.float32, input_grad=False
    )


def randomise(network: nn.Module) -> None:
    """Give norms and layer scales values as after training: the initial ones would hide what folding them gets wrong."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
            for scale in (getattr(module, f'layer_scale_{i}', None) for i in (1, 2)):
                if scale is not None:
                    scale.uniform_(0.1, 0.5)


def _case(
    settings: dict,
    published: nn.Module,
    ours: nn.Module,
    x: Tensor,
    dtype: torch.dtype,
    passes: str,
    device: torch.device,
    names: tuple[str, ...],
    *,
    exact_dtype: torch.dtype,
    input_grad: bool,
) -> Case:
    training = passes == 'forward+backward'
    published.train(training), ours.train(training)
    x = x.to(device, dtype)
    settings = {**settings, 'input': list(x.shape), 'dtype': str(dtype).removeprefix('torch.'), 'pass': passes}

    def contender(
        module: nn.Module, memory_format: torch.memory_format, dtype: torch.dtype = dtype, compiled: bool = False
    ) -> Contender:
        module = copy.deepcopy(module).to(device, dtype).to(memory_format=memory_format)
        if not training:
            module.requires_grad_(False)
        run = module
        if compiled:
            # Cases share their code: later ones count as recompilations of the first, and would run uncompiled beyond eight.
            torch._dynamo.config.recompile_limit = 1000
            # On a GPU every contender is timed as a CUDA graph, of which the compiler need not make another. Its search for kernels takes
            # seconds for each convolution there.
            run = torch.compile(module, mode=None if device.type == 'cuda' else 'max-autotune')
        data = x.to(dtype).contiguous(memory_format=memory_format).requires_grad_(training and input_grad)
        return Contender(run, list(module.parameters()), data)

    nchw, nhwc = torch.contiguous_format, torch.channels_last
    deployed = not training and any(isinstance(m, VAN_LSKA) for m in ours.modules())
    fast = fold_for_inference(ours) if deployed else ours
    own_format = nchw if device.type == 'cuda' else nhwc  # what the operators like, see mmlska/ops
    makers = {
        'published': lambda: contender(published, nchw),
        'published-channels-last': lambda: contender(published, nhwc),
        'published-compiled': lambda: contender(published, nchw, compiled=True),
        'mmlska': lambda: contender(fast, own_format),
    }
    if deployed:
        makers['mmlska-unfolded'] = lambda: contender(ours, own_format)
        if dtype == torch.float32 and device.type == 'cpu':
            makers['onnxruntime'] = lambda: Contender(OnnxSession(ours, x), [], x.contiguous())
    tolerance = (TOLERANCE if exact_dtype == torch.float64 else NETWORK_TOLERANCE)[dtype]
    exact = contender(published, nchw, dtype=exact_dtype)
    return Case(
        settings,
        {name: makers[name]() for name in names if name in makers},
        exact,
        tolerance,
        # The backward pass multiplies twice as much, but for a first layer whose input needs no gradient.
        0 if settings['op'] in ATTENTIONS else dense_flops(exact.module, exact.x) * (3 if training else 1),
    )


class OnnxSession:
    """A network as ``tools/export.py`` writes it, run by onnxruntime with as many threads as torch has.

    Args:
        network: A backbone, or :class:`_Maps` of a model, in evaluation mode.
        x: An input, from which the number of outputs is counted.

    Shape:
        (N, 3, H, W) to the network's maps, in a list.
    """

    def __init__(self, network: nn.Module, x: Tensor) -> None:
        import onnxruntime

        from ..export.graphs import exportable
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


def errors(case: Case, name: str) -> Iterator[float]:
    """Relative errors of a contender: of each output, and of each gradient where the case has a backward pass."""
    contender, exact = case.contenders[name], case.exact
    inference = case.settings['pass'] == 'forward'
    with torch.no_grad() if inference else nullcontext():
        found, wanted = contender.outputs(), exact.outputs()
    pairs = [(found, wanted)] if isinstance(found, Tensor) else list(zip(found, wanted))
    if not inference:
        grads, exact_grads = contender.forward_backward(), exact.forward_backward()
        # A bias before a BatchNorm has the gradient zero: what comes out is rounding, measured against its largest neighbour.
        share = 1e-3 if contender.x.dtype == torch.float32 else 3e-2
        floor = share * max(g.norm().item() for g in exact_grads)
        yield from (_relative(a, b, floor) for a, b in zip(grads, exact_grads))
    yield from (_relative(a, b, 0.0) for a, b in pairs)


def _relative(found: Tensor, wanted: Tensor, floor: float) -> float:
    wanted = wanted.double()
    return ((found.double() - wanted).norm() / max(wanted.norm().item(), floor, 1e-30)).item()


def stage_dims(op: str, arch: str) -> list[int]:
    """Channels of the four stages: the block's, or the MLP's hidden ones for 'depthwise_gelu'."""
    settings = ARCHS[arch]
    if op == 'depthwise_gelu':
        return [dim * ratio for dim, ratio in zip(settings['embed_dims'], settings['ffn_ratios'])]
    return settings['embed_dims']


def model_case(
    config: str, size: tuple[int, int], *, batch: int, dtype: torch.dtype, device: torch.device, names: tuple[str, ...]
) -> Case:
    """Build a case of a whole model of a config: network and heads up to their maps, without decoding and post-processing.

    Args:
        config: Config file of a one-stage detector or a segmentor.
        size: Height and width of the image.
        batch: Images.
        dtype: Of maps and weights.
        device: Where to run.
        names: Those of ``CONTENDERS`` and ``DEPLOYMENT`` to build.

    Raises:
        FileNotFoundError: If there is no such config.
        ValueError: If the model has heads that need proposals.
    """
    from mmengine.registry import MODELS, init_default_scope

    from ..engine.config import load_config, replace_sync_bn

    cfg = load_config(config)
    if 'roi_head' in cfg.model:
        raise ValueError(f'{config} is a two-stage detector; the benchmark times one-stage detectors and segmentors')
    cfg.model.backbone.init_cfg = None
    replace_sync_bn(cfg)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    ours = MODELS.build(cfg.model).eval()
    randomise(ours.backbone)
    published = copy.deepcopy(ours)
    published.backbone = published_twin(ours.backbone)
    settings = dict(op='model', config=Path(config).stem)
    x = torch.randn(batch, 3, *size)
    return _case(
        settings,
        _Maps(published),
        _Maps(ours),
        x,
        dtype,
        'forward',
        device,
        names,
        exact_dtype=torch.float32,
        input_grad=False,
    )


class _Maps(nn.Module):
    """The maps that a detector's or segmentor's heads put out, flat."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> list[Tensor]:
        pending, maps = [self.model(x, mode='tensor')], []
        while pending:
            item = pending.pop(0)
            if isinstance(item, Tensor):
                maps.append(item)
            else:
                pending = [*item, *pending]
        return maps
