// The CPU backend of mmlska.ops: argument layout, work splitting, registration. Kernels: rows.h, of 1x1s tiles.h.
//
// Maps come and go as channels_last, weights contiguous. dtypes: float, bfloat16 (computed in float) and double.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <Python.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <tuple>
#include <type_traits>
#include <vector>

namespace {

struct bf16 {
  uint16_t bits;
};

template <class T>
struct Acc {
  using type = float;
};
template <>
struct Acc<double> {
  using type = double;
};
template <class T>
constexpr int kLanes = 64 / sizeof(typename Acc<T>::type);  // channels of a block

constexpr int kMaxTaps = 64;
constexpr int64_t kPanel = 32;  // output channels of a 1x1 that tiles compute together: two registers

struct MapShape {
  int64_t N, C, H, W;
};
struct LskaShape : MapShape {
  int k0, k1;
  int64_t dilation;
  int64_t p0() const { return (k0 - 1) / 2; }
  int64_t p1() const { return dilation * ((k1 - 1) / 2); }
};
template <class T>
struct LskaWeights {
  const T *weight[4], *bias[4];
};
template <class T>
struct LskaMaps {
  const T *x, *g4, *grad, *attn;
  T *grad_x, *chain;
};
// Where rows of a map lie: that of number `origin` in the batch begins at `data`, a pixel is `pitch` after the one before it.
template <class T>
struct Rows {
  T* data;
  int64_t origin, pitch;
};
// Rows begin..end of one image and one block of channels.
struct Task {
  int64_t image, block, begin, end;
};

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"
#pragma GCC diagnostic ignored "-Wignored-attributes"
#endif

#define INLINE inline __attribute__((always_inline))

namespace baseline {
#include "rows.h"
#include "lska.h"
#include "depthwise_gelu.h"
}

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define MMLSKA_X86 1
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#include "rows.h"
#include "lska.h"
#include "depthwise_gelu.h"
}
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
namespace avx512 {
#include "rows.h"
#include "lska.h"
#include "depthwise_gelu.h"
#include "tiles.h"
}
#pragma GCC pop_options
#endif

// The widest instruction set that this processor has, found once: the same file runs on every x86-64 machine. ATen's own environment variable
// narrows it.
#ifdef MMLSKA_X86
int find_level() {
  const char* wish = std::getenv("ATEN_CPU_CAPABILITY");
  const int limit = wish == nullptr ? 2 : std::strcmp(wish, "default") == 0 ? 0 : std::strcmp(wish, "avx2") == 0 ? 1 : 2;
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return std::min(limit, avx512 ? 2 : avx2 ? 1 : 0);
}
const int kLevel = find_level();
#define RUN(function, ...) \
  (kLevel == 2 ? avx512::function(__VA_ARGS__) : kLevel == 1 ? avx2::function(__VA_ARGS__) : baseline::function(__VA_ARGS__))
#else
#define RUN(function, ...) baseline::function(__VA_ARGS__)
#endif

#include "tensors.h"
#include "pointwise.h"

// ---- LSKA ----

struct Weights {
  at::Tensor weight[4], bias[4];  // h0, v0, h1, v1
  template <class T>
  LskaWeights<T> pointers() const {
    LskaWeights<T> p;
    for (int i = 0; i < 4; ++i) p.weight[i] = in<T>(weight[i]), p.bias[i] = in<T>(bias[i]);
    return p;
  }
  LskaShape shape(const at::Tensor& x, int64_t dilation) const {
    const int64_t k0 = weight[0].size(3), k1 = weight[2].size(3);
    TORCH_CHECK_VALUE(k0 < kMaxTaps && k1 < kMaxTaps, "the cpu backend of mmlska.ops takes kernels of up to ", kMaxTaps - 1, " taps");
    return {shape_of(x), static_cast<int>(k0), static_cast<int>(k1), dilation};
  }
};

