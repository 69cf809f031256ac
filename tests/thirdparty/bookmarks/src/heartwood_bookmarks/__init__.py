"""Links for heartwood."""
