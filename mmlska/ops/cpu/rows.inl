// What both operators are made of. ops.cpp includes this file, then lska.inl and depthwise_gelu.inl, once for each instruction set, inside a
// namespace of its own, so there are no include guards, and none of them knows ATen.
//
// Maps are channels_last. A task owns one block of channels that fills one 64-byte vector ("lane block"), one image and one strip of rows.
// It streams over the rows from top to bottom and keeps the few rows that the vertical kernels reach back to in ring buffers, so every
// intermediate lives in the cache only. All four 1-D convolutions, the 3x3 and their transposes are the same loop: a weighted sum of K rows
// that are given by K pointers (shifted by the tap for a horizontal kernel, other rows for a vertical one). Rows outside the image are one
// shared row of zeros, columns outside it the zero margins of a line: exactly what zero padding after every bias means.

template <class A>
struct VecOf {
  typedef A type __attribute__((vector_size(64)));
};
template <class T>
using Vec = typename VecOf<typename Acc<T>::type>::type;

typedef uint16_t u16x16 __attribute__((vector_size(32)));
typedef uint32_t u32x16 __attribute__((vector_size(64)));
using vf = VecOf<float>::type;
using vd = VecOf<double>::type;

// ---- loads and stores: T in memory, its accumulation type in registers ----

INLINE vf widen(u16x16 h) {
  const u32x16 bits = __builtin_convertvector(h, u32x16) << 16;
  return (vf)bits;
}

INLINE u16x16 narrow(vf v) {  // round to nearest even; a NaN keeps its top bits, of which the quiet one is set
  const u32x16 bits = (u32x16)v;
  const u32x16 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const u32x16 nan = (bits >> 16) | 0x40u;
  const u32x16 is_nan = (u32x16)(v != v);
  return __builtin_convertvector((rounded & ~is_nan) | (nan & is_nan), u16x16);
}

template <class T>
INLINE Vec<T> load_full(const T* p) {
  Vec<T> v;
  if constexpr (std::is_same_v<T, bf16>) {
    u16x16 h;
    std::memcpy(&h, p, sizeof h);
    v = widen(h);
  } else {
    std::memcpy(&v, p, sizeof v);
  }
  return v;
}

template <class T>
INLINE void store_full(T* p, Vec<T> v) {
  if constexpr (std::is_same_v<T, bf16>) {
    const u16x16 h = narrow(v);
    std::memcpy(p, &h, sizeof h);
  } else {
    std::memcpy(p, &v, sizeof v);
  }
}

template <class T>
INLINE Vec<T> load(const T* p, int lanes) {
  if (lanes == kLanes<T>) return load_full<T>(p);
  T part[kLanes<T>] = {};
  std::memcpy(part, p, lanes * sizeof(T));
  return load_full<T>(part);
}

template <class T>
INLINE void store(T* p, Vec<T> v, int lanes) {
  if (lanes == kLanes<T>) return store_full<T>(p, v);
  T part[kLanes<T>];
  store_full<T>(part, v);
  std::memcpy(p, part, lanes * sizeof(T));
}

// One row of a channels_last map to or from a line of vectors.
template <class T>
void load_row(Vec<T>* line, const T* map, int64_t C, int lanes, int64_t W) {
  if (lanes == kLanes<T>) {
    for (int64_t j = 0; j < W; ++j) line[j] = load_full<T>(map + j * C);
  } else {
    for (int64_t j = 0; j < W; ++j) line[j] = load<T>(map + j * C, lanes);
  }
}

template <class T>
void store_row(T* map, const Vec<T>* line, int64_t C, int lanes, int64_t W) {
  if (lanes == kLanes<T>) {
    for (int64_t j = 0; j < W; ++j) store_full<T>(map + j * C, line[j]);
  } else {
    for (int64_t j = 0; j < W; ++j) store<T>(map + j * C, line[j], lanes);
  }
}

// A depthwise kernel of this block of channels: taps in the order of the weight, padding lanes zero.
template <class T>
void load_taps(Vec<T>* taps, const T* weight, int K, int64_t c0, int lanes) {
  for (int t = 0; t < K; ++t) {
    T part[kLanes<T>] = {};
    for (int l = 0; l < lanes; ++l) part[l] = weight[(c0 + l) * K + t];
    taps[t] = load_full<T>(part);
  }
}

// ---- the one loop ----

