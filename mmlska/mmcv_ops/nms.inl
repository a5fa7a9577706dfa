// Greedy choice of the best boxes, and its soft form. Part of kernels.cpp.

constexpr int64_t kBlock = 64;  // boxes that are decided before all later ones are held against those of them that stay

// The columns of upright boxes.
template <class T>
struct UprightBoxes {
  using Flag = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;  // as wide as a number: both fit the same vector
  static constexpr int64_t kGrain = 4096;  // boxes for a thread: with fewer, to wait for the others takes longer than the work
  std::vector<T> x1, y1, x2, y2, area;
  T threshold, offset;

  UprightBoxes(const T* boxes, const int64_t* order, int64_t n, double threshold_, int64_t offset_)
      : x1(n), y1(n), x2(n), y2(n), area(n), threshold(static_cast<T>(threshold_)), offset(static_cast<T>(offset_)) {
    for (int64_t i = 0; i < n; ++i) {
      const T* box = boxes + 4 * (order == nullptr ? i : order[i]);
      x1[i] = box[0], y1[i] = box[1], x2[i] = box[2], y2[i] = box[3];
      area[i] = (x2[i] - x1[i] + offset) * (y2[i] - y1[i] + offset);
    }
  }

  // Their intersection over union. The order of the operands decides what NaN does: it never overlaps.
  T overlap(int64_t i, int64_t j) const {
    const T left = x1[i] < x1[j] ? x1[j] : x1[i], top = y1[i] < y1[j] ? y1[j] : y1[i];
    const T right = x2[j] < x2[i] ? x2[j] : x2[i], bottom = y2[j] < y2[i] ? y2[j] : y2[i];
    T w = right - left + offset, h = bottom - top + offset;
    w = T(0) < w ? w : T(0), h = T(0) < h ? h : T(0);
    return w * h / (area[i] + area[j] - w * h);
  }

  void mark(int64_t i, int64_t begin, int64_t end, Flag* __restrict dead) const {
    for (int64_t j = begin; j < end; ++j) dead[j] |= overlap(i, j) > threshold;
  }

  void move(int64_t from, int64_t to) {
    x1[to] = x1[from], y1[to] = y1[from], x2[to] = x2[from], y2[to] = y2[from], area[to] = area[from];
  }
};

// `order` holds the numbers of the boxes from the best on, `boxes` themselves in that order. The numbers of those that stay.
template <class Boxes>
at::Tensor keep_best(Boxes boxes, const at::Tensor& order) {
  const int64_t* const numbers = order.const_data_ptr<int64_t>();
  std::vector<int64_t> number(numbers, numbers + order.numel()), kept;
  std::vector<typename Boxes::Flag> dead(number.size(), 0);
  int64_t live = order.numel();
  for (int64_t first = 0; first < live; first += kBlock) {
    const int64_t end = std::min(first + kBlock, live);
    int64_t best[kBlock], count = 0;
    for (int64_t i = first; i < end; ++i) {
      if (dead[i]) continue;
      best[count++] = i;
      kept.push_back(number[i]);
      boxes.mark(i, i + 1, end, dead.data());
    }
    at::parallel_for(end, live, Boxes::kGrain, [&](int64_t from, int64_t to) {
      for (int64_t k = 0; k < count; ++k) boxes.mark(best[k], from, to, dead.data());
    });
    int64_t left = end;
    for (int64_t i = end; i < live; ++i) {
      if (dead[i]) continue;
      boxes.move(i, left), number[left] = number[i], dead[left] = 0;
      ++left;
    }
    live = left;
  }
  at::Tensor result = empty_like_type({static_cast<int64_t>(kept.size())}, at::kLong);
  std::copy(kept.begin(), kept.end(), result.mutable_data_ptr<int64_t>());
  return result;
}

// Equal scores keep the order in which they came.
at::Tensor falling_order(const at::Tensor& scores) { return std::get<1>(scores.sort(/*stable=*/true, 0, /*descending=*/true)).contiguous(); }

