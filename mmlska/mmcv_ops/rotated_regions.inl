// Where the samples of a rotated RoI lie on a map. Part of kernels.cpp.

template <class T>
class RotatedRegion {
 public:
  static constexpr int64_t kColumns = 6;

  RotatedRegion(const T* roi, const RoiPlan& plan)
      : image(static_cast<int64_t>(roi[0])), y(axis(roi, 4, plan.bins_h, plan)), x(axis(roi, 3, plan.bins_w, plan)),
        count(std::max(static_cast<T>(y.grid) * static_cast<T>(x.grid), T(1))), plan_(plan), center_y_(center(roi[2], plan)),
        center_x_(center(roi[1], plan)), cos_(static_cast<T>(std::cos(angle(roi[5], plan)))), sin_(static_cast<T>(std::sin(angle(roi[5], plan)))) {
    // The map as the RoI sees it: between these values along the RoI's own axes.
    for (const double row : {-1.0, static_cast<double>(plan.height)})
      for (const double column : {-1.0, static_cast<double>(plan.width)}) {
        const double dy = row - center_y_, dx = column - center_x_;
        stretch(map_y_, dy * cos_ + dx * sin_);
        stretch(map_x_, dx * cos_ - dy * sin_);
      }
  }

  const int64_t image;
  const Axis<T> y, x;
  const T count;

  // For every bin and its taps on a map with these strides.
  template <class F>
  void for_each_bin(int64_t row, int64_t column, F f) const {
    Taps<T> taps;
    for (int64_t p = 0; p < plan_.bins_h; ++p)
      for (int64_t q = 0; q < plan_.bins_w; ++q) {
        taps.clear();
        const auto [begin_y, end_y] = y.reach(p, map_y_.low, map_y_.high);
        const auto [begin_x, end_x] = x.reach(q, map_x_.low, map_x_.high);
        for (int64_t i = begin_y; i < end_y; ++i)
          for (int64_t j = begin_x; j < end_x; ++j) add(y.position(p, i), x.position(q, j), row, column, taps);
        f(p * plan_.bins_w + q, taps);
      }
  }

 private:
  struct Range {
    double low, high;
  };

  static Axis<T> axis(const T* roi, int64_t column, int64_t bins, const RoiPlan& plan) {
    const T side = roi[column] * static_cast<T>(plan.scale), length = plan.aligned ? side : std::max(side, T(1));
    return {-length / 2, length, bins, plan.ratio, is_somewhere(roi, kColumns, plan)};
  }
  static T center(T at, const RoiPlan& plan) { return at * static_cast<T>(plan.scale) - (plan.aligned ? T(0.5) : T(0)); }
  static double angle(T radians, const RoiPlan& plan) { return plan.clockwise ? -radians : radians; }
  static void stretch(Range& range, double to) { range = {std::min(range.low, to), std::max(range.high, to)}; }

  // A sample, by its distance from the centre along the RoI's own axes.
  void add(T along_y, T along_x, int64_t row, int64_t column, Taps<T>& taps) const {
    const T at_y = along_y * cos_ - along_x * sin_ + center_y_, at_x = along_y * sin_ + along_x * cos_ + center_x_;
    if (!is_inside(at_y, plan_.height) || !is_inside(at_x, plan_.width)) return;
    const Between<T> rows(at_y, plan_.height), columns(at_x, plan_.width);
    taps.add(rows.low * row + columns.low * column, (1 - rows.part) * (1 - columns.part));
    taps.add(rows.low * row + columns.high * column, (1 - rows.part) * columns.part);
    taps.add(rows.high * row + columns.low * column, rows.part * (1 - columns.part));
    taps.add(rows.high * row + columns.high * column, rows.part * columns.part);
  }

  const RoiPlan& plan_;
  const T center_y_, center_x_, cos_, sin_;
  Range map_y_{INFINITY, -INFINITY}, map_x_{INFINITY, -INFINITY};
};
