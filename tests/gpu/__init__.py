"""Tests of the CUDA kernels; they need a GPU."""
