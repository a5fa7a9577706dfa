// Multi-scale deformable attention: every head of a query sums pixels of several maps, at positions and with weights of its own. Part of kernels.cpp.

// value (B, K, M, D): the pixels of all maps, one map (level) after the other; locations (B, Q, M, L, P, 2): x, y, from 0 to 1 over a map;
// weights (B, Q, M, L, P).
struct AttentionShape {
  int64_t batch, keys, heads, channels, queries, levels, points;
  std::vector<int64_t> height, width, start;
};

AttentionShape check_attention(const at::Tensor& value, const at::Tensor& spatial_shapes, const at::Tensor& level_start_index,
                               const at::Tensor& sampling_locations, const at::Tensor& attention_weights) {
  check_floats("value", value, {-1, -1, -1, -1}, "(batch, keys, heads, channels)");
  check_integers("spatial_shapes", spatial_shapes, {-1, 2}, "(levels, 2)");
  const int64_t batch = value.size(0), keys = value.size(1), heads = value.size(2), levels = spatial_shapes.size(0);
  check_integers("level_start_index", level_start_index, {levels}, "(levels,)");
  check_floats("sampling_locations", sampling_locations, {batch, -1, heads, levels, -1, 2}, "(batch, queries, heads, levels, points, 2)");
  const int64_t queries = sampling_locations.size(1), points = sampling_locations.size(4);
  check_floats("attention_weights", attention_weights, {batch, queries, heads, levels, points}, "(batch, queries, heads, levels, points)");
  AttentionShape shape{batch, keys, heads, value.size(3), queries, levels, points, {}, {}, {}};
  const at::Tensor shapes = spatial_shapes.contiguous(), starts = level_start_index.contiguous();
  for (int64_t l = 0; l < levels; ++l) {
    const int64_t h = shapes.const_data_ptr<int64_t>()[2 * l], w = shapes.const_data_ptr<int64_t>()[2 * l + 1];
    const int64_t start = starts.const_data_ptr<int64_t>()[l];
    // No product that could overflow.
    REQUIRE(h >= 0 && w >= 0 && start >= 0 && start <= keys && (w == 0 || h <= (keys - start) / w), "level ", l, " is a map of ", h, " x ", w,
            " from key ", start, " on; value has ", keys, " keys");
    shape.height.push_back(h), shape.width.push_back(w), shape.start.push_back(start);
  }
  return shape;
}

// One point: its four pixels, as far as they are on the map.
template <class T>
struct Point4 {
  bool on[4] = {false, false, false, false};
  int64_t offset[4];
  T lx, ly;

  Point4(const T* location, const AttentionShape& s, int64_t level, int64_t stride) {
    const int64_t h = s.height[level], w = s.width[level];
    const T x = location[0] * static_cast<T>(w) - T(0.5), y = location[1] * static_cast<T>(h) - T(0.5);
    lx = ly = 0;
    if (!(x > -1 && y > -1 && x < static_cast<T>(w) && y < static_cast<T>(h))) return;
    const int64_t left = static_cast<int64_t>(std::floor(x)), top = static_cast<int64_t>(std::floor(y));
    lx = x - static_cast<T>(left), ly = y - static_cast<T>(top);
    for (int k = 0; k < 4; ++k) {
      const int64_t row = top + k / 2, column = left + k % 2;
      on[k] = row >= 0 && row < h && column >= 0 && column < w;
      offset[k] = (s.start[level] + row * w + column) * stride;
    }
  }
  T weight(int k) const { return (k / 2 ? ly : 1 - ly) * (k % 2 ? lx : 1 - lx); }
};

template <class T>
T dot(const T* a, const T* b, int64_t n) {
  constexpr int64_t kParts = 16;  // sums side by side, as the compiler may not reorder one
  T parts[kParts] = {};
  int64_t i = 0;
  for (; i + kParts <= n; i += kParts)
    for (int64_t k = 0; k < kParts; ++k) parts[k] += a[i + k] * b[i + k];
  T sum = 0;
  for (; i < n; ++i) sum += a[i] * b[i];
  for (int64_t k = 0; k < kParts; ++k) sum += parts[k];
  return sum;
}

template <class T>
at::Tensor attend(const at::Tensor& value, const at::Tensor& locations, const at::Tensor& weights, const AttentionShape& s) {
  const int64_t stride = s.heads * s.channels, samples = s.levels * s.points;
  at::Tensor output = zeros_of({s.batch, s.queries, stride}, value.scalar_type());
  const T *const values = value.const_data_ptr<T>(), *const where = locations.const_data_ptr<T>(), *const much = weights.const_data_ptr<T>();
  T* const out = output.mutable_data_ptr<T>();
  at::parallel_for(0, s.batch * s.queries, 4, [&](int64_t begin, int64_t end) {
    Taps<T> taps;
    for (int64_t query = begin; query < end; ++query)
      for (int64_t head = 0; head < s.heads; ++head) {
        const int64_t i = query * s.heads + head;
        taps.clear();
        for (int64_t j = 0; j < samples; ++j) {
          const Point4<T> point(where + (i * samples + j) * 2, s, j / s.points, stride);
          for (int k = 0; k < 4; ++k)
            if (point.on[k]) taps.add(point.offset[k], point.weight(k) * much[i * samples + j]);
        }
        gather(out + i * s.channels, values + query / s.queries * s.keys * stride + head * s.channels, taps, s.channels);
      }
  });
  return output;
}

