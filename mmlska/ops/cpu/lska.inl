// LSKA: the chain of depthwise convolutions, forward and backward. See rows.inl.

template <class T>
struct LskaLines {
  using V = Vec<T>;
  Scratch<V> scratch;
  V *zero, *x, *t2, *out;  // x and t2 have margins for the horizontal kernels
  Ring<V> t1, t3;
  LskaLines(const LskaShape& s, void* memory)
      : scratch{static_cast<V*>(memory)},
        zero(scratch.line(s.W)),
        x(scratch.line(s.W + 2 * s.p0())),
        t2(scratch.line(s.W + 2 * s.p1())),
        out(scratch.line(s.W)),
        t1(scratch, s.k0, s.W, zero),
        t3(scratch, s.rows1(), s.W, zero) {}
  void reset(const LskaShape& s) {
    clear(zero, s.W);
    clear(x, s.W + 2 * s.p0());
    clear(t2, s.W + 2 * s.p1());
  }
};

template <class T>
struct LskaTaps {
  using V = Vec<T>;
  V h0[kMaxTaps], v0[kMaxTaps], h1[kMaxTaps], v1[kMaxTaps], bias[4];
  LskaTaps(const LskaShape& s, const LskaWeights<T>& w, int64_t c0, int lanes) {
    load_taps<T>(h0, w.weight[0], s.k0, c0, lanes);
    load_taps<T>(v0, w.weight[1], s.k0, c0, lanes);
    load_taps<T>(h1, w.weight[2], s.k1, c0, lanes);
    load_taps<T>(v1, w.weight[3], s.k1, c0, lanes);
    for (int i = 0; i < 4; ++i) bias[i] = load<T>(w.bias[i] + c0, lanes);
  }
};

template <class T>
int64_t lska_forward_scratch(const LskaShape& s) {
  return LskaLines<T>(s, nullptr).scratch.used * sizeof(Vec<T>);
}

// Pointers to the taps of a horizontal kernel over a line with margins, and of a vertical one over a ring; sign -1 mirrors them.
template <class V>
void horizontal(const V** src, const V* line, int K, int64_t dilation, int sign = 1) {
  for (int t = 0; t < K; ++t) src[t] = line + (sign > 0 ? t : K - 1 - t) * dilation;
}

template <class V>
void vertical(const V** src, const Ring<V>& ring, int64_t i, int64_t H, int K, int64_t dilation, int sign = 1) {
  for (int t = 0; t < K; ++t) src[t] = ring.row(i + sign * (t - (K - 1) / 2) * dilation, H);
}

template <class T>
void lska_forward(const LskaShape& s, const LskaWeights<T>& weights, const T* x, T* out, const Task& task, void* memory) {
  using V = Vec<T>;
  const int64_t c0 = task.block * kLanes<T>, p0 = s.p0(), p1 = s.p1();
  const int lanes = s.C - c0 < kLanes<T> ? s.C - c0 : kLanes<T>;
  LskaLines<T> rows(s, memory);
  rows.reset(s);
  const LskaTaps<T> taps(s, weights, c0, lanes);
  const V* src[kMaxTaps];
  const auto map = [&](auto* p, int64_t i) { return p + ((task.image * s.H + i) * s.W) * s.C + c0; };

  // Row r of x makes row r - p0 of the first pair and row r - p0 - p1 of the output possible.
  for (int64_t r = task.begin - p1 - p0; r < task.end + p1 + p0; ++r) {
    if (r >= 0 && r < s.H) {
      load_row<T>(rows.x + p0, map(x, r), s.C, lanes, s.W);
      horizontal(src, (const V*)rows.x, s.k0, 1);
      fir<V>(s.k0, rows.t1.at(r), src, taps.h0, taps.bias[0], s.W);
    }
    const int64_t m = r - p0;
    if (m >= 0 && m < s.H && m >= task.begin - p1) {
      vertical(src, rows.t1, m, s.H, s.k0, 1);
      fir<V>(s.k0, rows.t2 + p1, src, taps.v0, taps.bias[1], s.W);
      horizontal(src, (const V*)rows.t2, s.k1, s.dilation);
      fir<V>(s.k1, rows.t3.at(m), src, taps.h1, taps.bias[2], s.W);
    }
    const int64_t o = m - p1;
    if (o >= task.begin) {
      vertical(src, rows.t3, o, s.H, s.k1, s.dilation);
      fir<V>(s.k1, rows.out, src, taps.v1, taps.bias[3], s.W);
      store_row<T>(map(out, o), rows.out, s.C, lanes, s.W);
    }
  }
}

template <class T>
struct LskaGradLines : LskaLines<T> {
  using V = Vec<T>;
  V *xi, *g3, *g1, *extra;  // g3 and g1 have margins for the transposed horizontal kernels
  Ring<V> g4, g2;
  LskaGradLines(const LskaShape& s, void* memory)
      : LskaLines<T>(s, memory),
        xi(this->scratch.line(s.W)),
        g3(this->scratch.line(s.W + 2 * s.p1())),
        g1(this->scratch.line(s.W + 2 * s.p0())),
        extra(this->scratch.line(s.W)),
        g4(this->scratch, s.rows1(), s.W, this->zero),
        g2(this->scratch, s.k0, s.W, this->zero) {}
  void reset(const LskaShape& s) {
    LskaLines<T>::reset(s);
    clear(g3, s.W + 2 * s.p1());
    clear(g1, s.W + 2 * s.p0());
  }
};