// dst[j] = bias + sum_t taps[t] * src[t][j], or added to what dst[j] is
template <class V, int K, bool kAdd = false>
void fir_k(V* dst, const V* const* src, const V* taps, V bias, int64_t n) {
  V w[K];
  const V* s[K];
  for (int t = 0; t < K; ++t) w[t] = taps[t], s[t] = src[t];
  for (int64_t j = 0; j < n; ++j) {
    V acc = kAdd ? dst[j] : bias;
#pragma GCC unroll 32
    for (int t = 0; t < K; ++t) acc += w[t] * s[t][j];
    dst[j] = acc;
  }
}

template <class V>
void fir(int K, V* dst, const V* const* src, const V* taps, V bias, int64_t n) {
  switch (K) {
    case 3: return fir_k<V, 3>(dst, src, taps, bias, n);
    case 5: return fir_k<V, 5>(dst, src, taps, bias, n);
    case 7: return fir_k<V, 7>(dst, src, taps, bias, n);
    case 9: return fir_k<V, 9>(dst, src, taps, bias, n);
    case 11: return fir_k<V, 11>(dst, src, taps, bias, n);
    case 13: return fir_k<V, 13>(dst, src, taps, bias, n);
    case 17: return fir_k<V, 17>(dst, src, taps, bias, n);
  }
  // Other kernels in pieces whose taps fit into registers: those of the trivial design are 11 + 6 n.
  int t = K < 11 ? 1 : 11;
  K < 11 ? fir_k<V, 1>(dst, src, taps, bias, n) : fir_k<V, 11>(dst, src, taps, bias, n);
  for (; t + 6 <= K; t += 6) fir_k<V, 6, true>(dst, src + t, taps + t, bias, n);
  for (; t < K; ++t) fir_k<V, 1, true>(dst, src + t, taps + t, bias, n);
}

// dst[j] = sum_t taps[t] * src[t][j] and grad[t] += sum_j x[j] * src[t][j]: both gradients of a depthwise kernel in one pass, where src are
// the rows of the output's gradient in mirrored order and x is the row of its input.
template <class V, int K>
void fir_grad_k(V* dst, const V* const* src, const V* taps, const V* x, V* grad, int64_t n) {
  V w[K], g[K];
  const V* s[K];
  for (int t = 0; t < K; ++t) w[t] = taps[t], s[t] = src[t], g[t] = V{};
  for (int64_t j = 0; j < n; ++j) {
    V acc{};
    const V xj = x[j];
#pragma GCC unroll 32
    for (int t = 0; t < K; ++t) {
      const V v = s[t][j];
      acc += w[t] * v;
      g[t] += xj * v;
    }
    dst[j] = acc;
  }
  for (int t = 0; t < K; ++t) grad[t] += g[t];
}

template <class V>
void fir_grad(int K, V* dst, const V* const* src, const V* taps, const V* x, V* grad, int64_t n) {
  switch (K) {
    case 3: return fir_grad_k<V, 3>(dst, src, taps, x, grad, n);
    case 5: return fir_grad_k<V, 5>(dst, src, taps, x, grad, n);
    case 7: return fir_grad_k<V, 7>(dst, src, taps, x, grad, n);
    case 9: return fir_grad_k<V, 9>(dst, src, taps, x, grad, n);
    case 11: return fir_grad_k<V, 11>(dst, src, taps, x, grad, n);
    case 13: return fir_grad_k<V, 13>(dst, src, taps, x, grad, n);
    case 17: return fir_grad_k<V, 17>(dst, src, taps, x, grad, n);
  }
  fir(K, dst, src, taps, V{}, n);
  for (int t = 0; t < K; ++t) {
    V sum{};
    for (int64_t j = 0; j < n; ++j) sum += x[j] * src[t][j];
    grad[t] += sum;
  }
}

template <class V>
V sum_row(const V* line, int64_t n) {
  V sum{};
  for (int64_t j = 0; j < n; ++j) sum += line[j];
  return sum;
}

// ---- GELU ----

