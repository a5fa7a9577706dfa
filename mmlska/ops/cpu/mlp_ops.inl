// The operators of the MLP: 3x3 depthwise convolution and GELU, with a 1x1 before and after or not. Part of ops.cpp.

at::Tensor depthwise_gelu(const at::Tensor& x_, const at::Tensor& weight_, const at::Tensor& bias_) {
  check_map(x_);
  check_depthwise(x_, weight_, bias_, x_.size(1));
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
      // On processors with AMX oneDNN's bfloat16 product reads on to the next multiple of its tile: times 0, but a NaN there stays one.
      buffer.narrow(1, s.C, pitch - s.C).zero_();
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
  check_map(x);
  check_depthwise(x, weight, bias, x.size(1));
  check_beside(x, "pb", pb, {check_pointwise(x, "pw", pw, x.size(1))});
  return mlp(channels_last(x), nullptr, weight, bias, pw, pb);
}

void check_mlp(const at::Tensor& x, const at::Tensor& ew, const at::Tensor& eb, const at::Tensor& weight, const at::Tensor& bias,
               const at::Tensor& pw, const at::Tensor& pb) {
  check_map(x);
  const int64_t channels = check_pointwise(x, "ew", ew, x.size(1));
  check_beside(x, "eb", eb, {channels});
  check_depthwise(x, weight, bias, channels);
  check_beside(x, "pb", pb, {check_pointwise(x, "pw", pw, channels)});
}

// Without a gradient, the 1x1 that makes the wide map can go row by row too. Neighbouring threads both compute the two rows between them, which
// is too much where they have few.
at::Tensor mlp_inference(const at::Tensor& x_, const at::Tensor& ew, const at::Tensor& eb, const at::Tensor& weight, const at::Tensor& bias,
                         const at::Tensor& pw, const at::Tensor& pb) {
  check_mlp(x_, ew, eb, weight, bias, pw, pb);
  const at::Tensor x = channels_last(x_);
  if (x.size(0) * x.size(2) < 16 * at::get_num_threads())
    return mlp(channels_last(at::conv2d(x, ew, eb)), nullptr, weight, bias, pw, pb);
  const Pointwise expand(ew.flatten(1), eb);
  return mlp(x, &expand, weight, bias, pw, pb);
}

// The output, and that of the first 1x1, which the backward pass reads.
std::tuple<at::Tensor, at::Tensor> mlp_training(const at::Tensor& x, const at::Tensor& ew, const at::Tensor& eb, const at::Tensor& weight,
                                                const at::Tensor& bias, const at::Tensor& pw, const at::Tensor& pb) {
  check_mlp(x, ew, eb, weight, bias, pw, pb);
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
  check_map(x);
  check_map_beside(x, "grad", grad, x.size(1));
  check_depthwise(x, weight, bias, x.size(1));
  const auto grads = depthwise_gelu_grads(channels_last(grad), channels_last(x), weight.contiguous(), bias.contiguous(), {});
  return {grads.x, grads.weight, grads.bias};
}

std::vector<at::Tensor> depthwise_gelu_pointwise_backward(const at::Tensor& grad_, const at::Tensor& x_, const at::Tensor& weight,
                                                          const at::Tensor& bias, const at::Tensor& pw) {
  check_map(x_);
  check_depthwise(x_, weight, bias, x_.size(1));
  check_map_beside(x_, "grad", grad_, check_pointwise(x_, "pw", pw, x_.size(1)));
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
  check_map(x_);
  const int64_t channels = check_pointwise(x_, "ew", ew, x_.size(1));
  check_map_beside(x_, "wide", wide_, channels);
  check_depthwise(x_, weight_, bias_, channels);
  check_map_beside(x_, "grad", grad_, check_pointwise(x_, "pw", pw, channels));
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
