"""The classifier as MMEngine trains it: a loss, scores for a metric, and the kernel taps that small photos never reach."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..models import VAN_LSKA, VANLSKAClassifier


@MODELS.register_module()
class PretrainingClassifier(VANLSKAClassifier, BaseModel):
    """:class:`mmlska.models.VANLSKAClassifier`, which runs the result in plain PyTorch, as a model of MMEngine.

    Args:
        backbone: Config of a backbone that returns the map of its last stage alone.
        num_classes: How many.
        label_smoothing: Share of the target that is spread over all classes, arXiv 1512.00567.
        image_size: Height and width of the training images. Kernel taps that lie outside the maps of such an image get no gradient
            and would stay the noise they started as: they are set to 0, see :func:`zero_unreached_taps`. None leaves them.
        data_preprocessor: Config of a :class:`BatchPreprocessor`.
        init_cfg: MMEngine's initialisation config.

    Source: VAN paper, section 3.3; models/van.py of VAN-Classification.

    Example:
        >>> backbone = dict(type='VAN_LSKA', arch='t', k_size=7, out_indices=(3,))
        >>> model = PretrainingClassifier(backbone, num_classes=10).eval()
        >>> model(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        backbone: dict,
        num_classes: int,
        label_smoothing: float = 0.0,
        image_size: int | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        BaseModel.__init__(self, data_preprocessor or dict(type='BatchPreprocessor'), init_cfg)
        self._assemble(MODELS.build(backbone), num_classes)
        self.label_smoothing, self.image_size = label_smoothing, image_size
        if image_size is not None:
            zero_unreached_taps(self.backbone, image_size)

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """The backbone's maps of (N, 3, H, W). MMEngine's hooks wrap this method."""
        return self.backbone(inputs)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.extract_feat(x)[-1]

    def forward(
        self,
        inputs: Tensor,
        labels: Tensor | None = None,
        mixed_labels: Tensor | None = None,
        share: float = 1.0,
        mode: str = 'tensor',
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """Classify.

        Args:
            inputs: (N, 3, H, W), normalised.
            labels: (N,).
            mixed_labels: (N,), labels of the images mixed in.
            share: Share of ``labels`` in the mixture.
            mode: MMEngine's 'tensor', 'loss' or 'predict'.

        Returns:
            The logits (N, num_classes); for 'loss' a dict with the loss; for 'predict' for each image a dict of its ``scores``
            (num_classes,), which sum to 1, and its ``label`` if given.

        Raises:
            ValueError: If a loss is asked for without labels, or if ``mode`` is unknown.
        """
        if mode not in ('tensor', 'loss', 'predict'):
            raise ValueError(f"mode={mode!r} is unknown; choose 'tensor', 'loss' or 'predict'")
        logits = super().forward(inputs)
        if mode == 'tensor':
            return logits
        if mode == 'predict':
            scores = logits.float().softmax(1)
            if labels is None:
                return [dict(scores=s) for s in scores]
            return [dict(scores=s, label=label) for s, label in zip(scores, labels)]
        if labels is None:
            raise ValueError("mode='loss' needs labels")
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        if mixed_labels is not None and share < 1:
            other = F.cross_entropy(logits, mixed_labels, label_smoothing=self.label_smoothing)
            loss = share * loss + (1 - share) * other
        return dict(loss=loss)


@torch.no_grad()
def zero_unreached_taps(backbone: VAN_LSKA, image_size: int) -> int:
    """Set the kernel taps to 0 that only ever see padding on images of a size; return how many.

    On a map of n pixels a tap that looks n or more pixels aside always meets the padding: it changes no output and gets no gradient. At
    64 px the maps are 16, 8, 4 and 2 pixels wide, and most of a 23 pixel kernel in the last two stages is out of reach. On larger
    images, in a detector, these taps do reach the map, with whatever they hold. 0 is what they contributed when the network was trained.

    Args:
        backbone: Changed in place.
        image_size: Height and width of the images.

    Example:
        >>> zero_unreached_taps(VAN_LSKA('t', k_size=23), 512)
        0
    """
    count, size = 0, image_size
    for patch_embed, blocks, _ in backbone._stages():
        size = -(-size // patch_embed.projection.stride[0])
        for conv in (m for block in blocks for m in block.attn.modules() if isinstance(m, nn.Conv2d)):
            rows, columns = (
                (torch.arange(taps) - taps // 2).abs() * dilation >= size
                for taps, dilation in zip(conv.kernel_size, conv.dilation)
            )
            unreached = rows[:, None] | columns
            count += int(unreached.sum()) * conv.weight.shape[0] * conv.weight.shape[1]
            conv.weight.masked_fill_(unreached.to(conv.weight.device), 0)
    return count