#define LSKA_PARAMETERS                                                                                                                \
  const at::Tensor &h0w, const at::Tensor &h0b, const at::Tensor &v0w, const at::Tensor &v0b, const at::Tensor &h1w,                   \
      const at::Tensor &h1b, const at::Tensor &v1w, const at::Tensor &v1b, const at::Tensor &pw, const at::Tensor &pb, int64_t dilation,   \
      bool gelu
#define LSKA_WEIGHTS                                                               \
  Weights {                                                                        \
    {h0w.contiguous(), v0w.contiguous(), h1w.contiguous(), v1w.contiguous()}, {    \
      h0b.contiguous(), v0b.contiguous(), h1b.contiguous(), v1b.contiguous()       \
    }                                                                              \
  }

// The attention map, times another if that is defined: the chain of depthwise convolutions, then the 1x1.
at::Tensor attention_map(const at::Tensor& x, const Weights& weights, const at::Tensor& pw, const at::Tensor& pb, int64_t dilation,
                         const at::Tensor& times = {}) {
  const LskaShape shape = weights.shape(x, dilation);
  const at::Tensor chain = new_map(x);
  with_type(x, [&](auto type) {
    using T = decltype(type);
    const auto w = weights.pointers<T>();
    for_each_task(Split(shape, kLanes<T>, shape.p0() + shape.p1()), RUN(lska_forward_scratch<T>, shape),
                  [&](int64_t, const Task& task, void* scratch) { RUN(lska_forward<T>, shape, w, in<T>(x), out<T>(chain), task, scratch); });
  });
  return as_map(Pointwise(pw.flatten(1), pb).all(as_matrix(chain), times.defined() ? as_matrix(times) : times), x);
}

// The GELU before an attention is one cheap pass: done here, forward and again in backward, its output need not be kept.
at::Tensor maybe_gelu(const at::Tensor& x, bool gelu) {
  if (!gelu) return x;
  const at::Tensor y = new_map(x);
  constexpr int64_t kNumbers = 4096;  // a multiple of the lanes
  with_type(x, [&](auto type) {
    using T = decltype(type);
    at::parallel_for(0, (x.numel() + kNumbers - 1) / kNumbers, 1, [&](int64_t first, int64_t last) {
      const int64_t begin = first * kNumbers, end = std::min(last * kNumbers, x.numel());
      RUN(gelu_numbers<T>, in<T>(x) + begin, out<T>(y) + begin, end - begin);
    });
  });
  return y;
}

std::tuple<at::Tensor, at::Tensor> lska_training(const at::Tensor& x_, LSKA_PARAMETERS) {
  const at::Tensor x = maybe_gelu(channels_last(x_), gelu), attn = attention_map(x, LSKA_WEIGHTS, pw, pb, dilation);
  return {x * attn, attn};
}

at::Tensor lska_inference(const at::Tensor& x_, LSKA_PARAMETERS) {
  const at::Tensor x = maybe_gelu(channels_last(x_), gelu);
  return attention_map(x, LSKA_WEIGHTS, pw, pb, dilation, x);
}

