// What all C++ kernels ask of a tensor before they read its memory. Each source defines REQUIRE(condition, words...) first.

// Memory that can be read as plain numbers. A shorter storage, emptied by resize_ as FSDP does, keeps the sizes of its tensors.
void check_memory(const char* name, const at::Tensor& t) {
  REQUIRE(t.device().is_cpu() && t.layout() == at::kStrided, name, " is a ", t.layout(), " tensor on ", t.device(), "; it must be a dense one on cpu");
  REQUIRE(t.numel() == 0 || t.storage().nbytes() >= at::detail::computeStorageNbytes(t.sizes(), t.strides(), t.element_size(), t.storage_offset()),
          "the memory of ", name, " was freed or cut: ", t.storage().nbytes(), " bytes are left for its shape ", t.sizes());
}
