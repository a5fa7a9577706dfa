// RoIAlign of upright and of rotated RoIs: averages, maxima and their gradients. Part of kernels.cpp.

constexpr int64_t kChannels = 64;  // of a map's gradient that one task owns: so tasks need no locks and give the same sums for any number of threads

// Channels that lie together are read and written several times faster. It pays to turn a whole map where the RoIs read about as much as it holds.
bool pays_to_turn(int64_t rois, const RoiPlan& plan) { return rois * plan.bins() * 4 > plan.images * plan.height * plan.width; }

// The average of the samples of each bin.
template <class T, class Region>
at::Tensor average(at::Tensor map, const at::Tensor& rois, const RoiPlan& plan) {
  const int64_t n = rois.size(0), channels = plan.channels, bins = plan.bins();
  if (map.stride(1) != 1 && pays_to_turn(n, plan)) map = to_channels_last<T>(map);
  at::Tensor output = empty_like_type({n, channels, plan.bins_h, plan.bins_w}, map.scalar_type());
  const T *const pixels = map.const_data_ptr<T>(), *const roi = rois.const_data_ptr<T>();
  T* const out = output.mutable_data_ptr<T>();
  const int64_t step = map.stride(1);
  at::parallel_for(0, n, 1, [&](int64_t begin, int64_t end) {
    BinRows<T> sums(bins, channels);
    for (int64_t i = begin; i < end; ++i) {
      const Region region(roi + i * Region::kColumns, plan);
      const T* const image = pixels + region.image * map.stride(0);
      region.for_each_bin(map.stride(2), map.stride(3), [&](int64_t bin, const Taps<T>& taps) {
        std::fill(sums[bin], sums[bin] + channels, T(0));
        gather(sums[bin], image, taps, channels, step);
      });
      sums.store(out + i * channels * bins, region.count);
    }
  });
  return output;
}

// Of a contiguous gradient.
template <class T, class Region>
at::Tensor average_backward(const at::Tensor& grad_output, const at::Tensor& rois, const RoiPlan& plan) {
  const int64_t n = rois.size(0), channels = plan.channels, bins = plan.bins(), blocks = (channels + kChannels - 1) / kChannels;
  const bool together = pays_to_turn(n, plan);
  const auto layout = together ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
  at::Tensor grad_map = at::empty({plan.images, channels, plan.height, plan.width}, at::TensorOptions(grad_output.scalar_type()), layout).zero_();
  const int64_t pixels = plan.height * plan.width, step = together ? 1 : pixels, column = together ? channels : 1;
  const T *const grads = grad_output.const_data_ptr<T>(), *const roi = rois.const_data_ptr<T>();
  T* const out = grad_map.mutable_data_ptr<T>();
  at::parallel_for(0, plan.images * blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t image = task / blocks, first = task % blocks * kChannels, width = std::min(kChannels, channels - first);
      BinRows<T> grad(bins, width);
      for (int64_t i = 0; i < n; ++i) {
        if (static_cast<int64_t>(roi[i * Region::kColumns]) != image) continue;
        const Region region(roi + i * Region::kColumns, plan);
        grad.load(grads + (i * channels + first) * bins, region.count);
        region.for_each_bin(plan.width * column, column, [&](int64_t bin, const Taps<T>& taps) {
          scatter(out + image * pixels * channels + first * step, grad[bin], taps, width, step);
        });
      }
    }
  });
  return together ? from_channels_last<T>(grad_map) : grad_map;
}

// The samples of bin p that a maximum looks at: those on the map, and of those before and after it, which are all 0, the first.
template <class T>
std::vector<T> seen(const Axis<T>& axis, int64_t p, int64_t size) {
  const auto [begin, end] = axis.reach(p, -1, static_cast<double>(size));
  std::vector<T> positions;
  if (begin > 0) positions.push_back(axis.position(p, 0));
  for (int64_t i = begin; i < end; ++i) positions.push_back(axis.position(p, i));
  if (end < axis.grid) positions.push_back(axis.position(p, end));
  return positions;
}

