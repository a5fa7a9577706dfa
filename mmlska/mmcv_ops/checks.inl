// What every operator asks of its inputs before anything reads them, and the dtype that it computes in. Part of kernels.cpp.

constexpr int64_t kMaxSamples = 4096;  // of a RoI's bin along an axis, where the caller sets it
constexpr double kMaxPixel = 1e8;      // how far a RoI may reach: far beyond any map, and its samples can still be counted

// `shape` has -1 where any size will do; `words` say the same.
void check_shape(const char* name, const at::Tensor& t, at::IntArrayRef shape, const char* words) {
  bool fits = t.dim() == static_cast<int64_t>(shape.size());
  for (int64_t i = 0; fits && i < t.dim(); ++i) fits = shape[i] == -1 || t.size(i) == shape[i];
  REQUIRE(fits, name, " has shape ", t.sizes(), "; it must be ", words);
}

void check_floats(const char* name, const at::Tensor& t, at::IntArrayRef shape, const char* words) {
  const auto type = t.scalar_type();
  REQUIRE(type == at::kFloat || type == at::kDouble || type == at::kHalf || type == at::kBFloat16, name, " is ", type,
          "; it must be float32, float64, float16 or bfloat16");
  check_shape(name, t, shape, words);
  check_memory(name, t);
}

void check_integers(const char* name, const at::Tensor& t, at::IntArrayRef shape, const char* words) {
  REQUIRE(t.scalar_type() == at::kLong, name, " is ", t.scalar_type(), "; it must be int64");
  check_shape(name, t, shape, words);
  check_memory(name, t);
}

at::ScalarType wide_type(const at::Tensor& t) { return t.scalar_type() == at::kDouble ? at::kDouble : at::kFloat; }

at::Tensor empty_like_type(at::IntArrayRef shape, at::ScalarType type) { return at::empty(shape, at::TensorOptions(type)); }
at::Tensor zeros_of(at::IntArrayRef shape, at::ScalarType type) { return at::zeros(shape, at::TensorOptions(type)); }

// Calls f with a zero of the type in which is computed.
template <class F>
auto compute_in(at::ScalarType type, F f) {
  return type == at::kDouble ? f(double{}) : f(float{});
}
