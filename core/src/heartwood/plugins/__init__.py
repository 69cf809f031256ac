"""Plugins: what they may say (specifications), how they are found, ordered, loaded, asked, started and stopped."""
