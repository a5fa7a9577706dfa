// How the work of an operator is split into tasks, and the tensors between ATen and the kernels. Part of ops.cpp.

// One task for each image and block of channels. Only where that leaves threads idle are the rows cut into strips, as every strip repeats
// the rows that its kernels reach beyond it.
struct Split {
  int64_t N, blocks, H, strips;
  Split(const MapShape& s, int lanes, int64_t reach) : N(s.N), blocks((s.C + lanes - 1) / lanes), H(s.H), strips(1) {
    const int64_t threads = at::get_num_threads(), whole = N * blocks;
    while (whole > 0 && whole * strips % threads != 0 && whole * strips < 4 * threads && H / (strips + 1) >= 2 * reach + 8) ++strips;
  }
  int64_t tasks() const { return N * blocks * strips; }
  Task operator[](int64_t i) const {
    const int64_t strip = i % strips;
    return {i / strips / blocks, i / strips % blocks, strip * H / strips, (strip + 1) * H / strips};
  }
};

template <class Body>
void for_each_task(const Split& split, int64_t scratch_bytes, const Body& body) {
  at::parallel_for(0, split.tasks(), 1, [&](int64_t first, int64_t last) {
    const at::Tensor scratch = at::empty({scratch_bytes}, at::kByte);  // 64-byte aligned, as every tensor is
    for (int64_t i = first; i < last; ++i) body(i, split[i], scratch.mutable_data_ptr());
  });
}

// Add up the shares (task, tap, lane) of the tasks in their order, whichever thread computed them: (taps, C) in the accumulation type.
template <class A>
at::Tensor reduce_shares(const at::Tensor& shares, const Split& split, int64_t C) {
  const int64_t taps = shares.size(1), lanes = shares.size(2);
  const at::Tensor total = at::zeros({taps, split.blocks * lanes}, shares.options());
  const A* from = shares.const_data_ptr<A>();
  A* to = total.mutable_data_ptr<A>();
  for (int64_t i = 0; i < split.tasks(); ++i)
    for (int64_t t = 0; t < taps; ++t)
      for (int64_t l = 0; l < lanes; ++l) to[(t * split.blocks + split[i].block) * lanes + l] += from[(i * taps + t) * lanes + l];
  return total.narrow(1, 0, C);
}

// Rows first..first + taps of the totals as the gradient of a depthwise weight. A copy: an operator's results must not share memory.
at::Tensor weight_grad(const at::Tensor& totals, int64_t first, int64_t taps, const at::Tensor& weight) {
  return totals.narrow(0, first, taps).t().clone(at::MemoryFormat::Contiguous).view(weight.sizes());
}

// ---- tensors ----

at::Tensor channels_last(const at::Tensor& t) { return t.contiguous(at::MemoryFormat::ChannelsLast); }
at::Tensor new_map(const at::Tensor& like) { return at::empty(like.sizes(), like.options(), at::MemoryFormat::ChannelsLast); }
// The matrix (pixels, channels) of a channels_last map, and back; both are views.
at::Tensor as_matrix(const at::Tensor& map) { return map.permute({0, 2, 3, 1}).view({-1, map.size(1)}); }
at::Tensor as_map(const at::Tensor& matrix, const at::Tensor& like) {
  return matrix.view({like.size(0), like.size(2), like.size(3), like.size(1)}).permute({0, 3, 1, 2});
}

template <class T>
const T* in(const at::Tensor& t) {
  return static_cast<const T*>(t.const_data_ptr());
}
template <class T>
T* out(const at::Tensor& t) {
  return static_cast<T*>(t.mutable_data_ptr());
}

MapShape shape_of(const at::Tensor& x) { return {x.size(0), x.size(1), x.size(2), x.size(3)}; }

template <class Body>
void with_type(const at::Tensor& x, const Body& body) {
  switch (x.scalar_type()) {
    case at::kFloat: return body(float{});
    case at::kBFloat16: return body(bf16{});
    case at::kDouble: return body(double{});
    default: TORCH_CHECK(false, "mmlska_cpu has no kernel for ", x.scalar_type());  // check_map says what there is
  }
}
