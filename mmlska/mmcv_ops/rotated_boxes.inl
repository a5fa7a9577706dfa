// Overlap of rotated boxes (x, y, width, height, angle in radians): one is cut along the sides of the other. Part of kernels.cpp.

struct Point {
  double x, y;
};

struct RotatedBox {
  double x, y, w, h, angle, cos, sin, area, radius;

  template <class T>
  explicit RotatedBox(const T* box) : x(box[0]), y(box[1]), w(box[2]), h(box[3]), angle(box[4]), cos(std::cos(angle)), sin(std::sin(angle)) {
    area = w * h;
    radius = std::hypot(w, h) / 2;
  }
};

constexpr int kMaxCorners = 24;  // 4 corners cut four times: 8 for any rectangle, 19 if NaN should tell every second one to go

// The part of a polygon where sign * (x or y) <= limit.
int cut(const Point* in, int n, Point* out, double Point::* axis, double sign, double limit) {
  int m = 0;
  for (int i = 0; i < n; ++i) {
    const Point &a = in[i], &b = in[i + 1 == n ? 0 : i + 1];
    const double beyond_a = sign * a.*axis - limit, beyond_b = sign * b.*axis - limit;
    if (beyond_a <= 0) out[m++] = a;
    if ((beyond_a <= 0) == (beyond_b <= 0)) continue;
    const double t = beyond_a / (beyond_a - beyond_b);
    out[m++] = {a.x + t * (b.x - a.x), a.y + t * (b.y - a.y)};
  }
  return m;
}

double intersection(const RotatedBox& a, const RotatedBox& b) {
  const double dx = b.x - a.x, dy = b.y - a.y, reach = a.radius + b.radius;
  if (dx * dx + dy * dy > reach * reach) return 0;
  // b as a sees it, with a's centre at 0 and a's sides along the axes.
  const double x = a.cos * dx + a.sin * dy, y = a.cos * dy - a.sin * dx;
  const double c = a.cos * b.cos + a.sin * b.sin, s = a.cos * b.sin - a.sin * b.cos;
  const Point u = {c * b.w / 2, s * b.w / 2}, v = {-s * b.h / 2, c * b.h / 2};
  Point one[kMaxCorners] = {{x - u.x - v.x, y - u.y - v.y}, {x + u.x - v.x, y + u.y - v.y}, {x + u.x + v.x, y + u.y + v.y}, {x - u.x + v.x, y - u.y + v.y}};
  Point two[kMaxCorners];
  const double w = std::abs(a.w) / 2, h = std::abs(a.h) / 2;
  int n = cut(one, 4, two, &Point::x, 1, w);
  n = cut(two, n, one, &Point::x, -1, w);
  n = cut(one, n, two, &Point::y, 1, h);
  n = cut(two, n, one, &Point::y, -1, h);
  double twice = 0;
  for (int i = 2; i < n; ++i) twice += (one[i - 1].x - one[0].x) * (one[i].y - one[0].y) - (one[i].x - one[0].x) * (one[i - 1].y - one[0].y);
  return std::abs(twice) / 2;
}

enum IouMode { kUnion, kForeground };

double rotated_overlap(const RotatedBox& a, const RotatedBox& b, int64_t mode) {
  if (a.area < 1e-14 || b.area < 1e-14) return 0;
  const double shared = intersection(a, b);
  return shared / (mode == kUnion ? a.area + b.area - shared : a.area);
}

template <class T>
std::vector<RotatedBox> rotated_boxes(const at::Tensor& boxes, const int64_t* order = nullptr) {
  const T* const data = boxes.const_data_ptr<T>();
  std::vector<RotatedBox> all;
  all.reserve(boxes.size(0));
  for (int64_t i = 0; i < boxes.size(0); ++i) all.emplace_back(data + 5 * (order == nullptr ? i : order[i]));
  return all;
}

// (n, m) overlaps, or (n,) of pairs where aligned.
at::Tensor box_iou_rotated(const at::Tensor& boxes1, const at::Tensor& boxes2, int64_t mode_flag, bool aligned) {
  check_floats("boxes1", boxes1, {-1, 5}, "(n, 5)");
  check_floats("boxes2", boxes2, {aligned ? boxes1.size(0) : -1, 5}, aligned ? "(n, 5) with the n of boxes1" : "(m, 5)");
  REQUIRE(mode_flag == kUnion || mode_flag == kForeground, "mode_flag is ", mode_flag, "; it must be 0 (iou) or 1 (iof)");
  const at::Tensor wide1 = boxes1.to(wide_type(boxes1)).contiguous(), wide2 = boxes2.to(wide1.scalar_type()).contiguous();
  const int64_t n = wide1.size(0), m = wide2.size(0);
  at::Tensor ious = aligned ? empty_like_type({n}, wide1.scalar_type()) : empty_like_type({n, m}, wide1.scalar_type());
  compute_in(wide1.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const auto first = rotated_boxes<T>(wide1), second = rotated_boxes<T>(wide2);
    T* const out = ious.mutable_data_ptr<T>();
    at::parallel_for(0, ious.numel(), 256, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        out[i] = static_cast<T>(rotated_overlap(first[aligned ? i : i / m], second[aligned ? i : i % m], mode_flag));
    });
  });
  return ious.to(boxes1.scalar_type());
}

template <class T>
struct RotatedBoxes {
  using Flag = uint8_t;
  static constexpr int64_t kGrain = 128;
  std::vector<RotatedBox> all;
  T threshold;

  void mark(int64_t i, int64_t begin, int64_t end, Flag* dead) const {
    for (int64_t j = begin; j < end; ++j)
      if (!dead[j]) dead[j] = static_cast<T>(rotated_overlap(all[i], all[j], kUnion)) >= threshold;
  }
  void move(int64_t from, int64_t to) { all[to] = all[from]; }
};

// Unlike nms, an overlap that equals the threshold is too much.
at::Tensor nms_rotated(const at::Tensor& dets, const at::Tensor& scores, double iou_threshold) {
  check_boxes("dets", dets, 5, scores);
  const at::Tensor wide = dets.to(wide_type(dets)).contiguous(), order = falling_order(scores);
  return compute_in(wide.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    return keep_best(RotatedBoxes<T>{rotated_boxes<T>(wide, order.const_data_ptr<int64_t>()), static_cast<T>(iou_threshold)}, order);
  });
}