// The largest sample of each bin and where it lies; of no samples 0, outside the map, where no gradient goes.
template <class T>
std::tuple<at::Tensor, at::Tensor, at::Tensor> maximum(const at::Tensor& input, const at::Tensor& rois, const RoiPlan& plan) {
  const at::Tensor map = to_channels_last<T>(input);
  const int64_t n = rois.size(0), channels = plan.channels, bins = plan.bins(), row = plan.width * channels;
  at::Tensor outputs[3];
  T* out[3];
  for (int k = 0; k < 3; ++k) {
    outputs[k] = empty_like_type({n, channels, plan.bins_h, plan.bins_w}, map.scalar_type());
    out[k] = outputs[k].mutable_data_ptr<T>();
  }
  const T *const pixels = map.const_data_ptr<T>(), *const roi = rois.const_data_ptr<T>();
  at::parallel_for(0, n, 1, [&](int64_t begin, int64_t end) {
    BinRows<T> best(bins, channels), best_y(bins, channels), best_x(bins, channels);
    for (int64_t i = begin; i < end; ++i) {
      const UprightRegion<T> region(roi + i * 5, plan);
      const T* const image = pixels + region.image * plan.height * row;
      std::fill(best.data.begin(), best.data.end(), region.y.grid > 0 && region.x.grid > 0 ? -std::numeric_limits<T>::infinity() : T(0));
      std::fill(best_y.data.begin(), best_y.data.end(), T(-2));
      std::fill(best_x.data.begin(), best_x.data.end(), T(-2));
      for (int64_t bin = 0; bin < bins; ++bin) {
        T *__restrict const value = best[bin], *__restrict const value_y = best_y[bin], *__restrict const value_x = best_x[bin];
        const auto xs = seen(region.x, bin % plan.bins_w, plan.width);
        for (const T y : seen(region.y, bin / plan.bins_w, plan.height))
          for (const T x : xs) {
            const bool inside = is_inside(y, plan.height) && is_inside(x, plan.width);
            const Between<T> rows(inside ? y : T(0), plan.height), columns(inside ? x : T(0), plan.width);
            const T ly = rows.part, lx = columns.part, hy = 1 - ly, hx = 1 - lx;
            const T w1 = hy * hx, w2 = hy * lx, w3 = ly * hx, w4 = ly * lx;
            const T *const p1 = image + rows.low * row + columns.low * channels, *const p2 = image + rows.low * row + columns.high * channels;
            const T *const p3 = image + rows.high * row + columns.low * channels, *const p4 = image + rows.high * row + columns.high * channels;
            for (int64_t c = 0; c < channels; ++c) {
              const T sample = inside ? w1 * p1[c] + w2 * p2[c] + w3 * p3[c] + w4 * p4[c] : T(0);
              const bool larger = sample > value[c] || sample != sample;  // NaN stays, as in PyTorch's maximum
              value[c] = larger ? sample : value[c];
              value_y[c] = larger ? y : value_y[c];
              value_x[c] = larger ? x : value_x[c];
            }
          }
      }
      best.store(out[0] + i * channels * bins, 1);
      best_y.store(out[1] + i * channels * bins, 1);
      best_x.store(out[2] + i * channels * bins, 1);
    }
  });
  return {outputs[0], outputs[1], outputs[2]};
}

// Of contiguous inputs, and contiguous itself.
template <class T>
at::Tensor maximum_backward(const at::Tensor& grad_output, const at::Tensor& rois, const at::Tensor& argmax_y, const at::Tensor& argmax_x,
                            const RoiPlan& plan) {
  const int64_t channels = plan.channels, bins = plan.bins(), pixels = plan.height * plan.width;
  at::Tensor grad_map = zeros_of({plan.images, channels, plan.height, plan.width}, grad_output.scalar_type());
  const T *const grads = grad_output.const_data_ptr<T>(), *const roi = rois.const_data_ptr<T>();
  const T *const ys = argmax_y.const_data_ptr<T>(), *const xs = argmax_x.const_data_ptr<T>();
  T* const out = grad_map.mutable_data_ptr<T>();
  at::parallel_for(0, channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < rois.size(0); ++i)
      for (int64_t c = begin; c < end; ++c) {
        T* const plane = out + (static_cast<int64_t>(roi[i * 5]) * channels + c) * pixels;
        for (int64_t k = (i * channels + c) * bins; k < (i * channels + c + 1) * bins; ++k) {
          if (!is_inside(ys[k], plan.height) || !is_inside(xs[k], plan.width)) continue;
          const Between<T> rows(ys[k], plan.height), columns(xs[k], plan.width);
          plane[rows.low * plan.width + columns.low] += (1 - rows.part) * (1 - columns.part) * grads[k];
          plane[rows.low * plan.width + columns.high] += (1 - rows.part) * columns.part * grads[k];
          plane[rows.high * plan.width + columns.low] += rows.part * (1 - columns.part) * grads[k];
          plane[rows.high * plan.width + columns.high] += rows.part * columns.part * grads[k];
        }
      }
  });
  return grad_map;
}

enum PoolMode { kMaximum, kAverage };

void check_pool_mode(int64_t mode) { REQUIRE(mode == kMaximum || mode == kAverage, "pool_mode is ", mode, "; it must be 0 (max) or 1 (avg)"); }

void check_map_and_rois(const at::Tensor& input, const at::Tensor& rois, int64_t columns) {
  check_floats("input", input, {-1, -1, -1, -1}, "(N, C, H, W)");
  check_floats("rois", rois, {-1, columns}, columns == 5 ? "(n, 5)" : "(n, 6)");
}

void check_gradient(const at::Tensor& grad_output, const at::Tensor& rois, int64_t columns, at::IntArrayRef input_size, int64_t bins_h, int64_t bins_w) {
  check_floats("rois", rois, {-1, columns}, columns == 5 ? "(n, 5)" : "(n, 6)");
  bool sound = input_size.size() == 4;
  for (const int64_t size : input_size) sound = sound && size >= 0;
  REQUIRE(sound, "input_size is ", input_size, "; it must be the N, C, H and W of a map");
  check_floats("grad_output", grad_output, {rois.size(0), input_size[1], bins_h, bins_w}, "(n, C, aligned_height, aligned_width)");
}