template <class T>
int64_t lska_backward_scratch(const LskaShape& s) {
  return LskaGradLines<T>(s, nullptr).scratch.used * sizeof(Vec<T>);
}

// From the gradient g4 of the chain's output: the gradient of x (plus grad * attn, the other path of the multiplication), the chain's output
// again (the 1x1 needs it for its weight), and this task's share of the gradients of the taps and biases.
template <class T>
void lska_backward(const LskaShape& s, const LskaWeights<T>& weights, const LskaMaps<T>& maps, typename Acc<T>::type* share, const Task& task,
                   void* memory) {
  using V = Vec<T>;
  const int64_t c0 = task.block * kLanes<T>, p0 = s.p0(), p1 = s.p1(), H = s.H, W = s.W;
  const int lanes = s.C - c0 < kLanes<T> ? s.C - c0 : kLanes<T>;
  LskaGradLines<T> rows(s, memory);
  rows.reset(s);
  const LskaTaps<T> taps(s, weights, c0, lanes);
  const V* src[kMaxTaps];
  V gh0[kMaxTaps] = {}, gv0[kMaxTaps] = {}, gh1[kMaxTaps] = {}, gv1[kMaxTaps] = {}, gbias[4] = {}, halo[kMaxTaps] = {};
  const auto map = [&](auto* p, int64_t i) { return p + ((task.image * H + i) * W) * s.C + c0; };
  const auto mine = [&](int64_t i) { return i >= task.begin && i < task.end; };

  for (int64_t i = task.begin - p0 - p1; i < task.begin - p0 + p1; ++i)
    if (i >= 0 && i < H) load_row<T>(rows.g4.at(i), map(maps.g4, i), s.C, lanes, W);

  for (int64_t r = task.begin - p1 - p0; r < task.end + p0 + (p0 > p1 ? p0 : p1); ++r) {
    if (r >= 0 && r < H) {
      load_row<T>(rows.x + p0, map(maps.x, r), s.C, lanes, W);
      horizontal(src, (const V*)rows.x, s.k0, 1);
      fir<V>(s.k0, rows.t1.at(r), src, taps.h0, taps.bias[0], W);
    }
    const int64_t m = r - p0;  // the first pair and the dilated pair's horizontal kernel, forward and backward
    if (m >= 0 && m < H && m >= task.begin - p1) {
      vertical(src, rows.t1, m, H, s.k0, 1);
      fir<V>(s.k0, rows.t2 + p1, src, taps.v0, taps.bias[1], W);
      horizontal(src, (const V*)rows.t2, s.k1, s.dilation);
      fir<V>(s.k1, rows.t3.at(m), src, taps.h1, taps.bias[2], W);
    }
    if (m >= task.begin - p0 && m + p1 >= 0 && m + p1 < H) load_row<T>(rows.g4.at(m + p1), map(maps.g4, m + p1), s.C, lanes, W);
    if (m >= 0 && m < H && m >= task.begin - p0 && m < task.end + p0) {
      vertical(src, rows.g4, m, H, s.k1, s.dilation, -1);
      fir_grad<V>(s.k1, rows.g3 + p1, src, taps.v1, rows.t3.at(m), mine(m) ? gv1 : halo, W);
      horizontal(src, (const V*)rows.g3, s.k1, s.dilation, -1);
      fir_grad<V>(s.k1, rows.g2.at(m), src, taps.h1, rows.t2 + p1, mine(m) ? gh1 : halo, W);
      if (mine(m)) {
        gbias[3] += sum_row<V>(rows.g4.at(m), W);
        gbias[2] += sum_row<V>(rows.g3 + p1, W);
        gbias[1] += sum_row<V>(rows.g2.at(m), W);
      }
    }
    const int64_t i = m - p0;
    if (mine(i)) {
      vertical(src, rows.g2, i, H, s.k0, 1, -1);
      fir_grad<V>(s.k0, rows.g1 + p0, src, taps.v0, rows.t1.at(i), gv0, W);
      gbias[0] += sum_row<V>(rows.g1 + p0, W);
      load_row<T>(rows.xi, map(maps.x, i), s.C, lanes, W);
      horizontal(src, (const V*)rows.g1, s.k0, 1, -1);
      fir_grad<V>(s.k0, rows.out, src, taps.h0, rows.xi, gh0, W);
      load_row<T>(rows.xi, map(maps.grad, i), s.C, lanes, W);
      load_row<T>(rows.extra, map(maps.attn, i), s.C, lanes, W);
      for (int64_t j = 0; j < W; ++j) rows.out[j] += rows.xi[j] * rows.extra[j];
      store_row<T>(map(maps.grad_x, i), rows.out, s.C, lanes, W);
    }
    const int64_t o = m - p1;
    if (mine(o)) {
      vertical(src, rows.t3, o, H, s.k1, s.dilation);
      fir<V>(s.k1, rows.out, src, taps.v1, taps.bias[3], W);
      store_row<T>(map(maps.chain, o), rows.out, s.C, lanes, W);
    }
  }
  V* to = reinterpret_cast<V*>(share);
  to = append(append(to, gh0, s.k0), gv0, s.k0);
  to = append(append(to, gh1, s.k1), gv1, s.k1);
  append(to, gbias, 4);
}
