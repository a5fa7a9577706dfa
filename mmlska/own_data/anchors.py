"""Anchors of a detector that fit the objects it is trained on."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config, ConfigDict

from ..engine.config import load_config
from ..text import counted

# From fewer boxes a choice would follow single objects.
_FEWEST_BOXES = 20
# As many say the same as all of a large set, and are compared in a moment.
_MOST_BOXES = 2000
# The settings of a generator that are chosen here, or say the same in another way.
_CHOSEN = ('scales', 'octave_base_scale', 'scales_per_octave', 'ratios')
_LADDER = (1, 1.5, 2, 3, 4, 6, 8, 12)
# Where so many objects reach the threshold other anchors have nothing to gain. Else anchors are changed where a tenth more of the objects
# reach it, or the mean IoU gains a twentieth: less comes and goes with the place of a few objects on the ladder and would not pay for
# leaving what the recipe was tuned with.
_ENOUGH, _MORE_SHARE, _MORE_IOU = 0.9, 0.1, 0.05
# Of candidates whose share and mean together differ by less than this, the one nearest to the recipe is taken.
_NEARLY = 0.05
# Ratios nearer to each other than this would be one anchor twice.
_APART = 1.25
# How far the centre of an object lies from that of the next anchor, across and down, in steps between anchors: spread evenly from 0 to a
# half.
_OFFSETS = [(across, down) for across in (0.125, 0.375) for down in (0.125, 0.375)]


class Fit(NamedTuple):
    """How well anchors fit boxes."""

    share: float  # of the boxes whose best IoU reaches the threshold
    mean: float  # of the best IoUs


@dataclass
class Candidate:
    """Scales and ratios, and how well their anchors fit: the boxes wherever they lie, and boxes of the same centre.

    The first is what training sees. By it alone large anchors at narrow steps would win, whatever level of features they take an object
    to; by the second alone small anchors at wide steps, which few objects meet. A change has to be worth it by both.
    """

    scales: list[float]
    ratios: list[float]
    fit: Fit
    centred: Fit

    def gains(self, other: Candidate) -> tuple[float, float, float]:
        """What it gains at least in share, in mean, and in both together."""
        pairs = (self.fit, other.fit), (self.centred, other.centred)
        return (
            min(one.share - two.share for one, two in pairs),
            min(one.mean - two.mean for one, two in pairs),
            min(sum(one) - sum(two) for one, two in pairs),
        )

    def is_clearly_better(self, other: Candidate) -> bool:
        """Whether it gains enough to be worth a change."""
        share, mean, both = self.gains(other)
        return both > 0 and (share >= _MORE_SHARE or mean >= _MORE_IOU)


def anchor_generator(cfg: Config) -> ConfigDict | None:
    """The generator of the region proposals, or of the head of a detector of one stage.

    None where there is none, or one that is not made of strides, scales and ratios as AnchorGenerator is.
    """
    model = cfg.get('model') or {}
    head = model.get('rpn_head') or model.get('bbox_head')
    generator = head.get('anchor_generator') if isinstance(head, dict) else None
    if not generator or str(generator.get('type')).split('.')[-1] != 'AnchorGenerator':
        return None
    has_scales = generator.get('scales') or (generator.get('octave_base_scale') and generator.get('scales_per_octave'))
    return generator if generator.get('strides') and generator.get('ratios') and has_scales else None


def anchor_sizes(cfg: Config) -> list[float]:
    """The sides of the square anchors of a config in pixels of the network's input, small ones first; none where it has no such."""
    generator = anchor_generator(cfg)
    if generator is None:
        return []
    return sorted(float(base * scale) for base in _bases(generator) for scale in _scales(generator))


def _bases(generator: dict) -> list[float]:
    """The size of the anchor of scale 1 in each level: its stride, if nothing else is said."""
    strides = [min(stride) if isinstance(stride, (list, tuple)) else stride for stride in generator['strides']]
    return list(generator.get('base_sizes') or strides)


def _scales(generator: dict) -> list[float]:
    if generator.get('scales'):
        return list(generator['scales'])
    steps = generator['scales_per_octave']
    return [generator['octave_base_scale'] * 2 ** (i / steps) for i in range(steps)]


