"""VAN-LSKA: the Visual Attention Network with Large Separable Kernel Attention, a backbone in plain PyTorch.

Papers: Large Separable Kernel Attention, arXiv 2309.01439; Visual Attention Network, arXiv 2202.09741 (structure, initialisation).
Parameter names are those of the published detection and segmentation checkpoints. Reading order: layers, block, network.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..designs import arch_settings, check_int, design_kernels
from ..ops import autocast_dtype, mlp
from ..weights import adopt_state_dict
from .attention import ATTENTIONS, runs_apart
from .layers import Cfg, DropPath, LayerNorm2d, build_act, build_norm  # noqa: F401, models pickled before name LayerNorm2d here
from .migration import refuse_arguments


class PatchEmbed(nn.Module):
    """Overlapping patch embedding: a strided convolution and a norm."""

    def __init__(self, in_channels: int, embed_dims: int, kernel_size: int, stride: int, norm_cfg: Cfg) -> None:
        super().__init__()
        self.projection = nn.Conv2d(in_channels, embed_dims, kernel_size, stride, kernel_size // 2)
        self.norm = build_norm(norm_cfg, embed_dims, 'norm_cfg')

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.projection(x))


def _is_exact_gelu(act: nn.Module) -> bool:
    return type(act) is nn.GELU and act.approximate == 'none'


def _scaled(conv: nn.Conv2d, scale: Tensor | None) -> tuple[Tensor, Tensor]:
    """Weight and bias of a 1x1 with a layer scale in them: the scale then costs no map, neither its time nor the copy for backward."""
    if scale is None:
        return conv.weight, conv.bias
    return conv.weight * scale[:, None, None, None], conv.bias * scale


class MixFFN(nn.Module):
    """The block's MLP: 1x1 expansion, 3x3 depthwise convolution, activation, 1x1 reduction, times the layer scale if one is given."""

    def __init__(self, embed_dims: int, hidden_dims: int, act_cfg: Cfg, drop_rate: float) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(embed_dims, hidden_dims, 1)
        self.dwconv = nn.Conv2d(hidden_dims, hidden_dims, 3, padding=1, groups=hidden_dims)
        self.act = build_act(act_cfg)
        self.fc2 = nn.Conv2d(hidden_dims, embed_dims, 1)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        drops = self.training and self.drop.p > 0
        if not _is_exact_gelu(self.act) or drops or runs_apart(x, self.dwconv, self.act, self.fc2):
            x = self.drop(self.fc2(self.drop(self.act(self.dwconv(self.fc1(x))))))
            return x if scale is None else scale[:, None, None] * x
        expand = None
        if runs_apart(x, self.fc1):
            x = self.fc1(x)
        else:
            expand = self.fc1.weight, self.fc1.bias
        return mlp(x, expand, (self.dwconv.weight, self.dwconv.bias), _scaled(self.fc2, scale))


class SpatialAttention(nn.Module):
    """The block's attention unit: 1x1, activation, large-kernel attention, 1x1, plus its own input, times the layer scale."""

    def __init__(self, embed_dims: int, attention: str, k_size: int, act_cfg: Cfg) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(embed_dims, embed_dims, 1)
        self.activation = build_act(act_cfg)
        self.spatial_gating_unit = ATTENTIONS[attention](embed_dims, k_size)
        self.proj_2 = nn.Conv2d(embed_dims, embed_dims, 1)

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        # Once, for proj_1 and the shortcut: autocast lowers it for proj_1 alone, and both copies would be kept for the backward pass.
        x = x.to(autocast_dtype(x) or x.dtype)
        y = self.gated(x)
        if runs_apart(y, self.proj_2):
            return scale[:, None, None] * (x + self.proj_2(y))
        return torch.addcmul(F.conv2d(y, *_scaled(self.proj_2, scale)), x, scale[:, None, None].to(x.dtype))

    def gated(self, x: Tensor) -> Tensor:
        """All but the last 1x1 and what follows it."""
        x, unit = self.proj_1(x), self.spatial_gating_unit
        if hasattr(unit, 'after_gelu') and _is_exact_gelu(self.activation) and not runs_apart(x, self.activation):
            return unit.after_gelu(x)
        return unit(self.activation(x))


