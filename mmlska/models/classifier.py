"""VAN-LSKA with a classification head in plain PyTorch, for programs without OpenMMLab: ``mmlska.van_lska_tiny(num_classes=10)``."""

from __future__ import annotations

from torch import Tensor, nn

from ..log import log
from ..weights import load_weights
from ..weights.classifier import adopt_classifier
from ..weights.layouts import parse
from ..weights.load import read_location
from .van_lska import VAN_LSKA


class VANLSKAClassifier(nn.Module):
    """Backbone, average pooling and one linear layer.

    Args:
        arch: As in :class:`VAN_LSKA`.
        num_classes: Classes; 0 leaves the pooled features as the output.
        backbone: Other arguments of :class:`VAN_LSKA`, such as ``k_size``, ``attention`` or ``drop_path_rate``.

    Shape:
        (N, in_channels, H, W) to (N, num_classes).

    Raises:
        ValueError: If ``num_classes`` is negative.
    """

    def __init__(self, arch: str | dict = 't', num_classes: int = 1000, **backbone) -> None:
        super().__init__()
        self._assemble(VAN_LSKA(arch, out_indices=(3,), **backbone), num_classes)

    def _assemble(self, backbone: nn.Module, num_classes: int) -> None:
        if num_classes < 0:
            raise ValueError(f'num_classes={num_classes} must be 0 (no head) or more')
        self.num_classes, self.backbone = num_classes, backbone
        self.num_features = backbone.embed_dims[-1]
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        if num_classes:
            nn.init.trunc_normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

    def forward_features(self, x: Tensor) -> Tensor:
        """The map of the last stage, (N, C, ceil(H / 32), ceil(W / 32))."""
        return self.backbone(x)[-1]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.forward_features(x).mean((2, 3)))

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        adopt_classifier(state_dict, prefix, head='head.', classes=self.num_classes)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _build(arch: str, num_classes: int, pretrained: str | None, backbone: dict) -> VANLSKAClassifier:
    model = VANLSKAClassifier(arch, num_classes, **backbone)
    if pretrained is None:
        return model
    load_weights(model.backbone, pretrained)
    head = parse(read_location(pretrained).content).head
    if num_classes and head and head['bias'].shape[0] == num_classes:
        model.head.load_state_dict(head)
    elif num_classes:
        held = f'{head["bias"].shape[0]} classes' if head else 'no head'
        log(f'{pretrained} has {held}: the head of {num_classes} classes starts anew')
    return model


def van_lska_tiny(num_classes: int = 1000, pretrained: str | None = None, **backbone) -> VANLSKAClassifier:
    """VAN-LSKA-T as a classifier in plain PyTorch.

    Args:
        num_classes: Classes; 0 for pooled features.
        pretrained: A weight file of any published layout, or 'mmlska://NAME' with a name from the manifest. Its head is used if it has as
            many classes, else a new one.
        backbone: Arguments of :class:`VAN_LSKA`; ``attention='lka'`` makes it VAN itself.

    Example:
        >>> import torch
        >>> van_lska_tiny(num_classes=10)(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2, 10])
    """
    return _build('t', num_classes, pretrained, backbone)


def van_lska_small(num_classes: int = 1000, pretrained: str | None = None, **backbone) -> VANLSKAClassifier:
    """VAN-LSKA-S; see :func:`van_lska_tiny`."""
    return _build('s', num_classes, pretrained, backbone)


def van_lska_base(num_classes: int = 1000, pretrained: str | None = None, **backbone) -> VANLSKAClassifier:
    """VAN-LSKA-B; see :func:`van_lska_tiny`."""
    return _build('b', num_classes, pretrained, backbone)


def van_lska_large(num_classes: int = 1000, pretrained: str | None = None, **backbone) -> VANLSKAClassifier:
    """VAN-LSKA-L; see :func:`van_lska_tiny`."""
    return _build('l', num_classes, pretrained, backbone)
