"""Seeing what the hub does: logs, metrics, health checks, and the thread that watches the loop."""