class VANBlock(nn.Module):
    """One VAN block: ``x += ls1 * attn(norm1(x))``, then ``x += ls2 * mlp(norm2(x))``."""

    def __init__(
        self,
        embed_dims: int,
        ffn_ratio: float,
        attention: str,
        k_size: int,
        drop_rate: float,
        drop_path_rate: float,
        norm_cfg: Cfg,
        act_cfg: Cfg,
        layer_scale_init_value: float,
    ) -> None:
        super().__init__()
        self.norm1 = build_norm(norm_cfg, embed_dims, 'norm_cfg')
        self.attn = SpatialAttention(embed_dims, attention, k_size, act_cfg)
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate else nn.Identity()
        self.norm2 = build_norm(norm_cfg, embed_dims, 'norm_cfg')
        self.mlp = MixFFN(embed_dims, int(embed_dims * ffn_ratio), act_cfg, drop_rate)
        self.layer_scale_1 = nn.Parameter(torch.full((embed_dims,), float(layer_scale_init_value)))
        self.layer_scale_2 = nn.Parameter(torch.full((embed_dims,), float(layer_scale_init_value)))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), self.layer_scale_1))
        return x + self.drop_path(self.mlp(self.norm2(x), self.layer_scale_2))


@contextmanager
def _batch_stats_kept(block: nn.Module):
    """Recompute a checkpointed block without updating the running statistics of its BatchNorms a second time."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    saved = [(m.momentum, m.num_batches_tracked) for m in norms]
    for m in norms:
        # A count to throw away: SyncBatchNorm refuses to run without one.
        m.momentum, m.num_batches_tracked = 0.0, m.num_batches_tracked.clone()
    try:
        yield
    finally:
        for m, (momentum, count) in zip(norms, saved):
            m.momentum, m.num_batches_tracked = momentum, count


class VAN_LSKA(nn.Module):
    """Visual Attention Network with large separable kernel attention.

    Args:
        arch: 't', 's', 'b' or 'l' (also 'tiny' or 'b0', 'small' or 'b1', 'base' or 'b2', 'large' or 'b3'), or a dict with the lists
            ``embed_dims``, ``depths`` and ``ffn_ratios``, one entry for each stage.
        k_size: Extent of the attention kernel in pixels of the feature map: 7, 11, 23, 35, 41, 53, ...
        attention: 'lska', 'lka', 'lska_trivial' or 'lka_trivial'. VAN's own LKA is ``attention='lka', k_size=23``.
        in_channels: Channels of the image.
        out_indices: The stages (0-based) whose outputs are returned. Stages after the last of them are not built.
        drop_rate: Dropout in the MLPs.
        drop_path_rate: Stochastic depth of the last block; rises linearly from 0 at the first.
        frozen_stages: Stages 0..frozen_stages are frozen and kept in eval mode; -1 freezes none.
        norm_eval: Keep every BatchNorm in eval mode during training, so that its running statistics stay.
        norm_cfg: The norm in patch embeddings and blocks: type 'BN', 'SyncBN', 'GN' or 'LN' and its options.
        stage_norm_cfg: The norm after each stage. Weights from classification were trained with eps 1e-6, the published
            detection and segmentation code uses 1e-5.
        act_cfg: Activation, a name of torch.nn.
        layer_scale_init_value: Initial value of the learnt scale on each residual branch.
        with_cp: Recompute each block in the backward pass instead of storing its activations. Gradients are the same, BatchNorm's
            running statistics too.
        init_cfg: MMEngine's initialisation config, see :mod:`mmlska.models.openmmlab`. By default the published initialisation.
        **others: Arguments of other implementations of VAN, where they ask for what is so here too; see :mod:`mmlska.models.migration`.

    Shape:
        (N, in_channels, H, W) to a tuple of (N, embed_dims[i], ceil(H / s), ceil(W / s)) with s = 4, 8, 16, 32, any H and W.

    Raises:
        ImportError: If ``init_cfg`` is given where MMEngine is not installed.
        TypeError: If ``arch`` is neither str nor dict, an integer argument is none, or an argument is unknown.
        ValueError: If a value is not among those allowed; the message lists them.

    Source: LSKA paper, section 4.1; VAN paper, section 3.3 and table 2.

    Example:
        >>> backbone = VAN_LSKA('t', k_size=23)
        >>> [tuple(x.shape) for x in backbone(torch.rand(1, 3, 65, 70))]
        [(1, 32, 17, 18), (1, 64, 9, 9), (1, 160, 5, 5), (1, 256, 3, 3)]
    """

    def __init__(
        self,
        arch: str | dict = 't',
        k_size: int = 23,
        attention: str = 'lska',
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        norm_cfg: Cfg = dict(type='BN', requires_grad=True),  # noqa: B006, only read
        stage_norm_cfg: Cfg = dict(type='LN', eps=1e-6),  # noqa: B006, only read
        act_cfg: Cfg = dict(type='GELU'),  # noqa: B006, only read
        layer_scale_init_value: float = 1e-2,
        with_cp: bool = False,
        init_cfg: Cfg | list[Cfg] | None = None,
        **others: object,
    ) -> None:
        super().__init__()
        refuse_arguments(others)
        if init_cfg is not None:
            raise ImportError(
                'init_cfg is for models of MMEngine (pip install onedl-mmengine); '
                'in plain PyTorch load weights by mmlska.weights.load_weights(backbone, file)'
            )
        settings = arch_settings(arch)
        self.embed_dims, self.depths, self.ffn_ratios = (settings[k] for k in ('embed_dims', 'depths', 'ffn_ratios'))
        design_kernels(attention, k_size)  # or an error that lists what there is
        check_int('in_channels', in_channels)
        if in_channels < 1:
            raise ValueError(f'in_channels={in_channels} must be the number of image channels, 1 or more')
        for name, rate in (('drop_rate', drop_rate), ('drop_path_rate', drop_path_rate)):
            if isinstance(rate, bool) or not isinstance(rate, (int, float)):
                raise TypeError(f'{name} must be a number, got {rate!r} of type {type(rate).__name__}')
            if not 0.0 <= rate < 1.0:
                raise ValueError(f'{name}={rate} must be at least 0 and below 1')
        self.out_indices = _check_out_indices(out_indices, len(self.depths))
        self.num_stages = self.out_indices[-1] + 1
        check_int('frozen_stages', frozen_stages)
        if not -1 <= frozen_stages < len(self.depths):
            raise ValueError(f'frozen_stages={frozen_stages} must be -1 (none) to {len(self.depths) - 1} (all)')
        self.arch, self.k_size, self.attention, self.in_channels = arch, k_size, attention, in_channels
        self.frozen_stages, self.norm_eval, self.with_cp = min(frozen_stages, self.num_stages - 1), norm_eval, with_cp

        total = sum(self.depths)
        drop_path_rates = [drop_path_rate * i / max(total - 1, 1) for i in range(total)]
        for i in range(self.num_stages):
            dims, first = self.embed_dims[i], sum(self.depths[:i])
            channels, kernel, stride = (self.embed_dims[i - 1], 3, 2) if i else (in_channels, 7, 4)
            patch_embed = PatchEmbed(channels, dims, kernel, stride, norm_cfg)
            blocks = nn.ModuleList(
                VANBlock(
                    embed_dims=dims,
                    ffn_ratio=self.ffn_ratios[i],
                    attention=attention,
                    k_size=k_size,
                    drop_rate=drop_rate,
                    drop_path_rate=drop_path_rates[first + j],
                    norm_cfg=norm_cfg,
                    act_cfg=act_cfg,
                    layer_scale_init_value=layer_scale_init_value,
                )
                for j in range(self.depths[i])
            )
            self.add_module(f'patch_embed{i + 1}', patch_embed)
            self.add_module(f'blocks{i + 1}', blocks)
            self.add_module(f'norm{i + 1}', build_norm(stage_norm_cfg, dims, 'stage_norm_cfg'))
        self._init_published()
        self._freeze()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the stages ``out_indices``, finest first."""
        if not torch.jit.is_tracing() and (x.dim() != 4 or x.shape[1] != self.in_channels):
            raise ValueError(
                f'input of shape {tuple(x.shape)} does not fit; VAN_LSKA expects (N, {self.in_channels}, H, W): '
                f'set in_channels to the number of channels of your images '
                "(grey photos have one where LoadImageFromFile has color_type='grayscale')"
            )
        outs = []
        for i, (patch_embed, blocks, norm) in enumerate(self._stages()):
            x = patch_embed(x)
            for block in blocks:
                x = self._run_checkpointed(block, x) if self.with_cp and x.requires_grad else block(x)
            x = norm(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def train(self, mode: bool = True) -> VAN_LSKA:
        """Set training mode, but keep frozen stages, and with ``norm_eval`` every BatchNorm, in eval mode."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for m in self.modules():
                if isinstance(m, _BatchNorm):
                    m.eval()
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter for layer-wise learning rates.

        Args:
            param_name: Its name in the model.
            prefix: Of the backbone's names in it.

        Returns:
            The depth and the number of depths: 0 is the first patch embedding, 1 to N are the N blocks, N + 1 is what follows the
            backbone. Later patch embeddings go with the block after them, the norm of a stage with the block before it.
        """
        last = sum(self.depths[: self.num_stages]) + 1
        found = re.fullmatch(r'(patch_embed|blocks|norm)(\d+)\.(?:(\d+)\.)?.+', param_name.removeprefix(prefix))
        if not param_name.startswith(prefix) or found is None:
            return last, last + 1
        stage, depths = int(found[2]), self.depths
        if found[1] == 'blocks':
            depth = sum(depths[: stage - 1]) + int(found[3]) + 1
        elif found[1] == 'norm':
            depth = sum(depths[:stage])
        else:
            depth = sum(depths[: stage - 1]) + 1 if stage > 1 else 0
        return depth, last + 1

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing, unexpected, errors) -> None:
        # Every load_state_dict passes here, torch's and MMEngine's, of the backbone and of a whole model.
        adopt_state_dict(self, state_dict, prefix, unexpected)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)

    def _stages(self):
        for i in range(1, self.num_stages + 1):
            yield getattr(self, f'patch_embed{i}'), getattr(self, f'blocks{i}'), getattr(self, f'norm{i}')

    def _freeze(self) -> None:
        for i, stage in enumerate(self._stages()):
            if i <= self.frozen_stages:
                for module in stage:
                    module.eval().requires_grad_(False)

    @staticmethod
    def _run_checkpointed(block: nn.Module, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():  # refuses a context, and needs none: its recomputation writes no statistics
            return checkpoint(block, x, use_reentrant=False)
        return checkpoint(block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _batch_stats_kept(block)))

    def _init_published(self) -> None:
        """Normal with fan-out for convolutions, as the published code initialises; norms keep torch's ones and zeros."""
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                fan_out = m.kernel_size[0] * m.kernel_size[1] * m.out_channels // m.groups
                nn.init.normal_(m.weight, 0.0, math.sqrt(2.0 / fan_out))
                nn.init.zeros_(m.bias)


def _check_out_indices(out_indices: Sequence[int], num_stages: int) -> tuple[int, ...]:
    given = (out_indices,) if isinstance(out_indices, int) else out_indices
    indices = tuple(given) if isinstance(given, Sequence) else ()
    valid = all(isinstance(i, int) and 0 <= i < num_stages for i in indices)
    if not indices or not valid or list(indices) != sorted(set(indices)):
        raise ValueError(
            f'out_indices={out_indices} must be rising stage numbers from 0 to {num_stages - 1}, '
            f'for example {tuple(range(num_stages))}'
        )
    return indices
