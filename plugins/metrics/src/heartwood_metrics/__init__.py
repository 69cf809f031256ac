"""Metrics for heartwood: the exporter for Prometheus, and a summary that every plugin may add to."""
