// 1x1 convolutions in float32 as matrix products of our own, for 512-bit registers: of a few rows of pixels at a time, on weights that are packed
// once, and the gradient of the weight. See rows.inl.

// Terms that are summed up at a time: their part of a panel stays in the first-level cache, and sums of sums lose less to rounding than one long
// sum.
constexpr int64_t kDepth = 128;

// Panels of `kPanel` output channels: of the weight (N, K), whose entries lie at n * to_n + k * to_k, the entry (k, n) of the panel that begins
// at n0; the last is filled up with zeros.
inline void pack_panel(const float* weight, int64_t to_n, int64_t to_k, int64_t N, int64_t K, int64_t n0, float* panel) {
  const int64_t lanes = N - n0 < kPanel ? N - n0 : kPanel;
  if (lanes < kPanel) std::memset(panel, 0, K * kPanel * sizeof(float));
  if (to_n == 1) {
    for (int64_t k = 0; k < K; ++k) std::memcpy(panel + k * kPanel, weight + n0 + k * to_k, lanes * sizeof(float));
    return;
  }
  for (int64_t k0 = 0; k0 < K; k0 += kDepth)
    for (int64_t l = 0; l < lanes; ++l)
      for (int64_t k = k0; k < K && k < k0 + kDepth; ++k) panel[k * kPanel + l] = weight[(n0 + l) * to_n + k * to_k];
}

// y(m, l) = bias(l) + sum_k x(m, k) * panel(k, l), or y(m, l) += the sum without a bias, for M rows and up to 32 columns: the sums stay in 2 M
// registers.
template <int M>
INLINE void tile(const float* x, int64_t x_m, int64_t x_k, const float* panel, int64_t K, const vf* bias, float* y, int64_t y_m, int lanes) {
  vf sum[M][2] = {};
  for (int64_t k = 0; k < K; ++k) {
    const vf low = load_full<float>(panel + k * kPanel), high = load_full<float>(panel + k * kPanel + 16);
#pragma GCC unroll 12
    for (int m = 0; m < M; ++m) {
      const float v = x[m * x_m + k * x_k];
      sum[m][0] += v * low;
      sum[m][1] += v * high;
    }
  }
  vf done[M][2];  // in memory: with the branches below in the way, the compiler would not keep all sums in registers
#pragma GCC unroll 12
  for (int m = 0; m < M; ++m) std::memcpy(done[m], sum[m], sizeof sum[m]);
  const int first = lanes < 16 ? lanes : 16, rest = lanes - first;
  for (int m = 0; m < M; ++m) {
    float* const to = y + m * y_m;
    store<float>(to, done[m][0] + (bias ? bias[0] : load<float>(to, first)), first);
    if (rest) store<float>(to + 16, done[m][1] + (bias ? bias[1] : load<float>(to + 16, rest)), rest);
  }
}

// Twelve rows at a time, whose 24 sums leave 8 of 32 registers.
inline void tiles(int64_t M, const float* x, int64_t x_m, int64_t x_k, const float* panel, int64_t K, const vf* bias, float* y, int64_t y_m,
                  int lanes) {
  int64_t m = 0;
  const auto run = [&](auto size) {
    for (; m + size <= M; m += size) tile<size>(x + m * x_m, x_m, x_k, panel, K, bias, y + m * y_m, y_m, lanes);
  };
  run(std::integral_constant<int, 12>{});
  run(std::integral_constant<int, 4>{});
  run(std::integral_constant<int, 1>{});
}

// y (pixels, N) of x (pixels, K); pixels lie `pitch` apart.
inline void pointwise_rows(const float* x, int64_t x_pitch, const float* packed, const float* bias, int64_t pixels, int64_t K, int64_t N, float* y,
                           int64_t y_pitch) {
  for (int64_t n = 0; n < N; n += kPanel) {
    const int lanes = N - n < kPanel ? N - n : kPanel, first = lanes < 16 ? lanes : 16;
    const vf b[2] = {bias ? load<float>(bias + n, first) : vf{}, bias && lanes > 16 ? load<float>(bias + n + 16, lanes - 16) : vf{}};
    for (int64_t k = 0; k < K; k += kDepth)
      tiles(pixels, x + k, x_pitch, 1, packed + n * K + k * kPanel, K - k < kDepth ? K - k : kDepth, k == 0 ? b : nullptr, y + n, y_pitch, lanes);
  }
}

// Writes the sum of grad(pixel, n) * x(pixel, k) over the pixels to total(n, k), or adds it, for the columns k0 to k0 + 32 of (N, K).
inline void pointwise_weight_grad(const float* grad, int64_t grad_pitch, const float* x, int64_t x_pitch, int64_t pixels, int64_t N, int64_t K,
                                  int64_t k0, bool add, float* total) {
  const vf nothing[2] = {};
  const int lanes = K - k0 < kPanel ? K - k0 : kPanel, first = lanes < 16 ? lanes : 16;
  alignas(64) float panel[kDepth * kPanel];
  for (int64_t p = 0; p < pixels; p += kDepth) {
    const int64_t depth = pixels - p < kDepth ? pixels - p : kDepth;
    for (int64_t i = 0; i < depth; ++i) {
      const float* const from = x + (p + i) * x_pitch + k0;
      store_full<float>(panel + i * kPanel, load<float>(from, first));
      store_full<float>(panel + i * kPanel + 16, lanes > 16 ? load<float>(from + 16, lanes - 16) : vf{});
    }
    tiles(N, grad + p * grad_pitch, 1, grad_pitch, panel, depth, add || p > 0 ? nullptr : nothing, total + k0, K, lanes);
  }
}
