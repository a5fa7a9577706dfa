// 3x3 depthwise convolution and GELU, forward and backward. See rows.inl.

template <class T>
struct DepthwiseLines {
  using V = Vec<T>;
  Scratch<V> scratch;
  V *zero, *out;
  Ring<V> x, g;  // rows with one zero on each side
  DepthwiseLines(const MapShape& s, void* memory)
      : scratch{static_cast<V*>(memory)},
        zero(scratch.line(s.W + 2)),
        out(scratch.line(s.W)),
        x(scratch, 3, s.W + 2, zero),
        g(scratch, 3, s.W + 2, zero) {}
  void reset(const MapShape& s) {
    clear(zero, s.W + 2);
    for (int i = 0; i < 3; ++i) clear(x.at(i), s.W + 2), clear(g.at(i), s.W + 2);
  }
};

template <class T>
int64_t depthwise_scratch(const MapShape& s) {
  return DepthwiseLines<T>(s, nullptr).scratch.used * sizeof(Vec<T>);
}

template <class V>
void square(const V** src, const Ring<V>& ring, int64_t i, int64_t H, int sign = 1) {
  for (int t = 0; t < 9; ++t) src[t] = ring.row(i + sign * (t / 3 - 1), H) + 1 + sign * (t % 3 - 1);
}

// The output may overwrite the rows of x up to the one before it.
template <class T>
void depthwise_gelu_forward(const MapShape& s, const T* weight, const T* bias, const Rows<const T>& x, const Rows<T>& out, const Task& task,
                            void* memory) {
  using V = Vec<T>;
  const int64_t c0 = task.block * kLanes<T>, H = s.H, W = s.W;
  const int lanes = s.C - c0 < kLanes<T> ? s.C - c0 : kLanes<T>;
  DepthwiseLines<T> rows(s, memory);
  rows.reset(s);
  V taps[9];
  load_taps<T>(taps, weight, 9, c0, lanes);
  const V b = load<T>(bias + c0, lanes);
  const V* src[9];
  const auto row = [&](const auto& map, int64_t i) { return map.data + (task.image * H + i - map.origin) * W * map.pitch + c0; };

  for (int64_t r = task.begin - 1; r <= task.end; ++r) {
    if (r >= 0 && r < H) load_row<T>(rows.x.at(r) + 1, row(x, r), x.pitch, lanes, W);
    const int64_t o = r - 1;
    if (o < task.begin) continue;
    square(src, rows.x, o, H);
    fir_k<V, 9>(rows.out, src, taps, b, W);
    gelu_row<V>(rows.out, W);
    store_row<T>(row(out, o), rows.out, out.pitch, lanes, W);
  }
}

// Writes the output of the forward pass again to `again` unless that is null: a 1x1 after it needs it for its weight. `again` may overwrite the
// rows of grad up to the one before it, and grad_x those up to its own. The share is that of the nine taps, of the bias, and the sum of grad_x,
// which is the gradient of a bias before.
template <class T>
void depthwise_gelu_backward(const MapShape& s, const T* weight, const T* bias, const Rows<const T>& x, const Rows<const T>& grad,
                             const Rows<T>& grad_x, const Rows<T>& again, typename Acc<T>::type* share, const Task& task, void* memory) {
  using V = Vec<T>;
  const int64_t c0 = task.block * kLanes<T>, H = s.H, W = s.W;
  const int lanes = s.C - c0 < kLanes<T> ? s.C - c0 : kLanes<T>;
  DepthwiseLines<T> rows(s, memory);
  rows.reset(s);
  V taps[9], gtaps[9] = {}, gbias = {}, gsum = {};
  load_taps<T>(taps, weight, 9, c0, lanes);
  const V b = load<T>(bias + c0, lanes);
  const V* src[9];
  const auto row = [&](const auto& map, int64_t i) { return map.data + (task.image * H + i - map.origin) * W * map.pitch + c0; };
  const auto mine = [&](int64_t i) { return i >= task.begin && i < task.end; };

  for (int64_t r = task.begin - 2; r <= task.end + 1; ++r) {
    if (r >= 0 && r < H) load_row<T>(rows.x.at(r) + 1, row(x, r), x.pitch, lanes, W);
    const int64_t m = r - 1;  // the gradient before the GELU
    if (m >= 0 && m < H && m >= task.begin - 1) {
      square(src, rows.x, m, H);
      fir_k<V, 9>(rows.out, src, taps, b, W);
      V* g = rows.g.at(m) + 1;
      load_row<T>(g, row(grad, m), grad.pitch, lanes, W);
      gelu_grad_row<V>(g, rows.out, W);
      if (mine(m)) {
        gbias += sum_row<V>(g, W);
        if (again.data) store_row<T>(row(again, m), rows.out, again.pitch, lanes, W);
      }
    }
    const int64_t i = m - 1;
    if (mine(i)) {
      square(src, rows.g, i, H, -1);
      fir_grad_k<V, 9>(rows.out, src, taps, rows.x.at(i) + 1, gtaps, W);
      gsum += sum_row<V>(rows.out, W);
      store_row<T>(row(grad_x, i), rows.out, grad_x.pitch, lanes, W);
    }
  }
  V* const rest = append(reinterpret_cast<V*>(share), gtaps, 9);
  rest[0] = gbias, rest[1] = gsum;
}
