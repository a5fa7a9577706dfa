"""The operators on CPUs: C++ kernels and the file that calls them."""
