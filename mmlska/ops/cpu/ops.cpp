// The CPU backend of mmlska.ops: types, instruction sets, registration. The operators: lska_ops.inl, mlp_ops.inl; what they ask of their inputs:
// ../../native/memory.inl and checks.inl; how their work is split: tensors.inl; kernels: rows.inl, lska.inl, depthwise_gelu.inl, and of 1x1s tiles.inl. An .inl is a part of this
// file, included at its place in it.
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
#include "rows.inl"
#include "lska.inl"
#include "depthwise_gelu.inl"
}

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define MMLSKA_X86 1
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#include "rows.inl"
#include "lska.inl"
#include "depthwise_gelu.inl"
}
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
namespace avx512 {
#include "rows.inl"
#include "lska.inl"
#include "depthwise_gelu.inl"
#include "tiles.inl"
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

#define REQUIRE(condition, ...) TORCH_CHECK(condition, "mmlska_cpu: ", __VA_ARGS__)

#include "tensors.inl"
#include "../../native/memory.inl"
#include "checks.inl"
#include "pointwise.inl"

#include "lska_ops.inl"
#include "mlp_ops.inl"

}  // namespace

// Their schemas are those of mmlska/ops/schemas.py, which backend.py defines after it has loaded this file.
#define FOR_EACH_OPERATOR(DO)                                                                                       \
  DO(lska_inference) DO(lska_training) DO(lska_backward) DO(depthwise_gelu) DO(depthwise_gelu_backward)              \
  DO(depthwise_gelu_pointwise) DO(depthwise_gelu_pointwise_backward) DO(mlp_inference) DO(mlp_training) DO(mlp_backward)

TORCH_LIBRARY_IMPL(mmlska_cpu, CPU, m) {
#define REGISTER(name) m.impl(#name, name);
  FOR_EACH_OPERATOR(REGISTER)
}

TORCH_LIBRARY_IMPL(mmlska_cpu, ADInplaceOrView, m) {
#define REFUSE_TANGENTS(name) m.impl(#name, torch::CppFunction::makeFromBoxedFunction<&refuse_tangents>());
  FOR_EACH_OPERATOR(REFUSE_TANGENTS)
}

// Importing this file registers the operators above; the module only holds the version of this file.
PyMODINIT_FUNC PyInit__kernels() {
  static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernels", nullptr, -1, nullptr};
  PyObject* const module = PyModule_Create(&definition);
  if (module != nullptr) PyModule_AddIntConstant(module, "VERSION", 6);  // raise it, and backend.py's, with every change of a schema or of what is checked
  return module;
}
