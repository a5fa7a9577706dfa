// Where the samples of a RoI lie on a map. Part of kernels.cpp.

struct RoiPlan {
  int64_t images, channels, height, width, bins_h, bins_w;
  double scale;
  int64_t ratio;  // samples of a bin along an axis; 0: one for every pixel or part of one
  bool aligned, clockwise;
  int64_t bins() const { return bins_h * bins_w; }
};

RoiPlan plan_rois(at::IntArrayRef map, int64_t bins_h, int64_t bins_w, double scale, int64_t ratio, bool aligned, bool clockwise = false) {
  REQUIRE(bins_h > 0 && bins_w > 0, "aligned_height and aligned_width are ", bins_h, " and ", bins_w, "; they must be 1 or more");
  REQUIRE(ratio <= kMaxSamples, "sampling_ratio is ", ratio, "; it must be at most ", kMaxSamples, ", and 0 takes as many samples as there are pixels");
  return {map[0], map[1], map[2], map[3], bins_h, bins_w, scale, ratio, aligned, clockwise};
}

// Of RoIs in the type of computation: (image, x1, y1, x2, y2) or (image, x, y, width, height, angle).
template <class T>
void check_rois(const T* roi, int64_t n, int64_t columns, const RoiPlan& plan) {
  REQUIRE(n == 0 || (plan.height > 0 && plan.width > 0), "the map is empty (height ", plan.height, ", width ", plan.width, ") but there are ", n, " RoIs");
  for (int64_t i = 0; i < n; ++i, roi += columns)
    REQUIRE(roi[0] >= 0 && roi[0] < static_cast<T>(plan.images), "rois[", i, "] names image ", roi[0], "; the batch has images 0 to ", plan.images - 1);
}

// Whether a RoI is somewhere. One that is not (NaN, infinity) has no samples.
template <class T>
bool is_somewhere(const T* roi, int64_t columns, const RoiPlan& plan) {
  bool finite = true;
  for (int64_t k = 1; k < columns; ++k) finite = finite && std::abs(roi[k] * plan.scale) <= kMaxPixel;
  return finite;
}

// The bins of a RoI along one axis.
template <class T>
struct Axis {
  T start, bin;
  int64_t grid;  // samples of a bin

  Axis(T start_, T length, int64_t bins, int64_t ratio, bool somewhere)
      : start(start_), bin(length / static_cast<T>(bins)), grid(somewhere ? samples(bin, ratio) : 0) {}

  static int64_t samples(T bin, int64_t ratio) { return ratio > 0 ? ratio : static_cast<int64_t>(std::max(std::ceil(static_cast<float>(bin)), 0.0f)); }

  T position(int64_t p, int64_t i) const {
    return start + static_cast<T>(p) * bin + (static_cast<T>(i) + static_cast<T>(0.5)) * bin / static_cast<T>(grid);
  }

  // From and to which sample those of bin p may lie in low..high; all others surely do not. So a RoI of any size costs no more than the map.
  std::pair<int64_t, int64_t> reach(int64_t p, double low, double high) const {
    const double origin = static_cast<double>(start) + static_cast<double>(p) * bin, step = static_cast<double>(bin) / static_cast<double>(grid);
    if (!(step > 1e-6)) return {0, grid};  // at most kMaxSamples: those counted by pixels are half a pixel or more apart, or one, or none
    const double error = 2 + 1e-6 * (std::abs(origin) + static_cast<double>(bin)) / step, last = static_cast<double>(grid);
    return {static_cast<int64_t>(std::clamp(std::floor((low - origin) / step - error), 0.0, last)),
            static_cast<int64_t>(std::clamp(std::ceil((high - origin) / step + error), 0.0, last))};
  }
};

// Whether a sample lies on the map or up to half a pixel outside: there it takes the pixel of the border. Farther outside a sample is 0. A position is
// that of the pixels' centres, so the map reaches from -0.5 to size - 0.5.
template <class T>
bool is_inside(T at, int64_t size) {
  return at >= -1 && at <= static_cast<T>(size);
}

// The two pixels around a position inside, along one axis, and how much the second one counts.
template <class T>
struct Between {
  int64_t low, high;
  T part;

  Between(T at, int64_t size) {
    at = at <= 0 ? T(0) : at;
    low = static_cast<int64_t>(at);
    high = low + 1;
    if (low >= size - 1) {
      low = high = size - 1;
      at = static_cast<T>(low);
    }
    part = at - static_cast<T>(low);
  }
};

// Taps of all samples of bin p along an axis, those on one pixel added up.
template <class T>
void add_up(const Axis<T>& axis, int64_t p, int64_t size, int64_t stride, Taps<T>& taps) {
  taps.clear();
  const auto [begin, end] = axis.reach(p, -1, static_cast<double>(size));
  for (int64_t i = begin; i < end; ++i) {
    const T at = axis.position(p, i);
    if (!is_inside(at, size)) continue;
    const Between<T> pixels(at, size);
    // Samples come in rising order: an equal pixel is one of the last two.
    const auto add = [&](int64_t offset, T weight) {
      for (int64_t k = taps.size() - 1; k >= 0 && k >= taps.size() - 2; --k)
        if (taps.offset[k] == offset) {
          taps.weight[k] += weight;
          return;
        }
      taps.add(offset, weight);
    };
    add(pixels.low * stride, 1 - pixels.part);
    if (pixels.high != pixels.low) add(pixels.high * stride, pixels.part);
  }
}

// A RoI whose sides are along the axes: what a bin takes of a pixel is a product of its row's and its column's share.
template <class T>
class UprightRegion {
 public:
  static constexpr int64_t kColumns = 5;

  UprightRegion(const T* roi, const RoiPlan& plan)
      : image(static_cast<int64_t>(roi[0])), y(axis(roi, 2, plan.bins_h, plan)), x(axis(roi, 1, plan.bins_w, plan)),
        count(std::max(static_cast<T>(y.grid) * static_cast<T>(x.grid), T(1))), plan_(plan) {}

  const int64_t image;
  const Axis<T> y, x;
  const T count;  // of samples in a bin

  // For every bin and its taps on a map with these strides.
  template <class F>
  void for_each_bin(int64_t row, int64_t column, F f) const {
    std::vector<Taps<T>> xs(plan_.bins_w);
    Taps<T> ys, taps;
    for (int64_t q = 0; q < plan_.bins_w; ++q) add_up(x, q, plan_.width, column, xs[q]);
    for (int64_t p = 0; p < plan_.bins_h; ++p) {
      add_up(y, p, plan_.height, row, ys);
      for (int64_t q = 0; q < plan_.bins_w; ++q) {
        taps.clear();
        for (int64_t i = 0; i < ys.size(); ++i)
          for (int64_t j = 0; j < xs[q].size(); ++j) taps.add(ys.offset[i] + xs[q].offset[j], ys.weight[i] * xs[q].weight[j]);
        f(p * plan_.bins_w + q, taps);
      }
    }
  }

 private:
  static Axis<T> axis(const T* roi, int64_t column, int64_t bins, const RoiPlan& plan) {
    const T scale = static_cast<T>(plan.scale), offset = plan.aligned ? T(0.5) : T(0);
    const T start = roi[column] * scale - offset, length = roi[column + 2] * scale - offset - start;
    return {start, plan.aligned ? length : std::max(length, T(1)), bins, plan.ratio, is_somewhere(roi, kColumns, plan)};
  }

  const RoiPlan& plan_;
};
