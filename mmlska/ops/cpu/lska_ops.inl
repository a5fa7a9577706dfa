// The operators of LSKA. Part of ops.cpp.

#define LSKA_PARAMETERS                                                                                                                \
  const at::Tensor &h0w, const at::Tensor &h0b, const at::Tensor &v0w, const at::Tensor &v0b, const at::Tensor &h1w,                   \
      const at::Tensor &h1b, const at::Tensor &v1w, const at::Tensor &v1b, const at::Tensor &pw, const at::Tensor &pb, int64_t dilation,   \
      bool gelu

void check_lska(const at::Tensor& x, LSKA_PARAMETERS) {
  check_map(x);
  const int64_t C = x.size(1), k0 = taps_of("h0w", h0w, 3), k1 = taps_of("h1w", h1w, 3);
  check_beside(x, "h0w", h0w, {C, 1, 1, k0});
  check_beside(x, "v0w", v0w, {C, 1, k0, 1});
  check_beside(x, "h1w", h1w, {C, 1, 1, k1});
  check_beside(x, "v1w", v1w, {C, 1, k1, 1});
  check_beside(x, "h0b", h0b, {C});
  check_beside(x, "v0b", v0b, {C});
  check_beside(x, "h1b", h1b, {C});
  check_beside(x, "v1b", v1b, {C});
  check_beside(x, "pw", pw, {C, C, 1, 1});
  check_beside(x, "pb", pb, {C});
  REQUIRE(dilation >= 1, "dilation is ", dilation, "; it must be 1 or more");
}
#define CHECK_LSKA(x) check_lska(x, h0w, h0b, v0w, v0b, h1w, h1b, v1w, v1b, pw, pb, dilation, gelu)

// The parameters of the depthwise convolutions. Taps that lie outside the image from wherever they are counted are left out, so that nothing
// grows with the dilation, however large.
struct Weights {
  at::Tensor weight[4], bias[4];  // h0, v0, h1, v1
  LskaShape shape;
  int64_t left_out;  // at either end of the dilated kernels

  Weights(const at::Tensor& x, LSKA_PARAMETERS) : bias{h0b.contiguous(), v0b.contiguous(), h1b.contiguous(), v1b.contiguous()} {
    const int64_t k1 = h1w.size(3), reach = std::max(x.size(2), x.size(3)) - 1;
    const int64_t inside = std::min(k1, 2 * (std::max<int64_t>(reach, 0) / dilation) + 1);
    left_out = (k1 - inside) / 2;
    weight[0] = h0w.contiguous(), weight[1] = v0w.contiguous();
    weight[2] = h1w.narrow(3, left_out, inside).contiguous(), weight[3] = v1w.narrow(2, left_out, inside).contiguous();
    shape = {shape_of(x), static_cast<int>(h0w.size(3)), static_cast<int>(inside), dilation};
  }
  template <class T>
  LskaWeights<T> pointers() const {
    LskaWeights<T> p;
    for (int i = 0; i < 4; ++i) p.weight[i] = in<T>(weight[i]), p.bias[i] = in<T>(bias[i]);
    return p;
  }
  // A gradient of weight i in the size that the caller knows.
  at::Tensor whole(const at::Tensor& grad, int i) const {
    if (i < 2 || left_out == 0) return grad;
    return i == 2 ? at::constant_pad_nd(grad, {left_out, left_out}) : at::constant_pad_nd(grad, {0, 0, left_out, left_out});
  }
};
#define LSKA_WEIGHTS(x) Weights(x, h0w, h0b, v0w, v0b, h1w, h1b, v1w, v1b, pw, pb, dilation, gelu)

// The attention map, times another if that is defined: the chain of depthwise convolutions, then the 1x1.
at::Tensor attention_map(const at::Tensor& x, const Weights& weights, const at::Tensor& pw, const at::Tensor& pb, const at::Tensor& times = {}) {
  const LskaShape& shape = weights.shape;
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
  CHECK_LSKA(x_);
  const at::Tensor x = maybe_gelu(channels_last(x_), gelu), attn = attention_map(x, LSKA_WEIGHTS(x), pw, pb);
  return {x * attn, attn};
}

at::Tensor lska_inference(const at::Tensor& x_, LSKA_PARAMETERS) {
  CHECK_LSKA(x_);
  const at::Tensor x = maybe_gelu(channels_last(x_), gelu);
  return attention_map(x, LSKA_WEIGHTS(x), pw, pb, x);
}

std::vector<at::Tensor> lska_backward(const at::Tensor& grad_, const at::Tensor& x_, const at::Tensor& attn_, LSKA_PARAMETERS) {
  CHECK_LSKA(x_);
  check_map_beside(x_, "grad", grad_, x_.size(1));
  check_map_beside(x_, "kept", attn_, x_.size(1));
  const at::Tensor grad = channels_last(grad_), attn = channels_last(attn_), before = channels_last(x_), x = maybe_gelu(before, gelu);
  const Weights weights = LSKA_WEIGHTS(x);
  const LskaShape& shape = weights.shape;
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
    grads.push_back(weights.whole(weight_grad(totals, first, taps, weights.weight[i]), i));
    grads.push_back(totals.select(0, 2 * shape.k0 + 2 * shape.k1 + i).clone());
    first += taps;
  }
  grads.push_back(pointwise_weight_grad(grad_attn, as_matrix(chain)).view(pw.sizes()));
  grads.push_back(grad_attn.sum(0));
  return grads;
}
