"""Fixtures for the authors of plugins, loaded by pytest through an entry point."""
