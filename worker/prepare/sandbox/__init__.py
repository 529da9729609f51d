"""Runs decoders of untrusted files in processes with limits on time, memory, files and network."""
