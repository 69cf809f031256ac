"""The packages here have tests of their own, which run where their wheels are installed: see ``test_wheels.py``."""

collect_ignore = ["bookmarks", "digest"]
