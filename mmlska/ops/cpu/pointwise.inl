// 1x1 convolutions: our own tiles (tiles.inl) where they run, ATen's matrix products elsewhere. Part of ops.cpp.

// Whether our own tiles run: on AVX-512 in float32. ATen's matrix products do the rest, and bfloat16's are good; those of float32 pack the weight
// again for every few rows, use half of some processors, and split narrow products badly.
bool own_tiles(const at::Tensor& t) {
#ifdef MMLSKA_X86
  return kLevel == 2 && t.scalar_type() == at::kFloat;
#else
  return false;
#endif
}

// A 1x1 from K to N channels, to be applied to any number of pixels.
class Pointwise {
 public:
  // Weight (N, K), of any strides; the bias may be undefined.
  Pointwise(const at::Tensor& weight, const at::Tensor& bias) : weight_(weight), bias_(bias.defined() ? bias.contiguous() : bias) {
#ifdef MMLSKA_X86
    if (!own_tiles(weight)) return;
    const int64_t N = weight.size(0), K = weight.size(1), panels = (N + kPanel - 1) / kPanel;
    packed_ = at::empty({panels, K, kPanel}, weight.options());
    at::parallel_for(0, panels, 1, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i)
        avx512::pack_panel(in<float>(weight), weight.stride(0), weight.stride(1), N, K, i * kPanel, out<float>(packed_) + i * K * kPanel);
    });
#endif
  }

  // From (pixels, K) to (pixels, N) in this thread; rows of either may be further apart than their length.
  void operator()(const at::Tensor& x, at::Tensor y) const {
#ifdef MMLSKA_X86
    if (packed_.defined())
      return avx512::pointwise_rows(in<float>(x), x.stride(0), in<float>(packed_), bias_.defined() ? in<float>(bias_) : nullptr, x.size(0),
                                    x.size(1), y.size(1), out<float>(y), y.stride(0));
#endif
    if (bias_.defined())
      at::addmm_out(y, bias_, x, weight_.t());
    else
      at::mm_out(y, x, weight_.t());
  }

  // The same in all threads, into a new matrix, and times another if that is defined.
  at::Tensor all(const at::Tensor& x, const at::Tensor& times = {}) const {
    const at::Tensor y = at::empty({x.size(0), weight_.size(0)}, x.options());
    if (!packed_.defined()) {
      (*this)(x, y);  // with ATen's own threads
      if (times.defined()) y.mul_(times);
      return y;
    }
    // Equal shares for all threads, of few enough pixels to stay in the cache.
    const int64_t pixels = x.size(0), threads = at::get_num_threads(), shares = threads * ((pixels + 384 * threads - 1) / (384 * threads));
    at::parallel_for(0, shares, 1, [&](int64_t first, int64_t last) {
      const at::AutoDispatchBelowADInplaceOrView no_autograd;
      for (int64_t i = first; i < last; ++i) {
        const int64_t begin = i * pixels / shares, n = (i + 1) * pixels / shares - begin;
        (*this)(x.narrow(0, begin, n), y.narrow(0, begin, n));
        if (times.defined()) y.narrow(0, begin, n).mul_(times.narrow(0, begin, n));
      }
    });
    return y;
  }

 private:
  at::Tensor weight_, bias_, packed_;
};

// Writes the gradient of the weight to total (N, K) or adds it, in this thread, where own tiles run; rows of grad and x may be further apart than
// their length.
void pointwise_weight_grad_rows(const at::Tensor& grad, const at::Tensor& x, bool add, const at::Tensor& total) {
#ifdef MMLSKA_X86
  for (int64_t k = 0; k < x.size(1); k += kPanel)
    avx512::pointwise_weight_grad(in<float>(grad), grad.stride(0), in<float>(x), x.stride(0), x.size(0), grad.size(1), x.size(1), k, add,
                                  out<float>(total));
#endif
}

// The gradient (N, K) of the weight, of grad (pixels, N) and x (pixels, K).
at::Tensor pointwise_weight_grad(const at::Tensor& grad, const at::Tensor& x) {
#ifdef MMLSKA_X86
  if (own_tiles(x) && x.size(0) > 0) {
    const int64_t pixels = x.size(0), N = grad.size(1), K = x.size(1), panels = (K + kPanel - 1) / kPanel, threads = at::get_num_threads();
    // Where there are fewer panels than threads, each adds up a part of the pixels.
    const int64_t parts = std::min((threads + panels - 1) / panels, pixels / 1024 + 1);
    const at::Tensor totals = at::empty({parts, N, K}, x.options());
    at::parallel_for(0, parts * panels, 1, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t part = i / panels, begin = part * pixels / parts, end = (part + 1) * pixels / parts;
        avx512::pointwise_weight_grad(in<float>(grad) + begin * N, N, in<float>(x) + begin * K, K, end - begin, N, K, i % panels * kPanel, false,
                                      out<float>(totals) + part * N * K);
      }
    });
    return parts == 1 ? totals.squeeze(0) : totals.sum(0);
  }
#endif
  return at::mm(grad.t(), x);
}
