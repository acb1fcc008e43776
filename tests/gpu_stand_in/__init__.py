"""A stand-in for CUDA and NVML, so that the GPU path is tested on machines without a GPU."""
