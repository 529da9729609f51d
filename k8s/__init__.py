"""Kubernetes manifests, and the check that validates them."""
