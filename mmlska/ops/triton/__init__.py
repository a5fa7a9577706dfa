"""The operators on NVIDIA GPUs: Triton kernels and the file that calls them."""
