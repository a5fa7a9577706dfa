// The CPU backend of mmlska.ops: types, instruction sets, registration. The operators: lska_ops.h, mlp_ops.h; what they ask of their inputs: checks.h; how their
// work is split: tensors.h; kernels: rows.h, and of 1x1s tiles.h.
//
// Maps come and go as channels_last, weights contiguous. dtypes: float, bfloat16 (computed in float) and double.

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/Parallel.h>
#include <ATen/core/stack.h>
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
  int64_t rows1() const { return 2 * p1() < H ? 2 * p1() + 1 : H; }  // that the dilated vertical kernel reaches
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
#include "checks.h"
#include "pointwise.h"

#include "lska_ops.h"
#include "mlp_ops.h"

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

TORCH_LIBRARY_IMPL(mmlska_cpu, ADInplaceOrView, m) {
  for (const char* name : {"lska_inference", "lska_training", "lska_backward", "depthwise_gelu", "depthwise_gelu_backward", "depthwise_gelu_pointwise",
                           "depthwise_gelu_pointwise_backward", "mlp_inference", "mlp_training", "mlp_backward"})
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&refuse_tangents>());
}

// `import mmlska.ops.cpu._kernels` loads this file, which registers the operators above; the module only holds the number of their schemas.
PyMODINIT_FUNC PyInit__kernels() {
  static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernels", nullptr, -1, nullptr};
  PyObject* const module = PyModule_Create(&definition);
  if (module != nullptr) PyModule_AddIntConstant(module, "SCHEMAS", 5);  // raise it, and that of backend.py, with every change of a schema or of what is checked
  return module;
}
