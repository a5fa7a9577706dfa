// Maps come in any layout; what operators return is contiguous. Within, channels may lie together. Part of kernels.cpp.

// `in` is (images, rows, columns); `out` becomes (images, columns, rows). Tile by tile: both stay in the cache, which at::copy_ does not do.
template <class T>
void turn(const T* in, T* out, int64_t images, int64_t rows, int64_t columns) {
  constexpr int64_t kTile = 32;
  const int64_t strips = (columns + kTile - 1) / kTile;
  at::parallel_for(0, images * strips, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t image = task / strips * rows * columns, first = task % strips * kTile, last = std::min(first + kTile, columns);
      for (int64_t row = 0; row < rows; row += kTile)
        for (int64_t column = first; column < last; ++column)
          for (int64_t r = row; r < std::min(row + kTile, rows); ++r) out[image + column * rows + r] = in[image + r * columns + column];
    }
  });
}

template <class T>
at::Tensor to_channels_last(const at::Tensor& map) {
  if (!map.is_contiguous() || map.numel() == 0) return map.contiguous(at::MemoryFormat::ChannelsLast);
  at::Tensor out = at::empty(map.sizes(), at::TensorOptions(map.scalar_type()), at::MemoryFormat::ChannelsLast);
  turn(map.const_data_ptr<T>(), out.mutable_data_ptr<T>(), map.size(0), map.size(1), map.size(2) * map.size(3));
  return out;
}

// Of a map whose memory is channels_last.
template <class T>
at::Tensor from_channels_last(const at::Tensor& map) {
  at::Tensor out = empty_like_type(map.sizes(), map.scalar_type());
  if (map.numel() > 0) turn(map.const_data_ptr<T>(), out.mutable_data_ptr<T>(), map.size(0), map.size(2) * map.size(3), map.size(1));
  return out;
}

// Values of a RoI, a row of channels for each bin. A row is longer than its channels: with a power of two, its columns would share few lines of the cache.
template <class T>
struct BinRows {
  const int64_t bins, channels, pitch;
  std::vector<T> data;

  BinRows(int64_t bins_, int64_t channels_) : bins(bins_), channels(channels_), pitch(channels_ + 16), data(bins * pitch) {}
  T* operator[](int64_t bin) { return data.data() + bin * pitch; }

  // Into (n, channels, bins_h, bins_w), of which `out` is one n.
  void store(T* out, T divisor) const {
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t b = 0; b < bins; ++b) out[c * bins + b] = data[b * pitch + c] / divisor;
  }

  // From there, of which `in` is one n at the first of these channels.
  void load(const T* in, T divisor) {
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t b = 0; b < bins; ++b) data[b * pitch + c] = in[c * bins + b] / divisor;
  }
};