// Cumulative distribution and density of the normal distribution at x. With z = |x| the tail is exp(-z^2 / 2) * r(z), where r falls smoothly
// and is a polynomial of degree 7 in 1 / (1 + 0.34 z), fitted by weighted least squares: 2.3e-8 from the true tail, below float's rounding.
INLINE void normal(vf x, vf& cdf, vf& pdf) {
  const vf z = x < 0.0f ? -x : x;
  vf u = z * z * -0.72134752044f;                              // exp(-z^2 / 2) = 2^u
  u = u < -126.0f ? (vf{} - 126.0f) : u;                       // below, 2^u would be subnormal and counts for nothing
  const vf magic = vf{} + 12582912.0f;                         // 1.5 * 2^23: adding it rounds to an integer in the low bits
  const vf shifted = u + magic;
  const vf f = u - (shifted - magic);                          // -0.5 .. 0.5
  vf e = f * 1.5345828542736667e-4f + 1.3399937982304711e-3f;  // 2^f, relative error 2e-9
  e = e * f + 9.618488960608136e-3f;
  e = e * f + 5.5503287604221845e-2f;
  e = e * f + 0.24022646890004842f;
  e = e * f + 0.6931472057447641f;
  e = e * f + 1.0000000005543321f;
  e = (vf)((u32x16)e + ((u32x16)shifted << 23));
  const vf t = 1.0f / (z * 0.34f + 1.0f);
  vf r = t * 0.04361154555130097f - 0.19542527797584686f;
  r = r * t + 0.2554063890901164f;
  r = r * t - 0.02314084347407093f;
  r = r * t + 0.1530134428349701f;
  r = r * t + 0.13058639720463444f;
  r = r * t + 0.13594832362698747f;
  const vf tail = r * t * e;
  cdf = x < 0.0f ? tail : 1.0f - tail;
  pdf = e * 0.3989422804014327f;
}

INLINE void normal(vd x, vd& cdf, vd& pdf) {
  for (int l = 0; l < 8; ++l) {
    cdf[l] = 0.5 * std::erfc(x[l] * -0.7071067811865476);
    pdf[l] = 0.3989422804014327 * std::exp(-0.5 * x[l] * x[l]);
  }
}

template <class V>
void gelu_row(V* line, int64_t n) {
  for (int64_t j = 0; j < n; ++j) {
    V cdf, pdf;
    normal(line[j], cdf, pdf);
    line[j] *= cdf;
  }
}

// The same for the n numbers of any map.
template <class T>
void gelu_numbers(const T* x, T* y, int64_t n) {
  for (int64_t j = 0; j < n; j += kLanes<T>) {
    const int lanes = n - j < kLanes<T> ? n - j : kLanes<T>;
    const Vec<T> v = load<T>(x + j, lanes);
    Vec<T> cdf, pdf;
    normal(v, cdf, pdf);
    store<T>(y + j, v * cdf, lanes);
  }
}

// grad[j] *= gelu'(line[j]), then line[j] = gelu(line[j])
template <class V>
void gelu_grad_row(V* grad, V* line, int64_t n) {
  for (int64_t j = 0; j < n; ++j) {
    V cdf, pdf;
    normal(line[j], cdf, pdf);
    grad[j] *= cdf + line[j] * pdf;
    line[j] *= cdf;
  }
}

// ---- buffers ----

// Hands out lines of vectors from the scratch memory of a thread; without memory it only counts. An odd number of cache lines from row to row
// keeps the rows of a ring out of each other's way in the cache.
template <class V>
struct Scratch {
  V* base;
  int64_t used = 0;
  V* line(int64_t width, int64_t rows = 1) {
    V* p = base ? base + used : nullptr;
    used += rows * pitch(width);
    return p;
  }
  static int64_t pitch(int64_t width) { return width | 1; }
};

template <class V>
struct Ring {
  V* base;
  int64_t rows, width;
  const V* zero;
  Ring(Scratch<V>& scratch, int64_t rows, int64_t width, const V* zero)
      : base(scratch.line(width, rows)), rows(rows), width(width), zero(zero) {}
  V* at(int64_t i) const { return base + (i % rows) * Scratch<V>::pitch(width); }
  // Row i of the image of height H, or zeros outside it.
  const V* row(int64_t i, int64_t H) const { return i < 0 || i >= H ? zero : at(i); }
};

// Not std::fill and std::copy: their instantiations would be shared between the namespaces, and so between the instruction sets.
template <class V>
void clear(V* line, int64_t n) {
  for (int64_t j = 0; j < n; ++j) line[j] = V{};
}

template <class V>
V* append(V* to, const V* from, int n) {
  for (int t = 0; t < n; ++t) *to++ = from[t];
  return to;
}