def anchor_shapes(bases: Sequence[float], scales: Sequence[float], ratios: Sequence[float]) -> np.ndarray:
    """(A, 2) width and height of the anchors of one place, as mmdet's AnchorGenerator makes them; a ratio is height by width."""
    sizes = np.outer(bases, scales).reshape(-1, 1)
    roots = np.sqrt(np.asarray(ratios, float))
    return np.stack([sizes / roots, sizes * roots], axis=-1).reshape(-1, 2)


def best_ious(
    boxes: np.ndarray, anchors: np.ndarray, steps: np.ndarray, offset: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """The highest IoU of each box with the anchors of one place.

    Args:
        boxes: (N, 2) width and height.
        anchors: (A, 2) width and height.
        steps: (A,) the distance from an anchor to the next of its level.
        offset: How far the centre of a box lies from that of each anchor, across and down, in its steps.

    Returns:
        (N,)
    """
    sides = []
    for axis in (0, 1):
        box, anchor = boxes[:, None, axis], anchors[None, :, axis]
        sides.append(np.minimum(np.minimum(box, anchor), (box + anchor) / 2 - steps * offset[axis]).clip(0))
    shared = sides[0] * sides[1]
    return (shared / (boxes.prod(1)[:, None] + anchors.prod(1)[None, :] - shared)).max(1)


def take_anchors(cfg: Config, earlier: Config) -> bool:
    """Give a config the anchors of another one, whose weights a training continues from; False where one of the two has none."""
    mine, theirs = anchor_generator(cfg), anchor_generator(earlier)
    if mine is None or theirs is None:
        return False
    for key in _CHOSEN:
        mine.pop(key, None)
    mine.update({key: copy.deepcopy(theirs[key]) for key in _CHOSEN if key in theirs})
    return True


def take_anchors_of_run(cfg: Config, config: str) -> bool:
    """The same, of the training in the work directory, which is resumed; False where there is none.

    Args:
        cfg: The config, with its ``work_dir``.
        config: The file that it was read from, after which a training names the one that it leaves.
    """
    left = Path(cfg.work_dir, Path(config).name)
    return left.is_file() and take_anchors(cfg, load_config(str(left)))


def names_anchors(settings: Mapping[str, Any] | None) -> bool:
    """Whether settings of a config, by dotted key, set its anchors, which are then kept."""
    return 'anchor_generator' in str(settings or '')


def choose_anchors(cfg: Config, boxes: np.ndarray) -> str:
    """Give a detector anchors that fit the objects it will learn, where those of the recipe clearly do not.

    How well anchors fit is the share of the boxes that reach the assigner's threshold for positives with an anchor, and the mean of the
    best IoU, wherever in the image the boxes lie. The number of anchors at each place stays; only region proposals of one scale may get
    two.

    Args:
        cfg: Changed in place.
        boxes: (N, 2) width and height of the training objects in pixels of the network's input.

    Returns:
        A line to print; '' where the config has no such anchors, or an assigner that does not go by their IoU.
    """
    generator = anchor_generator(cfg)
    threshold = _threshold(cfg)
    if generator is None or generator.get('base_sizes') or threshold is None:
        return ''
    if cfg.get('load_from'):
        return 'anchors of the config kept, as training continues from the weights of load_from'
    boxes = np.asarray(boxes, float).reshape(-1, 2)
    boxes = boxes[np.isfinite(boxes).all(1) & (boxes > 0).all(1)]
    if len(boxes) < _FEWEST_BOXES:
        return f'anchors of the config kept: {counted(len(boxes), "object")} would be too few to choose others by'
    sample = boxes[np.linspace(0, len(boxes) - 1, min(len(boxes), _MOST_BOXES)).round().astype(int)]
    bases = _bases(generator)

    def rated(scales: list[float], ratios: list[float]) -> Candidate:
        anchors, steps = anchor_shapes(bases, scales, ratios), np.repeat(bases, len(scales) * len(ratios))
        ious = np.stack([best_ious(sample, anchors, steps, offset) for offset in ((0, 0), *_OFFSETS)])
        fits = [Fit(float((part >= threshold).mean()), float(part.mean())) for part in (ious[1:], ious[:1])]
        return Candidate(scales, ratios, *fits)

    now = rated(_scales(generator), list(generator['ratios']))
    every = [now.ratios, _ratios_of(sample, len(now.ratios))]
    best = now
    if now.fit.share < _ENOUGH:
        singles = [now, *(rated(scales, ratios) for ratios in every for scales in _ladder(now.scales))]
        best = _best(singles, now)
        # A second scale, twice as large, adds one size: it pays where objects spread over more sizes than there are levels.
        if len(now.scales) == 1 and cfg.model.get('rpn_head'):
            pairs = [rated([scale, 2 * scale], ratios) for ratios in every for (scale,) in _ladder(now.scales)]
            two, one = _best(pairs, now), max(singles, key=lambda candidate: candidate.gains(now)[2])
            best = two if two.is_clearly_better(one) else best
    reach = f'reach an IoU of {threshold:g} with'
    if best is now:
        fits, rest = ('fit', '') if now.fit.share >= _ENOUGH else ('kept', ', and no others are clearly better')
        return f'anchors of the config {fits}: {_percent(now.fit.share)} of the objects {reach} one{rest}'
    changes = ', '.join(_write(generator, best))
    low, middle, high = np.quantile(np.sqrt(sample.prod(1)), (0.05, 0.5, 0.95))
    return (
        f'anchors: {changes}: {_percent(best.fit.share)} of the objects then {reach} an anchor, {_percent(now.fit.share)} before; '
        f'mean IoU {best.fit.mean:.2f}, {now.fit.mean:.2f} before (nine of ten objects are of {low:.0f} to {high:.0f} px, '
        f"median {middle:.0f}, in the network's input)"
    )


def _threshold(cfg: Config) -> float | None:
    """The IoU with an anchor from which on an object is learned there; None where the assigner goes by something else."""
    train_cfg = (cfg.get('model') or {}).get('train_cfg') or {}
    assigner = (train_cfg.get('rpn') or train_cfg).get('assigner') or {}
    if str(assigner.get('type', 'MaxIoUAssigner')).split('.')[-1] not in ('MaxIoUAssigner', 'TileAssigner'):
        return None
    return assigner.get('pos_iou_thr', 0.5)


def _ladder(scales: list[float]) -> Iterator[list[float]]:
    """Other scales, as far apart from each other; none is smaller than the step between two anchors of the finest level."""
    for base in _LADDER:
        yield [_plain(base * (scale / min(scales))) for scale in scales]


def _ratios_of(boxes: np.ndarray, count: int) -> list[float]:
    """As many ratios of height by width as the boxes themselves have: the middles of parts of equal size."""
    logs = np.quantile(np.log(boxes[:, 1] / boxes[:, 0]), (np.arange(count) + 0.5) / count)
    middle, apart = count // 2, math.log(_APART)
    for i in range(middle + 1, count):
        logs[i] = max(logs[i], logs[i - 1] + apart)
    for i in range(middle - 1, -1, -1):
        logs[i] = min(logs[i], logs[i + 1] - apart)
    return [float(f'{ratio:.2g}') for ratio in np.exp(logs)]


def _best(candidates: Sequence[Candidate], now: Candidate) -> Candidate:
    """Of the candidates that gain most, or nearly, the one nearest to what the recipe has; that itself where none is clearly better."""
    better = [candidate for candidate in candidates if candidate.is_clearly_better(now)]
    if not better:
        return now
    limit = max(candidate.gains(now)[2] for candidate in better) - _NEARLY

    def change(candidate: Candidate) -> tuple[bool, float]:
        return candidate.ratios != now.ratios, abs(math.log(min(candidate.scales) / min(now.scales)))

    return min((candidate for candidate in better if candidate.gains(now)[2] >= limit), key=change)


def _write(generator: dict, best: Candidate) -> Iterator[str]:
    """Put scales and ratios into a generator, as a text config can hold them; what to say of each."""
    key = 'scales' if generator.get('scales') else 'octave_base_scale'
    new = best.scales if key == 'scales' else min(best.scales)
    for name, value in ((key, new), ('ratios', best.ratios)):
        old = generator[name]
        old = list(old) if isinstance(old, (list, tuple)) else old
        if value == old:
            yield f'{name} {old} kept'
        else:
            generator[name] = value
            yield f'{name} {old} -> {value}'


def _plain(value: float) -> float:
    return int(value) if value == int(value) else value


def _percent(share: float) -> str:
    return f'{100 * share:.0f} %'
