"""Decodes images, videos and documents of clients. The sandbox runs these functions."""
