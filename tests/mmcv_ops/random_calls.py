"""Random calls of the C++ operators of mmlska.mmcv_ops, for `make test-sanitized`, which watches every access to memory.

Boxes, RoIs and positions are drawn from all that a float can be; maps have odd sizes and layouts. A call gives a result or is refused in
one line.

    python tests/mmcv_ops/random_calls.py --cases 500 --seed 0
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
ODD = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e-300, 3e4, -3e4, 9e7, -9e7, 1e8, 1e30, -1e30, math.inf, -math.inf, math.nan)
OPERATORS = torch.ops.mmlska_mmcv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--cases', type=int, default=500, help='number of calls of each operator and its gradient')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    draw, ends = random.Random(args.seed), Counter()
    file = Path(import_module('mmlska.mmcv_ops._kernels').__file__)  # which registers the operators
    for _ in range(args.cases):
        torch.set_num_threads(draw.choice((1, 2, 3)))
        for operator in (call_boxes, call_rois, call_attention):
            # Without odd values calls are right ones.
            ends[operator, attempt(operator, draw, draw.choice((0, 0, 0.02, 0.3)))] += 1
    watched = 'watched by a sanitizer' if b'__asan_init' in file.read_bytes() else 'not watched by a sanitizer'
    done, refused = (sum(n for (_, end), n in ends.items() if end == wanted) for wanted in ('done', 'refused'))
    print(f'{done} calls gave results, {refused} were refused; kernels {watched}: {file}')
    if min(ends.values()) < args.cases // 20:
        raise SystemExit(f'too few of a kind for a test: {ends}')


def attempt(operator, draw: random.Random, odd: float) -> str:
    try:
        operator(draw, odd)
    except ValueError as error:
        if not str(error).startswith('mmlska_mmcv: '):
            raise
        return 'refused'
    return 'done'


def numbers(draw: random.Random, odd: float, low: float, high: float, *shape: int) -> Tensor:
    """Between low and high, but for some odd ones."""
    values = [draw.choice(ODD) if draw.random() < odd else draw.uniform(low, high) for _ in range(math.prod(shape))]
    return torch.tensor(values, dtype=torch.float64).view(shape).to(draw.choice(DTYPES))


def a_layout(draw: random.Random, odd: float, t: Tensor) -> Tensor:
    """The same values laid out in another way; now and then with less memory than they need."""
    t = t.clone(memory_format=draw.choice((torch.contiguous_format, torch.channels_last)))
    if odd and draw.random() < 0.1:
        t.untyped_storage().resize_(max(0, t.untyped_storage().nbytes() - draw.randint(1, 99)))
        return t
    return draw.choice((t, t, t.transpose(2, 3).contiguous().transpose(2, 3), torch.stack([t, t], 4)[..., 0]))


def call_boxes(draw: random.Random, odd: float) -> None:
    n, m = draw.choice((0, 1, 7, 64, 65, draw.randint(1, 900))), draw.randint(0, 40)
    scores, threshold = numbers(draw, odd, 0, 1, n), numbers(draw, odd, 0, 1, 1).item()
    boxes, rotated = numbers(draw, odd, 0, 60, n, 4), numbers(draw, odd, -5, 30, n, 5)
    offset = draw.choice((0, 1, -(2**62)))
    for kept in (OPERATORS.nms(boxes, scores, threshold, offset), OPERATORS.nms_rotated(rotated, scores, threshold)):
        assert len(set(kept.tolist())) == len(kept) <= n
    sigma, least, method = numbers(draw, odd, 0, 1, 2).tolist() + [draw.choice((0, 1, 2, 3 if odd else 2))]
    dets, kept = OPERATORS.softnms(boxes, scores, threshold, sigma, least, method, offset)
    assert len(set(kept.tolist())) == len(kept) == len(dets) <= n
    other = numbers(draw, odd, -5, 30, m, 5).to(rotated.dtype)
    assert OPERATORS.box_iou_rotated(rotated, other, draw.choice((0, 1)), False).shape == (n, m)
    assert OPERATORS.box_iou_rotated(rotated, rotated.flip(0), 0, True).shape == (n,)


def call_rois(draw: random.Random, odd: float) -> None:
    images, channels = draw.choice((0, 1, 2, 3)), draw.choice((0, 1, 3, 17, 64, 65, 130))
    h, w, n = draw.randint(0 if odd else 1, 20), draw.randint(1, 20), draw.choice((0, 1, 5, 30) if images else (0,))
    x = a_layout(draw, odd, torch.randn(images, channels, h, w).to(draw.choice(DTYPES)))
    which = torch.tensor([draw.uniform(0, images) if draw.random() >= odd else draw.randint(-1, 4) for _ in range(n)])
    rois = torch.cat([which.view(n, 1), numbers(draw, odd, -9, 30, n, 4).double()], 1)
    if not odd or draw.random() < 0.5:
        rois[:, 3:] = torch.where(rois[:, 3:] < rois[:, 1:3], rois[:, 1:3], rois[:, 3:])
    size = (draw.randint(0 if odd else 1, 9), draw.randint(1, 9))
    scale = draw.choice((1.0, 0.25, 0.0, draw.choice(ODD) if draw.random() < odd else 0.1))
    ratio, aligned, mode = draw.choice((-1, 0, 1, 2, 5)), draw.random() < 0.5, draw.choice((0, 1))
    settings = (*size, scale, ratio, mode, aligned)
    out, y, x_at = OPERATORS.roi_align(x, rois.to(draw.choice(DTYPES[:2])), *settings)
    assert out.shape == (n, x.shape[1], *size)
    grad, where = a_layout(draw, odd, torch.randn_like(out)), (y, x_at)
    if mode == 0 and draw.random() < 0.5:
        where = [numbers(draw, 0.5, -2, 30, *out.shape) for _ in range(2)]
    assert OPERATORS.roi_align_backward(grad, rois, *where, x.shape, *settings).shape == x.shape
    turned = torch.cat([rois[:, :3], rois[:, 3:].abs(), numbers(draw, odd, -9, 9, n, 1)], 1)
    settings = (*size, scale, ratio, aligned, draw.random() < 0.5)
    assert OPERATORS.roi_align_rotated(x, turned, *settings).shape == out.shape
    assert OPERATORS.roi_align_rotated_backward(grad, turned, x.shape, *settings).shape == x.shape


def call_attention(draw: random.Random, odd: float) -> None:
    batch, heads, channels = draw.randint(0, 3), draw.randint(1, 4), draw.choice((0, 1, 15, 16, 33))
    queries, levels, points = draw.randint(0, 9), draw.randint(0, 4), draw.randint(0, 5)
    shapes = torch.tensor([[draw.randint(0, 6), draw.randint(0, 6)] for _ in range(levels)]).view(levels, 2)
    ends = shapes.prod(1).cumsum(0)
    starts = torch.cat([ends.new_zeros(1), ends])[:levels]
    value = torch.randn(batch, int(ends[-1]) if levels else 3, heads, channels).to(draw.choice(DTYPES))
    if levels and odd and draw.random() < 0.3:
        wrong = draw.choice((shapes, starts))
        wrong.view(-1)[draw.randrange(wrong.numel())] = draw.choice((-1, 7, 2**31, 2**62, -(2**63)))
    places = numbers(draw, odd, -0.2, 1.2, batch, queries, heads, levels, points, 2)
    weights = numbers(draw, odd, 0, 1, batch, queries, heads, levels, points)
    inputs = (a_layout(draw, odd, value), shapes, starts, places, weights)
    out = OPERATORS.ms_deform_attn(*inputs)
    assert out.shape == (batch, queries, inputs[0].shape[2] * inputs[0].shape[3])
    grads = OPERATORS.ms_deform_attn_backward(torch.randn_like(out), *inputs)
    assert [grad.shape for grad in grads] == [inputs[i].shape for i in (0, 3, 4)]


if __name__ == '__main__':
    main()