void check_boxes(const char* name, const at::Tensor& boxes, int64_t columns, const at::Tensor& scores) {
  check_floats(name, boxes, {-1, columns}, columns == 4 ? "(n, 4)" : "(n, 5)");
  check_floats("scores", scores, {boxes.size(0)}, "(n,) with the n of the boxes");
}

at::Tensor nms(const at::Tensor& boxes, const at::Tensor& scores, double iou_threshold, int64_t offset) {
  check_boxes("boxes", boxes, 4, scores);
  const at::Tensor wide = boxes.to(wide_type(boxes)).contiguous(), order = falling_order(scores);
  return compute_in(wide.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    return keep_best(UprightBoxes<T>(wide.const_data_ptr<T>(), order.const_data_ptr<int64_t>(), wide.size(0), iou_threshold, offset), order);
  });
}

enum Decay { kNaive, kLinear, kGaussian };

// The best box goes to the front, those after it lose score by their overlap with it, and so on. A box that falls below min_score gives its place
// to the last one: this order decides between equal scores. The first box stays whatever its score.
template <class T>
int64_t soften(UprightBoxes<T>& boxes, std::vector<T>& score, int64_t* number, T sigma, T min_score, int64_t method) {
  int64_t live = score.size();
  std::vector<T> overlaps(live);
  for (int64_t i = 0; i < live; ++i) {
    const int64_t best = std::max_element(score.begin() + i, score.begin() + live) - score.begin();
    std::swap(boxes.x1[i], boxes.x1[best]), std::swap(boxes.y1[i], boxes.y1[best]), std::swap(boxes.x2[i], boxes.x2[best]);
    std::swap(boxes.y2[i], boxes.y2[best]), std::swap(boxes.area[i], boxes.area[best]);
    std::swap(score[i], score[best]), std::swap(number[i], number[best]);
    T* __restrict const found = overlaps.data();
    for (int64_t j = i + 1; j < live; ++j) found[j] = boxes.overlap(i, j);
    for (int64_t j = i + 1; j < live; ++j) {
      const bool near = found[j] >= boxes.threshold;
      if (method == kGaussian) score[j] *= std::exp(-(found[j] * found[j]) / sigma);
      else score[j] *= !near ? T(1) : method == kLinear ? 1 - found[j] : T(0);
    }
    for (int64_t j = i + 1; j < live;) {
      if (!(score[j] < min_score)) {
        ++j;
        continue;
      }
      --live;
      boxes.move(live, j), score[j] = score[live], number[j] = number[live];
    }
  }
  return live;
}

// The boxes that stay with their new scores, and their numbers.
std::tuple<at::Tensor, at::Tensor> softnms(const at::Tensor& boxes, const at::Tensor& scores, double iou_threshold, double sigma, double min_score,
                                           int64_t method, int64_t offset) {
  check_boxes("boxes", boxes, 4, scores);
  REQUIRE(method >= kNaive && method <= kGaussian, "method is ", method, "; it must be 0 (naive), 1 (linear) or 2 (gaussian)");
  const at::Tensor wide = boxes.to(wide_type(boxes)).contiguous(), wide_scores = scores.to(wide.scalar_type()).contiguous();
  const int64_t n = wide.size(0);
  std::vector<int64_t> number(n);
  for (int64_t i = 0; i < n; ++i) number[i] = i;
  return compute_in(wide.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    UprightBoxes<T> all(wide.const_data_ptr<T>(), nullptr, n, iou_threshold, offset);
    const T* const first = wide_scores.const_data_ptr<T>();
    std::vector<T> score(first, first + n);
    const int64_t live = soften<T>(all, score, number.data(), static_cast<T>(sigma), static_cast<T>(min_score), method);
    at::Tensor dets = empty_like_type({live, 5}, wide.scalar_type()), numbers = empty_like_type({live}, at::kLong);
    T* det = dets.mutable_data_ptr<T>();
    for (int64_t i = 0; i < live; ++i, det += 5)
      det[0] = all.x1[i], det[1] = all.y1[i], det[2] = all.x2[i], det[3] = all.y2[i], det[4] = score[i];
    std::copy(number.begin(), number.begin() + live, numbers.mutable_data_ptr<int64_t>());
    return std::make_tuple(dets.to(boxes.scalar_type()), numbers);
  });
}
