"""Grafana dashboard, Prometheus alerts, and the generators of the metrics and log references."""
