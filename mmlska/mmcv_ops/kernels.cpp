// C++ kernels of mmlska.mmcv_ops on the CPU: functions that mmcv has compiled, as PyTorch operators `mmlska_mmcv::...`. What they ask of their inputs:
// ../native/memory.inl and checks.inl; boxes: nms.inl, rotated_boxes.inl; maps: maps.inl (their layouts), taps.inl (sums of their pixels); RoIs: regions.inl and
// rotated_regions.inl (where their samples lie), roi_align.inl (what is made of the samples); attention: deformable_attention.inl. An .inl is a part of this file, included at its place in it.
//
// They compute in double for float64 and in float for float32, float16 and bfloat16. None of them has a derivative of its own.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <Python.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#define REQUIRE(condition, ...) TORCH_CHECK_VALUE(condition, "mmlska_mmcv: ", __VA_ARGS__)

namespace {

#include "../native/memory.inl"
#include "checks.inl"
#include "nms.inl"
#include "rotated_boxes.inl"
#include "taps.inl"
#include "maps.inl"
#include "regions.inl"
#include "rotated_regions.inl"
#include "roi_align.inl"
#include "deformable_attention.inl"

}  // namespace

TORCH_LIBRARY(mmlska_mmcv, m) {
  m.def("nms(Tensor boxes, Tensor scores, float iou_threshold, int offset) -> Tensor");
  m.def("softnms(Tensor boxes, Tensor scores, float iou_threshold, float sigma, float min_score, int method, int offset) -> (Tensor, Tensor)");
  m.def("roi_align(Tensor input, Tensor rois, int aligned_height, int aligned_width, float spatial_scale, int sampling_ratio, "
        "int pool_mode, bool aligned) -> (Tensor, Tensor, Tensor)");
  m.def("roi_align_backward(Tensor grad_output, Tensor rois, Tensor argmax_y, Tensor argmax_x, int[] input_size, int aligned_height, "
        "int aligned_width, float spatial_scale, int sampling_ratio, int pool_mode, bool aligned) -> Tensor");
  m.def("ms_deform_attn(Tensor value, Tensor spatial_shapes, Tensor level_start_index, Tensor sampling_locations, "
        "Tensor attention_weights) -> Tensor");
  m.def("ms_deform_attn_backward(Tensor grad_output, Tensor value, Tensor spatial_shapes, Tensor level_start_index, "
        "Tensor sampling_locations, Tensor attention_weights) -> (Tensor, Tensor, Tensor)");
  m.def("box_iou_rotated(Tensor boxes1, Tensor boxes2, int mode_flag, bool aligned) -> Tensor");
  m.def("nms_rotated(Tensor dets, Tensor scores, float iou_threshold) -> Tensor");
  m.def("roi_align_rotated(Tensor input, Tensor rois, int aligned_height, int aligned_width, float spatial_scale, int sampling_ratio, "
        "bool aligned, bool clockwise) -> Tensor");
  m.def("roi_align_rotated_backward(Tensor grad_output, Tensor rois, int[] input_size, int aligned_height, int aligned_width, "
        "float spatial_scale, int sampling_ratio, bool aligned, bool clockwise) -> Tensor");
}

TORCH_LIBRARY_IMPL(mmlska_mmcv, CPU, m) {
  m.impl("nms", nms);
  m.impl("softnms", softnms);
  m.impl("roi_align", roi_align);
  m.impl("roi_align_backward", roi_align_backward);
  m.impl("ms_deform_attn", ms_deform_attn);
  m.impl("ms_deform_attn_backward", ms_deform_attn_backward);
  m.impl("box_iou_rotated", box_iou_rotated);
  m.impl("nms_rotated", nms_rotated);
  m.impl("roi_align_rotated", roi_align_rotated);
  m.impl("roi_align_rotated_backward", roi_align_rotated_backward);
}

// Importing this file registers the operators above; the module only holds the version of this file.
PyMODINIT_FUNC PyInit__kernels() {
  static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernels", nullptr, -1, nullptr};
  PyObject* const module = PyModule_Create(&definition);
  if (module != nullptr) PyModule_AddIntConstant(module, "VERSION", 2);  // raise it, and that of backends.py, with every change of a schema or of what is checked
  return module;
}