std::vector<at::Tensor> lska_backward(const at::Tensor& grad_, const at::Tensor& x_, const at::Tensor& attn_, LSKA_PARAMETERS) {
  const at::Tensor grad = channels_last(grad_), attn = channels_last(attn_), before = channels_last(x_), x = maybe_gelu(before, gelu);
  const Weights weights = LSKA_WEIGHTS;
  const LskaShape shape = weights.shape(x, dilation);
  const at::Tensor grad_attn = as_matrix(grad) * as_matrix(x);
  const at::Tensor grad_chain = Pointwise(pw.flatten(1).t(), {}).all(grad_attn);
  const at::Tensor grad_x = new_map(x), chain = new_map(x);
  at::Tensor totals;
  with_type(x, [&](auto type) {
    using T = decltype(type);
    using A = typename Acc<T>::type;
    const auto w = weights.pointers<T>();
    const Split split(shape, kLanes<T>, shape.p0() + shape.p1());
    const int64_t taps = 2 * shape.k0 + 2 * shape.k1 + 4;
    const at::Tensor shares = at::empty({split.tasks(), taps, kLanes<T>}, x.options().dtype(c10::CppTypeToScalarType<A>::value));
    const LskaMaps<T> maps{in<T>(x), in<T>(grad_chain), in<T>(grad), in<T>(attn), out<T>(grad_x), out<T>(chain)};
    for_each_task(split, RUN(lska_backward_scratch<T>, shape), [&](int64_t i, const Task& task, void* scratch) {
      RUN(lska_backward<T>, shape, w, maps, out<A>(shares) + i * taps * kLanes<T>, task, scratch);
    });
    totals = reduce_shares<A>(shares, split, shape.C).to(x.scalar_type());
  });
  std::vector<at::Tensor> grads{gelu ? at::gelu_backward(grad_x, before) : grad_x};
  int64_t first = 0;
  for (int i = 0; i < 4; ++i) {
    const int64_t taps = i < 2 ? shape.k0 : shape.k1;
    grads.push_back(weight_grad(totals, first, taps, weights.weight[i]));
    grads.push_back(totals.select(0, 2 * shape.k0 + 2 * shape.k1 + i).clone());
    first += taps;
  }
  grads.push_back(pointwise_weight_grad(grad_attn, as_matrix(chain)).view(pw.sizes()));
  grads.push_back(grad_attn.sum(0));
  return grads;
}

// ---- 3x3 depthwise convolution and GELU, then a 1x1 or not ----

at::Tensor depthwise_gelu(const at::Tensor& x_, const at::Tensor& weight_, const at::Tensor& bias_) {
  const at::Tensor x = channels_last(x_), weight = weight_.contiguous(), bias = bias_.contiguous(), y = new_map(x);
  const MapShape shape = shape_of(x);
  with_type(x, [&](auto type) {
    using T = decltype(type);
    for_each_task(Split(shape, kLanes<T>, 1), RUN(depthwise_scratch<T>, shape), [&](int64_t, const Task& task, void* scratch) {
      RUN(depthwise_gelu_forward<T>, shape, in<T>(weight), in<T>(bias), Rows<const T>{in<T>(x), 0, shape.C}, Rows<T>{out<T>(y), 0, shape.C},
          task, scratch);
    });
  });
  return y;
}