template <class T>
std::tuple<at::Tensor, at::Tensor, at::Tensor> attend_backward(const at::Tensor& grad_output, const at::Tensor& value, const at::Tensor& locations,
                                                               const at::Tensor& weights, const AttentionShape& s) {
  const int64_t stride = s.heads * s.channels, samples = s.levels * s.points;
  at::Tensor grad_value = zeros_of(value.sizes(), value.scalar_type());
  at::Tensor grad_locations = zeros_of(locations.sizes(), value.scalar_type()), grad_weights = zeros_of(weights.sizes(), value.scalar_type());
  const T *const values = value.const_data_ptr<T>(), *const where = locations.const_data_ptr<T>(), *const much = weights.const_data_ptr<T>();
  const T* const grads = grad_output.const_data_ptr<T>();
  T *const out_value = grad_value.mutable_data_ptr<T>(), *const out_where = grad_locations.mutable_data_ptr<T>();
  T* const out_much = grad_weights.mutable_data_ptr<T>();
  // A head of an image owns its part of value's gradient.
  at::parallel_for(0, s.batch * s.heads, 1, [&](int64_t begin, int64_t end) {
    Taps<T> taps;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t batch = task / s.heads, head = task % s.heads, first = batch * s.keys * stride + head * s.channels;
      for (int64_t query = 0; query < s.queries; ++query) {
        const int64_t i = (batch * s.queries + query) * s.heads + head;
        const T* const grad = grads + i * s.channels;
        taps.clear();
        for (int64_t j = i * samples; j < (i + 1) * samples; ++j) {
          const int64_t level = (j - i * samples) / s.points;
          const Point4<T> point(where + j * 2, s, level, stride);
          T match[4];
          for (int k = 0; k < 4; ++k) {
            match[k] = point.on[k] ? dot(grad, values + first + point.offset[k], s.channels) : T(0);
            if (point.on[k]) taps.add(point.offset[k], point.weight(k) * much[j]);
          }
          const T lx = point.lx, ly = point.ly;
          out_much[j] = (1 - ly) * ((1 - lx) * match[0] + lx * match[1]) + ly * ((1 - lx) * match[2] + lx * match[3]);
          out_where[2 * j] = much[j] * static_cast<T>(s.width[level]) * ((1 - ly) * (match[1] - match[0]) + ly * (match[3] - match[2]));
          out_where[2 * j + 1] = much[j] * static_cast<T>(s.height[level]) * ((1 - lx) * (match[2] - match[0]) + lx * (match[3] - match[1]));
        }
        scatter(out_value + first, grad, taps, s.channels);
      }
    }
  });
  return {grad_value, grad_locations, grad_weights};
}

// (batch, queries, heads * channels)
at::Tensor ms_deform_attn(const at::Tensor& value, const at::Tensor& spatial_shapes, const at::Tensor& level_start_index,
                          const at::Tensor& sampling_locations, const at::Tensor& attention_weights) {
  const auto shape = check_attention(value, spatial_shapes, level_start_index, sampling_locations, attention_weights);
  const at::ScalarType wide = wide_type(value);
  return compute_in(wide, [&](auto zero) {
    using T = decltype(zero);
    return attend<T>(value.to(wide).contiguous(), sampling_locations.to(wide).contiguous(), attention_weights.to(wide).contiguous(), shape);
  }).to(value.scalar_type());
}

// Of value, sampling_locations and attention_weights.
std::tuple<at::Tensor, at::Tensor, at::Tensor> ms_deform_attn_backward(const at::Tensor& grad_output, const at::Tensor& value,
                                                                       const at::Tensor& spatial_shapes, const at::Tensor& level_start_index,
                                                                       const at::Tensor& sampling_locations, const at::Tensor& attention_weights) {
  const auto shape = check_attention(value, spatial_shapes, level_start_index, sampling_locations, attention_weights);
  check_floats("grad_output", grad_output, {shape.batch, shape.queries, shape.heads * shape.channels}, "(batch, queries, heads * channels)");
  const at::ScalarType wide = wide_type(value);
  return compute_in(wide, [&](auto zero) -> std::tuple<at::Tensor, at::Tensor, at::Tensor> {
    using T = decltype(zero);
    const auto [of_value, of_locations, of_weights] =
        attend_backward<T>(grad_output.to(wide).contiguous(), value.to(wide).contiguous(), sampling_locations.to(wide).contiguous(),
                           attention_weights.to(wide).contiguous(), shape);
    return {of_value.to(value.scalar_type()), of_locations.to(sampling_locations.scalar_type()), of_weights.to(attention_weights.scalar_type())};
  });
}
