"""Loads a model and allocates its KV cache on the device."""