// (n, C, aligned_height, aligned_width); for the maximum also where it lies, else two empty tensors.
std::tuple<at::Tensor, at::Tensor, at::Tensor> roi_align(const at::Tensor& input, const at::Tensor& rois, int64_t aligned_height, int64_t aligned_width,
                                                         double spatial_scale, int64_t sampling_ratio, int64_t pool_mode, bool aligned) {
  check_map_and_rois(input, rois, 5);
  check_pool_mode(pool_mode);
  const RoiPlan plan = plan_rois(input.sizes(), aligned_height, aligned_width, spatial_scale, sampling_ratio, aligned);
  const at::ScalarType type = input.scalar_type(), wide = wide_type(input);
  const at::Tensor map = input.to(wide), wide_rois = rois.to(wide).contiguous();
  return compute_in(wide, [&](auto zero) -> std::tuple<at::Tensor, at::Tensor, at::Tensor> {
    using T = decltype(zero);
    check_rois(wide_rois.const_data_ptr<T>(), wide_rois.size(0), 5, plan);
    if (pool_mode == kAverage)
      return {average<T, UprightRegion<T>>(map, wide_rois, plan).to(type), empty_like_type({0}, type), empty_like_type({0}, type)};
    const auto [values, ys, xs] = maximum<T>(map, wide_rois, plan);
    return {values.to(type), ys.to(type), xs.to(type)};
  });
}

at::Tensor roi_align_backward(const at::Tensor& grad_output, const at::Tensor& rois, const at::Tensor& argmax_y, const at::Tensor& argmax_x,
                              at::IntArrayRef input_size, int64_t aligned_height, int64_t aligned_width, double spatial_scale, int64_t sampling_ratio,
                              int64_t pool_mode, bool aligned) {
  check_gradient(grad_output, rois, 5, input_size, aligned_height, aligned_width);
  check_pool_mode(pool_mode);
  if (pool_mode == kMaximum) {
    check_floats("argmax_y", argmax_y, grad_output.sizes(), "that of grad_output");
    check_floats("argmax_x", argmax_x, grad_output.sizes(), "that of grad_output");
  }
  const RoiPlan plan = plan_rois(input_size, aligned_height, aligned_width, spatial_scale, sampling_ratio, aligned);
  const at::ScalarType wide = wide_type(grad_output);
  const at::Tensor wide_rois = rois.to(wide).contiguous();
  return compute_in(wide, [&](auto zero) {
    using T = decltype(zero);
    check_rois(wide_rois.const_data_ptr<T>(), wide_rois.size(0), 5, plan);
    if (pool_mode == kAverage) return average_backward<T, UprightRegion<T>>(grad_output.to(wide).contiguous(), wide_rois, plan);
    return maximum_backward<T>(grad_output.to(wide).contiguous(), wide_rois, argmax_y.to(wide).contiguous(), argmax_x.to(wide).contiguous(), plan);
  }).to(grad_output.scalar_type());
}

at::Tensor roi_align_rotated(const at::Tensor& input, const at::Tensor& rois, int64_t aligned_height, int64_t aligned_width, double spatial_scale,
                             int64_t sampling_ratio, bool aligned, bool clockwise) {
  check_map_and_rois(input, rois, 6);
  const RoiPlan plan = plan_rois(input.sizes(), aligned_height, aligned_width, spatial_scale, sampling_ratio, aligned, clockwise);
  const at::ScalarType wide = wide_type(input);
  const at::Tensor wide_rois = rois.to(wide).contiguous();
  return compute_in(wide, [&](auto zero) {
    using T = decltype(zero);
    check_rois(wide_rois.const_data_ptr<T>(), wide_rois.size(0), 6, plan);
    return average<T, RotatedRegion<T>>(input.to(wide), wide_rois, plan);
  }).to(input.scalar_type());
}

at::Tensor roi_align_rotated_backward(const at::Tensor& grad_output, const at::Tensor& rois, at::IntArrayRef input_size, int64_t aligned_height,
                                      int64_t aligned_width, double spatial_scale, int64_t sampling_ratio, bool aligned, bool clockwise) {
  check_gradient(grad_output, rois, 6, input_size, aligned_height, aligned_width);
  const RoiPlan plan = plan_rois(input_size, aligned_height, aligned_width, spatial_scale, sampling_ratio, aligned, clockwise);
  const at::ScalarType wide = wide_type(grad_output);
  const at::Tensor wide_rois = rois.to(wide).contiguous();
  return compute_in(wide, [&](auto zero) {
    using T = decltype(zero);
    check_rois(wide_rois.const_data_ptr<T>(), wide_rois.size(0), 6, plan);
    return average_backward<T, RotatedRegion<T>>(grad_output.to(wide).contiguous(), wide_rois, plan);
  }).to(grad_output.scalar_type());
}