// The wide maps before the 3x3 (with `expand`, the 1x1 that makes it) and after the GELU never exist as a whole: a task makes all channels of
// a few rows and multiplies them while they are in its cache.
at::Tensor mlp(const at::Tensor& x, const Pointwise* expand, const at::Tensor& weight_, const at::Tensor& bias_, const at::Tensor& pw,
               const at::Tensor& pb) {
  const at::Tensor weight = weight_.contiguous(), bias = bias_.contiguous();
  const MapShape s{x.size(0), weight.size(0), x.size(2), x.size(3)};
  const at::Tensor y = at::empty({s.N, pw.size(0), s.H, s.W}, x.options(), at::MemoryFormat::ChannelsLast);
  if (y.numel() == 0) return y;
  const Pointwise reduce(pw.flatten(1), pb);
  const at::Tensor x_matrix = as_matrix(x), y_matrix = as_matrix(y);
  constexpr int64_t kCache = 768 * 1024;  // bytes of a task's rows: most of a core's second-level cache
  const int64_t pitch = s.C + 64 / x.element_size();  // one cache line apart from powers of two, whose multiples share a place in the cache
  const int64_t row = s.W * pitch, row_bytes = row * x.element_size(), threads = at::get_num_threads();
  const int64_t rows = std::max<int64_t>(1, std::min({kCache / row_bytes, s.H, (s.N * s.H + threads - 1) / threads}));
  const int64_t strips = (s.H + rows - 1) / rows;
  with_type(x, [&](auto type) {
    using T = decltype(type);
    const int64_t scratch_bytes = RUN(depthwise_scratch<T>, s), blocks = (s.C + kLanes<T> - 1) / kLanes<T>;
    at::parallel_for(0, s.N * strips, 1, [&](int64_t first, int64_t last) {
      const at::AutoDispatchBelowADInplaceOrView no_autograd;  // worker threads do not inherit the state of the caller
      const at::Tensor scratch = at::empty({scratch_bytes}, at::kByte), buffer = at::empty({(rows + 2) * s.W, pitch}, x.options());
      const at::Tensor wide = buffer.narrow(1, 0, s.C);
      T* const memory = out<T>(buffer);
      for (int64_t i = first; i < last; ++i) {
        const int64_t image = i / strips, begin = i % strips * rows, end = std::min(begin + rows, s.H), origin = image * s.H + begin;
        Rows<const T> from{in<T>(x), 0, s.C};
        if (expand) {
          // The buffer takes the rows begin - 1 to end, of which the strip before has left two; the 3x3's output overwrites the others.
          const bool follows = i > first && begin > 0;
          if (follows) std::memmove(memory, memory + rows * row, 2 * row_bytes);
          const int64_t next = follows ? begin + 1 : std::max<int64_t>(begin - 1, 0), pixels = (std::min(end + 1, s.H) - next) * s.W;
          const at::Tensor source = x_matrix.narrow(0, (image * s.H + next) * s.W, pixels);
          if (pixels > 0) (*expand)(source, wide.narrow(0, (next - begin + 1) * s.W, pixels));
          from = {memory, origin - 1, pitch};
        }
        for (int64_t block = 0; block < blocks; ++block) {
          const Task task{image, block, begin, end};
          RUN(depthwise_gelu_forward<T>, s, in<T>(weight), in<T>(bias), from, Rows<T>{memory, origin, pitch}, task,
              scratch.mutable_data_ptr());
        }
        const int64_t pixels = (end - begin) * s.W;
        reduce(wide.narrow(0, 0, pixels), y_matrix.narrow(0, origin * s.W, pixels));
      }
    });
  });
  return y;
}

at::Tensor depthwise_gelu_pointwise(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& pw,
                                    const at::Tensor& pb) {
  return mlp(channels_last(x), nullptr, weight, bias, pw, pb);
}

// Without a gradient, the 1x1 that makes the wide map can go row by row too. Neighbouring threads both compute the two rows between them, which
// is too much where they have few.
at::Tensor mlp_inference(const at::Tensor& x_, const at::Tensor& ew, const at::Tensor& eb, const at::Tensor& weight, const at::Tensor& bias,
                         const at::Tensor& pw, const at::Tensor& pb) {
  const at::Tensor x = channels_last(x_);
  if (x.size(0) * x.size(2) < 16 * at::get_num_threads())
    return mlp(channels_last(at::conv2d(x, ew, eb)), nullptr, weight, bias, pw, pb);
  const Pointwise expand(ew.flatten(1), eb);
  return mlp(x, &expand, weight, bias, pw, pb);
}

// The output, and that of the first 1x1, which the backward pass reads.
std::tuple<at::Tensor, at::Tensor> mlp_training(const at::Tensor& x, const at::Tensor& ew, const at::Tensor& eb, const at::Tensor& weight,
                                                const at::Tensor& bias, const at::Tensor& pw, const at::Tensor& pb) {
  const at::Tensor wide = channels_last(at::conv2d(channels_last(x), ew, eb));
  return {mlp(wide, nullptr, weight, bias, pw, pb), wide};
}

constexpr int64_t kDepthwiseShares = 11;  // nine taps, the bias, the bias before

struct DepthwiseGrads {
  at::Tensor x, weight, bias, bias_before;
};

// Of the totals (shares, C).
DepthwiseGrads depthwise_grads(const at::Tensor& grad_x, const at::Tensor& totals, const at::Tensor& weight) {
  return {grad_x, weight_grad(totals, 0, 9, weight), totals.select(0, 9).clone(), totals.select(0, 10).clone()};
}

