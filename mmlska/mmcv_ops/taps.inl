// Weighted sums of pixels, all channels of a pixel together. Part of kernels.cpp.

// Which pixels, by the distance of their first channel from that of the map, and how much of each.
template <class T>
struct Taps {
  std::vector<int64_t> offset;
  std::vector<T> weight;

  void clear() { offset.clear(), weight.clear(); }
  void add(int64_t offset_, T weight_) { offset.push_back(offset_), weight.push_back(weight_); }
  int64_t size() const { return offset.size(); }
};

// sum += weight * pixel for the channels of every tap, which lie `step` apart. Four taps at a time, so that the sum is seldom written.
template <class T>
void gather(T* __restrict sum, const T* __restrict map, const Taps<T>& taps, int64_t channels, int64_t step = 1) {
  const int64_t n = taps.size();
  if (step != 1) {
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t k = 0; k < n; ++k) sum[c] += taps.weight[k] * map[c * step + taps.offset[k]];
    return;
  }
  int64_t k = 0;
  for (; k + 4 <= n; k += 4) {
    const T *p0 = map + taps.offset[k], *p1 = map + taps.offset[k + 1], *p2 = map + taps.offset[k + 2], *p3 = map + taps.offset[k + 3];
    const T w0 = taps.weight[k], w1 = taps.weight[k + 1], w2 = taps.weight[k + 2], w3 = taps.weight[k + 3];
    for (int64_t c = 0; c < channels; ++c) sum[c] += w0 * p0[c] + w1 * p1[c] + w2 * p2[c] + w3 * p3[c];
  }
  for (; k < n; ++k) {
    const T* const p = map + taps.offset[k];
    const T w = taps.weight[k];
    for (int64_t c = 0; c < channels; ++c) sum[c] += w * p[c];
  }
}

// pixel += weight * grad for the channels of every tap: gather's gradient.
template <class T>
void scatter(T* __restrict map, const T* __restrict grad, const Taps<T>& taps, int64_t channels, int64_t step = 1) {
  if (step != 1) {
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t k = 0; k < taps.size(); ++k) map[c * step + taps.offset[k]] += taps.weight[k] * grad[c];
    return;
  }
  for (int64_t k = 0; k < taps.size(); ++k) {
    T* __restrict const p = map + taps.offset[k];
    const T w = taps.weight[k];
    for (int64_t c = 0; c < channels; ++c) p[c] += w * grad[c];
  }
}
