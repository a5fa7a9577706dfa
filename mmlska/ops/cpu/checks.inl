// What every operator asks of its inputs before anything reads them: anyone may call one without the front door. Part of ops.cpp.

void check_shape(const char* name, const at::Tensor& t, at::IntArrayRef shape) {
  REQUIRE(t.sizes() == shape, name, " has shape ", t.sizes(), "; it must be ", shape);
}

void check_map(const at::Tensor& x) {
  REQUIRE(x.dim() == 4 && x.size(1) > 0, "x has shape ", x.sizes(), "; it must be (N, C, H, W) with C of 1 or more");
  const auto type = x.scalar_type();
  REQUIRE(type == at::kFloat || type == at::kBFloat16 || type == at::kDouble, "x is ", type, "; it must be float32, bfloat16 or float64");
  check_memory("x", x);
}

// Of a tensor that goes with the map x.
void check_beside(const at::Tensor& x, const char* name, const at::Tensor& t, at::IntArrayRef shape) {
  check_shape(name, t, shape);
  REQUIRE(t.scalar_type() == x.scalar_type(), name, " is ", t.scalar_type(), " but x is ", x.scalar_type());
  check_memory(name, t);
}

// A map of x's size with so many channels.
void check_map_beside(const at::Tensor& x, const char* name, const at::Tensor& map, int64_t channels) {
  check_beside(x, name, map, {x.size(0), channels, x.size(2), x.size(3)});
}

// Number of taps of a 1-D kernel, along an axis of its weight.
int64_t taps_of(const char* name, const at::Tensor& weight, int64_t axis) {
  const int64_t taps = weight.dim() == 4 ? weight.size(axis) : 0;
  REQUIRE(taps % 2 == 1 && taps < kMaxTaps, name, " has shape ", weight.sizes(), "; it must be ",
          axis == 3 ? "(C, 1, 1, k)" : "(C, 1, k, 1)", " with an odd k of up to ", kMaxTaps - 1);
  return taps;
}

// Number of output channels of a 1x1 from so many channels.
int64_t check_pointwise(const at::Tensor& x, const char* name, const at::Tensor& weight, int64_t channels) {
  const int64_t outputs = weight.dim() == 4 ? weight.size(0) : 0;
  REQUIRE(outputs > 0, name, " has shape ", weight.sizes(), "; it must be (C2, C, 1, 1) with C2 of 1 or more");
  check_beside(x, name, weight, {outputs, channels, 1, 1});
  return outputs;
}

void check_depthwise(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t channels) {
  check_beside(x, "weight", weight, {channels, 1, 3, 3});
  check_beside(x, "bias", bias, {channels});
}

// Stands before every operator, above the place where a transform of torch.func takes the tangents off.
void refuse_tangents(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  const auto& arguments = op.schema().arguments();
  const auto inputs = torch::jit::last(*stack, arguments.size());
  for (size_t i = 0; i < inputs.size(); ++i)
    REQUIRE(!inputs[i].isTensor() || !inputs[i].toTensor()._fw_grad(0).defined(), arguments[i].name(),
            " has a tangent, and the kernels have no forward-mode derivative; mmlska.ops, or plain PyTorch, has one");
  op.redispatchBoxed(keys & c10::after_ADInplaceOrView_keyset, stack);
}