// With `again`, the output of the forward pass is written to it, and the gradient of the output is ours to overwrite: rows of the input's are
// written after the rows of it that they need were read, unless another task still needs some for its halo.
DepthwiseGrads depthwise_gelu_grads(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                    const at::Tensor& again) {
  const MapShape shape = shape_of(x);
  at::Tensor totals, grad_x;
  with_type(x, [&](auto type) {
    using T = decltype(type);
    using A = typename Acc<T>::type;
    const Split split(shape, kLanes<T>, 2);
    grad_x = again.defined() && split.strips == 1 ? grad : new_map(x);
    constexpr int64_t kShares = kDepthwiseShares * kLanes<T>;
    const at::Tensor shares =
        at::empty({split.tasks(), kDepthwiseShares, kLanes<T>}, x.options().dtype(c10::CppTypeToScalarType<A>::value));
    T* const y = again.defined() ? out<T>(again) : nullptr;
    for_each_task(split, RUN(depthwise_scratch<T>, shape), [&](int64_t i, const Task& task, void* scratch) {
      RUN(depthwise_gelu_backward<T>, shape, in<T>(weight), in<T>(bias), Rows<const T>{in<T>(x), 0, shape.C},
          Rows<const T>{in<T>(grad), 0, shape.C}, Rows<T>{out<T>(grad_x), 0, shape.C}, Rows<T>{y, 0, shape.C}, out<A>(shares) + i * kShares, task,
          scratch);
    });
    totals = reduce_shares<A>(shares, split, shape.C).to(x.scalar_type());
  });
  return depthwise_grads(grad_x, totals, weight);
}

std::vector<at::Tensor> depthwise_gelu_backward(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight,
                                                const at::Tensor& bias) {
  const auto grads = depthwise_gelu_grads(channels_last(grad), channels_last(x), weight.contiguous(), bias.contiguous(), {});
  return {grads.x, grads.weight, grads.bias};
}

std::vector<at::Tensor> depthwise_gelu_pointwise_backward(const at::Tensor& grad_, const at::Tensor& x_, const at::Tensor& weight,
                                                          const at::Tensor& bias, const at::Tensor& pw) {
  const at::Tensor x = channels_last(x_), grad = as_matrix(channels_last(grad_)), wide = new_map(x);
  const at::Tensor grad_wide = as_map(Pointwise(pw.flatten(1).t(), {}).all(grad), x);
  const auto grads = depthwise_gelu_grads(grad_wide, x, weight.contiguous(), bias.contiguous(), wide);
  return {grads.x, grads.weight, grads.bias, pointwise_weight_grad(grad, as_matrix(wide)).view(pw.sizes()), grad.sum(0)};
}

