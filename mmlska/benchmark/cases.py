"""What is timed: one case is one operator, backbone or model at one input size, for all contenders."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..cost import dense_flops
from ..designs import ARCHS
from ..engine.config import load_config, replace_sync_bn
from ..models.attention import ATTENTIONS
from ..models.van_lska import VAN_LSKA, MixFFN
from ..ops import mlp
from .contenders import Contender, make_contender, make_contenders
from .published import PublishedAttention, PublishedDepthwiseGELU, PublishedMLP, PublishedVAN, published_twin

# Relative error of an output or gradient in the Frobenius norm, against `published` in float64 for one operator and in float32 for a
# network, where the roundings of dozens of layers add up: `published` itself is off by 0.2 in the gradients of VAN-T in bfloat16.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 1e-2}
NETWORK_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.4, torch.float16: 0.1}


class Case(NamedTuple):
    """Contenders for the same job."""

    settings: dict
    contenders: dict[str, Contender]
    exact: Contender
    tolerance: float
    dense_flops: int  # of its dense convolutions; 0 where these are not what the time goes to


class OurDepthwiseGELU(PublishedDepthwiseGELU):
    """The same as the package runs it, where the 1x1 after it is not part of the comparison."""

    def forward(self, x: Tensor) -> Tensor:
        return mlp(x, None, (self.dwconv.weight, self.dwconv.bias), None)


def op_case(op: str, dim: int, size: tuple[int, int], *, k_size: int, ratio: int = 4, **how) -> Case:
    """Build a case of one operator.

    Args:
        op: One of the four attention designs, 'depthwise_gelu', or 'mlp' with the 1x1 before and after.
        dim: Channels.
        size: Height and width of the map.
        k_size: Extent of the attention kernel; unused elsewhere.
        ratio: How many times as wide the MLP is inside; unused elsewhere.
        **how: Those of :func:`make_case`: ``batch``, ``dtype``, ``passes``, ``device`` and ``names``.
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
    settings = dict(op=op, k_size=k_size if op in ATTENTIONS else None)
    return make_case(settings, published, ours, (dim, *size), **how, exact_dtype=torch.float64, input_grad=True)


def backbone_case(arch: str, size: tuple[int, int], *, k_size: int, attention: str, **how) -> Case:
    """Build a case of a whole backbone: inference in deploy mode for ours, or a training step without the optimiser.

    Args:
        arch: 't', 's', 'b' or 'l'.
        size: Height and width of the image.
        k_size: Extent of the attention kernel.
        attention: One of the four designs.
        **how: As for :func:`op_case`; the pass 'forward' is inference, 'forward+backward' training.
    """
    torch.manual_seed(0)
    published = PublishedVAN(arch, k_size, attention)
    ours = VAN_LSKA(arch, k_size=k_size, attention=attention, drop_path_rate=0.0)
    randomise(published)
    ours.load_state_dict(published.state_dict())
    settings = dict(op='backbone', arch=arch, k_size=k_size, attention=attention)
    return make_case(settings, published, ours, (3, *size), **how)


def model_case(config: str, size: tuple[int, int], **how) -> Case:
    """Build a case of a whole model of a config: network and heads up to their maps, without decoding and post-processing.

    Args:
        config: Config file of a one-stage detector or a segmentor.
        size: Height and width of the image.
        **how: As for :func:`op_case`; without ``passes``, as it is inference.

    Raises:
        FileNotFoundError: If there is no such config.
        ValueError: If the model has heads that need proposals.
    """
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
    return make_case(settings, _Maps(published), _Maps(ours), (3, *size), passes='forward', **how)


def make_case(
    settings: dict,
    published: nn.Module,
    ours: nn.Module,
    shape: tuple[int, int, int],
    *,
    batch: int,
    dtype: torch.dtype,
    passes: str,
    device: torch.device,
    names: tuple[str, ...],
    exact_dtype: torch.dtype = torch.float32,
    input_grad: bool = False,
) -> Case:
    """Build a case of any pair of modules with the same weights.

    Args:
        settings: What the records say of it.
        shape: Channels, height and width of the input, of which there are ``batch``.
        dtype: Of maps and weights.
        passes: One of ``PASSES``.
        names: Those of ``CONTENDERS`` and ``DEPLOYMENT`` to build.
        exact_dtype: Of what the contenders are compared with: float64 for one operator, float32 for a network.
        input_grad: Whether the backward pass goes down to the input.
    """
    x = torch.randn(batch, *shape).to(device, dtype)
    training = passes == 'forward+backward'
    published.train(training), ours.train(training)
    backward = dict(training=training, input_grad=input_grad)
    exact = make_contender(published, x, exact_dtype, **backward)
    return Case(
        {**settings, 'input': list(x.shape), 'dtype': str(dtype).removeprefix('torch.'), 'pass': passes},
        make_contenders(names, published, ours, x, **backward),
        exact,
        (TOLERANCE if exact_dtype == torch.float64 else NETWORK_TOLERANCE)[dtype],
        # The backward pass multiplies twice as much, but for a first layer whose input needs no gradient.
        0 if settings['op'] in ATTENTIONS else dense_flops(exact.module, exact.x) * (3 if training else 1),
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
            for name, scale in module.named_parameters(recurse=False):
                if name.startswith('layer_scale_'):
                    scale.uniform_(0.1, 0.5)


def stage_dims(op: str, arch: str) -> list[int]:
    """Channels of the four stages: the block's, or the MLP's hidden ones for 'depthwise_gelu'."""
    settings = ARCHS[arch]
    if op == 'depthwise_gelu':
        return [dim * ratio for dim, ratio in zip(settings['embed_dims'], settings['ffn_ratios'])]
    return settings['embed_dims']


class _Maps(nn.Module):
    """The maps that a detector's or segmentor's heads put out, flat."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> list[Tensor]:
        return tree_leaves(self.model(x, mode='tensor'))
