"""The effective receptive field of a point in a photo."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from ..analysis.receptive_field import Contribution, contributions, input_gradient
from ..infer import Predictor

#: Powers of ten between the strongest influence and the weakest that is drawn, as in mmlska.analysis.figures.
DECADES = 5


class PointField(NamedTuple):
    """Which pixels of a photo a feature at one point depends on."""

    heat: np.ndarray  # (H, W) in pixels of the photo, absolute gradient summed over colours
    point: tuple[int, int]  # (column, row) in the photo
    squares: tuple[Contribution, ...]  # the smallest ones around the point that hold half and 99 % of the heat


def point_field(predictor: Predictor, image: np.ndarray, point: tuple[int, int], stage: int = -1) -> PointField:
    """Find how strongly each pixel moves the backbone's output at a point.

    Args:
        predictor: Of a model with a backbone.
        image: uint8 (H, W, 3) in BGR order.
        point: (column, row) in the image.
        stage: Which output of the backbone; the last by default.

    Raises:
        ValueError: If the point is outside the image, the backbone has no such stage or nothing moves the output.
    """
    import cv2

    height, width = image.shape[:2]
    column, row = point
    if not (0 <= column < width and 0 <= row < height):
        raise ValueError(f'point {point} is outside the image of {width} x {height} px')
    inputs, notes = predictor.network_input(image)
    scale_x, scale_y = notes.get('scale_factor', (1.0, 1.0))
    # What is beyond that is padding.
    inner_width, inner_height = (
        min(max(round(side * scale), 1), limit)
        for side, scale, limit in ((width, scale_x, inputs.shape[3]), (height, scale_y, inputs.shape[2]))
    )
    shares = (row + 0.5) * scale_y / inputs.shape[2], (column + 0.5) * scale_x / inputs.shape[3]

    def at_point(images: Tensor) -> list[Tensor]:
        """The outputs at the point alone: which position that is differs from stage to stage."""
        cut = []
        for features in predictor.model.backbone(images):
            y, x = (min(int(share * size), size - 1) for share, size in zip(shares, features.shape[2:]))
            cut.append(features[:, :, y : y + 1, x : x + 1])
        return cut

    gradient, _ = input_gradient(at_point, inputs, stage=stage, position=(0, 0))
    heat = gradient[0, :inner_height, :inner_width].double().cpu().numpy()
    if not np.isfinite(heat).all() or heat.sum() == 0:
        raise ValueError('nothing in the photo moves the output at this point; click another')
    heat = cv2.resize(heat, (width, height), interpolation=cv2.INTER_AREA if scale_x > 1 else cv2.INTER_LINEAR)
    return PointField(heat, (column, row), contributions(heat, (row, column), (0.5, 0.99)))


def draw_field(image: np.ndarray, field: PointField) -> np.ndarray:
    """Colour a photo, uint8 (H, W, 3) in BGR order, by how much each pixel matters, on a logarithmic scale; in RGB order.

    The point and the squares around it are drawn in.
    """
    import cv2

    log = np.log10(np.maximum(field.heat / field.heat.max(), 10.0**-DECADES)) / DECADES + 1
    colours = cv2.applyColorMap((log * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    drawn = cv2.addWeighted(grey, 0.35, colours, 0.65, 0)
    column, row = field.point
    line = max(1, round(max(image.shape) / 400))
    for square, colour in zip(field.squares, ((88, 209, 48), (255, 200, 64))):
        reach = square.side // 2
        cv2.rectangle(drawn, (column - reach, row - reach), (column + reach, row + reach), colour, line)
    cv2.drawMarker(drawn, field.point, (255, 255, 255), cv2.MARKER_CROSS, 12 * line, line)
    return np.ascontiguousarray(drawn[..., ::-1])