// The whole backward pass in float32 by our own tiles. As in mlp(), the wide gradients never exist as a whole; a thread takes a few rows at a
// time, makes their gradients before and after the 3x3, and multiplies these while they are in its cache. Each thread adds up its own gradients of
// the weights.
std::vector<at::Tensor> mlp_backward_by_rows(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& wide, const at::Tensor& ew,
                                             const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& pw) {
  const MapShape s = shape_of(wide);
  const at::Tensor grad_x = new_map(x), x_matrix = as_matrix(x), grad_matrix = as_matrix(grad), grad_x_matrix = as_matrix(grad_x);
  const Pointwise widen(pw.flatten(1).t(), {}), reduce(ew.flatten(1).t(), {});
  constexpr int64_t kCache = 1024 * 1024;  // bytes: rows at the border of a strip are computed twice, so better too many than too few
  const int64_t pitch = s.C + 16, row = s.W * pitch, all = s.N * s.H, parts = std::min<int64_t>(at::get_num_threads(), all);
  const int64_t rows = std::min(std::max<int64_t>(8, kCache / (row * 4)), s.H);
  const int64_t blocks = (s.C + 15) / 16, scratch_bytes = RUN(depthwise_scratch<float>, s);
  constexpr int64_t kShares = kDepthwiseShares * 16;
  const at::Tensor grad_pw = at::empty({parts, pw.size(0), s.C}, x.options()), grad_ew = at::empty({parts, s.C, x.size(1)}, x.options());
  const at::Tensor shares = at::zeros({parts, blocks, kShares}, x.options());
  at::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    const at::Tensor scratch = at::empty({scratch_bytes}, at::kByte), share = at::empty({kShares}, x.options());
    const at::Tensor after = at::empty({(rows + 2) * s.W, pitch}, x.options()), before = at::empty({rows * s.W, pitch}, x.options());
    float* const memory = out<float>(after);
    for (int64_t part = first; part < last; ++part) {
      const int64_t start = part * all / parts, stop = (part + 1) * all / parts;
      bool follows = false;
      for (int64_t at = start, next; at < stop; at = next) {
        const int64_t image = at / s.H, begin = at % s.H, end = std::min({begin + rows, s.H, begin + stop - at}), origin = at;
        next = at + end - begin;
        // As in mlp(): the rows begin - 1 to end, of which the strip before has left two; the output of the forward pass overwrites the others.
        if (follows) std::memmove(memory, memory + rows * row, 2 * row * sizeof(float));
        const int64_t fresh = follows ? begin + 1 : std::max<int64_t>(begin - 1, 0), pixels = (std::min(end + 1, s.H) - fresh) * s.W;
        if (pixels > 0)
          widen(grad_matrix.narrow(0, (image * s.H + fresh) * s.W, pixels), after.narrow(1, 0, s.C).narrow(0, (fresh - begin + 1) * s.W, pixels));
        for (int64_t block = 0; block < blocks; ++block) {
          RUN(depthwise_gelu_backward<float>, s, in<float>(weight), in<float>(bias), Rows<const float>{in<float>(wide), 0, s.C},
              Rows<const float>{memory, origin - 1, pitch}, Rows<float>{out<float>(before), origin, pitch}, Rows<float>{memory, origin, pitch},
              out<float>(share), Task{image, block, begin, end}, scratch.mutable_data_ptr());
          float* const total = out<float>(shares) + (part * blocks + block) * kShares;
          for (int64_t i = 0; i < kShares; ++i) total[i] += in<float>(share)[i];
        }
        const int64_t here = at * s.W, count = (end - begin) * s.W;
        const at::Tensor grad_before = before.narrow(1, 0, s.C).narrow(0, 0, count);
        const at::Tensor again = after.narrow(1, 0, s.C).narrow(0, 0, count);
        pointwise_weight_grad_rows(grad_matrix.narrow(0, here, count), again, at > start, grad_pw.select(0, part));
        pointwise_weight_grad_rows(grad_before, x_matrix.narrow(0, here, count), at > start, grad_ew.select(0, part));
        reduce(grad_before, grad_x_matrix.narrow(0, here, count));
        follows = end < s.H && end - begin == rows;
      }
    }
  });
  const at::Tensor totals = shares.sum(0).view({blocks, kDepthwiseShares, 16}).transpose(0, 1).reshape({kDepthwiseShares, -1}).narrow(1, 0, s.C);
  const auto grads = depthwise_grads(grad_x, totals, weight);
  return {grads.x, grad_ew.sum(0).view(ew.sizes()), grads.bias_before, grads.weight, grads.bias, grad_pw.sum(0).view(pw.sizes()), grad_matrix.sum(0)};
}

