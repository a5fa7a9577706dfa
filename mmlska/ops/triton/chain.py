"""The depthwise chain of LSKA: its kernels, how they are launched, and their settings. Importing this file imports triton.

**The depthwise chain runs on the tensor cores, in one pass.** A GPU moves a 16-bit map at about a trillion elements a second. To sum up
to 22 taps for each of them outside the tensor cores takes longer than that; so does fetching each pixel once for every tap, from whatever
cache; and four convolutions one after the other are four trips through memory. But along an axis of fixed length a convolution is
a product with a banded matrix, and the zeros that padding puts between two convolutions fit into the product of their matrices:
``A = V1 @ V0`` for the rows, ``B = H1 @ H0`` for the columns (dilated after dense). Without biases horizontal and vertical convolutions
commute, so the whole chain is ``A @ X @ B^T`` for each image and channel: two products of matrices that fit on the chip (128 x 128 in
stage 1 of a 512 x 512 image), one read, one write, in a time that does not depend on the kernel's size. The biases add a separable
field, with ``ones = H1 @ 1``:

    ones(j) * (b_h0 * (A @ 1)(i) + b_v0 * (V1 @ 1)(i)) + b_h1 * (V1 @ 1)(i) + b_v1

``band_matrices`` makes A and B of the taps in every call; they are small next to a batch of maps. A larger image is cut into tiles, each of
which reads what its band reaches. The gradient of the input is the same kernel with A and B transposed. The gradient of A is
``G @ (X @ B^T)^T``, on the tensor cores again (``band_gradient``; that of B by symmetry), and those of the taps are sums along its
diagonals (``tap_gradient``).

The chain wants whole planes: a channels_last map is copied for it. A NaN or an infinity spreads within its tile, not only as far as the
kernel reaches.

Letters: i, j are the row and column of an output, p and q those of an input. Maps are (N, C, H, W) and contiguous. A banded matrix of an
axis of length L is stored as (C, tiles * BLOCK, extent): row i holds the columns ``first_input(i // BLOCK, ...) + range(extent)``, zero
outside the band, so that its loads need no mask.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .dot import dot
from .launch import Plan, ceil_div, launch, new_map, power_of_two, precision, settings_of

# One warp for each `per_warp` elements of a tile; `maxnreg` limits the registers of a tile of 128 x 128. On an H100 (`tune` in
# docs/results/gpu_check_h100_1.json), us at stage 1 of VAN-B at 512x512, bf16, batch 16: 128 registers 60, no limit 71, as two programs fit
# on a multiprocessor.
SETTINGS = {
    'chain': dict(
        tile=(128, 64), step=(64, 32), per_warp=1024, max_warps=8, maxnreg=None, stages=3, on={9: dict(maxnreg=128)}
    ),
}
settings = settings_of(SETTINGS)


# ---- kernels ----


@triton.jit
def first_input(tile, BLOCK: tl.constexpr, RADIUS: tl.constexpr, STEP: tl.constexpr):
    """The first input position that a tile of outputs reads, on a multiple of STEP to keep loads aligned."""
    return tl.maximum(tile * BLOCK - RADIUS, 0) // STEP * STEP


@triton.jit
def _band_rows(
    taps0, taps1, matrix, sums, c, rows, line, lines, channels, first, length, extent,
    K0: tl.constexpr, K1: tl.constexpr, DILATION: tl.constexpr, TRANSPOSED: tl.constexpr,
    STEP: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Some rows of :func:`band_matrices`, of one axis."""
    terms: tl.constexpr = (K0 - 1) // DILATION + 1 if (K0 - 1) // DILATION + 1 < K1 else K1
    response = tl.zeros([ROWS], tl.float32)
    for step in range(0, extent, STEP):
        local = step + tl.arange(0, STEP)
        if TRANSPOSED:
            i, p = (first + local)[None, :], rows[:, None]
        else:
            i, p = rows[:, None], (first + local)[None, :]
        offset = p - i
        # The dilated taps t that reach p through tap s of the first kernel: offset = (t - K1 // 2) * DILATION + s - K0 // 2, from t0 on
        # `terms` of them at most. The division must not see a negative number, hence `away`, which keeps the product small.
        away = (length + extent + K0) // DILATION + 1
        t0 = tl.maximum(K1 // 2 + (offset - K0 // 2 + DILATION - 1 + DILATION * away) // DILATION - away, 0)
        value = tl.zeros([ROWS, STEP], tl.float32)
        for term in tl.static_range(terms):
            t = t0 + term
            m = i + (t - K1 // 2) * DILATION
            s = p - m + K0 // 2
            inside = (i < length) & (p < length) & (m >= 0) & (m < length) & (t >= 0) & (t < K1) & (s >= 0) & (s < K0)
            w1 = tl.load(taps1 + c * K1 + t, mask=inside, other=0.0).to(tl.float32)
            w0 = tl.load(taps0 + c * K0 + s, mask=inside, other=0.0).to(tl.float32)
            value += w1 * w0
        tl.store(matrix + line[:, None] * extent + local[None, :], value.to(matrix.dtype.element_ty))
        response += tl.sum(value, 1)
    if not TRANSPOSED:
        dilated = tl.zeros([ROWS], tl.float32)
        for t in range(K1):
            m = rows + (t - K1 // 2) * DILATION
            w1 = tl.load(taps1 + c * K1 + t).to(tl.float32)
            dilated += tl.where((rows < length) & (m >= 0) & (m < length), w1, 0.0)
        tl.store(sums + line, response)
        tl.store(sums + tl.cast(channels, tl.int64) * lines + line, dilated)


@triton.jit
def band_matrices(
    v0, v1, h0, h1, matrix_v, matrix_h, sums_v, sums_h, channels, height, width, lines_v, lines_h, extent_v, extent_h,
    K0: tl.constexpr, K1: tl.constexpr, K0H: tl.constexpr, K1H: tl.constexpr, DILATION: tl.constexpr,
    BLOCK_V: tl.constexpr, BLOCK_H: tl.constexpr, RADIUS_V: tl.constexpr, RADIUS_H: tl.constexpr,
    STEP_V: tl.constexpr, STEP_H: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Write M = M1 @ M0, a dense and a dilated kernel with zeros for what the first one makes outside the image, for both axes.

    ``matrix_v`` and ``matrix_h`` are (ways, C, lines, extent): M and, with a second way, M transposed. ``sums_v`` and ``sums_h`` are
    (2, C, lines): the responses of M and of M1 to an image of ones.
    """
    c = tl.program_id(0).to(tl.int64)
    block, way = tl.program_id(1), tl.program_id(2)
    blocks_v = lines_v // ROWS
    if block < blocks_v:
        rows = block * ROWS + tl.arange(0, ROWS)
        first = first_input(block * ROWS // BLOCK_V, BLOCK_V, RADIUS_V, STEP_V)
        line = (way.to(tl.int64) * channels + c) * lines_v + rows
        if way == 0:
            _band_rows(v0, v1, matrix_v, sums_v, c, rows, line, lines_v, channels, first, height, extent_v,
                       K0, K1, DILATION, False, STEP_V, ROWS)  # fmt: skip
        else:
            _band_rows(v0, v1, matrix_v, sums_v, c, rows, line, lines_v, channels, first, height, extent_v,
                       K0, K1, DILATION, True, STEP_V, ROWS)  # fmt: skip
    else:
        rows = (block - blocks_v) * ROWS + tl.arange(0, ROWS)
        first = first_input((block - blocks_v) * ROWS // BLOCK_H, BLOCK_H, RADIUS_H, STEP_H)
        line = (way.to(tl.int64) * channels + c) * lines_h + rows
        if way == 0:
            _band_rows(h0, h1, matrix_h, sums_h, c, rows, line, lines_h, channels, first, width, extent_h,
                       K0H, K1H, DILATION, False, STEP_H, ROWS)  # fmt: skip
        else:
            _band_rows(h0, h1, matrix_h, sums_h, c, rows, line, lines_h, channels, first, width, extent_h,
                       K0H, K1H, DILATION, True, STEP_H, ROWS)  # fmt: skip


@triton.jit
def chain(
    x, out, extra, across, along, across_sums, along_sums, bias_h0, bias_v0, bias_h1, bias_v1,
    batch, channels, height, width, along_extent, across_extent,
    BIASED: tl.constexpr, ADD: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr,
    RADIUS_H: tl.constexpr, RADIUS_W: tl.constexpr, STEP_H: tl.constexpr, STEP_W: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One tile of ``out = along @ x @ across^T``, plus the bias field or plus ``extra``."""
    tiles_w, tiles_h = tl.cdiv(width, BLOCK_W), tl.cdiv(height, BLOCK_H)
    pid = tl.program_id(0)
    tile_w = pid % tiles_w
    tile_h = pid // tiles_w % tiles_h
    # The images of one channel come one after the other, so that its matrices stay in the cache.
    c = (pid // (tiles_w * tiles_h) // batch).to(tl.int64)
    plane = (tl.cast(pid // (tiles_w * tiles_h) % batch, tl.int64) * channels + c) * height * width

    i = tile_h * BLOCK_H + tl.arange(0, BLOCK_H)
    j = tile_w * BLOCK_W + tl.arange(0, BLOCK_W)
    in_h, in_w = tl.arange(0, STEP_H), tl.arange(0, STEP_W)
    along_line = c * tiles_h * BLOCK_H + i
    across_line = c * tiles_w * BLOCK_W + j
    first_h = first_input(tile_h, BLOCK_H, RADIUS_H, STEP_H)
    first_w = first_input(tile_w, BLOCK_W, RADIUS_W, STEP_W)
    result = tl.zeros([BLOCK_H, BLOCK_W], tl.float32)
    for p in range(first_h, tl.minimum(height, tile_h * BLOCK_H + BLOCK_H + RADIUS_H), STEP_H):
        rows = x + plane + tl.cast(p, tl.int64) * width
        t = tl.zeros([STEP_H, BLOCK_W], tl.float32)
        for q in range(first_w, tl.minimum(width, tile_w * BLOCK_W + BLOCK_W + RADIUS_W), STEP_W):
            inside = (p + in_h < height)[:, None] & (q + in_w < width)[None, :]
            part = tl.load(rows + in_h[:, None] * width + q + in_w[None, :], mask=inside, other=0.0)
            taps = tl.load(across + across_line[None, :] * across_extent + (q - first_w + in_w)[:, None])
            t = dot(part, taps, t, PRECISION)
        taps = tl.load(along + along_line[:, None] * along_extent + (p - first_h + in_h)[None, :])
        result = dot(taps, t.to(taps.dtype), result, PRECISION)

    inside = (i < height)[:, None] & (j < width)[None, :]
    target = plane + i[:, None].to(tl.int64) * width + j[None, :]
    if BIASED:
        h0, v0 = tl.load(bias_h0 + c).to(tl.float32), tl.load(bias_v0 + c).to(tl.float32)
        h1, v1 = tl.load(bias_h1 + c).to(tl.float32), tl.load(bias_v1 + c).to(tl.float32)
        # The second half of the sums is the dilated kernel's.
        wide = tl.cast(channels, tl.int64)
        dilated = tl.load(along_sums + wide * tiles_h * BLOCK_H + along_line)
        on_columns = h0 * tl.load(along_sums + along_line) + v0 * dilated
        on_rows = tl.load(across_sums + wide * tiles_w * BLOCK_W + across_line)
        result += on_rows[None, :] * on_columns[:, None] + (h1 * dilated + v1)[:, None]
    if ADD:
        result += tl.load(extra + target, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + target, result.to(out.dtype.element_ty), mask=inside)


# ---- launches ----


class Axis(NamedTuple):
    """One axis of a map: how it is cut into tiles, and the sizes of its two kernels."""

    length: int
    k0: int
    k1: int
    dilation: int
    block: int
    step: int
    vertical: bool

    @property
    def radius(self) -> int:
        return self.k0 // 2 + self.k1 // 2 * self.dilation

    @property
    def tiles(self) -> int:
        return ceil_div(self.length, self.block)

    @property
    def lines(self) -> int:
        return self.tiles * self.block

    @property
    def extent(self) -> int:
        """Columns that are stored of each row of the banded matrix."""
        band = min(self.block + 2 * self.radius + self.step - 1, self.length)
        return ceil_div(band, self.step) * self.step

    @property
    def tiling(self) -> dict:
        return dict(BLOCK=self.block, RADIUS=self.radius, STEP=self.step)


class Taps(NamedTuple):
    """The weights of the four 1-D kernels, contiguous."""

    h0: Tensor
    v0: Tensor
    h1: Tensor
    v1: Tensor


def axes_of(x: Tensor, taps: Taps, dilation: int) -> tuple[Axis, Axis]:
    """The vertical and the horizontal axis."""
    # From that size on, only the middle taps lie inside; in numbers as large as a dilation may be, a kernel's indices would overflow.
    dilation = min(dilation, max(x.shape[2:]))
    chosen, wide = settings('chain', x), x.element_size() == 4
    tile, step = chosen['tile'][wide], chosen['step'][wide]
    return (
        _axis(x.shape[2], taps.v0.shape[2], taps.v1.shape[2], dilation, tile, step, True),
        _axis(x.shape[3], taps.h0.shape[3], taps.h1.shape[3], dilation, tile, step, False),
    )


@cache
def _axis(length: int, k0: int, k1: int, dilation: int, tile: int, step: int, vertical: bool) -> Axis:
    block = min(max(power_of_two(length), 16), tile)
    return Axis(length, k0, k1, dilation, block, min(block, step), vertical)


class Bands(NamedTuple):
    """The banded matrices of both axes."""

    along: Tensor  # (1, C, lines, extent) of the vertical axis, in the dtype of the maps; with a second one transposed: (2, ...)
    across: Tensor  # of the horizontal axis
    along_sums: Tensor  # (2, C, lines): the matrix times ones, and the dilated kernel's matrix times ones, in float32
    across_sums: Tensor


def launch_bands(x: Tensor, taps: Taps, ver: Axis, hor: Axis, transposed: bool = False) -> Bands:
    """The matrices of x's axes, and transposed ones too if wanted."""
    c, ways, rows = x.shape[1], 1 + transposed, 16
    along, across = (x.new_empty(ways, c, axis.lines, axis.extent) for axis in (ver, hor))
    sums_v, sums_h = (x.new_empty(2, c, axis.lines, dtype=torch.float32) for axis in (ver, hor))

    def plan() -> Plan:
        numbers = c, ver.length, hor.length, ver.lines, hor.lines, ver.extent, hor.extent
        constants = dict(
            K0=ver.k0, K1=ver.k1, K0H=hor.k0, K1H=hor.k1, DILATION=ver.dilation, BLOCK_V=ver.block, BLOCK_H=hor.block,
            RADIUS_V=ver.radius, RADIUS_H=hor.radius, STEP_V=ver.step, STEP_H=hor.step, ROWS=rows, num_warps=4,
        )  # fmt: skip
        return Plan((c, (ver.lines + hor.lines) // rows, ways), numbers, constants)

    tensors = taps.v0, taps.v1, taps.h0, taps.h1, along, across, sums_v, sums_h
    launch(band_matrices, (c, ways, ver, hor), tensors, plan)
    return Bands(along, across, sums_v, sums_h)


def launch_chain(
    x: Tensor, ver: Axis, hor: Axis, bands: Bands, biases: tuple[Tensor, ...] | None = None, extra: Tensor | None = None
) -> Tensor:
    """The chain with its biases, or without them the transposed one plus ``extra``."""
    n, c, h, w = x.shape
    out = new_map(x)
    along, across = (bands.along, bands.across) if biases else (bands.along[1], bands.across[1])

    def plan() -> Plan:
        chosen, tile = settings('chain', x), ver.block * hor.block
        limit = dict(maxnreg=chosen['maxnreg']) if chosen['maxnreg'] and tile == 128 * 128 else {}
        constants = dict(
            BIASED=biases is not None, ADD=extra is not None, BLOCK_H=ver.block, BLOCK_W=hor.block,
            RADIUS_H=ver.radius, RADIUS_W=hor.radius, STEP_H=ver.step, STEP_W=hor.step, PRECISION=precision(x),
            num_warps=min(max(tile // chosen['per_warp'], 1), chosen['max_warps']), num_stages=chosen['stages'],
            **limit,
        )  # fmt: skip
        return Plan((n * c * ver.tiles * hor.tiles,), (n, c, h, w, ver.extent, hor.extent), constants)

    tensors = x, out, extra, across, along, bands.across_sums, bands.along_sums, *(biases or (None,) * 4)
    launch(chain, (n, c, ver, hor), tensors, plan)
    return out
