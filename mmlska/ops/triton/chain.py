"""The Triton kernels of gpu.py, which says why they are cut this way. Importing this file imports triton.

Letters: i, j are the row and column of an output, p and q those of an input. Maps are (N, C, H, W) and contiguous unless strides are
passed. A banded matrix of an axis of length L is stored as (C, tiles * BLOCK, extent): row i holds the columns
``_first(i // BLOCK, ...) + range(extent)``, zero outside the band, so that its loads need no mask.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _first(tile, BLOCK: tl.constexpr, RADIUS: tl.constexpr, STEP: tl.constexpr):
    """The first input position that a tile of outputs reads, on a multiple of STEP to keep loads aligned."""
    return tl.maximum(tile * BLOCK - RADIUS, 0) // STEP * STEP


@triton.jit
def _dot(a, b, accumulator, PRECISION: tl.constexpr):
    if PRECISION == 'interpreter':  # its bfloat16 are bit patterns, which it would multiply as integers
        accumulator = tl.dot(a.to(tl.float32), b.to(tl.float32), accumulator)
    else:
        accumulator = tl.dot(a, b, accumulator, input_precision=PRECISION)
    return accumulator


# ---- LSKA: the depthwise chain ----


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
        first = _first(block * ROWS // BLOCK_V, BLOCK_V, RADIUS_V, STEP_V)
        line = (way.to(tl.int64) * channels + c) * lines_v + rows
        if way == 0:
            _band_rows(v0, v1, matrix_v, sums_v, c, rows, line, lines_v, channels, first, height, extent_v,
                       K0, K1, DILATION, False, STEP_V, ROWS)  # fmt: skip
        else:
            _band_rows(v0, v1, matrix_v, sums_v, c, rows, line, lines_v, channels, first, height, extent_v,
                       K0, K1, DILATION, True, STEP_V, ROWS)  # fmt: skip
    else:
        rows = (block - blocks_v) * ROWS + tl.arange(0, ROWS)
        first = _first((block - blocks_v) * ROWS // BLOCK_H, BLOCK_H, RADIUS_H, STEP_H)
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
    first_h = _first(tile_h, BLOCK_H, RADIUS_H, STEP_H)
    first_w = _first(tile_w, BLOCK_W, RADIUS_W, STEP_W)
    result = tl.zeros([BLOCK_H, BLOCK_W], tl.float32)
    for p in range(first_h, tl.minimum(height, tile_h * BLOCK_H + BLOCK_H + RADIUS_H), STEP_H):
        rows = x + plane + tl.cast(p, tl.int64) * width
        t = tl.zeros([STEP_H, BLOCK_W], tl.float32)
        for q in range(first_w, tl.minimum(width, tile_w * BLOCK_W + BLOCK_W + RADIUS_W), STEP_W):
            inside = (p + in_h < height)[:, None] & (q + in_w < width)[None, :]
            part = tl.load(rows + in_h[:, None] * width + q + in_w[None, :], mask=inside, other=0.0)
            taps = tl.load(across + across_line[None, :] * across_extent + (q - first_w + in_w)[:, None])
            t = _dot(part, taps, t, PRECISION)
        taps = tl.load(along + along_line[:, None] * along_extent + (p - first_h + in_h)[None, :])
        result = _dot(taps, t.to(taps.dtype), result, PRECISION)

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


@triton.jit
def band_gradient(
    x, grad, other, weights, matrix_grad, sums, batch, channels, length, breadth, stride_l, stride_b,
    extent, other_extent, images,
    DILATED_AND_ONES: tl.constexpr, BLOCK: tl.constexpr, RADIUS: tl.constexpr, STEP: tl.constexpr, CHUNK: tl.constexpr,
    OTHER_BLOCK: tl.constexpr, OTHER_RADIUS: tl.constexpr, OTHER_STEP: tl.constexpr, WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradient of one axis's banded matrix, ``grad @ (x @ other^T)^T`` over some images, and two weighted sums of grad's lines.

    The axis has ``length`` and ``stride_l``; ``other`` is the matrix of the axis across it, ``weights`` its two responses to ones, which
    weight the sums; with DILATED_AND_ONES these are the second response and 1.
    """
    tiles, chunks = tl.cdiv(length, BLOCK), extent // CHUNK
    pid = tl.program_id(0)
    chunk = pid % chunks
    tile = pid // chunks % tiles
    c = (pid // (chunks * tiles) % channels).to(tl.int64)
    split = pid // (chunks * tiles) // channels

    i = tile * BLOCK + tl.arange(0, BLOCK)
    p = _first(tile, BLOCK, RADIUS, STEP) + chunk * CHUNK + tl.arange(0, CHUNK)
    at_j, at_q = tl.arange(0, WIDTH), tl.arange(0, OTHER_STEP)
    breadth_padded = tl.cdiv(breadth, OTHER_BLOCK) * OTHER_BLOCK
    i_offset, p_offset = i[:, None].to(tl.int64) * stride_l, p[None, :].to(tl.int64) * stride_l
    result = tl.zeros([BLOCK, CHUNK], tl.float32)
    sum_a, sum_b = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    for n in range(split * images, tl.minimum(batch, split * images + images)):
        plane = (tl.cast(n, tl.int64) * channels + c) * length * breadth
        for j0 in range(0, breadth, WIDTH):
            other_tile = j0 // OTHER_BLOCK
            first = _first(other_tile, OTHER_BLOCK, OTHER_RADIUS, OTHER_STEP)
            line = c * breadth_padded + j0 + at_j
            t = tl.zeros([WIDTH, CHUNK], tl.float32)
            for q in range(first, tl.minimum(breadth, (other_tile + 1) * OTHER_BLOCK + OTHER_RADIUS), OTHER_STEP):
                taps = tl.load(other + line[:, None] * other_extent + (q - first + at_q)[None, :])
                inside = (q + at_q < breadth)[:, None] & (p < length)[None, :]
                part = tl.load(
                    x + plane + (q + at_q)[:, None].to(tl.int64) * stride_b + p_offset, mask=inside, other=0.0
                )
                t = _dot(taps, part, t, PRECISION)
            inside = (i < length)[:, None] & (j0 + at_j < breadth)[None, :]
            g = tl.load(grad + plane + i_offset + (j0 + at_j)[None, :].to(tl.int64) * stride_b, mask=inside, other=0.0)
            result = _dot(g, t.to(g.dtype), result, PRECISION)
            second = tl.load(weights + tl.cast(channels, tl.int64) * breadth_padded + line)[None, :]
            if DILATED_AND_ONES:
                sum_a += tl.sum(g.to(tl.float32) * second, 1)
                sum_b += tl.sum(g.to(tl.float32), 1)
            else:
                sum_a += tl.sum(g.to(tl.float32) * tl.load(weights + line)[None, :], 1)
                sum_b += tl.sum(g.to(tl.float32) * second, 1)
    line = (split.to(tl.int64) * channels + c) * tiles * BLOCK + i
    local = chunk * CHUNK + tl.arange(0, CHUNK)
    tl.store(matrix_grad + line[:, None] * extent + local[None, :], result)
    tl.store(sums + 2 * line, sum_a, mask=i < tl.where(chunk == 0, tiles * BLOCK, 0))
    tl.store(sums + 2 * line + 1, sum_b, mask=i < tl.where(chunk == 0, tiles * BLOCK, 0))


@triton.jit
def tap_gradient(
    matrix_grad, sums, bias_on_matrix, bias_a, bias_b, out, channels, length, extent, splits,
    K0: tl.constexpr, K1: tl.constexpr, K0_PADDED: tl.constexpr, DILATION: tl.constexpr, HAS_BIAS: tl.constexpr,
    BLOCK: tl.constexpr, RADIUS: tl.constexpr, STEP: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """From the gradient of M = M1 @ M0: ``out[c, t, s]``, what the product of taps t and s receives, and in ``out[c, t, K0]`` what tap t
    receives through M1's response to ones."""
    c, t = tl.program_id(0).to(tl.int64), tl.program_id(1)
    s = tl.arange(0, K0_PADDED)
    a, b = tl.load(bias_a + c).to(tl.float32), tl.load(bias_b + c).to(tl.float32)
    lines = tl.cdiv(length, BLOCK) * BLOCK
    pairs, alone = tl.zeros([K0_PADDED], tl.float32), 0.0
    for i0 in range(0, length, ROWS):
        i = i0 + tl.arange(0, ROWS)
        m = i + (t - K1 // 2) * DILATION
        valid = (i < length) & (m >= 0) & (m < length)
        p = m[:, None] + s[None, :] - K0 // 2
        inside = valid[:, None] & (p >= 0) & (p < length) & (s < K0)[None, :]
        local = p - _first(i0 // BLOCK, BLOCK, RADIUS, STEP)
        for split in range(splits):
            line = (tl.cast(split, tl.int64) * channels + c) * lines + i
            sum_a = tl.load(sums + 2 * line, mask=valid, other=0.0)
            sum_b = tl.load(sums + 2 * line + 1, mask=valid, other=0.0)
            value = tl.load(matrix_grad + line[:, None] * extent + local, mask=inside, other=0.0)
            if HAS_BIAS:  # the matrix is applied to a map that holds this bias too
                value += tl.where(inside, (tl.load(bias_on_matrix + c).to(tl.float32) * sum_a)[:, None], 0.0)
            pairs += tl.sum(value, 0)
            alone += tl.sum(a * sum_a + b * sum_b, 0)
    line = (c * K1 + t) * (K0 + 1)
    tl.store(out + line + s, pairs, mask=s < K0)
    tl.store(out + line + K0, alone)


@triton.jit
def parameter_gradient(
    pairs_v, pairs_h, line_sums, along_sums, v0, v1, h0, h1,
    h0_grad, h0_bias, v0_grad, v0_bias, h1_grad, h1_bias, v1_grad, v1_bias, channels, lines, splits,
    K0: tl.constexpr, K1: tl.constexpr, K0H: tl.constexpr, K1H: tl.constexpr,
    K0_PADDED: tl.constexpr, K1_PADDED: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """A channel's gradients of the four kernels and their biases."""
    c = tl.program_id(0).to(tl.int64)
    _two_kernels(pairs_v, v0, v1, v0_grad, v1_grad, c, K0, K1, K0_PADDED, K1_PADDED)
    _two_kernels(pairs_h, h0, h1, h0_grad, h1_grad, c, K0H, K1H, K0_PADDED, K1_PADDED)
    with_ones, with_dilated = tl.zeros([ROWS], tl.float32), tl.zeros([ROWS], tl.float32)
    plain_dilated, plain = tl.zeros([ROWS], tl.float32), tl.zeros([ROWS], tl.float32)
    for start in range(0, lines, ROWS):
        i = start + tl.arange(0, ROWS)
        ones = tl.load(along_sums + c * lines + i)
        dilated = tl.load(along_sums + (tl.cast(channels, tl.int64) + c) * lines + i)
        for split in range(splits):
            line = 2 * ((tl.cast(split, tl.int64) * channels + c) * lines + i)
            weighted, alone = tl.load(line_sums + line), tl.load(line_sums + line + 1)
            with_ones += weighted * ones
            with_dilated += weighted * dilated
            plain_dilated += alone * dilated
            plain += alone
    tl.store(h0_bias + c, tl.sum(with_ones, 0).to(h0_bias.dtype.element_ty))
    tl.store(v0_bias + c, tl.sum(with_dilated, 0).to(v0_bias.dtype.element_ty))
    tl.store(h1_bias + c, tl.sum(plain_dilated, 0).to(h1_bias.dtype.element_ty))
    tl.store(v1_bias + c, tl.sum(plain, 0).to(v1_bias.dtype.element_ty))


@triton.jit
def _two_kernels(
    pairs, taps0, taps1, grad0, grad1, c,
    K0: tl.constexpr, K1: tl.constexpr, K0_PADDED: tl.constexpr, K1_PADDED: tl.constexpr,
):  # fmt: skip
    t, s = tl.arange(0, K1_PADDED), tl.arange(0, K0_PADDED)
    line = (c * K1 + t) * (K0 + 1)
    both = tl.load(pairs + line[:, None] + s[None, :], mask=(t < K1)[:, None] & (s < K0)[None, :], other=0.0)
    w0 = tl.load(taps0 + c * K0 + s, mask=s < K0, other=0.0).to(tl.float32)
    w1 = tl.load(taps1 + c * K1 + t, mask=t < K1, other=0.0).to(tl.float32)
    alone = tl.load(pairs + line + K0, mask=t < K1, other=0.0)
    first, second = tl.sum(both * w1[:, None], 0), tl.sum(both * w0[None, :], 1) + alone
    tl.store(grad0 + c * K0 + s, first.to(grad0.dtype.element_ty), mask=s < K0)
    tl.store(grad1 + c * K1 + t, second.to(grad1.dtype.element_ty), mask=t < K1)


# ---- the 1x1 convolution ----


@triton.jit
def pointwise(
    weight, bias, x, factor, out, inputs, outputs, pixels, stride_o, stride_i,
    xn, xc, xp, fn, fc, fp, on, oc, op,
    BIASED: tl.constexpr, BEFORE: tl.constexpr, AFTER: tl.constexpr,
    BLOCK_O: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_P: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """``weight @ x``, plus ``bias`` if BIASED; x is multiplied by ``factor`` if BEFORE, the sum if AFTER."""
    blocks_o, blocks_p = tl.cdiv(outputs, BLOCK_O), tl.cdiv(pixels, BLOCK_P)
    pid = tl.program_id(0)
    o = pid % blocks_o * BLOCK_O + tl.arange(0, BLOCK_O)
    p = (pid // blocks_o % blocks_p).to(tl.int64) * BLOCK_P + tl.arange(0, BLOCK_P)
    n = (pid // (blocks_o * blocks_p)).to(tl.int64)
    result = tl.zeros([BLOCK_O, BLOCK_P], tl.float32)
    for i0 in range(0, inputs, BLOCK_I):
        i = i0 + tl.arange(0, BLOCK_I)
        inside = (i < inputs)[:, None] & (p < pixels)[None, :]
        w = tl.load(
            weight + o[:, None] * stride_o + i[None, :] * stride_i,
            mask=(o < outputs)[:, None] & (i < inputs)[None, :], other=0.0,
        )  # fmt: skip
        wide = i[:, None].to(tl.int64)
        part = tl.load(x + n * xn + wide * xc + p[None, :] * xp, mask=inside, other=0.0)
        if BEFORE:
            scale = tl.load(factor + n * fn + wide * fc + p[None, :] * fp, mask=inside, other=0.0)
            part = (part.to(tl.float32) * scale.to(tl.float32)).to(part.dtype)
        result = _dot(w.to(part.dtype), part, result, PRECISION)
    inside = (o < outputs)[:, None] & (p < pixels)[None, :]
    wide = o[:, None].to(tl.int64)
    if BIASED:
        result += tl.load(bias + o, mask=o < outputs, other=0.0).to(tl.float32)[:, None]
    if AFTER:
        result *= tl.load(factor + n * fn + wide * fc + p[None, :] * fp, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + n * on + wide * oc + p[None, :] * op, result.to(out.dtype.element_ty), mask=inside)


@triton.jit
def pointwise_gradient(
    grad, factor, x, weight_grad, bias_grad, inputs, outputs, pixels, chunks, per_split, one,
    gn, gc, gp, fn, fc, fp, xn, xc, xp,
    SCALED: tl.constexpr, BLOCK_O: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_P: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """One split's share of the gradients of a 1x1: ``grad @ x^T`` and the sum of ``grad``, multiplied by ``factor`` first if SCALED.

    ``one`` is 1.0, which the compiler does not know. It makes the product take grad from registers. If both the product and the sum read
    it from shared memory, Triton 3.6 overwrites it there while the tensor cores still read: wrong results now and then on an H100.
    """
    blocks_o, blocks_i, blocks_p = tl.cdiv(outputs, BLOCK_O), tl.cdiv(inputs, BLOCK_I), tl.cdiv(pixels, BLOCK_P)
    pid = tl.program_id(0)
    block_i = pid % blocks_i
    o = pid // blocks_i % blocks_o * BLOCK_O + tl.arange(0, BLOCK_O)
    i = block_i * BLOCK_I + tl.arange(0, BLOCK_I)
    split = pid // (blocks_i * blocks_o)
    wide_o, wide_i = o[:, None].to(tl.int64), i[None, :].to(tl.int64)
    result, total = tl.zeros([BLOCK_O, BLOCK_I], tl.float32), tl.zeros([BLOCK_O], tl.float32)
    for chunk in range(split * per_split, tl.minimum(chunks, split * per_split + per_split)):
        n = tl.cast(chunk // blocks_p, tl.int64)
        p = tl.cast(chunk % blocks_p, tl.int64) * BLOCK_P + tl.arange(0, BLOCK_P)
        inside = (o < outputs)[:, None] & (p < pixels)[None, :]
        g = tl.load(grad + n * gn + wide_o * gc + p[None, :] * gp, mask=inside, other=0.0)
        if SCALED:
            f = tl.load(factor + n * fn + wide_o * fc + p[None, :] * fp, mask=inside, other=0.0)
            g = (g.to(tl.float32) * f.to(tl.float32)).to(g.dtype)
        else:
            g = (g.to(tl.float32) * one).to(g.dtype)
        inside = (p < pixels)[:, None] & (i < inputs)[None, :]
        part = tl.load(x + n * xn + wide_i * xc + p[:, None] * xp, mask=inside, other=0.0)
        result = _dot(g, part, result, PRECISION)
        total += tl.sum(g.to(tl.float32), 1)
    line = split.to(tl.int64) * outputs + o
    inside = (o < outputs)[:, None] & (i < inputs)[None, :]
    tl.store(weight_grad + line[:, None] * inputs + i[None, :], result, mask=inside)
    tl.store(bias_grad + line, total, mask=o < tl.where(block_i == 0, outputs, 0))