std::vector<at::Tensor> mlp_backward(const at::Tensor& grad_, const at::Tensor& x_, const at::Tensor& wide_, const at::Tensor& ew,
                                     const at::Tensor& weight_, const at::Tensor& bias_, const at::Tensor& pw) {
  const at::Tensor x = channels_last(x_), wide = channels_last(wide_), grad = channels_last(grad_);
  const at::Tensor weight = weight_.contiguous(), bias = bias_.contiguous();
  // By rows, each thread needs gradients of the weights of its own: too much where these are larger than the wide map.
  if (own_tiles(x) && at::get_num_threads() * (x.size(1) + pw.size(0)) <= 2 * as_matrix(x).size(0))
    return mlp_backward_by_rows(grad, x, wide, ew, weight, bias, pw);
  const at::Tensor grad_matrix = as_matrix(grad), again = new_map(wide);
  const at::Tensor grad_wide = as_map(Pointwise(pw.flatten(1).t(), {}).all(grad_matrix), wide);
  const auto grads = depthwise_gelu_grads(grad_wide, wide, weight, bias, again);
  const auto [grad_x, grad_ew, grad_eb] =
      at::convolution_backward(grads.x, x, ew, ew.size(0), {1, 1}, {0, 0}, {1, 1}, false, {0, 0}, 1, {true, true, true});
  const at::Tensor grad_pw = pointwise_weight_grad(grad_matrix, as_matrix(again));
  return {channels_last(grad_x),
          grad_ew.flatten(1).view(ew.sizes()),
          grad_eb,
          grads.weight,
          grads.bias,
          grad_pw.view(pw.sizes()),
          grad_matrix.sum(0)};
}

}  // namespace

#define LSKA_SCHEMA "Tensor h0w, Tensor h0b, Tensor v0w, Tensor v0b, Tensor h1w, Tensor h1b, Tensor v1w, Tensor v1b, Tensor pw, Tensor pb, int dilation, bool gelu"

TORCH_LIBRARY(mmlska_cpu, m) {
  m.def("lska_inference(Tensor x, " LSKA_SCHEMA ") -> Tensor");
  m.def("lska_training(Tensor x, " LSKA_SCHEMA ") -> (Tensor, Tensor)");
  m.def("lska_backward(Tensor grad, Tensor x, Tensor attn, " LSKA_SCHEMA ") -> Tensor[]");
  m.def("depthwise_gelu(Tensor x, Tensor weight, Tensor bias) -> Tensor");
  m.def("depthwise_gelu_backward(Tensor grad, Tensor x, Tensor weight, Tensor bias) -> Tensor[]");
  m.def("depthwise_gelu_pointwise(Tensor x, Tensor weight, Tensor bias, Tensor pw, Tensor pb) -> Tensor");
  m.def("mlp_inference(Tensor x, Tensor ew, Tensor eb, Tensor weight, Tensor bias, Tensor pw, Tensor pb) -> Tensor");
  m.def("mlp_training(Tensor x, Tensor ew, Tensor eb, Tensor weight, Tensor bias, Tensor pw, Tensor pb) -> (Tensor, Tensor)");
  m.def("mlp_backward(Tensor grad, Tensor x, Tensor wide, Tensor ew, Tensor weight, Tensor bias, Tensor pw) -> Tensor[]");
  m.def("depthwise_gelu_pointwise_backward(Tensor grad, Tensor x, Tensor weight, Tensor bias, Tensor pw) -> Tensor[]");
}

TORCH_LIBRARY_IMPL(mmlska_cpu, CPU, m) {
  m.impl("lska_inference", lska_inference);
  m.impl("lska_training", lska_training);
  m.impl("lska_backward", lska_backward);
  m.impl("depthwise_gelu", depthwise_gelu);
  m.impl("depthwise_gelu_backward", depthwise_gelu_backward);
  m.impl("depthwise_gelu_pointwise", depthwise_gelu_pointwise);
  m.impl("mlp_inference", mlp_inference);
  m.impl("mlp_training", mlp_training);
  m.impl("mlp_backward", mlp_backward);
  m.impl("depthwise_gelu_pointwise_backward", depthwise_gelu_pointwise_backward);
}

// `from mmlska.ops import _cpu` loads this file, which registers the operators above; the module only holds the number of their schemas.
PyMODINIT_FUNC PyInit__cpu() {
  static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_cpu", nullptr, -1, nullptr};
  PyObject* const module = PyModule_Create(&definition);
  if (module != nullptr) PyModule_AddIntConstant(module, "SCHEMAS", 4);  // raise it, and cpu.py's, with every change of a schema
  return module;
}
