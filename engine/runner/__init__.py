"""Runs scheduled tokens on the device: vision encoder, decoder, KV cache, sampler and kernels."""
